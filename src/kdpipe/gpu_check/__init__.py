"""Checks whether kdpipe computes correct results on this machine's GPU, and how fast."""
