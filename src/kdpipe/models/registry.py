"""Networks by name: what a name stands for, what it costs, and which images it takes.

Imports no torch: the plan prices thousands of runs from here. A name belongs to the family that
can parse it; all that is known of it is in that family's file under `families/`. `factory` builds
from the same facts, and a test compares the cost computed here with the built network: every
parameter, every multiply-add.
"""

import difflib
import functools
from collections.abc import Mapping

from kdpipe import registry
from kdpipe.errors import KdpipeError
from kdpipe.models.family import Architecture, Cost, Family, Shape


@functools.cache
def load_families() -> dict[str, Family]:
    """Load the families by name, in the order of messages."""
    families = registry.load_all_objects("kdpipe.models.families", "FAMILY", Family)
    ordered = sorted(families, key=lambda module_name: (families[module_name].order, module_name))
    return {module_name.replace("_", "-"): families[module_name] for module_name in ordered}


def lookup_name(name: str) -> tuple[str, Architecture]:
    """Return the name of a network's family, and its architecture.

    Raises
    ------
    KdpipeError
        If there is no such network; with what is wrong, the nearest names and the allowed forms.
    """
    try:
        if (match := _find_family(name)) is not None:
            return match
    except KdpipeError as error:
        raise KdpipeError(f"{error}; {_describe_names()}") from None
    raise KdpipeError(
        f"there is no network {name[:60]!r}; {_suggest_names(name)}{_describe_names()}"
    )


def get_family_name(name: str) -> str:
    """Return the name of a network's family; raise KdpipeError if there is no such network."""
    return lookup_name(name)[0]


def parse_name(name: str) -> Architecture:
    """Return the architecture of a network; raise KdpipeError if there is no such network."""
    return lookup_name(name)[1]


def get_revision(name: str) -> int:
    """Return the revision of what a network computes: that of its family."""
    return load_families()[get_family_name(name)].revision


def check_shape(name: str, shape: Shape) -> None:
    """Raise KdpipeError unless the network exists and takes images of (channels, height, width)."""
    family_name, arch = lookup_name(name)
    load_families()[family_name].check(arch, shape)


def is_model_name(name: str) -> bool:
    """Return whether a name is that of a network."""
    families = load_families().values()  # outside: a file that defines no family stops everything
    try:
        return any(family.parse(name) is not None for family in families)
    except KdpipeError:
        return False


def looks_like_name(name: str) -> bool:
    """Return whether a name is that of a network, or could be taken for one.

    No custom network may have such a name.
    """
    patterns = (family.name_pattern for family in load_families().values())
    return any(pattern and pattern.fullmatch(name) for pattern in patterns) or is_model_name(name)


def compute_cost(name: str, shape: Shape, num_classes: int) -> Cost:
    """Compute the exact cost of a network for images of (channels, height, width)."""
    check_shape(name, shape)
    family_name, arch = lookup_name(name)
    return load_families()[family_name].cost(arch, shape, num_classes)


def compute_stage_shapes(name: str, shape: Shape) -> list[Shape]:
    """Compute the output shape (channels, height, width) of each group; empty without groups.

    Two networks can exchange attention if heights and widths agree.
    """
    check_shape(name, shape)
    family_name, arch = lookup_name(name)
    return load_families()[family_name].groups(arch, shape)


def list_weights(name: str) -> Mapping[str, str]:
    """Return the pretrained weights of a network by name, with the first digits of their SHA-256.

    Empty for a network that has none or does not exist.
    """
    return parse_name(name).weights if is_model_name(name) else {}


def has_linear_head(name: str) -> bool:
    """Return whether a network ends in a linear classifier, as far as is known."""
    return not is_model_name(name) or parse_name(name).linear


@functools.lru_cache(4096)  # a plan asks for the same few names thousands of times
def _find_family(name: str) -> tuple[str, Architecture] | None:
    """Return the family that can parse a name; raise KdpipeError if one nearly can."""
    for family_name, family in load_families().items():
        if (arch := family.parse(name)) is not None:
            return family_name, arch
    return None


def _describe_names() -> str:
    """Return the allowed forms of names, for a message."""
    formats = (family.name_format for family in load_families().values())
    return f"allowed: {'; '.join(formats)}; or a custom network, defined under `networks`"


def _suggest_names(name: str) -> str:
    """Return the nearest of the names that the families suggest, for a message."""
    candidates = (
        suggestion for family in load_families().values() for suggestion in family.suggest(name)
    )
    nearest = difflib.get_close_matches(name[:40].lower(), dict.fromkeys(candidates))
    return f"nearest: {', '.join(nearest)}; " if nearest else ""
