"""Preregistration: the hypotheses of a study, registered before it is run, and its power."""
