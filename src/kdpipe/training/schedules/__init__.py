"""Schedules of the learning rate: one file each, which defines `SCHEDULE` (see `runs.recipe`)."""
