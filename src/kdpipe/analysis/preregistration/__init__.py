"""Preregistration: what a study will test, registered before it is run, and its power."""
