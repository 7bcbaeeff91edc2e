"""What a file in `checks/` defines: one kind of mistake that a study can make.

pydantic finds what is wrong with a key by itself; a check follows what a key says into the rest of
the study, the data sets and networks that there are, and the disk.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdpipe import discovery
from kdpipe.study.sound import Sound


@dataclass(frozen=True)
class Check:
    """A function of the sound parts of a study that yields a message for each mistake.

    Checks are asked in `order`, which is the order of their messages. One that is `last` rests on
    everything, and is asked only of a study in which nothing is wrong.
    """

    order: int
    function: Callable[[Sound], Iterable[str]]
    last: bool = False


def in_order() -> list[Check]:
    """The checks of the files in `checks/`."""
    found = discovery.every("kdpipe.study.checks", "CHECK", Check)
    return sorted(found.values(), key=lambda check: check.order)
