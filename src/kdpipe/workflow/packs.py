"""Which short runs and logit caches share a job on a cluster, where a job costs more than they do.

Every one of a pack descends from all that the pack waits for. So what fails outside of a pack stops
only its own descendants, and what fails inside of it is left to the pack (`jobs.pack`).
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from kdpipe import hashing
from kdpipe.plan.nodes import LogitCache, Run

Packable = Run | LogitCache


@dataclass(eq=False)
class Pack:
    """Nodes that one job makes, parents first.

    Attributes
    ----------
    inputs : frozenset of str
        What all of them wait for that is not of the pack: names of nodes, and marker files.
    nodes : list of Run or LogitCache
        The nodes.
    size : float
        What they take of a job; 1 fills it.
    """

    inputs: frozenset[str]
    nodes: list[Packable] = field(default_factory=list[Packable])
    size: float = 0.0

    @property
    def name(self) -> str:
        """Return its name, which is a digest of the names of its nodes."""
        names = [node.name for node in self.nodes]
        return f"pack-{hashing.hash_spec({'jobs': names})[:12]}"

    def has_room(self, inputs: Iterable[str], size: float) -> bool:
        """Return whether a node of this size fits that waits for these inputs."""
        known = {node.name for node in self.nodes} | self.inputs
        return self.size + size <= 1 and known.issuperset(inputs)


def find_packs(
    nodes: Sequence[Packable],
    list_inputs: Callable[[Packable], Sequence[str]],
    get_size: Callable[[Packable], float],
    get_key: Callable[[Packable], Hashable],
) -> list[Pack]:
    """Return the packs of the nodes that are to do.

    A node joins the pack of a parent, or else the last pack that waits for just what it waits for.
    Nodes that would be alone in a pack are in none, nor are those of which no two fit.

    Parameters
    ----------
    nodes : sequence of Run or LogitCache
        The nodes to do, in the order in which they should be made.
    list_inputs : callable
        Returns the names of what a node waits for: nodes to do, and marker files.
    get_size : callable
        Returns what a node takes of a job; 1 fills it.
    get_key : callable
        Returns what the nodes of a pack have in common.
    """
    pack_by_node: dict[str, Pack] = {}
    last_packs: dict[Hashable, Pack] = {}
    packs: list[Pack] = []
    for node in _sort_parents_first(nodes, list_inputs):
        inputs, size, key = list_inputs(node), get_size(node), get_key(node)
        if size > 0.5:
            continue
        candidates = [pack_by_node[name] for name in inputs if name in pack_by_node]
        candidates = [pack for pack in candidates if get_key(pack.nodes[0]) == key]
        if (alike := last_packs.get((frozenset(inputs), key))) is not None:
            candidates.append(alike)
        pack = next((pack for pack in candidates if pack.has_room(inputs, size)), None)
        if pack is None:
            packs.append(pack := Pack(frozenset(inputs)))
            last_packs[pack.inputs, key] = pack
        pack.nodes.append(node)
        pack.size += size
        pack_by_node[node.name] = pack
    return [pack for pack in packs if len(pack.nodes) > 1]


def _sort_parents_first(
    nodes: Sequence[Packable], list_inputs: Callable[[Packable], Sequence[str]]
) -> list[Packable]:
    """Return nodes in their order, each after what it waits for and near to it."""
    by_name = {node.name: node for node in nodes}
    result: dict[str, Packable] = {}

    def add(node: Packable) -> None:
        if node.name not in result:
            for name in list_inputs(node):
                if name in by_name:
                    add(by_name[name])
            result[node.name] = node

    for node in nodes:
        add(node)
    return list(result.values())
