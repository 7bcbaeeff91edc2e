"""Term cards: what is known of a term of one's own without importing it.

A method names it as `term: module.NAME`. The plan must know what it needs of a teacher and imports
no torch, and nobody's code; so `kdpipe term STUDY` imports it once, tries it, and writes what it
found beside the code, as `module.NAME.term.json`. What of it decides a run is part of the run's
spec: a job needs the code, and no card.
"""

import json
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe import identity
from kdpipe.errors import KdpipeError
from kdpipe.learning.term import NEEDS
from kdpipe.results.files import DAMAGED
from kdpipe.section import DOTTED
from kdpipe.wording import listed, nearest, shown

PART = r"[a-z][a-z0-9_]{0,19}"
KINDS = {"switch": (bool,), "whole number": (int,), "number": (int, float), "text": (str,)}


@dataclass(frozen=True)
class TermCard:
    """One term of one's own, as its trial found it."""

    term: str  # module.NAME
    title: str
    part: str
    revision: int
    needs: str
    keys: dict[str, list]  # name -> [kind, the value to begin with]
    learnt: bool  # whether it has parameters of its own
    answer: list[float]  # to made tensors: code that was changed answers otherwise
    # The same with other keys than it begins with: those of methods, each as in a spec, and the
    # answer. None: of an older card, which has none.
    answers: list[list] | None = None
    labelled: bool = True  # whether it looks at labels; older cards do not say, and none was barred

    def values(self, given: dict) -> dict:
        """Every key of the term with its value: that of a method, or that it begins with."""
        values = {key: given.get(key, value) for key, (_, value) in self.keys.items()}
        return {
            key: float(value) if self.keys[key][0] == "number" else value
            for key, value in values.items()
        }

    def pairs(self, given: dict) -> list[list]:
        """The values of every key as a spec has them."""
        return sorted([key, value] for key, value in self.values(given).items())

    def with_keys(self, given: dict) -> list[float] | None:
        """The answer with the keys that a method gives; None where they were never tried."""
        pairs = self.pairs(given)
        if pairs == self.pairs({}):
            return []
        return next((answer for keys, answer in self.answers or () if keys == pairs), None)

    def spec(self, weight: float, given: dict) -> dict:
        """The `own_term` of a run's spec: what decides its bytes."""
        return {
            "term": self.term,
            "revision": self.revision,
            "part": self.part,
            "needs": self.needs,
            "weight": weight,
            "keys": self.pairs(given),
            "answer": [*self.answer, *(self.with_keys(given) or ())],
        }

    def mistakes(self, given: dict) -> list[str]:
        """What is wrong with the keys that a method gives, each as `key: what`."""
        found = []
        for key, value in given.items():
            if key not in self.keys:
                guess = nearest(key, self.keys)
                found.append(f"{key}: unknown key{guess} (allowed: {listed(self.keys)})")
                continue
            kind = self.keys[key][0]
            if type(value) not in KINDS[kind]:
                found.append(f"{key}: {shown(value)}: a {kind} is wanted")
        return found


def place(folder: Path, term: str) -> Path:
    """Where the card of a term lies."""
    return folder / f"{term}.term.json"


def find(folder: Path, term: str, where: str, study: str) -> TermCard:
    """The card of a term that a study names in `where`. Raises KdpipeError with the command that
    writes it.
    """
    path, cure = place(folder, term), f"type: kdpipe term {shlex.quote(study)}"
    if not path.exists():
        raise KdpipeError(f"{where}: {term} has no card yet at {path}; {cure}")
    card = read(path, cure)
    if card.term != term:
        raise KdpipeError(f"{where}: {path} is the card of {card.term}; {cure}")
    return card


def sealed(card: TermCard) -> dict:
    """A card as it is written."""
    return identity.sealed(json.loads(json.dumps(vars(card))))


def read(path: Path, cure: str, wants_seal: bool = True) -> TermCard:
    """A card in a file. Raises KdpipeError if it is none.

    wants_seal: one that kdpipe wrote before cards were sealed is refused.
    """
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(2**20))
        if wants_seal and "seal" not in facts:
            raise ValueError("it has no seal: an earlier version wrote it")
        if "seal" in facts and facts != identity.sealed(facts):
            raise ValueError("it was changed by hand")
        facts.pop("seal", None)
        card = TermCard(**facts)
        if not is_sound(card.spec(1.0, {})) or type(card.title) is not str:
            raise ValueError("its facts are not those of a term")
        if type(card.labelled) is not bool:
            raise ValueError(f"labelled: {shown(card.labelled)} is neither true nor false")
        for key, (kind, value) in card.keys.items():
            if not (re.fullmatch(PART, key) and type(value) in KINDS[kind]):
                raise ValueError(f"keys: {key} is {shown(value)}")
        for keys, answer in card.answers or ():
            if keys != card.pairs(dict(keys)) or not all(map(_is_number, answer)):
                raise ValueError(f"answers: {shown(keys)} are not its keys")
    except DAMAGED as error:
        said = " ".join(str(error).split())[:200]
        raise KdpipeError(f"{path} is no card of a term ({said}); {cure}") from None
    return card


def is_sound(own: dict) -> bool:
    """Whether the `own_term` of a spec is well formed."""
    wanted = {"term", "revision", "part", "needs", "weight", "keys", "answer"}
    return bool(
        own.keys() == wanted
        and re.match(DOTTED, own["term"])
        and re.fullmatch(PART, own["part"])
        and type(own["revision"]) is int
        and own["revision"] > 0
        and own["needs"] in NEEDS
        and _is_number(own["weight"])
        and own["weight"] > 0
        and all(len(pair) == 2 and re.fullmatch(PART, pair[0]) for pair in own["keys"])
        and all(map(_is_number, own["answer"]))
    )


def agrees(old: list[float], new: list[float]) -> bool:
    """Whether two answers are the same but for rounding, which differs between machines."""
    return len(old) == len(new) and all(
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6) for a, b in zip(old, new, strict=True)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
