"""Jobs that are finished or cut off."""

from helpers.job_results import (  # noqa: F401
    finished,
    finished_state,
    pair,
    short,
    unkilled,
)
