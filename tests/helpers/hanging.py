"""A time limit for what may wait forever."""

import contextlib
import signal
from collections.abc import Iterator


class _Hung(BaseException):
    """As no code catches it."""


@contextlib.contextmanager
def end_within(seconds: int) -> Iterator[None]:
    """Fail if what is done inside takes longer."""

    def fail(*_):
        raise _Hung

    old = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    except _Hung:
        raise AssertionError(f"it has not ended within {seconds} s") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
