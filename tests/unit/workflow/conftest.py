"""A finished study."""

from helpers.finished_results import archive, say, store  # noqa: F401
