"""Making the card of images without labels: each is read once, and compared with the data set's.

One that is also an image of test, or of a validation that the study draws, is refused: nothing may
learn of it. One that is also a training image, or another of them, is said.
"""

from collections.abc import Sequence
from pathlib import Path

from kdpipe.data import cards, prepared, splits
from kdpipe.data.arrays import VAL, Arrays, digest
from kdpipe.data.keys import Data
from kdpipe.data.own import folders, seen
from kdpipe.data.own.unlabelled import card as unlabelled_cards
from kdpipe.data.own.unlabelled import images
from kdpipe.data.own.unlabelled.card import UnlabelledCard
from kdpipe.data.own.unlabelled.twins import Compared, Twins
from kdpipe.errors import DataError
from kdpipe.results.files import write_bytes, write_json
from kdpipe.results.marks import CARD
from kdpipe.results.store import Store

SHOWN = 10  # images of test or validation, where they are many


def make_card(data: Data, of_splits: Sequence[int], study: str, place: Store) -> str:
    """Write the card of the images that `data.unlabelled` names; returns what is said of them.

    `of_splits` are those of the study, whose file is called `study`. The data set is prepared in
    `place`, if it is not. Raises DataError with every mistake, or if they are images of validation
    or test.
    """
    path, card = Path(str(data.unlabelled)), cards.of(data.name, data.path, data.card)
    read = images.read(path, card.shape, card.streamed)
    arrays = _prepared(card, data, place)
    roots = (path, Path(str(data.path))) if card.streamed else (None, None)
    compared = Compared(read.arrays, arrays, *roots)
    found = {part: compared.of(part) for part in ("test", "train")}
    if card.validation:
        found["validation"] = compared.of(VAL)
    elif data.validation:
        found["validation"] = _held_out(data, of_splits, card, arrays, found["train"])
    where = unlabelled_cards.beside(path, card.name)
    _refuse(path, read.names, found, where)
    twins = len({one for one, _ in found["train"]})
    made = UnlabelledCard(
        source=path.name,
        data=card.name,
        of=card.sha256,
        shape=card.shape,
        count=len(read.names),
        sha256=digest(read.arrays, images.names_of(card.streamed)),
        stream=card.streamed,
        twins=twins,
        held=unlabelled_cards.draw_of(data, of_splits),
    )
    seen.keep(_kept(made, path, study))
    write_json(where, unlabelled_cards.sealed(made))  # last: one that is there is whole
    notes = list(read.notes)
    if twins:
        notes.append(f"note: {twins:,} are training images of {card.name} too")
    if compared.copies:
        notes.append(f"note: {compared.copies:,} are copies of others among them")
    return "\n".join([_said(made, where), *notes])


def differences(data: Data, study: str) -> str | None:
    """What to say if the images that a study names are not those of their card; None if they are.

    Raises DataError if there is no card.
    """
    path = Path(str(data.unlabelled))
    made = unlabelled_cards.read(unlabelled_cards.beside(path, data.name))
    return seen.changes(_kept(made, path, study))


def _kept(made: UnlabelledCard, path: Path, study: str) -> seen.Kept:
    return seen.Kept(
        unlabelled_cards.beside(path, made.data),
        path,
        made.sha256,
        seen.said_of(made),
        made.stream,
        lambda: folders.pictures_in(path),
        lambda: _found(made, path),
        unlabelled_cards.command(study),
    )


def _found(made: UnlabelledCard, path: Path) -> seen.Found:
    """What the images are that a card is of, and where it says something else."""
    read = images.read(path, made.shape, made.stream)
    count = len(read.names)
    wrong = [] if count == made.count else [f"count {made.count:,}, found {count:,}"]
    return seen.Found(digest(read.arrays, images.names_of(made.stream)), wrong)


def _prepared(card: cards.Card, data: Data, place: Store) -> Arrays:
    """The arrays of the data set, which is prepared if it is not yet."""
    if not (place.data(card.folder) / CARD).exists():
        prepared.prepare(card, place, Path(data.path) if data.path else None)
    return prepared.read(card, place)


def _held_out(
    data: Data, of_splits: Sequence[int], card: cards.Card, arrays: Arrays, of_train: Twins
) -> Twins:
    """Those of train that a split of the study holds out as validation."""
    keys = {"validation", "train_size", "draw", "split_seed"}
    asked = data.model_dump(include=keys)
    labels = arrays["train_labels"]
    held: set[int] = set()
    for split in of_splits:
        held |= set(splits.held_out(asked | {"split": split}, card, labels).tolist())
    return [pair for pair in of_train if pair[1] in held]


def _refuse(path: Path, names: list[str], found: dict[str, Twins], where: Path) -> None:
    """Raise DataError for those that are images of validation or test.

    Where they are many, a file beside the card at `where` has all their names, a line each.
    """
    held = {part: dict(found.get(part, [])) for part in ("test", "validation")}
    which = held["validation"] | held["test"]
    every = where.with_name(f"{where.name.removesuffix('.json')}.same.txt")
    if not which:
        every.unlink(missing_ok=True)
        return
    counts = (f"{len(pairs):,} of {part}" for part, pairs in held.items() if pairs)
    shown = [
        f"{names[one]} ({'test' if one in held['test'] else 'validation'} image {place})"
        for one, place in sorted(which.items())
    ]
    more = ""
    if len(which) > SHOWN:
        write_bytes(every, "".join(f"{names[one]}\n" for one in sorted(which)).encode())
        more = f", ... (all in {every})"
    raise DataError(
        f"{path}: {len(which):,} of {len(names):,} images are images of the data set, of which "
        f"nothing may learn ({', '.join(counts)}): take them out and type it again: "
        f"{', '.join(shown[:SHOWN])}{more}"
    )


def _said(made: UnlabelledCard, where: Path) -> str:
    """What a card was made of."""
    size = " x ".join(map(str, made.shape)) + (", read from their files," if made.stream else "")
    return f"{where}: {made.count:,} images of {size} without labels, beside {made.data}"
