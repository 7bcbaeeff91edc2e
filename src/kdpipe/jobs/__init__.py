"""Jobs, which rules start: one file for each command, with a spec as complete input."""
