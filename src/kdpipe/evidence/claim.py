"""TODO evidence.claim, from claims."""

from collections.abc import Callable
from dataclasses import dataclass

from kdpipe.evidence.choices import Evidence
from kdpipe.evidence.verdicts import Finding


@dataclass(frozen=True)
class Claim:
    """One claim; `primary` ones are corrected for their number apart from the rest."""

    title: str
    primary: bool
    function: Callable[[Evidence], Finding]
