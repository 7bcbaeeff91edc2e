"""Splits: unique, and only for data in which they differ."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.text import find_duplicates, format_value


def _check_splits(config: PartialConfig) -> Iterator[str]:
    """Check that splits are unique and that the data can be resampled."""
    for split in find_duplicates(config.splits):
        yield f"splits: {split} is listed twice"
    data = config.data_section.data
    if len(config.splits) < 2 or data is None:
        return
    splits_text = format_value(config.splits)
    if config.card is not None and config.card.is_streamed:
        yield (
            f"splits: {splits_text}: the images of {data.name} are streamed and have a single "
            "split: remove splits"
        )
    elif config.card is not None and config.card.validation:
        yield (
            f"splits: {splits_text}: {data.name} has a fixed validation set, the same in every "
            "split: remove splits, or create its card so that validation images are held out of "
            "train (kdpipe data)"
        )
    if any(block.train_size for block in config.blocks.values()):
        return
    drawing_keys = ("train_size", "validation", "label_noise")
    if not partial_config.invalid_keys(data) & set(drawing_keys) and not any(
        getattr(data, key) for key in drawing_keys
    ):
        yield (
            f"splits: {splits_text}: they would not differ, since all images are used for training "
            "with their original labels: set data.train_size, data.validation or data.label_noise, "
            "or remove splits"
        )


RULE = Rule(35, _check_splits)
