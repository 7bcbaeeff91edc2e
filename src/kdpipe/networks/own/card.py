"""Network cards: what is known of a network of one's own without importing it.

A study names a callable that builds the network; the plan must price it and imports no torch. So
`kdpipe network STUDY` builds it once for the images and classes of the study's data and writes
what it found beside the code, as `<name>-<channels>x<height>x<width>-<classes>.network.json`. What
of it decides a run is part of the run's spec: a job needs the code, and no card.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from kdpipe import identity
from kdpipe.errors import KdpipeError
from kdpipe.networks import layouts
from kdpipe.networks.keys import OwnNetwork
from kdpipe.results.files import DAMAGED

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
SPEC = {"name", "build", "revision", "classes", "channels", "state", "layout", "size", "answer"}
# What cards of earlier versions do not say.
LATER = {
    "linear": "whether a probe can be made",
    "trained": "what a step of training gives",
    "fewest": "how few images it learns from at once",
}


@dataclass(frozen=True)
class NetworkCard:
    """One network of one's own, built for images of `shape` (channels, height, width)."""

    name: str
    build: str  # module.callable
    revision: int
    shape: tuple[int, int, int]
    classes: int
    parameters: int  # learned numbers
    multiply_adds: int  # of one image: half of what torch's FlopCounterMode says
    layout: str  # the memory format it runs in
    random: bool  # whether it draws random numbers in training
    linear: bool  # whether it ends in a linear classifier, whose input a probe takes
    groups: tuple[tuple[int, int, int], ...]  # of its group outputs; none without `features`
    state: dict[str, str]  # name -> type, shape and fixing of each parameter and buffer
    answer: tuple[float, ...]  # to made images, with made weights: another one computes otherwise
    trained: tuple[float, ...]  # the same after a step of training (`answer.Answer`)
    fewest: int  # images that it learns from at once: 2 where it normalises what is 1 x 1
    of_groups: tuple[float, ...] = ()  # what its groups say (`Answer`); none in older cards
    # `Answer.other`, of a network that is being tried; in no file.
    other: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @functools.cached_property
    def state_digest(self) -> str:
        return state_digest(self.state)

    def spec(self) -> dict:
        """The `network` of a run's spec: what decides its bytes, and none of what is counted."""
        return {
            "name": self.name,
            "build": self.build,
            "revision": self.revision,
            "classes": self.classes,
            "channels": self.shape[0],
            "state": self.state_digest,
            "layout": self.layout,
            "size": list(self.shape[1:]),
            "answer": [*self.answer, *self.trained, *self.of_groups],
        }


def place(folder: Path, name: str, shape: tuple[int, int, int], classes: int) -> Path:
    """Where the card of a network for such images lies."""
    return folder / f"{name}-{'x'.join(map(str, shape))}-{classes}.network.json"


def find(
    folder: Path,
    name: str,
    wanted: OwnNetwork,
    shape: tuple[int, int, int],
    classes: int,
    study: str,
) -> NetworkCard:
    """The card of a study's network. Raises KdpipeError with the command that writes it."""
    path = place(folder, name, shape, classes)
    cure = f"type: kdpipe network {shlex.quote(study)}"
    if not os.path.exists(path):
        raise KdpipeError(f"networks.{name}: it has no card yet at {path}; {cure}")
    card = read(path, cure)
    if (card.name, card.shape, card.classes) != (name, shape, classes):
        raise KdpipeError(f"networks.{name}: {path} is the card of another network; {cure}")
    for key in ("build", "revision"):
        said, known = getattr(wanted, key), getattr(card, key)
        if said != known:
            raise KdpipeError(
                f"networks.{name}.{key}: {said}, and the card {path} is of {known}; {cure}"
            )
    return card


def sealed(card: NetworkCard) -> dict:
    """A card as it is written."""
    facts = json.loads(json.dumps(dataclasses.asdict(card)))
    del facts["other"]
    if not card.of_groups:  # as it was written before there were any
        del facts["of_groups"]
    return identity.sealed(facts)


def read(path: Path, cure: str, wants_seal: bool = True) -> NetworkCard:
    """A card in a file. Raises KdpipeError if it is none.

    wants_seal: one that kdpipe wrote before cards were sealed is refused.
    """
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(2**24))
        for key, said in LATER.items():
            if isinstance(facts, dict) and key not in facts:
                raise ValueError(f"of this version: it does not say {said}")
        if not wants_seal:
            facts.setdefault("fewest", 1)  # of no run's spec
        elif "seal" not in facts:
            raise ValueError("of this version: it has no seal")
        if "seal" in facts and facts != identity.sealed(facts):
            raise ValueError("as it was made: it was changed by hand")
        facts.pop("seal", None)
        if "other" in facts:
            raise ValueError("as it was made: it says `other`")
        facts["shape"] = tuple(facts["shape"])
        facts["groups"] = tuple(tuple(group) for group in facts["groups"])
        facts.setdefault("of_groups", ())
        for key in ("answer", "trained", "of_groups"):
            facts[key] = tuple(facts[key])
        card = NetworkCard(**facts)
        for key in dataclasses.fields(NetworkCard):
            if isinstance(key.type, type) and type(facts[key.name]) is not key.type:
                raise ValueError(f"{key.name} is {facts[key.name]!r}")
        counts = [*card.shape, card.classes, card.parameters, card.fewest, *sum(card.groups, ())]
        if not all(type(n) is int and 0 < n < 10**15 for n in counts):
            raise ValueError(f"{counts} are not counts")
        if not 0 <= card.multiply_adds < 10**18:
            raise ValueError("multiply_adds is no count")
        if card.layout not in layouts.FORMATS:
            raise ValueError(f"layout is {card.layout!r}")
        if not all(map(_is_number, card.spec()["answer"])):
            raise ValueError("its answers are not numbers")
    except DAMAGED as error:
        said = " ".join(str(error).split())[:200]
        raise KdpipeError(f"{path} is no card of a network ({said}); {cure}") from None
    return card


def is_sound(network: dict) -> bool:
    """Whether the `network` of a spec is that of a network of one's own, well formed."""
    counts = (network["revision"], network["classes"], network["channels"])
    return bool(
        network.keys() == SPEC
        and NAME.fullmatch(network["name"])
        and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", network["build"])
        and re.fullmatch(r"[0-9a-f]{64}", network["state"])
        and network["layout"] in layouts.FORMATS
        and len(network["size"]) == 2
        and all(type(count) is int and count > 0 for count in (*counts, *network["size"]))
        and all(map(_is_number, network["answer"]))
    )


def state_digest(state: dict[str, str]) -> str:
    """SHA-256 of names, types and shapes, whatever their order."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
