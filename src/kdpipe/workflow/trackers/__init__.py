"""Experiment trackers, one per file: each logs a study in the tracker's own format."""
