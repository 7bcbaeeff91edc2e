"""The pages of docs/reference that are made, one function each, of what the code says."""
