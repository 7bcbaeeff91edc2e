"""Definition of a GPU check, one in each file of `checks/`, and of its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdpipe.gpu_check.fixtures import CheckFixture


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check.

    Attributes
    ----------
    passed : bool or None
        None for a check that only measures, or that could not be run here.
    message : str
        One line on the outcome.
    numbers : mapping
        Values for the report, with their units in the names.
    """

    passed: bool | None
    message: str
    numbers: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check of a GPU: `CHECK` of a file in `checks/`.

    Attributes
    ----------
    order : int
        Its position among the checks.
    title : str
        Its title in the table.
    function : callable
        The check. It is called in a separate process, which has imported torch and not yet used a
        GPU.
    meanwhile : str
        Setting for studies until a failure is fixed.
    """

    order: int
    title: str
    function: Callable[[CheckFixture], Outcome]
    meanwhile: str
