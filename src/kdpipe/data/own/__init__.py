"""Data of one's own: a folder of classes or a .npz file, read and given a card."""
