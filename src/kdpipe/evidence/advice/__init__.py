"""What to do: the choice for each student, its rivals, and A or B."""
