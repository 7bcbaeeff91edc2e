"""The rules for study files: each file in `rules/` finds one kind of error.

pydantic validates each key by itself; a rule checks keys against the rest of the study, the
available data sets and networks, and the disk.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdpipe import registry
from kdpipe.config.partial_config import PartialConfig


@dataclass(frozen=True)
class Rule:
    """A function that yields a message for each error of one kind.

    Attributes
    ----------
    order : int
        Rules are applied, and their messages listed, in this order.
    function : callable
        Function of the valid parts of a study.
    last : bool
        Whether the rule is applied only to a study without other errors.
    """

    order: int
    function: Callable[[PartialConfig], Iterable[str]]
    last: bool = False


def load_rules() -> list[Rule]:
    """Load the rules of the files in `rules/`, in their order."""
    rules = registry.load_all_objects("kdpipe.config.rules", "RULE", Rule)
    return sorted(rules.values(), key=lambda rule: rule.order)
