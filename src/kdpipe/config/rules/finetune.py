"""Networks with initial weights: the network and its weights exist."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules import pretrained


def _check_starts(config: PartialConfig) -> Iterator[str]:
    """Check the network and the weights of each entry of `starts`."""
    for name, start in config.starts.items():
        location = f"starts.{name}"
        if start.network in config.starts:
            yield (
                f"{location}.network: {start.network} is an entry of `starts` itself: give its "
                "network"
            )
        elif not partial_config.invalid_keys(start) & {"network", "weights", "path", "sha256"}:
            yield from config.check_network(f"{location}.network", start.network)
            yield from pretrained.check_weights_file(location, start)


RULE = Rule(62, _check_starts)
