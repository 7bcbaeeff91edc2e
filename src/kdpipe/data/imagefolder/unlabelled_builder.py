"""Creating the card of unlabelled images, which are compared with those of the data set.

An image that is also one of test, or of validation in a split of the study, is refused: nothing may
be learned from it. One that is also a training image, or a copy of another, is reported. In arrays
pixels are compared, as they are prepared; of images that stream, sizes of files and, where those
are equal, their beginnings.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from kdpipe.data import cache, cards, splits
from kdpipe.data.arrays import VAL, Arrays, hash_arrays
from kdpipe.data.config import DataConfig
from kdpipe.data.data_spec import build_data_spec
from kdpipe.data.imagefolder import class_folders, custom_card, unlabelled
from kdpipe.data.imagefolder import unlabelled_card as unlabelled_cards
from kdpipe.data.imagefolder.class_folders import hash_head
from kdpipe.data.imagefolder.reader import hash_images, list_parts
from kdpipe.data.imagefolder.unlabelled import PART
from kdpipe.data.imagefolder.unlabelled_card import UnlabelledCard
from kdpipe.errors import DataError
from kdpipe.runs.files import write_bytes, write_json
from kdpipe.runs.ownership import CARD_FILE
from kdpipe.runs.store import Store
from kdpipe.text import format_write_command

MAX_NAMES_SHOWN = 10  # of images of test or validation, in a message
ImagePairs = list[tuple[int, int]]  # of an unlabelled image, and of the same image of the data set


def make_unlabelled_card(
    data: DataConfig, split_numbers: Sequence[int], study: str, store: Store
) -> str:
    """Write the card of the images that `data.unlabelled` names.

    The data set is prepared in `store`, if it is not yet.

    Parameters
    ----------
    data : DataConfig
        The section `data` of the study.
    split_numbers : sequence of int
        The splits of the study.
    study : str
        The name of the study file in messages.
    store : Store
        The results folder.

    Returns
    -------
    str
        A line about the card, and notes.

    Raises
    ------
    DataError
        With every error in the images, or if some are images of validation or test.
    """
    path, card = Path(str(data.unlabelled)), cards.load_card(data.name, data.path, data.card)
    unlabelled_images = unlabelled.read_unlabelled(path, card.shape, card.is_streamed)
    arrays = _load_data_arrays(card, data, store)
    roots = (path, Path(str(data.path))) if card.is_streamed else (None, None)
    duplicate_index = DuplicateIndex(unlabelled_images.arrays, arrays, *roots)
    pairs_by_part = {part: duplicate_index.find_pairs(part) for part in ("test", "train")}
    if card.validation:
        pairs_by_part["validation"] = duplicate_index.find_pairs(VAL)
    elif data.validation:
        pairs_by_part["validation"] = _find_validation_pairs(
            data, split_numbers, card, arrays, pairs_by_part["train"]
        )
    card_file = unlabelled_cards.get_unlabelled_card_path(path, card.name)
    _raise_overlap(path, unlabelled_images.names, pairs_by_part, card_file)
    twin_count = len({index for index, _ in pairs_by_part["train"]})
    new_card = UnlabelledCard(
        source=path.name,
        data=card.name,
        of=card.sha256,
        shape=card.shape,
        count=len(unlabelled_images.names),
        sha256=hash_arrays(
            unlabelled_images.arrays, unlabelled.list_unlabelled_arrays(card.is_streamed)
        ),
        stream=card.is_streamed,
        twins=twin_count,
        held=unlabelled_cards.build_validation_draw(data, split_numbers),
    )
    custom_card.save_snapshot(_take_snapshot(new_card, path, study))
    # Last: its snapshot is there if it is.
    write_json(card_file, unlabelled_cards.seal_unlabelled_card(new_card))
    notes = list(unlabelled_images.notes)
    if twin_count:
        notes.append(f"note: {twin_count:,} are also training images of {card.name}")
    if duplicate_index.copy_count:
        notes.append(f"note: {duplicate_index.copy_count:,} are duplicates of others among them")
    return "\n".join([_describe_card(new_card, card_file), *notes])


def diff_unlabelled(data: DataConfig, study: str) -> str | None:
    """Return what to say if the images of a study are not those of their card; None if they are.

    Parameters
    ----------
    data : DataConfig
        The section `data` of the study.
    study : str
        The name of the study file in messages.

    Raises
    ------
    DataError
        If there is no card.
    """
    path = Path(str(data.unlabelled))
    card = unlabelled_cards.read_unlabelled_card(
        unlabelled_cards.get_unlabelled_card_path(path, data.name)
    )
    return custom_card.diff_snapshot(_take_snapshot(card, path, study))


def _take_snapshot(card: UnlabelledCard, path: Path, study: str) -> custom_card.FileSnapshot:
    """Return the snapshot of a card of unlabelled images."""
    return custom_card.FileSnapshot(
        unlabelled_cards.get_unlabelled_card_path(path, card.data),
        path,
        card.sha256,
        custom_card.hash_card(card),
        card.stream,
        lambda: class_folders.find_images(path),
        lambda: _check_images(card, path),
        format_write_command(study),
    )


def _check_images(card: UnlabelledCard, path: Path) -> custom_card.SnapshotCheck:
    """Read the images of a card, and return their digest and where the card differs from them."""
    unlabelled_images = unlabelled.read_unlabelled(path, card.shape, card.stream)
    count = len(unlabelled_images.names)
    errors = [] if count == card.count else [f"count {card.count:,}, found {count:,}"]
    return custom_card.SnapshotCheck(
        hash_arrays(unlabelled_images.arrays, unlabelled.list_unlabelled_arrays(card.stream)),
        errors,
    )


def _load_data_arrays(card: cards.DatasetCard, data: DataConfig, store: Store) -> Arrays:
    """Return the arrays of the data set, which is prepared if it is not yet."""
    if not (store.data(card.folder) / CARD_FILE).exists():
        cache.prepare_dataset(card, store, Path(data.path) if data.path else None)
    return cache.load_arrays(card, store)


def _find_validation_pairs(
    data: DataConfig,
    split_numbers: Sequence[int],
    card: cards.DatasetCard,
    arrays: Arrays,
    train_pairs: ImagePairs,
) -> ImagePairs:
    """Return the pairs whose training image is held out as validation in a split of the study."""
    labels = arrays["train_labels"]
    val_indices: set[int] = set()
    for split in split_numbers:
        spec = build_data_spec(data, card, split)
        val_indices |= set(splits.draw_validation_indices(spec, card, labels).tolist())
    return [pair for pair in train_pairs if pair[1] in val_indices]


def _raise_overlap(
    path: Path, names: list[str], pairs_by_part: dict[str, ImagePairs], card_file: Path
) -> None:
    """Raise DataError for images that are also images of validation or test.

    Where they are many, a file beside the card lists all of them, one a line.
    """
    held_out_pairs = {part: dict(pairs_by_part.get(part, [])) for part in ("test", "validation")}
    overlap = held_out_pairs["validation"] | held_out_pairs["test"]
    names_file = card_file.with_name(f"{card_file.name.removesuffix('.json')}.same.txt")
    if not overlap:
        names_file.unlink(missing_ok=True)
        return
    counts = (f"{len(pairs):,} of {part}" for part, pairs in held_out_pairs.items() if pairs)
    examples = [
        f"{names[index]} ({'test' if index in held_out_pairs['test'] else 'validation'} image "
        f"{data_index})"
        for index, data_index in sorted(overlap.items())
    ]
    more = ""
    if len(overlap) > MAX_NAMES_SHOWN:
        write_bytes(names_file, "".join(f"{names[index]}\n" for index in sorted(overlap)).encode())
        more = f", ... (all in {names_file})"
    raise DataError(
        f"{path}: {len(overlap):,} of {len(names):,} images are also validation or test images of "
        f"the data set ({', '.join(counts)}): remove them and run it again: "
        f"{', '.join(examples[:MAX_NAMES_SHOWN])}{more}"
    )


def _describe_card(card: UnlabelledCard, card_file: Path) -> str:
    """Return what a card was made of."""
    size = " x ".join(map(str, card.shape)) + (", read from their files," if card.stream else "")
    return f"{card_file}: {card.count:,} unlabelled images of {size}, for {card.data}"


# --- images that are the same


class DuplicateIndex:
    """An index of unlabelled images, by what makes two images the same.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The unlabelled images, or their file index.
    data : dict of str to ndarray
        The arrays of the data set, or its file index.
    root, data_root : Path or None
        The folders of the two file indices, where images stream.
    """

    def __init__(
        self, arrays: Arrays, data: Arrays, root: Path | None = None, data_root: Path | None = None
    ):
        self.data = data
        self.data_root = data_root
        self.sizes: set[int] = set()
        if root is None:
            keys = hash_images(arrays[f"{PART}_images"])
        else:
            self.sizes = set(arrays[f"{PART}_sizes"].tolist())
            parts = [data[f"{part}_sizes"] for part in list_parts(data)]
            size_counts = Counter(arrays[f"{PART}_sizes"].tolist())
            repeated_sizes = {size for size, count in size_counts.items() if count > 1}
            keys = _compute_file_keys(
                arrays, PART, root, repeated_sizes | set(np.concatenate(parts).tolist())
            )
        self.count = len(keys)
        self.indices_by_key: dict[Hashable, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            self.indices_by_key[key].append(index)

    @property
    def copy_count(self) -> int:
        """Return how many images are the same as one before them."""
        return self.count - len(self.indices_by_key)

    def find_pairs(self, part: str) -> ImagePairs:
        """Return the indices of images that are also in a part of the data set."""
        if self.data_root is None:
            keys = hash_images(self.data[f"{part}_images"])
        else:
            keys = _compute_file_keys(self.data, part, self.data_root, self.sizes)
        return [
            (index, data_index)
            for data_index, key in enumerate(keys)
            for index in self.indices_by_key.get(key, ())
        ]


def _compute_file_keys(
    arrays: Arrays, part: str, root: Path, shared_sizes: set[int]
) -> list[Hashable]:
    """Return size and beginning of each file; only files of sizes that are shared are opened."""
    sizes, paths = arrays[f"{part}_sizes"].tolist(), arrays[f"{part}_paths"]
    return [
        (
            size,
            hash_head(root / os.fsdecode(bytes(path))) if size in shared_sizes else (part, index),
        )
        for index, (size, path) in enumerate(zip(sizes, paths, strict=True))
    ]
