"""What Snakemake asks: the study of a start, what is to do in it, and what it waits for."""
