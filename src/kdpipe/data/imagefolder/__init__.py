"""Custom data sets, from a folder of classes or a .npz file, and their cards."""
