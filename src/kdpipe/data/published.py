"""The known data sets in the form their authors publish: read, verified, made into plain arrays.

Which files, and who reads them, says the file of a data set in `sets/`. They lie where the study
says, loose or in their archive, or are downloaded from the addresses that torchvision knows, with
its checksums. Where a card lists MD5 sums, a file is compared before it is read.
"""

import hashlib
import pickle
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from kdpipe.data import cards
from kdpipe.data.arrays import Arrays
from kdpipe.data.cards import Card
from kdpipe.errors import DataError

ARCHIVES = (".tar", ".tar.gz", ".tgz")


def read(card: Card, path: Path | None, downloads: Path) -> Arrays:
    """The arrays of a known data set. Raises DataError for what is missing, damaged or other.

    `path` is a folder with the published files, or their archive; with None they are downloaded
    into `downloads`.
    """
    known = cards.set_of(card.name)
    assert known.read is not None
    content = {}
    if known.files:
        content = _content(card, known.files, path or download(card, downloads))
    try:
        arrays = known.read(content)
    except (ValueError, KeyError, TypeError, IndexError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"data set {card.name}: its files are not what they should be: {error}"
        ) from None
    _compare(card, arrays)
    return arrays


def download(card: Card, folder: Path) -> Path:
    """Fetch the files of a data set, checksums verified; returns their folder."""
    from torchvision.datasets.utils import download_url

    folder.mkdir(parents=True, exist_ok=True)
    for addresses, name, md5 in cards.set_of(card.name).downloads():
        errors = []
        for address in addresses:
            try:
                download_url(address, str(folder), name, md5)
                break
            except (OSError, RuntimeError) as error:  # no network; another file than expected
                errors.append(f"{address}: {error}")
        else:
            raise DataError(
                f"data set {card.name} cannot be downloaded ({'; '.join(errors)}): bring its files "
                "to this machine and name their folder in the study, as data.path"
            )
    return folder


# --- finding files, loose or in an archive


def _content(card: Card, names: Iterable[str], path: Path) -> dict[str, bytes]:
    """The content of each file, from below `path`, with the right checksum where one is known."""
    if not path.exists():
        raise DataError(f"data set {card.name}: there is no {path}")
    archives = [path] if path.is_file() else sorted(p for p in path.iterdir() if _is_archive(p))
    packed = _unpacked(archives, set(names))
    found, mistakes = {}, []
    for name in names:
        candidates = [*_loose(path, name), *packed.get(name, [])]
        wanted = card.files.get(name)
        for _, content in candidates:
            if wanted is None or hashlib.md5(content, usedforsecurity=False).hexdigest() == wanted:
                found[name] = content
                break
        else:
            if candidates:
                mistakes.append(f"{candidates[0][0]} is damaged or another file (MD5 differs)")
            else:
                mistakes.append(f"{name} is neither in {path} nor in an archive there")
    if mistakes:
        raise DataError(f"data set {card.name}: {'; '.join(mistakes)}")
    return found


def _loose(path: Path, name: str) -> list[tuple[str, bytes]]:
    """Files of that name in a folder, or at most two levels below it."""
    if not path.is_dir():
        return []
    places = [path / name, *sorted(path.glob(f"*/{name}")), *sorted(path.glob(f"*/*/{name}"))]
    return [(str(place), place.read_bytes()) for place in places if place.is_file()]


def _unpacked(archives: list[Path], names: set[str]) -> dict[str, list[tuple[str, bytes]]]:
    """Members of tar archives by the last part of their name, read in memory."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for archive in archives:
        try:
            with tarfile.open(archive) as file:
                for member in file:
                    name = member.name.rpartition("/")[2]
                    if member.isfile() and name in names:
                        content = file.extractfile(member)
                        assert content is not None
                        found.setdefault(name, []).append((f"{archive}: {name}", content.read()))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{archive} is damaged or no archive: {error}") from None
    return found


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(ARCHIVES)


def _compare(card: Card, arrays: Arrays) -> None:
    """Refuse arrays of other numbers, shapes or labels than the card says."""
    for part, count in (("train", card.train), ("test", card.test)):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape != (count, *card.shape) or len(labels) != count:
            raise DataError(
                f"data set {card.name}: {part} has {len(labels):,} labels and images of shape "
                f"{images.shape}, expected {(count, *card.shape)}"
            )
        if labels.min() < 0 or labels.max() >= card.classes:
            raise DataError(
                f"data set {card.name}: {part} has labels from {labels.min()} to {labels.max()}, "
                f"expected 0 to {card.classes - 1}"
            )
