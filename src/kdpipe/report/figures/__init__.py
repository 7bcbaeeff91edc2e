"""Figures, one in each file, which defines `FIGURE`; its name is that of the file."""
