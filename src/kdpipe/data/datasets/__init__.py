"""The known data sets: each file defines `DATASET` (`cards.KnownDataset`)."""
