"""What lay in a folder when its card was made, so that images replaced since are found out.

Beside the card, as PATH.card.files.json, stand size and time of each file. They are looked at at
each start, which takes no longer than listing the folder; only where they differ are the images
read and compared with the card, and where the card is not the one that was noted: somebody may have
changed it, and sealed it again. So a copy with other times costs one reading, and images that were
replaced behind a finished study are said.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from kdpipe import identity
from kdpipe.data import cards, listing, prepared
from kdpipe.data.arrays import digest
from kdpipe.data.cards import Card
from kdpipe.data.own import folders, reader
from kdpipe.errors import DataError
from kdpipe.results.files import DAMAGED, write_json
from kdpipe.wording import listed, printable

Facts = dict[str, list[int]]  # by the file's path below the folder: size in bytes, time in ns


class Found(NamedTuple):
    """The digest of images that were read, and what their card says otherwise."""

    sha256: str
    wrong: list[str]


@dataclass(frozen=True)
class Kept:
    """Images in `path`, a folder or a .npz, and the card at `place` that was made of them.

    `said` is the digest of all that the card says. `files` gives the images of a folder and `read`
    reads them; both raise DataError. `again` is what makes the card again.
    """

    place: Path
    path: Path
    sha256: str
    said: str
    streamed: bool
    files: Callable[[], list[Path]]
    read: Callable[[], Found]
    again: str


def note(place: Path, card: Card, path: Path) -> None:
    """Write what lies in a folder (or a .npz) beside the card at `place`, which was made of it."""
    keep(_of_card(place, card, path))


def keep(kept: Kept) -> None:
    """The same of any card."""
    noted = {"card": kept.sha256, "said": kept.said, "files": _facts(kept)}
    write_json(beside(kept.place), noted)


def beside(place: Path) -> Path:
    """Where it is noted for the card at `place`."""
    return place.with_name(f"{place.name.removesuffix('.json')}.files.json")


def differences(place: Path, card: Card, path: Path) -> str | None:
    """What to say if the images in `path` are not those of their card; None if they are."""
    return changes(_of_card(place, card, path))


def changes(kept: Kept) -> str | None:
    """The same of any card.

    None as well if the images are not there: what was prepared of them may stand alone. Files of
    other sizes or times are read, and noted again if they hold the same images.
    """
    if not kept.path.exists():
        return None
    before, same_card = _noted(kept)
    found = Found("", [])
    try:
        now = _facts(kept)
        if now == before and same_card:
            return None
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        found = kept.read()
        same = found.sha256 == kept.sha256
        why = f"{_counted(changed, before, now)} since its card was made" if before else ""
    except DataError as error:
        same, changed, why = False, [], str(error)
    if not same:
        return (
            f"the images in {kept.path} are not those of its card{f' ({why})' if why else ''}, and "
            f"runs that are finished are of the old ones: bring those back, or make the card "
            f"again: {kept.again}; runs on the new ones get new names"
        )
    if found.wrong:
        return (
            f"{kept.place} says {'; '.join(found.wrong)}: it was changed after it was made, and "
            f"sealed again: {kept.again}"
        )
    if kept.streamed and before and changed:
        return (
            f"{why}; all sizes are the same, and of images that stream pixels are not compared. "
            f"If they hold the same images, type: {kept.again}"
        )
    with contextlib.suppress(OSError):  # a folder that is not ours to write in
        keep(kept)
    return None


def _of_card(place: Path, card: Card, path: Path) -> Kept:
    return Kept(
        place,
        path,
        card.sha256,
        said_of(card),
        card.streamed,
        lambda: folders.every(path, card.made),
        lambda: _read(card, path),
        cards.typed_again(card, path, place),
    )


def _facts(kept: Kept) -> Facts:
    if not kept.path.is_dir():
        return {"": _of(kept.path)}
    return {str(file.relative_to(kept.path)): _of(file) for file in kept.files()}


def _of(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def _noted(kept: Kept) -> tuple[Facts, bool]:
    """What was noted for this card, and whether all that it says is as it was noted."""
    with contextlib.suppress(*DAMAGED):
        found = json.loads(beside(kept.place).read_bytes())
        if found["card"] == kept.sha256:
            return dict(found["files"]), found.get("said") == kept.said
    return {}, False


def said_of(card: object) -> str:
    """The digest of all that a card says, whether it was just made or read."""
    facts = asdict(card)  # pyright: ignore[reportArgumentType]
    made = facts.get("made", {})
    return identity.digest(facts | {"made": {k: v for k, v in made.items() if v is not None}})


def _read(card: Card, path: Path) -> Found:
    """What the images are that a card is of, and where it says something else."""
    arrays = listing.read(card, path) if card.streamed else reader.read(card, path)
    wrong = prepared.disagreements(card, arrays, path)
    return Found(digest(arrays, prepared.names_of(card)), wrong)


def _counted(changed: list[str], before: Facts, now: Facts) -> str:
    """Which files have changed, came or went: `2 files have changed: train/a/1.png, ...`."""
    names = listed(printable(name) for name in sorted(changed) if name)
    gone = len([name for name in changed if name not in now])
    new = len([name for name in changed if name not in before])
    kinds = ((len(changed) - gone - new, "changed"), (new, "came"), (gone, "went"))
    said = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)
    return f"files: {said}{f': {names}' if names else ''}"
