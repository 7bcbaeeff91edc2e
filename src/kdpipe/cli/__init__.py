"""The command line: commands for users, and those that the workflow's rules call."""
