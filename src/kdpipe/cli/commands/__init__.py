"""One command per file: each file defines `COMMAND` and gives the command its name."""
