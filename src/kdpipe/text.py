"""Formatting of names and values in messages: short, on one line, with the nearest known name.

What comes from a file may be of any size, so each function is fast whatever it is given.
"""

import difflib
import itertools
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable

# Names that a misspelt one is compared with: more would take minutes in a hostile file.
MAX_COMPARED_NAMES = 200
MAX_LINE_LENGTH = 300  # characters of a message from another program


def did_you_mean(word: object, known_names: Iterable[object]) -> str:
    """Return `; did you mean X?` with the nearest name, or an empty text if none is near.

    A slip of the finger is seldom in the first letter, so a name that begins otherwise must be
    nearer; else warmup_epochs would suggest drop_epochs.

    Parameters
    ----------
    word : object
        The misspelt name.
    known_names : iterable
        The names that are allowed.

    Returns
    -------
    str
        The end of a message.
    """
    word = str(word)[:80]
    names = [str(name) for name in itertools.islice(known_names, MAX_COMPARED_NAMES)]
    same_initial = [name for name in names if name[:1] == word[:1]]
    matches = difflib.get_close_matches(word, same_initial, n=1, cutoff=0.6)
    matches = matches or difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    return f"; did you mean {matches[0]}?" if matches else ""


def join_names(names: Iterable[object]) -> str:
    """Return names as a comma-separated list, of many the first twenty; `none` of none."""
    names = list(names)
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return ", ".join(map(str, names[:20])) + more or "none"


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `1,200 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def dotted_path(location: Iterable[object]) -> str:
    """Return a location such as (experiments, 0, methods) as experiments[0].methods."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def escape(text: object) -> str:
    """Return a text on one line, with characters that would control a terminal as \\x1b."""
    text = str(text)
    return text if text.isprintable() else "".join(map(_escape_character, text))


def escape_lines(text: object) -> str:
    """Return a text whose lines are each escaped, and its line breaks kept."""
    return "\n".join(map(escape, str(text).split("\n")))


def shorten_line(text: str) -> str:
    """Return the first words of another program's message, on one line."""
    return textwrap.shorten(" ".join(text.split()), MAX_LINE_LENGTH, placeholder=" ...")


def _escape_character(character: str) -> str:
    """Return a character as it is, or its escape sequence if it is not printable."""
    return character if character.isprintable() else repr(character)[1:-1]


def format_value(value: object) -> str:
    """Return the representation of a value on one line of at most 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def find_duplicates(values: Iterable[object]) -> list[str]:
    """Return the values that occur more than once, formatted for a message."""
    counts = Counter(value if isinstance(value, str) else format_value(value) for value in values)
    return [value for value in counts if counts[value] > 1]


def format_command(verb: str, study: str) -> str:
    """Return the shell command that does something with a study."""
    return shlex.join(["kdpipe", verb, study])


def list_publication_commands(study: str, run: str, results: str) -> list[str]:
    """Return the shell commands that train a run of a published study again, and export it.

    Parameters
    ----------
    study : str
        The study file.
    run : str
        The name of the run.
    results : str
        The folder of the published records, which has no weights.
    """
    train = ["kdpipe", "run", study, "--cores", "2", f"results/runs/{run}/record.json"]
    export = ["kdpipe", "export", study, run, "--results", results, "--trained", "results"]
    return [shlex.join(train), shlex.join(export)]


def format_write_command(study: str = "STUDY") -> str:
    """Return the shell command that writes all cards of a study."""
    return shlex.join(["kdpipe", "check", study, "--write"])
