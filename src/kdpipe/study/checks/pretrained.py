"""Pretrained teachers: torchvision's weights by name, or a file that is there."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.networks import naming
from kdpipe.networks.brought import cards, exported, fed, hub
from kdpipe.networks.keys import Brought, Pretrained
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import listed, shown


def _pretrained(sound: Sound) -> Iterator[str]:
    for name, source in sound.pretrained.items():
        if source.network is not None and not salvage.lost(source):
            yield from _source(sound, name, source)


def _source(sound: Sound, name: str, source: Pretrained) -> Iterator[str]:
    where = f"pretrained.{name}"
    if sound.seen is not None:
        try:
            fed.of(source, sound.seen)
        except KdpipeError as error:
            yield f"{where}.{error}"
            return
    if name in sound.feeding:
        _, network, inside = sound.networks.fed[name]
        try:
            inside.check(network)
        except KdpipeError as error:
            yield f"{where}.input: {error}"
    else:
        yield from sound.follow_network(f"{where}.network", source.network)
    if source.network in sound.starts:
        yield f"{where}.network: {source.network} is one of `starts`: name the network itself"
    yield from files(where, source)
    of_torchvision = source.weights in naming.weights(source.network)
    if of_torchvision and name not in sound.feeding and sound.card and sound.card.classes != 1000:
        yield (
            f"{where}.weights: of 1,000 classes, and the data have {sound.card.classes}: say "
            "which of them these are (classes: a list, or by-name)"
        )


def files(where: str, source: Brought) -> Iterator[str]:
    """The weights that a network brings: torchvision has them, or their file is there.

    Of the Hub they may be fetched later, where their checksum is known.
    """
    repository = None
    if source.weights is not None and hub.is_repository(source.weights):
        repository = source.weights
    elif source.weights is not None and source.weights not in naming.weights(source.network):
        yield (
            f"{where}.weights: {shown(source.weights)}: torchvision has "
            f"{listed(naming.weights(source.network))} for {source.network}"
        )
    try:
        path = cards.file(source)
    except KdpipeError as error:
        yield f"{where}.weights: {error}"
        return
    missing = source.sha256 is None and (repository is not None or source.weights is None)
    if path is None:
        if missing:
            yield (
                f"{where}.sha256: this key is missing, and {repository} is not on this machine; "
                f"type: {hub.command(str(repository))}"
            )
        return
    if not os.path.isfile(path):
        yield f"{where}.path: there is no file {shown(path)}"
    elif missing:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        yield f"{where}.sha256: this key is missing; of the file that is there it is {found}"
    if source.path is not None and os.path.isdir(source.path) and not hub.is_folder(source.path):
        yield from _exported(where, source)


def _exported(where: str, source: Brought) -> Iterator[str]:
    """An export says which network its weights belong to."""
    try:
        theirs = exported.read(Path(str(source.path)))["network"]
    except KdpipeError as error:
        yield f"{where}.path: {error}"
        return
    if "input" in theirs:
        yield f"{where}.path: it is of a network with an input of its own: name its own weights"
    elif "build" not in theirs and fed.inner(theirs)["name"] != source.network:
        network = fed.inner(theirs)["name"]
        yield f"{where}.network: {source.network}, and the export is of {network}"


CHECK = Check(60, _pretrained)
