"""The checks of a study: each file defines `CHECK` (`check.Check`)."""
