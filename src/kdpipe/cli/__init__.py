"""The command line: what a person types, and what the rules of the workflow call."""
