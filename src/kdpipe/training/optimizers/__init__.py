"""Optimizers: one file each, which defines `OPTIMIZER` (see `kdpipe.runs.optim_info`)."""
