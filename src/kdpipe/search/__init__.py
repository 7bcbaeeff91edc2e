"""A search: the best cell of a block, without the whole grid, in rounds that records decide."""
