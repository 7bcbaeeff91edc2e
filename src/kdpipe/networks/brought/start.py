"""A network that begins from weights, as the specs of its runs have it.

It is known by the name that the study gives it, which stands where that of a network stands;
`start` beside it says which network that is, and all that decides how it begins and learns
(`started` does it). `fed.inner` is the network itself.
"""

from kdpipe import identity
from kdpipe.networks import naming
from kdpipe.networks.keys import Brought, Start

PATTERNS = ("new", "unused", "freeze")
KEYS = {"start_revision", "network", "weights", "sha256", "backbone_lr", *PATTERNS}


def checksum(source: Brought) -> str | None:
    """The SHA-256 of a file of weights; of torchvision's its first digits."""
    if source.weights is None:
        return source.sha256
    return naming.weights(source.network).get(source.weights, source.sha256)


def spec(start: Start) -> dict:
    """The `start` in the network of a spec."""
    return {
        "start_revision": identity.REVISIONS["start"],
        "network": start.network,
        "weights": start.weights,
        "sha256": checksum(start),
        "new": sorted(set(start.new)),
        "unused": sorted(set(start.unused)),
        "freeze": sorted(set(start.freeze)),
        "backbone_lr": start.backbone_lr,
    }


def is_sound(network: dict) -> bool:
    """Whether the `start` in the network of a spec is well formed."""
    start = network["start"]
    return bool(
        start.keys() == KEYS
        and "input" not in network
        and isinstance(start["network"], str)
        and all(isinstance(start[key], str) or start[key] is None for key in ("weights", "sha256"))
        and (start["weights"] or start["sha256"])
        and all(isinstance(each, str) for key in PATTERNS for each in start[key])
        and 0 < start["backbone_lr"] <= 1
    )
