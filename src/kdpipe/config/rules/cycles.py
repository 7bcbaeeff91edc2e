"""Experiments and ensembles that depend on each other in a cycle, or in too long a chain."""

import functools
from collections.abc import Iterator

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule

MAX_CHAIN_DEPTH = 50  # of experiments whose networks are teachers of the next


def find_cycles(needs: dict[str, list[str]]) -> Iterator[str]:
    """Yield a message for each cycle of a graph, and for the first chain that is too long.

    Parameters
    ----------
    needs : dict of str to list of str
        The dependencies of each name.

    Yields
    ------
    str
    """
    depth: dict[str, int] = {}
    for start in needs:
        path = {start: iter(needs[start])}  # a depth-first walk, without recursion
        while path and start not in depth:
            name = next(reversed(path))
            for other in path[name]:
                if other in path:
                    names = list(path)
                    cycle = [*names[names.index(other) :], other]
                    yield f"circular dependency: {' -> '.join(cycle)}"
                elif other in needs and other not in depth:
                    path[other] = iter(needs[other])
                    break
            else:
                depth[name] = 1 + max((depth.get(other, 0) for other in needs[name]), default=0)
                del path[name]
    for name in [name for name in depth if depth[name] == MAX_CHAIN_DEPTH + 1][:1]:
        yield f"{name} is at the end of a chain of more than {MAX_CHAIN_DEPTH} dependencies"


@functools.lru_cache(1)  # they would be repeated for every experiment
def list_cycle_errors(config: PartialConfig) -> tuple[str, ...]:
    """Return a message for each cycle of experiments and ensembles in a study."""
    needs = {name: list(block.teachers) for name, block in config.named_blocks.items()}
    for name, ensemble in config.ensembles.items():
        needs[name] = [needed for needed in (ensemble.block, ensemble.operations_of) if needed]
    return tuple(find_cycles(needs))


RULE = Rule(90, list_cycle_errors)
