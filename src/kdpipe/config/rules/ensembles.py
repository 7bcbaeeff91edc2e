"""Ensembles: their networks, stops and block, and the ensemble whose cost they match."""

from collections.abc import Iterator

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.text import find_duplicates


def _check_ensembles(config: PartialConfig) -> Iterator[str]:
    """Check the members of each ensemble."""
    for name, ensemble in config.ensembles.items():
        location = f"ensembles.{name}"
        pretrained = [
            network_name
            for network_name in ensemble.networks or []
            if network_name in config.defined_names["pretrained"]
        ]
        if pretrained and (ensemble.stops != ["full"] or ensemble.copies or ensemble.operations_of):
            yield (
                f"{location}.networks: {pretrained[0]} is pretrained, so it has only the stop full "
                "and no copies: give only networks"
            )
        for network in ensemble.networks or []:
            if network in pretrained:
                continue
            yield from config.check_network(f"{location}.networks", network)
            for text in ensemble.stops:
                yield from config.check_stop(f"{location}.stops", text, network)
        for network in find_duplicates(ensemble.networks or []):
            yield (
                f"{location}.networks: {network} is listed twice; for several members of a network "
                "set copies"
            )
        yield from config.check_name(f"{location}.block", ensemble.block, "experiment")
        yield from config.check_name(
            f"{location}.operations_of", ensemble.operations_of, "ensemble"
        )


RULE = Rule(50, _check_ensembles)
