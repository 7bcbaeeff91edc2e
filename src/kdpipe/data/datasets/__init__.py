"""The built-in data sets: each file defines `DATASET` (`cards.KnownDataset`)."""
