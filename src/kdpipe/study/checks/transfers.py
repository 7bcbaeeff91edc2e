"""Transfers: other images, of the shape that the study's networks take, and blocks to probe."""

from collections.abc import Iterator

from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.study import salvage
from kdpipe.study.blocks import Block, Transfer
from kdpipe.study.check import Check
from kdpipe.study.checks.data import of_images
from kdpipe.study.sound import Sound
from kdpipe.wording import twice


def _transfers(sound: Sound) -> Iterator[str]:
    for name, content in salvage.items(sound.content.get("transfers")):
        where = f"transfers.{name}"
        transfer, _ = salvage.part(Transfer, content)
        if transfer is None:
            continue
        for block in transfer.blocks:
            yield from sound.follow(f"{where}.blocks", block, "experiment")
        for block in twice(transfer.blocks):
            yield f"{where}.blocks: {block} stands twice"
        others = salvage.images(dict(salvage.items(content)).get("data"))
        yield from of_images(f"{where}.data", others)
        if others.data is None or others.card is None:
            continue
        yield from _probe_images(where, others.data, others.card)
        if sound.card is not None:
            yield from _last_layers(sound, where, transfer)
            yield from _beside(where, sound.card, others.data, others.card)


def _probe_images(where: str, data: Data, card: cards.Card) -> Iterator[str]:
    """There must be images to choose the strength of a probe on, and of every class to fit it."""
    if not card.validated(data.validation) and "validation" not in salvage.lost(data):
        yield (
            f"{where}.data.validation: the strength of a probe is chosen on validation images: "
            "hold some out"
        )
    left = data.train_size or card.train - data.validation
    if left < card.classes:
        yield f"{where}.data: {left} training images are too few for {card.classes} classes"


def _last_layers(sound: Sound, where: str, transfer: Transfer) -> Iterator[str]:
    for block in (block for block in sound.blocks.values() if block.name in transfer.blocks):
        for network, of in _probed(sound, block):
            if not sound.networks.is_linear(network):
                yield (
                    f"{where}.blocks: {network}, a {of} of {block.name}, does not end in a "
                    f"linear classifier, whose input a probe takes: leave {block.name} out, or "
                    "take another network"
                )


def _probed(sound: Sound, block: Block) -> list[tuple[str, str]]:
    """The last networks of a block and the single ones at its heads: those that a plan probes."""
    found = [(student, "student") for student in block.students]
    for teacher in block.teachers:
        if teacher in sound.named_blocks:
            heads = sound.named_blocks[teacher].students
        else:
            head = None if teacher == "self" else sound.head(teacher, "")
            heads = [head] if head else []
        found += [(head, "teacher") for head in heads]
    return found


def _beside(where: str, ours: cards.Card, data: Data, theirs: cards.Card) -> Iterator[str]:
    """Other images than the study's, and yet of their shape."""
    if theirs.sha256 == ours.sha256:
        yield f"{where}.data.name: {data.name} is the study's own data set: name another one"
    if theirs.shape != ours.shape and "resize" not in salvage.lost(data):
        found, wanted = (" x ".join(map(str, card.shape)) for card in (theirs, ours))
        cure = _cure(theirs, data, ours.shape)
        yield f"{where}.data: its images are {found}, the study's networks take {wanted}{cure}"


def _cure(card: cards.Card, data: Data, shape: tuple[int, int, int]) -> str:
    """What makes the images of a data set those of another shape (C, H, W), as a message ends."""
    channels, height, width = shape
    square = height == width
    if card.shape[0] == channels:
        return f"; resize: {height} scales them" if square else ""
    kind = "grey" if channels == 1 else "coloured"
    if data.path is None or data.name in cards.known():
        return f"; they cannot be made {kind}: name a data set that is"
    if data.path.endswith(".npz"):
        return (
            f"; a .npz is taken as it is: store its images as {kind} ones, of {channels} channel(s)"
        )
    changes: dict[str, object] = {"channels": channels}
    if card.streamed or square:
        changes["stream" if card.streamed else "resize"] = height
    typed = cards.typed_again(card, data.path, data.card, **changes)
    return f"; make its card again: {typed}"


CHECK = Check(100, _transfers)
