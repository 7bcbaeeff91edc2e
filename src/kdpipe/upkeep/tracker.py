"""What one file of `trackers/` defines: where curves and records of a study are mirrored to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Mirror(Protocol):
    """A study in the tracker's own format. What is there is asked of it, not remembered: a call
    that was killed in the middle is gone on with, and nothing is there twice.
    """

    def epochs(self, run: str) -> int:
        """How many epochs of a run are there; of a run that is not there 0."""
        ...

    def finished(self, run: str) -> bool:
        """Whether the record of a run is there."""
        ...

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """One line of a curve, epoch from 1."""
        ...

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        """What a run was, and what came out; after its last epoch."""
        ...

    def close(self) -> None:
        """Everything that was added is on the disk."""
        ...


@dataclass(frozen=True)
class Tracker:
    """A program that shows curves, `TRACKER` of a file in `trackers/`; its library is imported by
    `open`, given a folder and the name of the study. `show`: what is typed then, with {folder}.
    """

    title: str
    package: str  # what is to be installed, `kdpipe[<name of the file>]`
    show: str
    open: Callable[[Path, str], Mirror]
