"""Mixed images: they need live teachers or drawn views, and loss terms without hard labels."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.losses import method as methods
from kdpipe.losses.custom.card import TermCard
from kdpipe.runs.recipe import enabled_mixes
from kdpipe.text import join_names


def _check_mixing(config: PartialConfig) -> Iterator[str]:
    """Check the methods and teacher outputs of students that are trained on mixed images."""
    mixed_networks: dict[str, str] = {}
    for index, block in config.blocks.items():
        if {"students", "via"} & partial_config.invalid_keys(block):
            continue
        students: list[str] = [*(block.via or []), *block.students]
        for network in dict.fromkeys(students):
            recipe = config.get_recipe(network)
            if recipe is None or not (mix_keys := list(enabled_mixes(recipe))):
                continue
            mix_names = mixed_networks.setdefault(network, " and ".join(mix_keys))
            names = [
                [method_name] if isinstance(method_name, str) else method_name
                for method_name in block.methods
            ]
            for name in dict.fromkeys(
                method_name for step_names in names for method_name in step_names
            ):
                for title in _label_using_terms(config, name):
                    yield (
                        f"experiments[{index}].methods: {name}: {title} uses the label of each "
                        f"image, and {network} is trained on images mixed by {mix_names}, which "
                        f"have two: set {mix_names} to null for it, or use terms without labels "
                        f"({join_names(_label_free_keys())})"
                    )
    data = config.data_section.data
    is_drawn = data is not None and data.views is not None
    if mixed_networks and not is_drawn and config.content.get("teacher_outputs") == "table":
        network, mix_keys = next(iter(mixed_networks.items()))
        yield (
            f"teacher_outputs: table caches outputs for unmixed images, and {network} is trained "
            f"on images mixed by {mix_keys}: write live or auto, set {mix_keys} to null for it, or "
            "have a number of mixed views drawn once (data.views: 16)"
        )


def _label_using_terms(config: PartialConfig, name: str) -> Iterator[str]:
    """Yield the titles of the terms of a method that use labels."""
    method = config.methods.get(name)
    for key, term in methods.load_terms().items():
        if term.labelled and getattr(method, f"{key}_weight", 0):
            yield term.title
    card = config.term_cards.get(name)
    if isinstance(card, TermCard) and card.labelled:
        yield card.title


def _label_free_keys() -> list[str]:
    """Return the weights of the terms that use no labels."""
    return [f"{key}_weight" for key, term in methods.load_terms().items() if not term.labelled]


RULE = Rule(83, _check_mixing)
