"""Splits: each once, and only where a split draws something and can be told from another."""

from collections.abc import Iterator

from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import shown, twice


def _splits(sound: Sound) -> Iterator[str]:
    for split in twice(sound.splits):
        yield f"splits: {split} stands twice"
    data = sound.images.data
    if len(sound.splits) < 2 or data is None:
        return
    said = shown(sound.splits)
    if sound.card is not None and sound.card.streamed:
        yield (
            f"splits: {said}: the images of {data.name} stream from their files, of which there is "
            "one split only: leave splits out"
        )
    elif sound.card is not None and sound.card.validation:
        yield (
            f"splits: {said}: the validation images of {data.name} are a part of their own and the "
            "same in every split: leave splits out, or make its card so that they are held out of "
            "train (kdpipe data)"
        )
    drawn = ("train_size", "validation", "label_noise")
    if not salvage.lost(data) & set(drawn) and not any(getattr(data, key) for key in drawn):
        yield (
            f"splits: {said}: nothing would differ between them, since all images are trained on "
            "with their own labels: give data.train_size, data.validation or data.label_noise, or "
            "leave splits out"
        )


CHECK = Check(35, _splits)
