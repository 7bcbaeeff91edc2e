"""Looks, rising counts of the study's own seeds, and one of them due; pilots; a registration."""

import itertools
import os
from collections.abc import Iterator

from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import shown, twice

FEWEST = 3  # seeds: fewer have no interval


def _looks(sound: Sound) -> Iterator[str]:
    looks, look = sound.content.get("looks"), sound.content.get("look")
    if isinstance(looks, list) and _are_counts(looks):
        yield from _of_seeds(sound, looks)
        if type(look) is int and look > len(looks):
            yield f"look: {look}: looks has {len(looks)} of them"
    elif looks is None and look is not None:
        yield f"look: {shown(look)} of what? say after how many seeds: looks: [3, 5, 8]"
    pilots = sound.content.get("pilots")
    known = pilots if isinstance(pilots, list) else []
    for pilot in twice(known):
        yield f"pilots: {pilot} stands twice"
    registration = sound.content.get("registration")
    if isinstance(registration, str) and not os.path.isfile(registration):
        yield (
            f"registration: there is no file {registration}: kdpipe register writes one; or leave "
            "the key out"
        )
    if (own := sound.content.get("study")) in known:
        yield f"pilots: {own} is this study: a pilot has a name, a file and seeds of its own"


def _are_counts(looks: list) -> bool:
    return bool(looks) and all(type(count) is int and count > 0 for count in looks)


def _of_seeds(sound: Sound, looks: list[int]) -> Iterator[str]:
    said = shown(looks)
    if any(one >= other for one, other in itertools.pairwise(looks)):
        yield f"looks: {said}: counts of seeds have to rise"
    elif looks[0] < FEWEST:
        yield f"looks: {said}: a look at fewer than {FEWEST} seeds can tell nothing"
    elif isinstance(sound.seeds, list) and looks[-1] != len(sound.seeds):
        yield (
            f"looks: {said}: the last look is at all seeds, of which there are {len(sound.seeds)}: "
            "change one of the two"
        )
    if len(sound.splits) > 1:
        yield (
            f"looks: {said}: with several splits it is not known how much a seed adds: leave looks "
            "or splits out"
        )
    for index, block in sound.blocks.items():
        if block.seeds is not None:
            yield f"experiments[{index}].seeds: looks count the study's seeds: leave one key out"


CHECK = Check(15, _looks)
