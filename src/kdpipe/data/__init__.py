"""Data sets: their cards, and how their images reach a network."""
