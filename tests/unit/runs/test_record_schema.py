"""The form of a record: what others rely on is asked for, of records of every version."""

import gzip
import json
from pathlib import Path

import pytest
from helpers import job_specs

from kdpipe.jobs.run_record import new_record
from kdpipe.runs import records

SPLIT = {"n": 10, "accuracy": 0.5, "nll": 1.0}
LAST = {"epoch": 2, "lr": 0.1, "train": SPLIT, "val": None, "test": SPLIT}
RUN = new_record(job_specs.run_spec({"epochs": 2})) | {
    "status": "done",
    "last": LAST,
    "best": LAST,
    "checkpoints": {"1": LAST},
    "device": {"type": "cpu", "name": "x"},
    "seconds": {"total": 1.0},
}
PUBLISHED = sorted(Path(__file__).parents[3].glob("reports/published/*/records.jsonl.gz"))


def test_of_a_run():
    assert not list(records.find_schema_errors(RUN))


@pytest.mark.parametrize("key", [*new_record(job_specs.run_spec()), "device", "seconds"])
def test_each_key_that_a_record_begins_with_has_to_be_there(key):
    lacks = {other: value for other, value in RUN.items() if other != key}
    faults = list(records.find_schema_errors(lacks))
    if key == "format":  # of a test, or by hand: less is known of it
        assert not faults
    else:
        assert f"it has no {key}" in faults


@pytest.mark.parametrize(
    "change",
    [
        {"digest": ""},
        {"digest": "x" * 64},
        {"seconds": {}},
        {"seconds": {"total": 0}},
        {"spec": {"recipe": {}}},
        {"checkpoints": {"1": 7}},
        {"checkpoints": {"1": {"val": {"n": 10}}}},
        {"last": LAST | {"val": SPLIT | {"accuracy": None}}},
    ],
    ids=str,
)
def test_what_others_rely_on(change):
    assert list(records.find_schema_errors(RUN | change))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_records_that_were_published_have_the_form(path):
    lines = gzip.decompress(path.read_bytes()).splitlines()
    entries = [json.loads(line) for line in lines]
    known = [entry["record"] for entry in entries if "record" in entry]
    assert len(known) > 20 and not [
        fault for one in known for fault in records.find_schema_errors(one)
    ]
