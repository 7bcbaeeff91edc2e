"""One file, one claim: each defines `CLAIM`, and the name of the file begins with its id."""
