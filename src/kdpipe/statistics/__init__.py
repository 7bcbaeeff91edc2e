"""How sure numbers are: intervals, tests, resampling. No study in it."""
