"""A process that kills itself before or after one of the calls that make a file final or remove it.

Which calls there are is found by wrapping them and counting, not known from a list of the code.
"""

import os
import signal

CALLS = ("fsync", "replace", "rename", "remove", "unlink", "rmdir", "link", "symlink", "truncate")
AT = "KILL_AT"  # "NUMBER before" or "NUMBER after"; the calls are counted into the file COUNT_TO
TO = "COUNT_TO"


def arm(environment: dict[str, str]) -> None:
    """Wrap the calls of this process, as its environment asks."""
    number, _, when = environment.get(AT, "-1 never").partition(" ")
    told = environment.get(TO)
    if AT not in environment and told is None:
        return
    seen = 0

    def wrapped(name, call):
        def one(*arguments, **keys):
            nonlocal seen
            mine, seen = seen, seen + 1
            if told:
                with open(told, "a") as file:
                    file.write(f"{name} {arguments[0]}\n")
            if mine == int(number) and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*arguments, **keys)
            finally:
                if mine == int(number):
                    os.kill(os.getpid(), signal.SIGKILL)

        return one

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
