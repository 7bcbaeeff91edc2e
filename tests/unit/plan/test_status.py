"""What is done and what is to do, from records made by hand."""

import json
import re

import pytest
from helpers import tiny_study

from kdpipe.config import load
from kdpipe.plan import planner, status
from kdpipe.plan.nodes import Run
from kdpipe.runs import records
from kdpipe.runs.records import ArchiveEntry
from kdpipe.runs.store import Store


@pytest.fixture
def plan():
    """A teacher kept at epoch 1, a scratch run, a student of each stop, and an ensemble."""
    content = tiny_study.study(
        main={"teachers": ["wrn16-1"], "stops": ["full", "checkpoint 1"]},
        ensembles={"two": {"networks": ["wrn10-0.5"], "copies": 2}},
    )
    return planner.build_plan(load.validate_study(content, "f"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def note(item, state, store, **more):
    """Publish the record of a run or ensemble."""
    folder = store.run(item.name) if isinstance(item, Run) else store.ensemble(item.name)
    remaining = {"checkpoints": {}, "reason": None}
    records.publish_record(folder, {"digest": item.digest, "status": state, **remaining, **more})
    return folder


def names(plan):
    """scratch, teacher, the two students, the other member."""
    runs = list(plan.runs.values())
    (teacher,) = [run for run in runs if run.network == "wrn16-1"]
    students = [run for run in runs if run.spec.teacher]
    scratch = plan.scratch["wrn10-0.5", 0, 0]
    (member,) = [run for run in runs if run.spec.member == 1]
    return scratch, teacher, *students, member


def test_nothing_is_done_in_an_empty_folder(plan, store):
    assert set(status.get_plan_status(plan, store).values()) == {"to do"}


def test_what_is_done_and_what_has_diverged(plan, store):
    scratch, teacher, full, early, member = names(plan)
    note(scratch, "done", store)
    note(member, "diverged", store)
    note(early, "skipped", store)
    states = status.get_plan_status(plan, store)
    assert states[scratch.name] == "done" and states[member.name] == "diverged"
    assert states[teacher.name] == states[full.name] == "to do"
    (ensemble,) = plan.ensembles.values()
    assert states[ensemble.name] == "to do"
    note(ensemble, "skipped", store)
    assert status.get_plan_status(plan, store)[ensemble.name] == "skipped"  # a member diverged
    note(member, "done", store)
    assert status.get_plan_status(plan, store)[ensemble.name] == "to do"
    note(ensemble, "done", store)
    assert status.get_plan_status(plan, store)[ensemble.name] == "done"


@pytest.mark.parametrize(
    ("parent", "expected"),
    [("diverged", "skipped"), ("skipped", "skipped"), ("done", "to do"), (None, "to do")],
)
def test_a_skipped_run_is_tried_as_soon_as_its_parent_may_succeed(plan, store, parent, expected):
    _, teacher, full, *_ = names(plan)
    note(full, "skipped", store)
    if parent:
        note(teacher, parent, store, checkpoints={"1": {}})
    states = status.get_plan_status(plan, store)
    # A parent on labels has nobody to be skipped for, and is tried itself.
    assert states[full.name] == ("to do" if parent == "skipped" else expected)


def test_skipping_goes_down_a_chain(store):
    content = tiny_study.study(main={"teachers": ["self"], "generations": 3})
    plan = planner.build_plan(load.validate_study(content, "f"))
    first, *others = plan.runs.values()
    note(first, "diverged", store)
    for run in others:
        note(run, "skipped", store)
    assert list(status.get_plan_status(plan, store).values()) == ["diverged", *["skipped"] * 3]
    note(first, "done", store)
    assert list(status.get_plan_status(plan, store).values()) == ["done", *["to do"] * 3]


def test_a_checkpoint_that_is_asked_for_later_is_to_do(plan, store):
    _, teacher, *_ = names(plan)
    note(teacher, "done", store, checkpoints={"0": {}})
    assert status.get_plan_status(plan, store)[teacher.name] == "to do"
    note(teacher, "done", store, checkpoints={"1": {}, "0": {}})
    assert status.get_plan_status(plan, store)[teacher.name] == "done"


def test_a_finished_run_stays_so_when_its_parent_is_gone(plan, store):
    _, _, full, *_ = names(plan)
    note(full, "done", store)
    assert status.get_plan_status(plan, store)[full.name] == "done"


def test_a_record_of_another_run_under_its_name(plan, store):
    scratch, teacher, full, *_ = names(plan)
    folder = note(scratch, "done", store)
    note(full, "done", store)
    (folder / records.RECORD_FILE).write_bytes(
        (note(teacher, "done", store) / records.RECORD_FILE).read_bytes()
    )
    assert (
        status.get_plan_status(plan, store)[scratch.name] == "to do"
    )  # and the others are told of
    assert status.get_plan_status(plan, store)[full.name] == "done"
    message = store.scan_records("runs")[1][scratch.name]
    assert re.search(f"{scratch.name} belongs to another spec.*remove", message)


@pytest.mark.parametrize("path", ["folder", "archive"])
def test_a_record_that_is_anothers_after_twelve_digits_blocks_itself_alone(plan, store, path):
    """Of its folder's name and its own, as somebody would make it by hand."""
    scratch, teacher, *_ = names(plan)
    digest = scratch.digest[:12] + scratch.digest[12:][::-1]
    altered = {
        "digest": digest,
        "status": "done",
        "checkpoints": {},
        "spec": scratch.spec.to_dict(),
    }
    altered |= {"name": scratch.name, "reason": None}
    if path == "folder":
        records.publish_record(store.run(scratch.name), altered)
    else:
        records.write_archive(
            store.archive_path, [ArchiveEntry("runs", scratch.name, digest, altered)]
        )
    note(teacher, "done", store, checkpoints={"1": {}})
    states = status.get_plan_status(plan, store)
    assert (states[scratch.name], states[teacher.name]) == ("to do", "done")
    actual, damaged = store.scan_records("runs")
    assert set(actual) == {teacher.name} and set(damaged) == {scratch.name}
    assert f"{scratch.name} belongs to another spec (digest {digest})" in damaged[scratch.name]


@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "pickle", "list", "folder"])
def test_a_damaged_record_is_named(plan, store, damage):
    scratch, *_ = names(plan)
    path = note(scratch, "done", store) / records.RECORD_FILE
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": whole[:-20],
                "flip": whole.replace(b'"done"', b'"dome"'),
                "pickle": b"\x80\x04\x8c\x02os\x94.",
                "list": b"[1]",
            }[damage]
        )
    # It hides no other; and it is put back from its copy, if that is whole.
    other = note(names(plan)[1], "done", store, checkpoints={"1": {}}).name
    (path.parent / records.RECORD_COPY_FILE).write_bytes(b"")
    states = status.get_plan_status(plan, store)
    assert (states[scratch.name], states[other]) == ("to do", "done")
    assert str(path) in store.scan_records("runs")[1][scratch.name]
    if damage != "folder":
        (path.parent / records.RECORD_COPY_FILE).write_bytes(whole)
        assert status.get_plan_status(plan, store)[scratch.name] == "done"
        assert path.read_bytes() == whole


