"""Augmentations: each file defines `AUGMENTATION` (`views.Augmentation`)."""
