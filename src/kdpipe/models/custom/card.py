"""Cards of custom networks: what is known about a network without importing its code.

A study names a callable that builds the network; the plan must know its cost but does not import
torch. So `kdpipe network STUDY` builds it once for the images and classes of the study's data and
writes a card beside the code, `<name>-<channels>x<height>x<width>-<classes>.network.json`. The
fields that determine a run are part of the run's spec: a job needs the code but not the card. The
digests of the code are not part of any name; with them `kdpipe check` compares a card without
importing anything.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from kdpipe import hashing, user_code
from kdpipe.errors import KdpipeError
from kdpipe.models import memory_format
from kdpipe.models.config import CustomModelConfig
from kdpipe.runs.files import READ_ERRORS, read_regular_file
from kdpipe.runs.spec import ModelSpec
from kdpipe.text import format_write_command

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
# Keys that cards of early versions lack, and how a message describes each.
LATER_KEYS = {
    "linear": "its linear classifier (key linear)",
    "trained": "its outputs after a training step",
    "fewest": "its smallest training batch",
}
CODE_KEYS = ("code", "gpu_checked")  # missing in cards from before digests


@dataclass(frozen=True)
class ModelInfo:
    """What is known about one custom network, built for images of one shape.

    Attributes
    ----------
    name : str
        Name in the study.
    build : str
        Dotted path of its callable.
    revision : int
        Raised by its author when its outputs change.
    shape : tuple of int
        Channels, height and width of its images.
    classes : int
        Number of its classes.
    parameters : int
        Number of trainable parameters.
    multiply_adds : int
        For one image: half of what torch's FlopCounterMode counts.
    layout : str
        Memory format that it runs in.
    random : bool
        Whether it draws random numbers in training mode.
    linear : bool
        Whether it ends in a linear classifier, whose input a probe uses.
    groups : tuple of tuple of int
        Shapes of its stage outputs; empty without `features`.
    state : dict of str to str
        Type and shape of each parameter and buffer, and whether it is frozen.
    answer, trained : tuple of float
        `Fingerprint.eval_logits` and `Fingerprint.trained`.
    fewest : int
        Smallest training batch: 2 where it normalizes over 1 x 1 pixels.
    of_groups : tuple of float
        `Fingerprint.of_groups`; empty in cards of earlier versions.
    other : StepOutputs or None
        `Fingerprint.other` of a network that has just been tried; not stored in the file.
    code : dict of str to str, or None
        Digests of the code that it reaches, by file (`code_digest`).
    gpu_checked : bool
        Whether it was also checked for what would fail on a GPU.
    libraries : dict of str to str, or None
        Versions of the installed packages that its code names; a note, which nothing depends on.
    """

    name: str
    build: str
    revision: int
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    multiply_adds: int
    layout: str
    random: bool
    linear: bool
    groups: tuple[tuple[int, int, int], ...]
    state: dict[str, str]
    answer: tuple[float, ...]
    trained: tuple[float, ...]
    fewest: int
    of_groups: tuple[float, ...] = ()
    other: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    code: dict[str, str] | None = field(default=None, compare=False)
    gpu_checked: bool = field(default=False, compare=False)
    libraries: dict[str, str] | None = field(default=None, compare=False)

    @functools.cached_property
    def state_digest(self) -> str:
        """Return the digest of the names, types and shapes in its state."""
        return hash_state(self.state)

    def spec(self) -> ModelSpec:
        """Return the `network` of a run's spec: what determines its bytes, without counts."""
        return ModelSpec(
            name=self.name,
            build=self.build,
            revision=self.revision,
            classes=self.classes,
            channels=self.shape[0],
            state=self.state_digest,
            layout=self.layout,
            size=list(self.shape[1:]),
            answer=[*self.answer, *self.trained, *self.of_groups],
        )


def card_path(folder: Path, name: str, shape: tuple[int, int, int], classes: int) -> Path:
    """Return the path of a network's card for images of this shape."""
    return folder / f"{name}-{'x'.join(map(str, shape))}-{classes}.network.json"


