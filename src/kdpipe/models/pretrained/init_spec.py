"""A network that begins from weights, as the specs of its runs state it.

It is known by the name that the study gives it, in place of the name of a network; `start` states
which network that is, and all that decides how it begins and learns (`weights.load_init` does it).
`input_transform.inner_spec` is the network itself.
"""

from kdpipe import hashing
from kdpipe.models import registry
from kdpipe.models.config import InitFrom, PretrainedWeights
from kdpipe.runs.spec import InitSpec, ModelSpec

PATTERN_KEYS = ("new", "unused", "freeze")


def get_checksum(source: PretrainedWeights) -> str | None:
    """Return the SHA-256 of a file of weights; of torchvision's, its first digits."""
    if source.weights is None:
        return source.sha256
    return registry.list_weights(source.network).get(source.weights, source.sha256)


def build_init_spec(start: InitFrom) -> InitSpec:
    """Build the `start` in the network of a spec."""
    return InitSpec(
        start_revision=hashing.REVISIONS["start"],
        network=start.network,
        weights=start.weights,
        sha256=get_checksum(start),
        new=sorted(set(start.new)),
        unused=sorted(set(start.unused)),
        freeze=sorted(set(start.freeze)),
        backbone_lr=start.backbone_lr,
    )


def is_valid_init(network: ModelSpec) -> bool:
    """Return whether the `start` in the network of a spec is well formed."""
    start = network.start
    return bool(
        start is not None
        and network.input is None
        and isinstance(start.network, str)
        and all(isinstance(value, str) or value is None for value in (start.weights, start.sha256))
        and (start.weights or start.sha256)
        and all(isinstance(pattern, str) for key in PATTERN_KEYS for pattern in getattr(start, key))
        and 0 < start.backbone_lr <= 1
    )
