"""Learning-rate schedules: one file each, which defines `SCHEDULE` (see `runs.recipe`)."""
