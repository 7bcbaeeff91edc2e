"""Data sets: what is known of each without having it, and how its images reach a network."""
