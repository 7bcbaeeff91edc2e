"""Interim analyses (`looks`, `look`), pilots and a registration."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.json_types import is_list
from kdpipe.text import find_duplicates, format_value

MIN_SEEDS = 3  # fewer have no confidence interval


def _check_interim(config: PartialConfig) -> Iterator[str]:
    """Check the counts of seeds, the one that is due, the pilots and the registration."""
    looks, look = config.content.get("looks"), config.content.get("look")
    if is_list(looks) and _has_only_counts(looks):
        yield from _check_seed_counts(config, looks)
        if type(look) is int and look > len(looks):
            yield f"look: {look}: looks has {len(looks)} of them"
    elif looks is None and look is not None:
        yield f"look: {format_value(look)} of what? say after how many seeds: looks: [3, 5, 8]"
    pilots = config.content.get("pilots")
    pilot_names = pilots if is_list(pilots) else []
    for pilot in find_duplicates(pilot_names):
        yield f"pilots: {pilot} stands twice"
    registration = config.content.get("registration")
    if isinstance(registration, str) and not os.path.isfile(registration):
        yield (
            f"registration: there is no file {registration}: kdpipe register writes one; or leave "
            "the key out"
        )
    if (study_name := config.content.get("study")) in pilot_names:
        yield f"pilots: {study_name} is this study: a pilot has a name, a file and seeds of its own"


def _has_only_counts(looks: list[Any]) -> bool:
    """Return whether a list has entries, and only positive integers."""
    return bool(looks) and all(type(count) is int and count > 0 for count in looks)


def _check_seed_counts(config: PartialConfig, looks: list[int]) -> Iterator[str]:
    """Check that counts of seeds rise to all seeds of the study, in one split."""
    counts_text = format_value(looks)
    if any(count >= next_count for count, next_count in itertools.pairwise(looks)):
        yield f"looks: {counts_text}: counts of seeds have to rise"
    elif looks[0] < MIN_SEEDS:
        yield f"looks: {counts_text}: a look at fewer than {MIN_SEEDS} seeds can tell nothing"
    elif is_list(config.seeds) and looks[-1] != len(config.seeds):
        yield (
            f"looks: {counts_text}: the last look is at all seeds, of which there are "
            f"{len(config.seeds)}: change one of the two"
        )
    if len(config.splits) > 1:
        yield (
            f"looks: {counts_text}: with several splits it is not known how much a seed adds: "
            "leave looks or splits out"
        )
    for index, block in config.blocks.items():
        if block.seeds is not None:
            yield f"experiments[{index}].seeds: looks count the study's seeds: leave one key out"


RULE = Rule(15, _check_interim)
