"""A term of one's own: found by its dotted path, tried, and known to the plan by its card."""
