"""What a rule calls: one file a verb, told everything by a spec."""
