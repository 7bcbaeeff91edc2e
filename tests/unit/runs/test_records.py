"""A record is whole and of its run, and two of one run agree on what came out."""

import json
import os

import pytest

from kdpipe.errors import StoreError
from kdpipe.runs import records
from kdpipe.runs.store import Store

RECORD = {"digest": "ab" * 32, "status": "done", "reason": None, "last": {"accuracy": 0.1}}


def test_a_record_comes_back_under_both_of_its_names(tmp_path):
    store = Store(tmp_path)
    folder = store.run("wrn-1")
    assert records.read_record(folder, RECORD["digest"]) is None
    records.publish_record(folder, RECORD)
    for name in (records.RECORD_FILE, records.RECORD_COPY_FILE):
        assert records.read_record(folder, RECORD["digest"], name) == RECORD
        assert RECORD.items() <= json.loads((folder / name).read_text()).items()
    assert store.load_records("runs") == {"wrn-1": RECORD}
    assert store.load_records("ensembles") == {}


def test_a_record_read_and_published_again_is_the_same(tmp_path):
    records.publish_record(tmp_path, RECORD)
    before = (tmp_path / records.RECORD_FILE).read_bytes()
    records.publish_record(tmp_path, records.read_record(tmp_path, RECORD["digest"]))
    assert (tmp_path / records.RECORD_FILE).read_bytes() == before


def test_every_flipped_bit_and_truncation_of_a_record_is_found(tmp_path):
    records.publish_record(tmp_path, RECORD)
    path = tmp_path / records.RECORD_FILE
    whole = path.read_bytes()
    harmless = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        for damaged in (flipped, whole[:position]):
            path.write_bytes(damaged)
            try:
                actual = records.read_record(tmp_path, RECORD["digest"])
            except StoreError as error:
                assert str(path) in str(error) and f"remove its folder {tmp_path}" in str(error)
            else:
                assert actual == RECORD  # only the last brace and line feed were hit
                harmless += 1
    assert harmless <= 8


def test_a_record_of_another_run_is_refused(tmp_path):
    records.publish_record(tmp_path, RECORD)
    with pytest.raises(StoreError, match=r"the record of another run .digest abababababab"):
        records.read_record(tmp_path, "cd" * 32)


@pytest.mark.parametrize("name", [records.RECORD_FILE, records.RECORD_COPY_FILE])
def test_a_fifo_in_the_place_of_a_record_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoreError, match=f"{name} cannot be read: it is not a regular file"):
        records.read_record(tmp_path, None, name)


# --- two records of one run

FULL = RECORD | {
    "started": "1 May",
    "seconds": {"total": 1.0},
    "checkpoints": {"1": {"lr": 0.1}, "2": {"lr": 0.2}},
    "files": {"a": {"sha256": "x"}, "b": {"sha256": "y"}},
}


def test_time_and_machine_do_not_make_another_run():
    machine = {"started": "2 May", "seconds": {"total": 9.0}, "device": {}, "versions": {}}
    assert records.diff_records(FULL, FULL | machine) is None
    assert records.diff_records(FULL | machine, FULL) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "diverged"}, "status"),
        ({"last": {"accuracy": 0.2}}, "last"),
        ({"strength": 0.1}, "strength"),
        ({"checkpoints": {"2": {"lr": 0.3}}}, "checkpoint 2"),
        ({"files": {"b": {"sha256": "z"}, "c": {}}}, "file b"),
    ],
)
def test_what_two_records_disagree_about(change, message):
    assert records.diff_records(FULL, FULL | change) == message
    assert records.diff_records(FULL | change, FULL) == message


def test_more_or_fewer_checkpoints_do_not_make_another_run():
    fewer = FULL | {"checkpoints": {"2": {"lr": 0.2}}, "files": {"b": {"sha256": "y"}}}
    assert records.diff_records(FULL, fewer) is None
    assert records.merge_records(fewer, FULL) == FULL
    assert records.merge_records(FULL, fewer) == FULL
    assert list(records.merge_records(FULL, fewer)["files"]) == ["a", "b"]


def test_what_a_network_does_without_averaging_may_not_have_been_kept():
    more = FULL | {"unaveraged": {"accuracy": 0.3}}
    assert records.diff_records(FULL, more) is None is records.diff_records(more, FULL)
    other = FULL | {"unaveraged": {"accuracy": 0.2}}
    assert records.diff_records(more, other) == "unaveraged"
    assert records.merge_records(FULL, more) == records.merge_records(more, FULL) == more
