"""Splits: each once, and only where they differ in what is drawn."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.text import find_duplicates, format_value


def _check_splits(config: PartialConfig) -> Iterator[str]:
    """Check that splits are unique and the data can be split anew."""
    for split in find_duplicates(config.splits):
        yield f"splits: {split} stands twice"
    data = config.data_section.data
    if len(config.splits) < 2 or data is None:
        return
    splits_text = format_value(config.splits)
    if config.card is not None and config.card.is_streamed:
        yield (
            f"splits: {splits_text}: the images of {data.name} stream from their files, of which "
            "there is one split only: leave splits out"
        )
    elif config.card is not None and config.card.validation:
        yield (
            f"splits: {splits_text}: the validation images of {data.name} are a part of their own "
            "and the same in every split: leave splits out, or make its card so that they are held "
            "out of train (kdpipe data)"
        )
    drawing_keys = ("train_size", "validation", "label_noise")
    if not partial_config.invalid_keys(data) & set(drawing_keys) and not any(
        getattr(data, key) for key in drawing_keys
    ):
        yield (
            f"splits: {splits_text}: nothing would differ between them, since all images are "
            "trained on with their own labels: give data.train_size, data.validation or "
            "data.label_noise, or leave splits out"
        )


RULE = Rule(35, _check_splits)
