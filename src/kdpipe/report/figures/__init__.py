"""One file, one figure: each defines `FIGURE`, and the name of the file is that of the figure."""
