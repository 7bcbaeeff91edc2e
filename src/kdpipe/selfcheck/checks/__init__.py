"""One file a check, each defines `CHECK`: what is looked at on a GPU."""
