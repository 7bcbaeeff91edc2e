"""Names that a study defines: unique, and not those of networks; unique seeds."""

from collections.abc import Iterator

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.json_types import is_list
from kdpipe.models import registry
from kdpipe.text import find_duplicates


def _check_names(config: PartialConfig) -> Iterator[str]:
    """Check that names and seeds are unique."""
    first_locations: dict[str, str] = {}
    for location, name in _iter_names(config):
        if name in first_locations:
            yield (
                f"{location}: the name {name} is already used by {first_locations[name]}; names "
                "must be unique"
            )
        elif name == "self" or registry.looks_like_name(name):
            yield f"{location}: {name} is the name of a network; choose another name"
        first_locations.setdefault(name, location)
    seeds = {f"experiments[{index}].seeds": block.seeds for index, block in config.blocks.items()}
    for location, values in {"seeds": config.seeds, **seeds}.items():
        for seed in find_duplicates(values if is_list(values) else []):
            yield f"{location}: {seed} is listed twice"


def _iter_names(config: PartialConfig) -> Iterator[tuple[str, str]]:
    """Yield the location and the name of each possible teacher."""
    for index, block in config.blocks.items():
        if block.name:
            yield f"experiments[{index}].name", block.name
    for name in config.ensembles:
        yield f"ensembles.{name}", str(name)
    for name in config.pretrained:
        yield f"pretrained.{name}", str(name)
    for name in config.networks.custom:
        yield f"networks.{name}", str(name)
    for name in config.starts:
        yield f"starts.{name}", str(name)


RULE = Rule(20, _check_names)
