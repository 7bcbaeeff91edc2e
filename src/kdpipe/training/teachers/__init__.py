"""Teachers of a run: online or from a logit cache, one network or an ensemble."""
