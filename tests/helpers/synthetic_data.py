"""Small data sets that can be learned, written in the formats in which the real ones come."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from kdpipe import hashing
from kdpipe.data import cards
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import unlabelled_card as unlabelled
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.data.imagefolder.unlabelled_card import UnlabelledCard
from kdpipe.runs.files import write_json


def images(count: int, classes: int, shape: tuple[int, int, int], seed: int):
    """Images that show their class: waves in its direction, in noise."""
    rng = np.random.RandomState(seed)
    labels = np.arange(count) % classes
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    angle = (np.pi * labels / classes)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.sin(2 * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    pixels = 128 + 80 * waves[:, None] + rng.normal(0, 15, (count, channels, height, width))
    return pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64)


def arrays(shape, classes, train=100, test=40):
    actual = {}
    for seed, (part, count) in enumerate((("train", train), ("test", test))):
        actual[f"{part}_images"], actual[f"{part}_labels"] = images(count, classes, shape, seed)
    return actual


def mine(folder: Path, pixels: np.ndarray, classes: int) -> None:
    """One's own data `mine.npz` and their card; the test images are negatives of the others."""
    labels = np.arange(len(pixels)) % classes
    parts = {"train": pixels, "test": 255 - pixels}
    content = {f"{part}_images": images for part, images in parts.items()}
    np.savez(folder / "mine.npz", **content, **{f"{part}_labels": labels for part in parts})
    make_card(folder / "mine.npz", None, None)


def card(name: str, made: dict, files: dict[str, bytes]) -> DatasetCard:
    """A card in the form of the real one, for files that were made."""
    sums = {key: hashlib.md5(data).hexdigest() for key, data in files.items()}
    return DatasetCard(
        name=name,
        title=name,
        source="made",
        shape=made["train_images"].shape[1:],
        classes=int(made["train_labels"].max()) + 1,
        train=len(made["train_labels"]),
        test=len(made["test_labels"]),
        sha256=hashlib.sha256(repr(sorted(sums.items())).encode()).hexdigest(),
        files=sums,
    )


def resealed(facts: dict) -> dict:
    """The facts of a card of one's own data, sealed as `kdpipe data` would."""
    return hashing.add_checksum(facts)


def cifar_pickle(rows: np.ndarray, labels: dict[str, list[int]], filename: str) -> bytes:
    """As Python 2 wrote CIFAR: protocol 2, texts as byte strings, numpy under its old name."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value

    out = b"\x80\x02}("
    for key, values in labels.items():
        out += text(key.encode()) + b"](" + b"".join(b"K" + bytes([v]) for v in values) + b"e"
    out += text(b"data") + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    out += (
        b"U\x01b\x87R(K\x01" + b"".join(b"J" + struct.pack("<i", n) for n in rows.shape) + b"\x86"
    )
    out += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
    out += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(rows.tobytes()) + b"tb"
    return out + text(b"filename") + text(filename.encode()) + b"u."


def cifar_files(made: dict, fine: bool) -> dict[str, bytes]:
    """data_batch_1..5 and test_batch, or train and test with fine labels."""

    def batch(part: str, chosen: slice, name: str) -> bytes:
        rows = made[f"{part}_images"][chosen].reshape(-1, 3072)
        labels = made[f"{part}_labels"][chosen].tolist()
        if not fine:
            return cifar_pickle(rows, {"labels": labels}, name)
        both = {"fine_labels": labels, "coarse_labels": [label // 5 for label in labels]}
        return cifar_pickle(rows, both, name)

    if fine:
        return {part: batch(part, slice(None), part) for part in ("train", "test")}
    each = len(made["train_labels"]) // 5
    files = {
        f"data_batch_{n + 1}": batch("train", slice(n * each, (n + 1) * each), f"b{n}")
        for n in range(5)
    }
    return files | {"test_batch": batch("test", slice(None), "test")}


def tar(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {**files, "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def idx_files(made: dict) -> dict[str, bytes]:
    files = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        for kind, array in (
            ("images-idx3", made[f"{part}_images"][:, 0]),
            ("labels-idx1", made[f"{part}_labels"].astype(np.uint8)),
        ):
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            data = gzip.compress(head + array.tobytes(), mtime=0)
            files[f"{prefix}-{kind}-ubyte.gz"] = data
    return files


def svhn_files(made: dict) -> dict[str, bytes]:
    files = {}
    for part in ("train", "test"):
        labels = made[f"{part}_labels"].copy()
        labels[labels == 0] = 10
        buffer = io.BytesIO()
        images = made[f"{part}_images"].transpose(2, 3, 1, 0)
        savemat(buffer, {"X": images, "y": labels[:, None].astype(np.uint8)}, do_compression=True)
        files[f"{part}_32x32.mat"] = buffer.getvalue()
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def class_folders(root: Path, made: dict, suffix: str = ".png", parts=("train", "test")) -> Path:
    """root/train/class-3/00007.png, as torchvision's ImageFolder reads them."""
    for part in parts:
        for index, image in enumerate(made[f"{part}_images"]):
            folder = root / part / f"class-{made[f'{part}_labels'][index]}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(pixels).save(folder / f"{index:05d}{suffix}", quality=95)
    return root


def python3_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    return pickle.dumps({"data": rows, "labels": labels}, protocol=2)


def photographs(root: Path, classes: list[str], train: int, test: int, held: str = "test") -> Path:
    """root/train/<class>/<n>.JPEG of many sizes, none of them square, that show their class."""
    for seed, (part, count) in enumerate((("train", train), (held, test))):
        rng = np.random.RandomState(seed)
        square, labels = images(count, len(classes), (3, 40, 40), seed)
        for index, (image, label) in enumerate(zip(square, labels, strict=True)):
            folder = root / part / classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            height, width = rng.randint(24, 32), rng.randint(32, 40)
            pixels = image[:, :height, :width].transpose(1, 2, 0)
            Image.fromarray(pixels).save(folder / f"{index:05d}.JPEG", quality=95)
    return root


# By name, who makes the files of a known set in the format that their authors publish.
PUBLISHED = {
    "cifar10": ((3, 32, 32), 4, lambda result: cifar_files(result, fine=False)),
    "cifar100": ((3, 32, 32), 8, lambda result: cifar_files(result, fine=True)),
    "mnist": ((1, 28, 28), 4, idx_files),
    "fashion-mnist": ((1, 28, 28), 4, idx_files),
    "svhn": ((3, 32, 32), 4, svhn_files),
}


def unlabelled_card(path: Path, count: int, **changes) -> UnlabelledCard:
    """The card of so many images without labels beside digits, as if they lay in `path`."""
    digits = cards.load_known_card("digits")
    sha256 = hashlib.sha256(str(count).encode()).hexdigest()
    card = UnlabelledCard(
        path.name,
        "digits",
        digits.sha256,
        digits.shape,
        count,
        sha256,
        stream=False,
        twins=0,
        held={"validation": 40, "splits": [0]},
    )
    card = dataclasses.replace(card, **changes)
    write_json(
        unlabelled.get_unlabelled_card_path(path, "digits"), unlabelled.seal_unlabelled_card(card)
    )
    return card
