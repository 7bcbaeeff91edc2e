"""Whether kdpipe computes on the GPU of this machine what it computes elsewhere, and how fast."""
