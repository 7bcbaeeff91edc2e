"""Names and values as they stand in a message: short, on one line, with the nearest known name.

What comes from a file may be of any size, so each function takes little time whatever it is given.
"""

import difflib
import itertools
import textwrap
from collections import Counter

MAX_NAMES = 200  # compared with a misspelt one, or the search takes minutes in a hostile file
WIDEST = 300  # characters of a line that somebody else has written


def nearest(word: object, known) -> str:
    """`; did you mean X?`, or nothing where no name is near.

    A slip of the finger seldom takes the first letter: a name that begins otherwise must be nearer,
    or warmup_epochs would be taken for drop_epochs.
    """
    word = str(word)[:80]
    names = [str(name) for name in itertools.islice(known, MAX_NAMES)]
    alike = [name for name in names if name[:1] == word[:1]]
    close = difflib.get_close_matches(word, alike, n=1, cutoff=0.6)
    close = close or difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def listed(names) -> str:
    """Names as they may stand in a message: all, or the first of many."""
    names = list(names)
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return ", ".join(map(str, names[:20])) + more or "none"


def key(location) -> str:
    """(experiments, 0, methods) as experiments[0].methods."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def printable(text: object) -> str:
    """A text from outside on one line: what would steer a terminal is written out, as \\x1b."""
    text = str(text)
    return text if text.isprintable() else "".join(map(_written_out, text))


def printable_lines(text: object) -> str:
    """The same of a text whose lines are its own."""
    return "\n".join(map(printable, str(text).split("\n")))


def one_line(text: str) -> str:
    """What somebody else has written, in one line of its first words."""
    return textwrap.shorten(" ".join(text.split()), WIDEST, placeholder=" ...")


def _written_out(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def shown(value: object) -> str:
    """A value as it may stand in a message: on one line and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def twice(values: list) -> list[str]:
    """The values that stand more than once, as a message shows them."""
    count = Counter(value if isinstance(value, str) else shown(value) for value in values)
    return [value for value in count if count[value] > 1]
