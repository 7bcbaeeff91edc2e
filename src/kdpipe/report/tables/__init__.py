"""One file, one table: each defines `TABLE`, and the name of the file is the name of the table."""
