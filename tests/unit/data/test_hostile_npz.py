"""A .npz that is damaged, or made to do damage, is one message; nothing of it is executed."""

import io
import struct
import zipfile

import numpy as np
import pytest
from helpers import synthetic_data

from kdpipe.data import cache, splits
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError

MADE = synthetic_data.arrays((3, 8, 8), 4, 24, 8)
NAME = "train_images.npy"


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def packed(method=zipfile.ZIP_DEFLATED, **changed: bytes) -> bytearray:
    """A .npz with some members replaced by bytes."""
    buffer = io.BytesIO()
    members = {f"{name}.npy": npy(array) for name, array in MADE.items()}
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in {**members, **{f"{key}.npy": v for key, v in changed.items()}}.items():
            file.writestr(name, data)
    return bytearray(buffer.getvalue())


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """A .npy whose header is this text."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + b"x"


def of_shape(shape: str, dtype: str = "'|u1'") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}")


def everywhere(at: int, value: bytes) -> bytearray:
    """Bytes of every local header and of every entry of the directory replaced."""
    data = packed()
    for begin, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        store = data.find(begin)
        while store >= 0:
            data[store + offset : store + offset + len(value)] = value
            store = data.find(begin, store + 4)
    return data


def torn(share: float) -> bytearray:
    data = packed()
    return data[: int(share * len(data))]


def flipped(store: int) -> bytearray:
    data = packed()
    data[store] ^= 0x55
    return data


class Hostile:
    def __reduce__(self):
        return (exit, (3,))


HOSTILE = {
    "nothing": bytearray(),
    "a text": bytearray(b"hello"),
    "zeros": bytearray(1000),
    "a pickle": bytearray(b"cposix\nsystem\n(S'exit 3'\ntR."),
    "an .npy": bytearray(npy(MADE["train_images"])),
    "an archive of nothing": bytearray(b"PK\x05\x06" + bytes(18)),
    "encrypted": everywhere(6, b"\x01\x00"),
    "of an unknown method": everywhere(8, b"\x63\x00"),
    "of a method that is another": everywhere(8, b"\x0e\x00"),
    "of a size that is none": everywhere(22, b"\xff\xff\xff\x7f"),
    "a bomb by its directory": everywhere(22, b"\xff\xff\xff\xfe"),
    "of a checksum that is another": everywhere(14, b"\x00\x00\x00\x00"),
    "torn in half": torn(0.5),
    "without its directory": torn(0.9),
    "objects": packed(train_labels=npy(np.array([Hostile()] * 24, dtype=object))),
    "a scalar for images": packed(train_images=npy(np.uint8(3))),
    "a scalar for labels": packed(train_labels=npy(np.int64(3))),
    "scalars": packed(train_images=npy(np.uint8(3)), train_labels=npy(np.int64(3))),
    "strings": packed(train_labels=npy(np.array(["a"] * 24))),
    "dates": packed(train_labels=npy(np.zeros(24, "M8[s]"))),
    "records": packed(train_images=npy(np.zeros((24, 8, 8), [("a", "u1"), ("b", "i8")]))),
    "of no size": packed(train_images=npy(np.zeros((0, 3, 8, 8), np.uint8))),
    "not numpy's": packed(train_images=b"hello"),
    "an empty member": packed(train_images=b""),
    "of a shape of a petabyte": packed(train_images=of_shape("(1000000000, 1000, 1000)")),
    "of a shape beyond 64 bits": packed(train_images=of_shape(f"({10**30}, 3)")),
    "of a negative shape": packed(train_images=of_shape("(-4, 3, 8, 8)")),
    "of a shape that is none": packed(train_images=of_shape("'many'")),
    "of a type that is none": packed(train_images=of_shape("(4, 3, 8, 8)", "'|z9'")),
    "of a type of types": packed(train_images=of_shape("(4,)", "[('a', [('b', 'O')])]")),
    "of a type that is recursive": packed(train_images=of_shape("(4,)", "[" * 90 + "]" * 90)),
    "a header of brackets": packed(train_images=header("(" * 5000)),
    "a header that does not close": packed(train_images=header("{'descr': '''")),
    "a header that is no literal": packed(train_images=header("__import__('os').abort()")),
    "a header of another indent": packed(train_images=header("{\n  1\n 2: 3")),
    "a header with a null": packed(train_images=header("{'descr\0'}")),
    "a header of another version": packed(train_images=header("{}", b"\x09\x00")),
    "a name that leads out": packed(**{"../../x": npy(np.zeros(3))}),
    **{f"flipped at {store}": flipped(store) for store in range(0, 1500, 83)},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_one_message(kind, tmp_path):
    """Or, where nothing that is used was hit, it is read as it is."""
    path = tmp_path / "mine.npz"
    path.write_bytes(HOSTILE[kind])
    try:
        make_card(path, "mine", None)
    except DataError as error:
        assert "mine.npz" in str(error) and "pickle" not in str(error)
        assert "unsafe" not in str(error) and len(str(error)) < 2000
    else:
        assert kind in ("a name that leads out", "of a size that is none") or "flipped" in kind
    assert [each.name for each in tmp_path.parent.glob("x*")] == []


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("kdpipe.data.imagefolder.reader.MAX_ARRAY_BYTES", 10**4)
    (tmp_path / "mine.npz").write_bytes(packed(train_images=npy(np.zeros((24, 3, 99, 99), "u1"))))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(DataError, match="more than the maximum of 20,000"):
        make_card(tmp_path / "mine.npz", "mine", None)


# --- the same of what has been prepared of it

HEADERS = {
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "no literal": lambda data: data[:10] + b"{'descr': '''" + data[23:],
    "brackets": lambda data: data[:10] + b"(" * 100 + data[110:],
    "another indent": lambda data: data[:10] + b"{\n  1\n 2: 3".ljust(118) + data[128:],
    "dates": lambda data: data.replace(b"'<i8'", b"'<M8'").replace(b"'|u1'", b"'|V1'"),
    "beyond 64 bits": lambda data: data.replace(b"'shape': (24", b"'shape': (" + b"9" * 12),
    "objects": lambda data: data.replace(b"'<i8'", b"'|O8'").replace(b"'|u1'", b"'|O1'"),
    **{
        f"byte {at}": (lambda data, at=at: data[:at] + b"\xff" + data[at + 1 :]) for at in range(80)
    },
}


@pytest.mark.parametrize("name", ["train_images", "train_labels"])
def test_a_damaged_header_of_a_prepared_array_is_one_message(name, tmp_path):
    np.savez(tmp_path / "mine.npz", **MADE)
    make_card(tmp_path / "mine.npz", "mine", None)
    from kdpipe.data import cards
    from kdpipe.runs.spec import DataSpec
    from kdpipe.runs.store import Store

    store = Store(tmp_path / "results")
    card = cards.load_card("mine", str(tmp_path / "mine.npz"), None)
    cache.prepare_dataset(card, store, tmp_path / "mine.npz")
    path = store.data(card.folder) / f"{name}.npy"
    whole = path.read_bytes()
    spec = DataSpec(
        name="mine", card=card.sha256, revision=1, train_size=16, validation=8, label_noise=0.0,
        split_seed=0, split_revision=1, views={},
    )  # fmt: skip
    expected = splits.load_split(spec, store)
    for kind, damage in HEADERS.items():
        path.write_bytes(damage(whole))
        try:
            actual = splits.load_split(spec, store)
        except DataError as error:
            assert str(path.parent) in str(error) and "remove the folder" in str(error), kind
            assert "pickle" not in str(error) and "unsafe" not in str(error), kind
        else:  # a blank of the header
            assert np.array_equal(actual.train.images, expected.train.images), kind
