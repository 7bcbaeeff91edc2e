"""A finished study."""

from helpers.finished_results import archive, place, say  # noqa: F401
