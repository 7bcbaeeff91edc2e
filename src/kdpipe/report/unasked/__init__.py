"""Tables of a report that a study does not ask for."""
