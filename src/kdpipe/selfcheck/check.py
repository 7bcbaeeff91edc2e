"""What one file of `checks/` defines, and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdpipe.selfcheck.bench import Bench


@dataclass(frozen=True)
class Outcome:
    """`passed` is None of what was measured only, or could not be tried here; `said` is one line.

    `numbers` stand in the file that is written, with their units in their names.
    """

    passed: bool | None
    said: str
    numbers: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """`look` is called in a process of its own, which has imported torch and not touched a GPU.

    `meanwhile` is what to set in a study until that which fails is mended; `order` its place.
    """

    order: int
    title: str
    look: Callable[[Bench], Outcome]
    meanwhile: str
