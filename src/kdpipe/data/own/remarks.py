"""What is said of one's own images when their card is made: no mistake, and yet seldom meant.

One picture under two labels, a test set without a class, files that are passed over. Pictures of a
format that is not read are a mistake here, since a class would lose them; data that has its card
already is read as ever.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kdpipe.data.arrays import Arrays
from kdpipe.data.own import folders, pictures, reader
from kdpipe.data.own.folders import Found
from kdpipe.results.files import file_facts
from kdpipe.wording import listed, printable

# Pictures, by their names, of formats that `pictures` does not read.
UNREAD = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".tga", ".ico", ".exr"}
UNREAD |= {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"}
JPEG = (".jpg", ".jpeg", ".jfif")  # by far the most pictures, and neither deep nor animated
MAX_READ = 2 * 10**9  # bytes of files that are compared
SHOWN = 3  # pairs


def refuse_unread(path: Path, decode: bool = True) -> None:
    """Raise DataError for pictures in a folder that cannot be read: a class would lose them.

    Then damaged ones are said in the same answer, those too that only decoding finds (`decode`).
    """
    every = folders.passed_over(path, {})
    mistakes = [
        f"{path / other}: {other.suffix} is not read: save it as JPEG or PNG (ImageMagick: "
        f"mogrify -format jpg *{other.suffix}), and move the original out of the folder"
        for other in every
        if other.suffix.lower() in UNREAD
    ]
    if mistakes:
        read = [path / file for file in every if file.suffix.lower() in pictures.SUFFIXES]
        mistakes += folders.unusable(read, decode)
    folders.refuse(mistakes, path)


def of_images(path: Path, arrays: Arrays, found: Found | None) -> list[str]:
    """Of images in arrays; `found` is what lies in the folder, None of a .npz."""
    files = found.files["train"] if found else None
    names = [_below(path, file) for file in files] if files else None
    digests = reader.digests_of(arrays["train_images"])
    twins = _twins(digests, arrays["train_labels"], names)
    every = [file for each in found.files.values() for file in each] if found else []
    return [*twins, *of_pictures(path, every), *_of_folder(path, arrays, found)]


def of_pictures(path: Path, files: list[Path]) -> Iterator[str]:
    """Files of which more is lost than eight bits can keep, or all but the first picture."""
    files = [file for file in files if file.suffix.lower() not in JPEG]
    if several := [_below(path, file) for file in files if pictures.holds_several(file)]:
        yield (
            f"note: {len(several):,} file(s) hold several pictures, of which the first is taken: "
            f"{listed(several)}"
        )
    if dark := [_below(path, file) for file in files if pictures.is_dark(file)]:
        yield (
            f"note: {len(dark):,} picture(s) of 16 bits are nearly black, since the upper eight "
            f"are kept: scale them first, all by one factor: {listed(dark)}"
        )


def of_files(path: Path, arrays: Arrays, found: Found) -> list[str]:
    """Of images that stream: files of equal bytes are one image; only those of equal size are read,
    and only if that is soon done.
    """
    sizes = arrays["train_sizes"]
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    (alike,) = np.nonzero(counts[inverse] > 1)
    rest = _of_folder(path, arrays, found)
    if (total := int(sizes[alike].sum())) > MAX_READ:
        said = f"{len(alike):,} files of equal sizes, {total / 1e9:.0f} GB, were not compared"
        return [f"note: whether an image stands in two classes is not known: {said}", *rest]
    files = [found.files["train"][index] for index in alike]
    digests = [file_facts(file)["sha256"] for file in files]
    names = [_below(path, file) for file in files]
    return [*_twins(digests, arrays["train_labels"][alike], names), *rest]


def _twins(digests: Iterable, labels: np.ndarray, names: list[str] | None) -> Iterator[str]:
    """Training images that stand in two classes."""
    places: dict = defaultdict(list)
    for index, digest in enumerate(digests):
        places[digest].append(index)
    pairs = [each for each in places.values() if len(set(labels[each].tolist())) > 1]
    if not pairs:
        return
    shown = (
        " = ".join(names[i] if names else f"train image {i} (class {labels[i]})" for i in pair[:3])
        for pair in pairs[:SHOWN]
    )
    more = f" and {len(pairs) - SHOWN:,} more" if len(pairs) > SHOWN else ""
    yield (
        f"note: {len(pairs):,} training image(s) stand in more than one class, so that a label is "
        f"wrong: {'; '.join(shown)}{more}"
    )


def _of_folder(path: Path, arrays: Arrays, found: Found | None) -> Iterator[str]:
    classes = int(arrays["train_labels"].max()) + 1
    for part in ("test", "val"):
        labels = arrays.get(f"{part}_labels")
        if labels is None:
            continue
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            names = (printable(found.classes[i]) if found else str(i) for i in missing)
            yield (
                f"note: {part} has no image of {len(missing)} of {classes} classes, of which its "
                f"error says nothing: {listed(names)}"
            )
    if found:
        yield from of_passed_over(path, found.files, "lie in no class or ")


def of_passed_over(path: Path, files: dict[str, list[Path]], why: str = "") -> Iterator[str]:
    """Files below a folder that are none of those that were taken."""
    if others := folders.passed_over(path, files):
        endings = ", ".join(pictures.SUFFIXES)
        yield (
            f"note: passed over, since they {why}do not end in one of {endings}: "
            f"{listed(map(printable, others))}"
        )


def _below(path: Path, file: Path) -> str:
    return printable(file.relative_to(path))
