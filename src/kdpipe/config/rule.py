"""The rules of a study: each file in `rules/` finds one kind of mistake.

pydantic validates a key by itself; a rule follows what a key says into the rest of the study, the
data sets and networks that there are, and the disk.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdpipe import registry
from kdpipe.config.partial_config import PartialConfig


@dataclass(frozen=True)
class Rule:
    """A function that yields a message for each mistake of one kind.

    Attributes
    ----------
    order : int
        Rules are applied in this order, which is that of their messages.
    function : callable
        Takes the valid parts of a study.
    last : bool
        Whether the rule needs a study without other mistakes; it is not applied to any other.
    """

    order: int
    function: Callable[[PartialConfig], Iterable[str]]
    last: bool = False


def load_rules() -> list[Rule]:
    """Load the rules of the files in `rules/`, in their order."""
    rules = registry.load_all_objects("kdpipe.config.rules", "RULE", Rule)
    return sorted(rules.values(), key=lambda rule: rule.order)
