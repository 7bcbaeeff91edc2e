"""Images without labels: there are some, a method asks for them, and its terms need no label."""

from collections.abc import Iterator

from kdpipe.data.keys import Data
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.errors import KdpipeError
from kdpipe.learning import method as methods
from kdpipe.learning.own.card import TermCard
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import listed


def _unlabelled(sound: Sound) -> Iterator[str]:
    data = sound.images.data
    if data is None or "unlabelled" in salvage.lost(data):
        return
    asking = {
        name: method.unlabelled
        for name, method in sound.methods.items()
        if "unlabelled" not in salvage.lost(method) and method.unlabelled
    }
    if data.unlabelled is None:
        for name in asking:
            yield (
                f"methods.{name}.unlabelled: the data have no unlabelled images: name them with "
                "data.unlabelled (rest: the training images that train_size leaves out; or a path, "
                "of a folder or a .npz)"
            )
        return
    unknown = any("unlabelled" in salvage.lost(method) for method in sound.methods.values())
    if not asking and not unknown and not sound.lost["method"]:
        yield (
            f"data.unlabelled: {data.unlabelled}: no method asks for them: write how many a batch "
            "has, as methods.NAME.unlabelled, or leave data.unlabelled out"
        )
    if unlabelled.is_own(data):
        yield from _own(sound, data, asking)
    elif sound.card is not None and not {"train_size", "validation"} & salvage.lost(data):
        yield from _enough(sound, asking)
    for name in asking:
        yield from _needing_labels(sound, name)


def _own(sound: Sound, data: Data, asking: dict[str, int]) -> Iterator[str]:
    """Of images of one's own: they have a card, which is that of this study."""
    if sound.card is None or not sound.carded:
        return
    numbers = {"validation", "split_seed", "draw"} & salvage.lost(data)
    try:
        splits = [one for one in sound.splits if type(one) is int]
        found = unlabelled.of(data, [] if numbers else splits, sound.source)
    except KdpipeError as error:
        yield f"data.unlabelled: {error}"
        return
    yield from _too_many(asking, found.count)


def _too_many(asking: dict[str, int], there: int) -> Iterator[str]:
    for name, size in asking.items():
        if size > there:
            yield (
                f"methods.{name}.unlabelled: {size:,} in each batch, and there are {there:,}: "
                f"at most {there:,}"
            )


def _enough(sound: Sound, asking: dict[str, int]) -> Iterator[str]:
    data, card = sound.images.data, sound.card
    assert data is not None and card is not None
    there = card.train - data.validation - (data.train_size or card.train)
    if there < 1 and (data.train_size or 0) + data.validation <= card.train:
        yield (
            f"data.unlabelled: rest: of the {card.train:,} training images of {data.name} none is "
            "left over: give data.train_size less"
        )
        return
    if there > 0:
        yield from _too_many(asking, there)


def _needing_labels(sound: Sound, name: str) -> Iterator[str]:
    """Terms at work that look at labels, which these images lack."""
    method = sound.methods[name]
    able = [one.title for one in methods.terms().values() if not one.labelled]
    for key, term in methods.terms().items():
        if term.labelled and getattr(method, f"{key}_weight", 0):
            yield (
                f"methods.{name}.{key}_weight: {term.title} looks at the label of each image, and "
                f"unlabelled ones have none: leave unlabelled out, or take other terms "
                f"({listed(able)})"
            )
    card = sound.term_cards.get(name)
    if isinstance(card, TermCard) and card.labelled:
        yield (
            f"methods.{name}.term: {card.title} looks at the label of each image, and unlabelled "
            "ones have none: leave unlabelled out; if it does not, say labelled=False in its code "
            "and type: kdpipe term STUDY"
        )


CHECK = Check(87, _unlabelled)
