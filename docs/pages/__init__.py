"""The generated pages of docs/reference, one function each."""
