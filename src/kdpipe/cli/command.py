"""What a file of `commands/` defines: one word of the command line and what it does.

The word is the name of the file, with `-` for `_`. Every file is imported for `kdpipe --help`, so
it imports the libraries that it works with inside `run`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes
    ----------
    order : int
        Its position in the help: below 200 for a person, above for the rules of the workflow.
    help : str
        One line without a period.
    add_arguments : callable
        Adds to a parser what may follow the word.
    run : callable
        Does it, and returns an exit code, or None for 0.
    never_imports : tuple of str
        Libraries that it does without, since it is typed on a head node or called thousands of
        times; a test holds it to that.
    passes_through : bool
        Whether all that follows the word, options too, is meant for another program.
    """

    order: int
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    never_imports: tuple[str, ...] = ()
    passes_through: bool = False
