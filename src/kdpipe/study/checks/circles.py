"""Experiments and ensembles that need each other in a circle, or lean on others too deep."""

import functools
from collections.abc import Iterator

from kdpipe.study.check import Check
from kdpipe.study.sound import Sound

MAX_DEPTH = 50  # of experiments that teach one another


def find(needs: dict[str, list[str]]) -> Iterator[str]:
    """A message for each circle; `needs` has for each name those it rests on."""
    depth: dict[str, int] = {}
    for start in needs:
        path = {start: iter(needs[start])}  # a depth-first walk, without recursion
        while path and start not in depth:
            name = next(reversed(path))
            for other in path[name]:
                if other in path:
                    names = list(path)
                    circle = [*names[names.index(other) :], other]
                    yield f"these need each other in a circle: {' -> '.join(circle)}"
                elif other in needs and other not in depth:
                    path[other] = iter(needs[other])
                    break
            else:
                depth[name] = 1 + max((depth.get(other, 0) for other in needs[name]), default=0)
                del path[name]
    for name in [name for name in depth if depth[name] == MAX_DEPTH + 1][:1]:
        yield f"{name} leans on others that lean on others, more than {MAX_DEPTH} deep"


@functools.lru_cache(1)  # of one study, of which every experiment asks
def of(sound: Sound) -> tuple[str, ...]:
    """Experiments and ensembles of a study that need themselves, as messages."""
    needs = {name: list(block.teachers) for name, block in sound.named_blocks.items()}
    for name, ensemble in sound.ensembles.items():
        needs[name] = [of for of in (ensemble.block, ensemble.operations_of) if of]
    return tuple(find(needs))


CHECK = Check(90, of)
