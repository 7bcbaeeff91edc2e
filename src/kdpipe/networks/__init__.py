"""The networks: known by their names or one's own; what each costs, and how it is built."""