def archive(store, *items):
    """Records of runs and ensembles in an archive, as if all had been done."""
    remaining = {"status": "done", "reason": None, "checkpoints": {"1": {}}}
    records.write_archive(
        store.archive_path,
        [
            records.ArchiveEntry(
                "runs" if isinstance(item, Run) else "ensembles",
                item.name,
                item.digest,
                {"digest": item.digest, **remaining},
            )
            for item in items
        ],
    )


def test_what_is_archived_is_done_until_its_weights_are_needed(plan, store):
    scratch, teacher, full, early, member = names(plan)
    (ensemble,) = plan.ensembles.values()
    archive(store, *plan.runs.values(), ensemble)
    assert set(status.get_plan_status(plan, store).values()) == {"done"}
    archive(store, scratch, teacher, full, member, ensemble)
    states = status.get_plan_status(plan, store)  # one student is to do, so its teacher is
    to_do = {name for name, state in states.items() if state == "to do"}
    assert to_do == {early.name, teacher.name}
    note(teacher, "done", store, checkpoints={"1": {}})
    to_do = {
        name for name, state in status.get_plan_status(plan, store).items() if state == "to do"
    }
    assert to_do == {early.name}
    archive(store, *plan.runs.values())  # the ensemble is to be scored from its members' outputs
    to_do = {
        name for name, state in status.get_plan_status(plan, store).items() if state == "to do"
    }
    assert to_do == {ensemble.name, *(run.name for run, _ in ensemble.members)}


def test_what_is_needed_of_an_archive_goes_down_a_chain(store):
    content = tiny_study.study(main={"teachers": ["self"], "generations": 3})
    plan = planner.build_plan(load.validate_study(content, "f"))
    *known, _ = plan.runs.values()
    archive(store, *known)
    assert set(status.get_plan_status(plan, store).values()) == {"to do"}
    note(known[1], "done", store)
    states = list(status.get_plan_status(plan, store).values())
    assert states == ["done", "done", "to do", "to do"]


def test_folders_of_other_studies_and_litter_are_let_be(plan, store):
    runs = store.root / "runs"
    (runs / "unfinished").mkdir(parents=True)
    (runs / "a-file").write_text("x")
    records.publish_record(runs / "of-another-study", {"digest": "0" * 64, "status": "done"})
    assert set(status.get_plan_status(plan, store).values()) == {"to do"}
    assert json.dumps(store.load_records("runs")["of-another-study"]["status"]) == '"done"'
