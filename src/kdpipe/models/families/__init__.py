"""The families, one a file: each defines `FAMILY`, and knows its networks by their names."""
