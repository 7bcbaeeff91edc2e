"""Data sets: cards, splits, views, and batches of images."""
