"""Images without labels of one's own, in a folder or a .npz: read, carded and prepared."""
