"""Optimizers: one file each, which defines `OPTIMIZER` (see `kdpipe.runs.recipe`)."""
