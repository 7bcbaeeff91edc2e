"""The errors a user can cause.

The command line prints one of these as a single message, without a traceback, and leaves with
exit code 2. Every other exception is a bug of ours and shows its traceback.
"""


class KdpipeError(Exception):
    """Something that the user can mend; the text says what is wrong and what to do."""


class StudyError(KdpipeError):
    """A study file with mistakes; the text lists all of them, one per line."""


class DataError(KdpipeError):
    """A data set that is missing, damaged, or not the one its card describes."""


class StoreError(KdpipeError):
    """A file of the results folder that is missing, damaged, or cannot be written."""


class Missing(StoreError):
    """A run that is not there, or not finished and whole; others may all be sound."""


class Diverged(Exception):
    """The loss is not finite: an outcome of a run, said in its record."""


class Interrupted(Exception):
    """SIGTERM came and the state is saved: exit code 75, to be started again."""