def load_card(
    folder: Path,
    name: str,
    config: CustomModelConfig,
    shape: tuple[int, int, int],
    classes: int,
    study: str,
) -> ModelInfo:
    """Load the card of a study's network.

    Parameters
    ----------
    folder : Path
        The study's `code` folder.
    name : str
        Name of the network in the study.
    config : CustomModelConfig
        Its configuration in the study.
    shape : tuple of int
        Channels, height and width of its images.
    classes : int
        Number of its classes.
    study : str
        The study's file, as named in messages.

    Raises
    ------
    KdpipeError
        If there is none, or it is that of another network, callable or revision; the message has
        the command that writes it.
    """
    path = card_path(folder, name, shape, classes)
    hint = f"run: {format_write_command(study)}"
    if not os.path.exists(path):
        raise KdpipeError(f"networks.{name}: it has no card yet at {path}; {hint}")
    card = read_card(path, hint)
    if (card.name, card.shape, card.classes) != (name, shape, classes):
        raise KdpipeError(f"networks.{name}: {path} is the card of another network; {hint}")
    for key in ("build", "revision"):
        expected, recorded = getattr(config, key), getattr(card, key)
        if expected != recorded:
            raise KdpipeError(
                f"networks.{name}.{key}: {expected}, and the card {path} is of {recorded}; {hint}"
            )
    return card


def serialize_card(card: ModelInfo) -> dict:
    """Return a card as JSON text, with its checksum."""
    content = json.loads(json.dumps(dataclasses.asdict(card)))
    del content["other"]
    if not card.of_groups:  # as it was written before checksums
        del content["of_groups"]
    if card.code is None:
        for key in CODE_KEYS:
            del content[key]
    if card.libraries is None:
        del content["libraries"]
    return hashing.add_checksum(content)


def read_card(path: Path, hint: str, require_seal: bool = True) -> ModelInfo:
    """Read a card.

    Parameters
    ----------
    path : Path
        Its file.
    hint : str
        What to do about a file that is not a card; ends the message.
    require_seal : bool, default True
        Whether to reject a card from before cards had checksums.

    Raises
    ------
    KdpipeError
        If the file is not a card, or was edited by hand.
    """
    try:
        content = json.loads(read_regular_file(path, 2**24))
        for key, description in LATER_KEYS.items():
            if isinstance(content, dict) and key not in content:
                raise ValueError(f"of this version: it lacks {description}")
        if not require_seal:
            content.setdefault("fewest", 1)  # not part of any run's spec
        elif "seal" not in content:
            raise ValueError("of this version: it has no checksum")
        if "seal" in content and content != hashing.add_checksum(content):
            raise ValueError("as it was written: it was edited by hand")
        content.pop("seal", None)
        if "other" in content:
            raise ValueError("as it was written: it has the key `other`")
        content["shape"] = tuple(content["shape"])
        content["groups"] = tuple(tuple(group) for group in content["groups"])
        content.setdefault("of_groups", ())
        for key in ("answer", "trained", "of_groups"):
            content[key] = tuple(content[key])
        card = ModelInfo(**content)
        _check_types(card)
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise KdpipeError(f"{path} is not a card of a network ({reason}); {hint}") from None
    return card


def is_valid_spec(network: ModelSpec) -> bool:
    """Return whether the `network` of a spec is a well-formed custom network."""
    counts = (network.revision, network.classes, network.channels)
    return bool(
        network.input is None
        and network.start is None
        and NAME_PATTERN.fullmatch(network.name)
        and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", network.build)
        and re.fullmatch(r"[0-9a-f]{64}", network.state)
        and network.layout in memory_format.MEMORY_FORMATS
        and len(network.size) == 2
        and all(type(count) is int and count > 0 for count in (*counts, *network.size))
        and network.answer != ()  # left out
        and all(map(_is_number, network.answer))
    )


def hash_state(state: dict[str, str]) -> str:
    """Return the SHA-256 of names, types and shapes, independent of their order."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _check_types(card: ModelInfo) -> None:
    """Raise ValueError for a field of the wrong type, or a number out of bounds."""
    for info in dataclasses.fields(ModelInfo):
        if isinstance(info.type, type) and type(getattr(card, info.name)) is not info.type:
            raise ValueError(f"{info.name} is {getattr(card, info.name)!r}")
    counts = [*card.shape, card.classes, card.parameters, card.fewest, *sum(card.groups, ())]
    if not all(type(n) is int and 0 < n < 10**15 for n in counts):
        raise ValueError(f"{counts} are not counts")
    if not 0 <= card.multiply_adds < 10**18:
        raise ValueError("multiply_adds is not a count")
    if card.layout not in memory_format.MEMORY_FORMATS:
        raise ValueError(f"layout is {card.layout!r}")
    if not all(map(_is_number, card.spec().answer)):
        raise ValueError("its outputs are not numbers")
    if not user_code.are_code_digests(card.code):
        raise ValueError("code: these are not digests of files")
    if not user_code.are_versions(card.libraries):
        raise ValueError("libraries: these are not versions of packages")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
