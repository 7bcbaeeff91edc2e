"""Pretrained teachers: torchvision's weights by name, or a file that is there."""

import hashlib
import os
from collections.abc import Iterator

from kdpipe.networks import naming
from kdpipe.networks.keys import Pretrained
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import listed, shown


def _pretrained(sound: Sound) -> Iterator[str]:
    for name, source in sound.pretrained.items():
        if source.network is not None and not salvage.lost(source):
            yield from _source(sound, f"pretrained.{name}", source)


def _source(sound: Sound, where: str, source: Pretrained) -> Iterator[str]:
    yield from sound.follow_network(f"{where}.network", source.network)
    if source.weights is not None:
        known = naming.weights(source.network)
        if source.weights not in known:
            yield (
                f"{where}.weights: {shown(source.weights)}: torchvision has {listed(known)} "
                f"for {source.network}"
            )
        elif sound.card is not None and sound.card.classes != 1000:
            yield f"{where}.weights: of 1,000 classes, and the data have {sound.card.classes}"
    if source.path is not None and not os.path.isfile(source.path):
        yield f"{where}.path: there is no file {shown(source.path)}"
    elif source.path is not None and source.weights is None and source.sha256 is None:
        with open(source.path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        yield f"{where}.sha256: this key is missing; of the file that is there it is {found}"


CHECK = Check(60, _pretrained)
