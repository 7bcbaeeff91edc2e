"""Networks: known by their names or custom; what each costs, and how it is built."""
