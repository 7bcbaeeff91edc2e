"""A search: the best cell of a block without the whole grid, in rounds decided by records."""
