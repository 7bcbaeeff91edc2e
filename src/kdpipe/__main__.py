"""`python -m kdpipe`, and the command `kdpipe`.

Before anything is imported, the process is given what every command relies on (three standard
streams, a PATH, a current folder), and handlers of signals, so that Ctrl-C and SIGTERM end it in
one line, whatever it is doing.
"""

import atexit
import contextlib
import io
import os
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED_CODE, TERMINATED_CODE = 128 + signal.SIGINT, 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run one command and end the process with its exit code.

    After Ctrl-C it ends at once: Python would end itself by SIGINT if the interrupt went through
    code that a library has executed from text, although it was handled.
    """
    code = run_command()
    if code == INTERRUPTED_CODE:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run_command() -> int:
    """Run one command.

    Returns
    -------
    int
        The exit code of the command; 130 after Ctrl-C, 2 if the current folder was removed. After
        SIGTERM the process ends at once, with 143.
    """
    open_missing_streams()
    os.environ["PATH"] = os.environ.get("PATH") or os.defpath
    interrupt = _attach_handlers()
    try:
        os.getcwd()
    except OSError as error:
        print(f"kdpipe: the current folder cannot be used: {error.strerror}", file=sys.stderr)
        return 2
    text = "nothing was started"
    try:
        from kdpipe.cli.main import main

        text = "no file is left incomplete"
        return main()
    except KeyboardInterrupt:
        pass
    except Exception:
        if not interrupt.is_received:  # an import may make another error of it
            raise
    finally:
        interrupt.is_over = True
    print(f"kdpipe: interrupted; {text}", file=sys.stderr)
    return INTERRUPTED_CODE


def open_missing_streams() -> None:
    """Open the null device for standard streams that are closed, and let none fail for a letter.

    Python has None for them, and the next file that is opened would take their place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        stream = getattr(sys, name)
        if number and isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # such a terminal shows no other letters


class _Interrupt:
    """The handler of Ctrl-C: the first is an exception, a second one ends the process."""

    def __init__(self) -> None:
        self.is_received = False
        self.is_over = False  # the command has ended, and Python is ending

    def __call__(self, number: int, frame: Any) -> None:
        if self.is_over:
            return
        if self.is_received:
            os._exit(INTERRUPTED_CODE)
        self.is_received = True
        raise KeyboardInterrupt


def _attach_handlers() -> _Interrupt:
    """Handle Ctrl-C and SIGTERM, unless they are ignored, as after nohup."""
    interrupt, process = _Interrupt(), os.getpid()
    # Of all that is called at the end the last. Python would give the signals back their defaults,
    # by which one that comes a moment later ends a command that has done its work.
    atexit.register(_ignore_signals)

    def end(number: int, frame: Any) -> None:
        with contextlib.suppress(OSError):  # who reads it may have ended, too
            if os.getpid() == process:  # not in a forked worker
                os.write(2, b"kdpipe: ended by SIGTERM; no file is left incomplete\n")
        os._exit(TERMINATED_CODE)

    for number, handler in ((signal.SIGINT, interrupt), (signal.SIGTERM, end)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    return interrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
