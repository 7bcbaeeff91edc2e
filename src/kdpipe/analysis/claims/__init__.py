"""Claims, one in each file, which defines `CLAIM`; the name of the file begins with its id."""
