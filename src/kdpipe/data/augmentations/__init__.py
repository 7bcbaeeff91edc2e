"""Augmentations: each file defines `DIGIT`, a digit of the number of a view (`views.Digit`)."""
