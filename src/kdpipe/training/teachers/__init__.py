"""Teachers of a run: live or from a logit cache, one network or an ensemble."""
