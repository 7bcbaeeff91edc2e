"""Cards: what is known of a data set without having it.

A card says how many images there are, of what shape, in how many classes, and the SHA-256 of the
prepared arrays. Cards of known data sets ship with the package, so a fresh clone can be planned
at once; the digest is part of every run's identity, and the prepared arrays are verified
against it.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Card:
    """Counts, shape (channels, height, width) and digest of one data set."""

    name: str
    title: str
    source: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    sha256: str

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.sha256[:12]}"


def known() -> list[str]:
    """Names of the data sets that have a card."""
    return sorted(
        entry.name.removesuffix(".json")
        for entry in resources.files("kdpipe").joinpath("cards").iterdir()
        if entry.name.endswith(".json")
    )


@functools.cache
def load(name: str) -> Card:
    text = resources.files("kdpipe").joinpath("cards", f"{name}.json").read_text()
    facts = json.loads(text)
    return Card(**{**facts, "shape": tuple(facts["shape"])})
