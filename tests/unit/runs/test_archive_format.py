"""An archive comes back as it was, and nothing that is damaged comes back at all."""

import gzip
import os
import pickle

import pytest

from kdpipe.errors import StoreError
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import compute_file_info, write_bytes
from kdpipe.runs.records import ArchiveEntry
from kdpipe.runs.store import Store

RECORD = {
    "digest": "ab" * 32,
    "status": "done",
    "reason": None,
    "last": {"test": {"accuracy": 1, "n": 7}},
}
CURVE = [{"epoch": 1, "lr": 0.1, "train": {"loss": 1 / 3}, "val": None}]
WRONG = {"images": 7, "wrong": "4a"}
ENTRIES = [
    ArchiveEntry("runs", "b", "ab" * 32, RECORD, CURVE, WRONG),
    ArchiveEntry("runs", "a", "cd" * 32, failure="no memory: ü"),
    ArchiveEntry("ensembles", "c", "ef" * 32, RECORD | {"digest": "ef" * 32}, wrong=WRONG),
    ArchiveEntry("probes", "d", "01" * 32, RECORD | {"digest": "01" * 32}),
]


@pytest.fixture
def path(tmp_path):
    records.write_archive(tmp_path / records.ARCHIVE_FILE, ENTRIES)
    return tmp_path / records.ARCHIVE_FILE


def test_entries_come_back_as_they_were_in_whatever_order_they_came(path):
    assert records.read_archive(path) == {(entry.kind, entry.name): entry for entry in ENTRIES}
    whole = path.read_bytes()
    path.unlink()
    records.write_archive(path, reversed(ENTRIES))
    assert path.read_bytes() == whole and len(whole) == records.archive_size(ENTRIES)


def test_no_file_and_no_entries_are_the_same(path):
    records.write_archive(path, [])
    assert not path.exists() and records.archive_size([]) == 0
    records.write_archive(path, [])
    assert records.read_archive(path) == {} and records.read_archive(path / "deeper") == {}


def test_a_new_version_of_the_file_is_read_again(path):
    assert len(records.read_archive(path)) == 4
    records.write_archive(path, ENTRIES[:1])
    assert len(records.read_archive(path)) == 1


def without_lines(path, *unwanted: bytes):
    """The archive without the lines that contain one of these texts, compressed anew."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    kept = [line for line in lines if not any(text in line for text in unwanted)]
    assert len(kept) < len(lines)
    path.write_bytes(gzip.compress(b"".join(kept)))


@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_a_line_that_was_cut_out_is_noticed(path, name):
    without_lines(path, f'"name":"{name}"'.encode())
    assert "it held 4 records and such when it was written, now 3" in refused(path)


def test_an_archive_of_earlier_versions_does_not_say_how_many_it_holds(path):
    without_lines(path, b'"kind":"count"')
    known = {(entry.kind, entry.name): entry for entry in ENTRIES}
    assert records.read_archive(path) == known
    records.write_archive(path, known.values())
    assert b'"digest":"4"' in gzip.decompress(path.read_bytes())


def refused(path) -> str:
    with pytest.raises(StoreError) as error:
        records.read_archive(path)
    message = str(error.value)
    assert message.startswith(f"{path} is damaged or not an archive (")
    assert "restore it (git, a backup), or remove it" in message
    return message


def test_every_truncation_and_every_flipped_bit_is_found(path):
    """But for bits that say nothing: time, level and system in gzip's header, and a last filler."""
    whole, known = path.read_bytes(), records.read_archive(path)
    harmless = set()
    for position in range(len(whole)):
        other = path.with_name(f"{position}.gz")
        other.write_bytes(whole[:position])
        refused(other)
        for bit in range(8):
            other = path.with_name(f"{position}.{bit}.gz")
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            other.write_bytes(damaged)
            try:
                assert records.read_archive(other) == known
                harmless.add(position)
            except StoreError:
                pass
    assert harmless <= {3, 4, 5, 6, 7, 8, 9, len(whole) - 9}


def altered(path, old: bytes, new: bytes) -> None:
    """What someone has changed and packed again."""
    text = gzip.decompress(path.read_bytes())
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":7', b'"n":8'),
        (b"4a", b"4b"),
        (b"no memory", b"to memory"),
        (b'"name":"b"', b'"name":"e"'),
        (b'"sha256":"', b'"sha256":"0'),
        (b'"}\n', b'"} \n'),
        (b"\n", b"\n\n"),
    ],
)
def test_a_line_that_was_altered_is_found(path, old, new):
    altered(path, old, new)
    assert "is altered or there twice" in refused(path)


def test_a_line_that_is_there_twice_is_found(path):
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text + text.splitlines(keepends=True)[-1]))
    assert "line 6 is altered or there twice" in refused(path)


def test_what_is_no_archive_is_said_to_be_none(path):
    for data in (b"", b"{}", gzip.compress(b""), pickle.dumps(ENTRIES[0].record)):
        path.write_bytes(data)
        refused(path)
    for put in (path.mkdir, lambda: os.mkfifo(path)):
        path.rmdir() if path.is_dir() else path.unlink()
        put()
        with pytest.raises(StoreError, match=f"{path} cannot be read: it is not a regular file"):
            records.read_archive(path)


def test_a_sealed_line_of_another_form_is_refused(path):
    for entry in (ArchiveEntry("tables", "x", "ab"), ArchiveEntry("../runs", "x", "ab")):
        records.write_archive(path, [entry])
        refused(path)


# --- through a store


def test_a_store_knows_what_its_archive_knows(path):
    store = Store(path.parent)
    assert store.load_records("runs") == {"b": RECORD} and set(store.load_records("probes")) == {
        "d"
    }
    assert (
        store.load_curve("b") == CURVE
        and store.load_curve("a") is None
        and store.load_curve("x") is None
    )
    assert (
        store.failure_reason("runs", "a") == "no memory: ü"
        and store.failure_reason("runs", "b") is None
    )
    assert store.load_wrong_images()["b"] == {"digest": "ab" * 32, **WRONG, "missed": None}
    assert store.archive_only_runs() == {"b"}
    assert store.has_record("runs", "b") and not store.has_record("runs", "a")


def test_where_both_are_there_the_folder_speaks(path):
    store = Store(path.parent)
    path = run_folder.curve_path(store.run("b"))
    write_bytes(path, b'{"epoch": 9}\n')
    listed = {"files": {path.name: compute_file_info(path)}}
    records.publish_record(store.run("b"), RECORD | {"status": "diverged"} | listed)
    assert store.load_records("runs")["b"]["status"] == "diverged"
    assert store.archive_only_runs() == set()
    assert store.load_curve("b") == [{"epoch": 9}]
    (store.run("a")).mkdir()
    (store.run("a") / "failure.json").write_text('{"reason": "killed"}')
    assert store.failure_reason("runs", "a") == "killed"
