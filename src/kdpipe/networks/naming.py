"""What the name of a network means, what it costs, and which images fit it.

Imports no torch: the plan prices thousands of runs from here. A name belongs to the family that
can take it apart; all that is known of it is in that family's file under `families/`. `models`
builds from the same facts, and a test holds the cost computed here to the built network: every
parameter, every multiply-add.
"""

import difflib
import functools
from collections.abc import Mapping

from kdpipe import discovery
from kdpipe.errors import KdpipeError
from kdpipe.networks.family import Cost, Family, Network, Shape


@functools.cache
def families() -> dict[str, Family]:
    """The families by name, in the order of a message."""
    found = discovery.every("kdpipe.networks.families", "FAMILY", Family)
    ordered = sorted(found, key=lambda file: (found[file].order, file))
    return {file.replace("_", "-"): found[file] for file in ordered}


def known(name: str) -> tuple[str, Network]:
    """Its family's name, and the name taken apart.

    KdpipeError says what is wrong with a name, nearest names, allowed forms.
    """
    try:
        if (found := _found(name)) is not None:
            return found
    except KdpipeError as error:
        raise KdpipeError(f"{error}; {_allowed()}") from None
    raise KdpipeError(f"there is no network {name[:60]!r}; {_nearest(name)}{_allowed()}")


def family(name: str) -> str:
    """The name of a network's family. KdpipeError if there is no such network."""
    return known(name)[0]


def parse(name: str) -> Network:
    """A name taken apart. KdpipeError if there is no such network."""
    return known(name)[1]


def revision(name: str) -> int:
    """The revision of what a network computes: that of its family."""
    return families()[family(name)].revision


def check(name: str, shape: Shape) -> None:
    """Raise KdpipeError unless the network exists and takes images of (channels, height, width)."""
    kind, network = known(name)
    families()[kind].check(network, shape)


def is_known(name: str) -> bool:
    """Whether a name by its form means a network."""
    kinds = families().values()  # outside: a file that defines no family stops everything
    try:
        return any(kind.parse(name) is not None for kind in kinds)
    except KdpipeError:
        return False


def has_form(name: str) -> bool:
    """Whether a name means a network, or could be taken for one: none of one's own has it."""
    forms = (kind.form for kind in families().values())
    return any(form and form.fullmatch(name) for form in forms) or is_known(name)


def cost(name: str, shape: Shape, num_classes: int) -> Cost:
    """The exact cost of a network on images of (channels, height, width)."""
    check(name, shape)
    kind, network = known(name)
    return families()[kind].cost(network, shape, num_classes)


def group_shapes(name: str, shape: Shape) -> list[Shape]:
    """(channels, height, width) of what each group puts out for images of such a shape.

    Two networks can exchange attention if heights and widths agree. Empty for one that has no
    groups.
    """
    check(name, shape)
    kind, network = known(name)
    return families()[kind].groups(network, shape)


def weights(name: str) -> Mapping[str, str]:
    """The weights that a network can bring, by name, with the start of their SHA-256.

    Empty for one that brings none, or that there is not.
    """
    return parse(name).weights if is_known(name) else {}


def is_linear(name: str) -> bool:
    """Whether a network ends in a linear classifier, as far as that is known."""
    return not is_known(name) or parse(name).linear


@functools.lru_cache(4096)  # a plan asks for the same few names thousands of times
def _found(name: str) -> tuple[str, Network] | None:
    """The family that can take a name apart. KdpipeError if one can nearly."""
    for kind, facts in families().items():
        if (network := facts.parse(name)) is not None:
            return kind, network
    return None


def _allowed() -> str:
    forms = (kind.spelling for kind in families().values())
    return f"allowed: {'; '.join(forms)}; or one of your own, defined under `networks`"


def _nearest(name: str) -> str:
    """'nearest: ...; ', found among the names that the families think of."""
    candidates = (near for kind in families().values() for near in kind.near(name))
    close = difflib.get_close_matches(name[:40].lower(), dict.fromkeys(candidates))
    return f"nearest: {', '.join(close)}; " if close else ""
