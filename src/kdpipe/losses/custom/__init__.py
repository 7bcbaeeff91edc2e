"""Custom loss terms: found by a dotted path, tried once, known to the plan by their cards."""
