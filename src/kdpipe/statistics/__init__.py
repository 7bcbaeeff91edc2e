"""How sure numbers are: intervals, tests, variance components, ranks. No study in it."""
