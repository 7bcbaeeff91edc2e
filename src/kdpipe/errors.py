"""The errors that a user can cause.

The command line prints a `KdpipeError` as one message without a traceback and exits with code 2.
Every other exception is a bug in kdpipe and shows its traceback.
"""


class KdpipeError(Exception):
    """An error that the user can fix; its message says what is wrong and what to do."""


class StudyError(KdpipeError):
    """The errors of a study file, one per line."""


def raise_study_errors(source: str, errors: list[str]) -> None:
    """Raise one StudyError for all errors of a study file, if there are any.

    Parameters
    ----------
    source : str
        The study file.
    errors : list of str
        The messages.
    """
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise StudyError("\n  ".join([f"{source}: {count}", *errors]))


class DataError(KdpipeError):
    """A data set that is missing, damaged, or not the one its card describes."""


class StoreError(KdpipeError):
    """A file of the results folder that is missing or damaged, or cannot be written."""


class MissingRunError(StoreError):
    """A run that is missing, unfinished or damaged, though others may be complete."""


class DivergedError(Exception):
    """A loss that is not finite: an outcome of a run, which its record states."""


class InterruptedRun(Exception):
    """A run that SIGTERM has ended, its state saved: exit code 75, to be started again."""


class NotRegularFileError(OSError):
    """A FIFO, a device or a folder in the place of a file, which is not opened."""
