"""Networks with initial weights: the network and its weights exist."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules import pretrained
from kdpipe.errors import KdpipeError
from kdpipe.models.config import InitFrom
from kdpipe.models.pretrained import input_transform


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
            yield from _check_input(config, name, start)
            yield from pretrained.check_weights_file(location, start)


def _check_input(config: PartialConfig, name: str, start: InitFrom) -> Iterator[str]:
    """Check that the network takes its images: those of the study, or others."""
    location = f"starts.{name}"
    if start.input is None:
        yield from config.check_network(f"{location}.network", start.network)
    elif config.data_shape is not None and not partial_config.invalid_keys(start):
        try:
            input_transform.resolve_input(start, config.data_shape)
        except KdpipeError as error:
            yield f"{location}.{error}"
            return
        try:
            config.networks.check(name)
        except KdpipeError as error:
            yield f"{location}.input: {error}"


RULE = Rule(62, _check_starts)
