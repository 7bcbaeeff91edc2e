"""Which images the networks of a study take: the study's, and what some teachers are fed with.

A network of one's own has a card for each; one that only teaches, on images of its own, is never
built for the study's.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from kdpipe.errors import KdpipeError
from kdpipe.networks.brought import fed
from kdpipe.networks.brought.fed import Fed, Seen
from kdpipe.networks.family import Shape
from kdpipe.networks.keys import Pretrained

# What is fed to networks with weights, by the names that a study gives them, and the network.
Feeding = Mapping[str, tuple[Fed, str]]


class Taking(NamedTuple):
    """A network of one's own, and images and classes that it is built for."""

    name: str
    shape: Shape
    classes: int


def feeding(pretrained: Mapping[str, Pretrained], data: Seen, strictly: bool = True) -> Feeding:
    """What the pretrained networks of a study are fed with, where they ask for anything.

    Raises KdpipeError, which begins with the key, for one that cannot be; or leaves it out.
    """
    found = {}
    for label, source in pretrained.items():
        try:
            if (given := fed.of(source, data)) is not None:
                found[label] = given, source.network
        except KdpipeError:
            if strictly:
                raise
    return found


def own(names: Iterable[str], feeding: Feeding, named: Collection[str], data: Seen) -> list[Taking]:
    """What the networks of one's own take. named: those that see the study's images."""
    aside = {network for _, network in feeding.values()} - set(named)
    found = [Taking(name, data.shape, data.classes) for name in names if name not in aside]
    found += [
        Taking(network, given.shape, given.classes)
        for given, network in feeding.values()
        if network in names
    ]
    return list(dict.fromkeys(found))
