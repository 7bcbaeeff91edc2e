"""Code of one's own: what a dotted path names is imported, and what goes wrong is one line.

The folder of the study's `code` is put in front of Python's path, as Python does with the folder
of a script. Networks of one's own are found here too.
"""

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import kdpipe
from kdpipe.errors import KdpipeError

OURS = str(Path(kdpipe.__file__).parent)


def found(where: str, path: str, code: Path | None) -> Any:
    """What a dotted path names. Raises KdpipeError; `where` is its key in a study."""
    name, _, attribute = path.rpartition(".")
    first = name.partition(".")[0]
    if first in sys.stdlib_module_names:
        raise KdpipeError(f"{where}: {first} is a module of Python itself: rename yours")
    if code is not None and os.path.abspath(code) not in sys.path:
        sys.path.insert(0, os.path.abspath(code))
    beside = f"in {code}" if code is not None else "(no folder was given: --code)"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise KdpipeError(
                f"{where}: there is no module {error.name} {beside}, nor is one installed"
            ) from None
        raise KdpipeError(f"{where}: importing {name} failed: {blamed(error)}") from None
    except (Exception, SystemExit) as error:
        raise KdpipeError(f"{where}: importing {name} failed: {blamed(error)}") from None
    if not hasattr(module, attribute):
        close = difflib.get_close_matches(attribute, dir(module), n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        file = getattr(module, "__file__", None) or name
        raise KdpipeError(f"{where}: {file} has no {attribute}{guess}")
    return getattr(module, attribute)


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """Code that ends the process at once (os._exit) raises SystemExit in here, as sys.exit does.

    Else whoever asked would take nothing said for nothing wrong. A process that is forked in here
    may end as it likes.
    """
    whole, mine = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != mine:
            whole(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = leave
    try:
        yield
    finally:
        os._exit = whole


def blamed(error: BaseException, code: Path | None = None) -> str:
    """An exception in one line, with the last place in the user's code that it went through.

    code: the folder of that, where it is known: what it calls of others is none of it.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, SyntaxError):
        return text  # it says its file and line by itself
    torch = importlib.util.find_spec("torch")
    theirs = tuple(filter(None, (OURS, torch and os.path.dirname(torch.origin or ""))))
    frames = traceback.extract_tb(error.__traceback__)
    last = [f for f in frames if not f.filename.startswith((*theirs, "<frozen importlib"))]
    if code is not None:
        last = [f for f in last if f.filename.startswith(os.path.abspath(code))] or last
    last = last[-1:]
    return f"{text} ({last[0].filename}, line {last[0].lineno})" if last else text
