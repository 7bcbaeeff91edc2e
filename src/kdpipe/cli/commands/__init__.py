"""One file, one command: each defines `COMMAND`, and the name of the file is its word."""
