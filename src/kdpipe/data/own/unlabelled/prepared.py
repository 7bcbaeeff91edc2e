"""Images without labels, prepared once beside the data set and verified whenever they are read.

`prepare` writes `results/data/unlabelled-<12 hex>/`: the array (N, C, H, W) uint8, or the listing
of files that stream, and their card last. A job finds them by the digest in its spec.
"""

import json
from pathlib import Path

import numpy as np

from kdpipe import identity
from kdpipe.data import listing
from kdpipe.data.arrays import digest
from kdpipe.data.own.unlabelled import images
from kdpipe.data.own.unlabelled.card import KIND, UnlabelledCard, command, folder_of, sealed
from kdpipe.data.own.unlabelled.images import PART, Shape, names_of
from kdpipe.data.prepared import cure, mapped
from kdpipe.errors import DataError
from kdpipe.results import store
from kdpipe.results.files import DAMAGED, write_json, write_npy
from kdpipe.results.marks import CARD

WHOSE = "images without labels"


def prepare(card: UnlabelledCard, path: Path, place: store.Store) -> Path:
    """Write the arrays of the images in `path`; returns the path of their card.

    Raises DataError if they are not what the card describes.
    """
    folder, names = place.data(card.folder), names_of(card.stream)
    with store.only_one(folder):
        arrays = images.read(path, card.shape, card.stream).arrays
        if (found := digest(arrays, names)) != card.sha256:
            raise DataError(
                f"the images in {path} are not those of their card (sha256 {found[:12]}, expected "
                f"{card.sha256[:12]}): make it again: {command('STUDY')}"
            )
        for name in names:
            write_npy(folder / f"{name}.npy", arrays[name])
        facts = sealed(card) | ({"root": str(path.absolute())} if card.stream else {})
        write_json(folder / CARD, identity.sealed(facts))
    return folder / CARD


def read(sha256: str, shape: Shape, stream: bool, place: store.Store) -> np.ndarray | listing.Files:
    """The images of a digest, verified: as they were prepared, or their files.

    `shape` is what a network gets of each, where they stream. Raises DataError.
    """
    folder = place.data(folder_of(sha256))
    count = _verified(folder, sha256, stream)
    if not stream:
        return mapped(WHOSE, names_of(stream)[0], folder)
    root = Path(str(_noted(folder).get("root")))
    if not root.is_dir():
        raise DataError(
            f"{WHOSE} lay in {root}, and there is no such folder now: bring it back, or "
            f"{cure(folder)}"
        )
    return listing.Files(folder, PART, np.arange(count), root, shape, own=True)


def fault(folder: Path) -> str | None:
    """What is wrong with a folder of prepared images without labels; None if nothing is."""
    noted = _noted(folder)
    sha256 = str(noted.get("sha256"))
    if noted != identity.sealed(noted) or folder_of(sha256) != folder.name:
        return f"{folder / CARD}: not the card of what lies beside it: {cure(folder)}"
    try:
        _verified(folder, sha256, bool(noted.get("stream")))
    except DataError as error:
        return str(error)
    return None


def is_one(folder: Path) -> bool:
    """Whether a folder of prepared data holds images without labels."""
    return _noted(folder).get("kind") == KIND


def _verified(folder: Path, sha256: str, stream: bool) -> int:
    """How many images are in a folder. Raises DataError if they are not those of the digest."""
    names = names_of(stream)
    arrays = {name: mapped(WHOSE, name, folder) for name in names}
    if digest(arrays, names) != sha256:
        raise DataError(f"{WHOSE}: the arrays in {folder} are not what they were: {cure(folder)}")
    return len(arrays[names[0]])


def _noted(folder: Path) -> dict:
    try:
        found = json.loads((folder / CARD).read_bytes())
    except DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}
