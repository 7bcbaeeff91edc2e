"""Linear probes: other images of the networks' input shape, and blocks to probe."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules.data import check_data_section
from kdpipe.config.schema import BlockConfig, TransferConfig
from kdpipe.data import cards
from kdpipe.data.config import DataConfig
from kdpipe.text import find_duplicates


def _check_transfers(config: PartialConfig) -> Iterator[str]:
    """Check the blocks and the data of each entry of `transfers`."""
    for name, content in partial_config.iter_items(config.content.get("transfers")):
        location = f"transfers.{name}"
        transfer, _ = partial_config.parse_lenient(TransferConfig, content)
        if transfer is None:
            continue
        for block in transfer.blocks:
            yield from config.check_name(f"{location}.blocks", block, "experiment")
        for block in find_duplicates(transfer.blocks):
            yield f"{location}.blocks: {block} is listed twice"
        data_section = partial_config.parse_data_section(
            dict(partial_config.iter_items(content)).get("data")
        )
        yield from check_data_section(f"{location}.data", data_section)
        if data_section.data is None or data_section.card is None:
            continue
        yield from _check_probe_images(location, data_section.data, data_section.card)
        if config.card is not None:
            yield from _check_last_layers(config, location, transfer)
            yield from _check_images_match(
                location, config.card, data_section.data, data_section.card
            )


def _check_probe_images(location: str, data: DataConfig, card: cards.DatasetCard) -> Iterator[str]:
    """Check that there are images to select the strength of a probe on, and to fit it."""
    if not card.count_validation(
        data.validation
    ) and "validation" not in partial_config.invalid_keys(data):
        yield (
            f"{location}.data.validation: the regularization of a probe is selected on validation "
            "images: hold some out"
        )
    train_count = data.train_size or card.train - data.validation
    if train_count < card.classes:
        yield (
            f"{location}.data: too few training images ({train_count}) for {card.classes} classes"
        )


def _check_last_layers(
    config: PartialConfig, location: str, transfer: TransferConfig
) -> Iterator[str]:
    """Check that the networks to probe end in a linear classifier."""
    for block in (block for block in config.blocks.values() if block.name in transfer.blocks):
        for network, role in _probed_networks(config, block):
            if not config.networks.is_linear(network):
                yield (
                    f"{location}.blocks: {network}, a {role} of {block.name}, does not end in a "
                    f"linear classifier, whose input a probe uses: remove {block.name}, or use "
                    "another network"
                )


def _probed_networks(config: PartialConfig, block: BlockConfig) -> list[tuple[str, str]]:
    """Return the probed networks of a block, each with its role."""
    networks = [(student, "student") for student in block.students]
    for teacher in block.teachers:
        if teacher in config.named_blocks:
            heads = config.named_blocks[teacher].students
        else:
            head = None if teacher == "self" else config.resolve_teacher(teacher, "")
            heads = [head] if head else []
        networks += [(head, "teacher") for head in heads]
    return networks


def _check_images_match(
    location: str, study_card: cards.DatasetCard, data: DataConfig, probe_card: cards.DatasetCard
) -> Iterator[str]:
    """Check that the images are not the study's own, but have the same shape."""
    if probe_card.sha256 == study_card.sha256:
        yield f"{location}.data.name: {data.name} is the study's own data set: use another one"
    if probe_card.shape != study_card.shape and "resize" not in partial_config.invalid_keys(data):
        probe_size, study_size = (
            " x ".join(map(str, card.shape)) for card in (probe_card, study_card)
        )
        advice = _suggest_card_change(probe_card, data, study_card.shape)
        yield (
            f"{location}.data: its images are {probe_size}, but the study's networks expect "
            f"{study_size}{advice}"
        )


def _suggest_card_change(
    card: cards.DatasetCard, data: DataConfig, shape: tuple[int, int, int]
) -> str:
    """Return the end of a message: how to convert images to another shape (C, H, W)."""
    channels, height, width = shape
    square = height == width
    if card.shape[0] == channels:
        return f"; set resize: {height}" if square else ""
    kind = "grey" if channels == 1 else "coloured"
    if data.path is None or data.name in cards.list_datasets():
        return f"; they cannot be converted to {kind}: use a data set of {kind} images"
    if data.path.endswith(".npz"):
        return (
            f"; a .npz is not converted: store its images as {kind} ones, with {channels} "
            "channel(s)"
        )
    changes: dict[str, object] = {"channels": channels}
    if card.is_streamed or square:
        changes["stream" if card.is_streamed else "resize"] = height
    command = cards.format_rebuild_command(card, data.path, data.card, **changes)
    return f"; recreate its card: {command}"


RULE = Rule(100, _check_transfers)
