"""The revisions that a spec states, found wherever they stand in it.

A revision says what a part of a spec means (`identity`). It stands under `revision` in the part
that it belongs to, or under `<behaviour>_revision` beside what it is about. Walking a spec by this
rule keeps what is added to one from being forgotten here.
"""

from collections.abc import Callable, Collection, Iterator

from kdpipe import identity
from kdpipe.data import cards, views
from kdpipe.errors import KdpipeError
from kdpipe.learning import method
from kdpipe.networks import naming
from kdpipe.networks.brought import fed

# What the `revision` of a part is of, by the key under which the part stands; "" is the whole.
# One that is a dict names its behaviours itself. Other parts (recipe, members) have none.
_OWNER: dict[str, Callable[[dict], str]] = {
    "": lambda spec: spec["kind"],
    "data": lambda data: f"data set {data['name']}",
    "views": lambda views: "views",
    "network": lambda network: naming.family(fed.inner(network)["name"]),
    "teacher": lambda teacher: "teacher",
    "method": lambda method: method["loss"],
}


def stated(spec: dict, part: str = "") -> Iterator[tuple[str, object]]:
    """(behaviour, revision) of all that a spec states; `part` is the key under which it stands.

    Raises KeyError for a part that must state its revision and does not.
    """
    # What a network of one's own computes is not for this version to say.
    if part in _OWNER and not (part == "network" and "build" in spec):
        revision = spec["revision"]
        if isinstance(revision, dict):
            yield from revision.items()
        else:
            yield _OWNER[part](spec), revision
    for key, value in spec.items():
        if isinstance(value, dict) and key != "revision":
            yield from stated(value, key)
        elif key.endswith("_revision") and value is not None:
            yield key.removesuffix("_revision"), value
        elif key == "evaluation":  # of an ensemble, which calls it by its name alone
            yield key, value


def check(name: str, spec: dict, needed: Collection[str]) -> None:
    """Refuse the spec of `name` if it means another revision of anything than this version.

    Raises KdpipeError; KeyError if a behaviour does not exist, or a needed one is not stated.
    """
    found = list(stated(spec))
    if missing := set(needed) - {behaviour for behaviour, _ in found}:
        raise KeyError(*sorted(missing))
    for behaviour, wanted in found:
        if wanted != (ours := _ours(behaviour)):
            raise KdpipeError(
                f"{name}: its spec means revision {wanted} of {behaviour}, this version computes "
                f"revision {ours}: make the plan again"
            )


def _ours(behaviour: str) -> int:
    """The revision that this version computes."""
    if behaviour.startswith("data set "):
        return cards.data_revision(behaviour.removeprefix("data set "))
    if behaviour in naming.families():
        return naming.families()[behaviour].revision
    if behaviour in views.digits():
        return views.digits()[behaviour].revision or 0
    if behaviour in method.terms():
        return method.terms()[behaviour].revision
    return identity.REVISIONS[behaviour]
