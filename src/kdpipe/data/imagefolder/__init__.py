"""Custom data sets: a folder of classes or a .npz file, read and given a card."""
