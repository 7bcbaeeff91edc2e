"""Checks of a GPU: each file defines one `CHECK`."""
