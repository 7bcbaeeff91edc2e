"""What one file of `commands/` defines: a word of the command line and what it does.

The word is the name of the file, with `-` for `_`. A file is read for every `kdpipe --help`, so it
imports the libraries it works with inside `run`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command.

    `order` is its place in the help: those that a person types stand below 200, those of the rules
    above. `arguments` adds what may follow the word; `run` does it, and returns an exit code or
    None for 0. `without` are the libraries that it never imports, since it is typed on a head node
    or called thousands of times; a test holds it to that. `passes_on`: all that follows the word is
    taken as it is, options too, since it is meant for another program.
    """

    order: int
    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    without: tuple[str, ...] = ()
    passes_on: bool = False
