"""Interim analyses (`looks`, `look`), pilots and a registration."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.json_types import is_list
from kdpipe.text import find_duplicates, format_value

MIN_SEEDS = 3  # fewer give no confidence interval


def _check_interim(config: PartialConfig) -> Iterator[str]:
    """Check `looks`, `look`, the pilots and the registration."""
    looks, look = config.content.get("looks"), config.content.get("look")
    if is_list(looks) and _has_only_counts(looks):
        yield from _check_seed_counts(config, looks)
        if type(look) is int and look > len(looks):
            yield f"look: {look}: looks has {len(looks)} of them"
    elif looks is None and look is not None:
        yield (
            f"look: {format_value(look)} without looks: set the seed counts, for instance looks: "
            "[3, 5, 8]"
        )
    pilots = config.content.get("pilots")
    pilot_names = pilots if is_list(pilots) else []
    for pilot in find_duplicates(pilot_names):
        yield f"pilots: {pilot} is listed twice"
    registration = config.content.get("registration")
    if isinstance(registration, str) and not os.path.isfile(registration):
        yield (
            f"registration: there is no file {registration}: create it with kdpipe register, or "
            "remove this key"
        )
    if (study_name := config.content.get("study")) in pilot_names:
        yield (
            f"pilots: {study_name} is this study: a pilot is another study, with its own file and "
            "seeds"
        )


def _has_only_counts(looks: list[Any]) -> bool:
    """Return whether a list has entries, and only positive integers."""
    return bool(looks) and all(type(count) is int and count > 0 for count in looks)


def _check_seed_counts(config: PartialConfig, looks: list[int]) -> Iterator[str]:
    """Check that the seed counts increase up to all seeds of the study, in one split."""
    counts_text = format_value(looks)
    if any(count >= next_count for count, next_count in itertools.pairwise(looks)):
        yield f"looks: {counts_text}: seed counts must increase"
    elif looks[0] < MIN_SEEDS:
        yield f"looks: {counts_text}: fewer than {MIN_SEEDS} seeds give no confidence interval"
    elif is_list(config.seeds) and looks[-1] != len(config.seeds):
        yield (
            f"looks: {counts_text}: the last look must be at all {len(config.seeds)} seeds: change "
            "looks or seeds"
        )
    if len(config.splits) > 1:
        yield (
            f"looks: {counts_text}: cannot be combined with several splits, since the information "
            "per seed is unknown: remove looks or splits"
        )
    for index, block in config.blocks.items():
        if block.seeds is not None:
            yield (
                f"experiments[{index}].seeds: looks counts the study's seeds: remove one of the "
                "two keys"
            )


RULE = Rule(15, _check_interim)
