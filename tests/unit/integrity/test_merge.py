"""Merging: runs made in several folders are, in one, what they would have been there."""

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from helpers.finished_study import PLAN, STUDENT, TEACHER

from kdpipe import hashing
from kdpipe.analysis import dataframe
from kdpipe.analysis.search import state
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.plan import status
from kdpipe.runs import copies, records, registrations, run_folder
from kdpipe.runs.files import compute_file_info, read_arrays, write_arrays, write_json
from kdpipe.runs.integrity import archive as archived
from kdpipe.runs.integrity import merge
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.store import Store, lock_run_folder


def results(store: Store) -> dict[str, bytes]:
    """The files of all results of a folder, without locks."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for kind in records.RECORD_KINDS
        for path in sorted((store.root / kind).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def record_of(store: Store, run) -> dict:
    record = records.read_record(store.run(run.name), None)
    assert record is not None
    return record


def part(store: Store, name: str, kept) -> Store:
    """A copy of a results folder with some of its results alone."""
    other = Store(Path(shutil.copytree(store.root, store.root.parent / name / "results")))
    for kind in records.RECORD_KINDS:
        for folder in (other.root / kind).glob("*"):
            if not kept(folder.name):
                shutil.rmtree(folder)
    return other


@pytest.fixture
def halves(store):
    """The results in two folders, and an empty one beside the whole."""
    one = part(store, "one", lambda name: name == TEACHER.name)
    two = part(store, "two", lambda name: name != TEACHER.name)
    return one, two, Store(store.root.parent / "new" / "results")


def test_what_was_made_in_two_folders_is_the_same_in_one(store, halves):
    one, two, new = halves
    first, second = merge.merge_results([one, two], new)
    assert first.merged == {"runs": 1} and not first.problems + second.problems
    assert sum(second.merged.values()) == len(PLAN.nodes_by_name) - 1
    assert results(new) == results(store)
    assert not list(verify_store(new))
    assert sorted(path.name for path in new.root.iterdir()) == ["ensembles", "runs"]
    states = status.get_plan_status(PLAN, new)
    assert set(states.values()) == {"done"}


def test_merged_again_all_of_it_is_here(halves, say):
    one, two, new = halves
    command = ["merge", str(one.root), str(two.root), "--results", str(new.root)]
    assert say(*command).startswith(f"{one.root}: 1 run merged\n{two.root}: ")
    before = results(new)
    message = say(*command)
    assert message == (
        f"{one.root}: nothing to merge, 1 here already\n"
        f"{two.root}: nothing to merge, {len(PLAN.nodes_by_name) - 1} here already\n"
    )
    assert results(new) == before


@pytest.mark.parametrize("is_linked", [True, False])
def test_files_are_linked_or_copied(halves, monkeypatch, is_linked):
    one, _, new = halves

    def refuse(*_):
        raise OSError(errno.EXDEV, "another file system")

    if not is_linked:
        monkeypatch.setattr(os, "link", refuse)
    merge.merge_results([one], new)
    weights = run_folder.weights_path(one.run(TEACHER.name))
    copied = run_folder.weights_path(new.run(TEACHER.name))
    assert copied.samefile(weights) == is_linked and copied.read_bytes() == weights.read_bytes()
    assert results(new) == results(one) and not list(verify_store(new))


def test_killed_before_or_after_any_rename_and_again_it_is_whole(halves, monkeypatch):
    """No record is there before its files, and nothing is left of it in the end."""
    store, _, new = halves
    real, count = os.replace, 0
    expected = results(store)

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *a: (calls.append(a), real(*a)))
        calls: list[tuple] = []
        merge.merge_results([store], new)
    for moment in range(len(calls)):
        for when in ("before", "after"):
            shutil.rmtree(new.root)
            count = 0

            def replace(source, target, moment=moment, when=when):
                nonlocal count
                count += 1
                if count > moment and when == "before":
                    shutil.copy(source, f"{source}x.tmp")  # what a killed process leaves
                    raise Killed
                real(source, target)
                if count > moment:
                    raise Killed

            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                patch.setattr(os, "replace", replace)
                merge.merge_results([store], new)
            for name, record in new.load_records("runs").items():
                for file in record["files"]:
                    assert (new.run(name) / file).exists()
            merge.merge_results([store], new)
            assert results(new) == expected, (moment, when)


def test_a_damaged_file_is_named_and_its_run_left_out(halves, capsys):
    one, two, new = halves
    weights = run_folder.weights_path(two.run(STUDENT.name))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert main(["merge", str(one.root), str(two.root), "--results", str(new.root)]) == 2
    message = capsys.readouterr().out
    assert f"  left out  {weights}: damaged, not what the record of its run says\n" in message
    assert not new.run(STUDENT.name).exists() and TEACHER.name in new.load_records("runs")
    assert not list(verify_store(new))


def test_damaged_records_and_what_is_foreign_are_named_and_left_out(halves):
    one, two, new = halves
    for name in (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE):
        (two.run(STUDENT.name) / name).write_text("")
    (one.run(TEACHER.name) / "notes.txt").write_text("mine")
    (one.root / "runs" / "notes").mkdir()
    (one.root / "runs" / "link-0123456789ab").symlink_to(two.run(STUDENT.name))
    first, second = merge.merge_results([one, two], new)
    assert [problem.partition(": ")[2] for problem in first.problems] == [
        "not a result of kdpipe (a link)",
        "not a result of kdpipe (not a name that kdpipe gives)",
        "not a result of kdpipe (holds notes.txt, which kdpipe has not written)",
    ]
    assert "is not a record (empty, cut off or altered)" in second.problems[0]
    assert not new.run(STUDENT.name).exists() and not new.run(TEACHER.name).exists()


@pytest.mark.parametrize("name", ["../../outside.tmp", "/etc/hostname", ".lock/../x"])
def test_a_record_that_lists_a_file_elsewhere_is_left_out(halves, name):
    one, _, new = halves
    folder = one.run(TEACHER.name)
    (one.root / "outside.tmp").write_text("x")
    record = record_of(one, TEACHER)
    info = compute_file_info(one.root / "outside.tmp")
    records.publish_record(folder, record | {"files": record["files"] | {name: info}})
    (summary,) = merge.merge_results([one], new)
    assert len(summary.problems) == 1 and summary.problems[0].endswith(": missing")
    assert not results(new)


def test_unfinished_runs_tables_locks_and_logs_stay_where_they_are(halves):
    one, _, new = halves
    folder = one.run("wrn10-9-labels-2e-s0-0123456789ab")
    write_arrays(run_folder.state_path(folder), {}, {"run": "0123456789ab" + "0" * 52})
    write_json(run_folder.failure_path(folder), {"reason": "no memory"})
    (one.root / "tables" / "wrn10-1-0123456789ab").mkdir(parents=True)
    (one.root / "runs" / f"{TEACHER.name}.log").touch()
    (summary,) = merge.merge_results([one], new)
    assert summary.n_unfinished == 1 and summary.merged == {"runs": 1}
    assert [path.name for path in new.root.iterdir()] == ["runs"]
    assert [path.name for path in (new.root / "runs").iterdir()] == [TEACHER.name]


def test_a_finished_run_takes_the_place_of_an_unfinished_one(halves):
    """Whose state must not go on with checkpoints of another machine."""
    one, _, new = halves
    folder = new.run(TEACHER.name)
    write_arrays(run_folder.state_path(folder), {}, {"run": TEACHER.digest})
    write_json(run_folder.failure_path(folder), {"reason": "no memory"})
    surplus = run_folder.weights_path(folder, 77)
    write_arrays(surplus, {}, {"run": TEACHER.digest})
    merge.merge_results([one], new)
    assert results(new) == results(one) and not list(verify_store(new))


def trained_elsewhere(store: Store) -> None:
    """The teacher as on another kind of processor, and its student taught by it."""
    folder = store.run(TEACHER.name)
    path = run_folder.weights_path(folder)
    arrays, about = read_arrays(path)
    write_arrays(path, {name: array * 1.001 for name, array in arrays.items()}, about)
    record, info = record_of(store, TEACHER), compute_file_info(path)
    records.publish_record(folder, record | {"files": record["files"] | {path.name: info}})
    student = record_of(store, STUDENT)
    parents = [each | {"sha256": info["sha256"]} for each in student["parents"]]
    records.publish_record(store.run(STUDENT.name), student | {"parents": parents})


def test_of_unequal_runs_that_here_stays_and_students_of_the_other_are_named(store, halves, say):
    one, _, new = halves
    other = part(store, "other", lambda name: name in (TEACHER.name, STUDENT.name))
    trained_elsewhere(other)
    merge.merge_results([one], new)
    before = results(new)
    (summary,) = merge.merge_results([other], new)
    (problem,) = summary.problems
    assert problem.startswith(
        f"{other.run(TEACHER.name)}: it differs from that of {new.root} (file weights.safetensors)"
    )
    assert summary.merged == {"runs": 1}
    assert results(new).items() >= before.items()  # the copy here, and
    assert STUDENT.name in new.load_records("runs")
    assert not status.find_stale(PLAN, new)
    message = say("status", "study.yaml", "--results", str(new.root))
    assert "  other copy  wrn10-0.5 from wrn10-1, kd, seed 0: made of wrn10-1 on labels" in message
    assert "outdated" not in message
    message = say("prune", "study.yaml", "--outdated", "--yes", "--results", str(new.root))
    assert f"\nnot outdated, kept: {STUDENT.name}: made of {TEACHER.name} as another" in message
    assert results(new).items() >= before.items() and new.run(STUDENT.name).exists()
    assert not list(verify_store(new))
    published = store.root.parent / "published"
    archived.archive_study(PLAN, new, published)
    with pytest.raises(KdpipeError, match="has other records of 1 runs"):  # as ever
        archived.archive_study(PLAN, other, published)


def test_what_is_missing_learns_from_the_copy_here_and_a_teacher_made_anew_outdates_both(halves):
    """A third copy is no copy of another machine: its students are outdated as ever."""
    one, two, new = halves
    other = part(two, "other", lambda name: name == STUDENT.name)
    shutil.copytree(one.run(TEACHER.name), other.run(TEACHER.name))
    trained_elsewhere(other)
    merge.merge_results([one, other], new)
    assert status.find_students_of_copies(PLAN, new).keys() == {STUDENT.name}
    trained_elsewhere(new)  # here too, and the student says so
    assert not status.find_students_of_copies(PLAN, new)
    folder, record = new.run(STUDENT.name), record_of(new, STUDENT)
    parents = [each | {"sha256": "0" * 64} for each in record["parents"]]
    records.publish_record(folder, record | {"parents": parents})
    assert status.find_stale(PLAN, new).keys() == {STUDENT.name}


def test_cells_of_merged_students_are_marked_as_of_mixed_machines(halves):
    one, _, new = halves
    other = part(one, "other", lambda name: False)
    for run in (TEACHER, STUDENT):
        shutil.copytree(halves[run is STUDENT].run(run.name), other.run(run.name))
    trained_elsewhere(other)
    merge.merge_results([one, halves[1]], Store(new.root.parent / "alone"))
    frame = dataframe.build_results_frame(PLAN, Store(new.root.parent / "alone"))
    assert "other_copy" not in frame and not frame.apply(is_mixed, axis=1).any()
    merge.merge_results([one, other, halves[1]], new)
    frame = dataframe.build_results_frame(PLAN, new)
    assert set(frame.run[frame.apply(is_mixed, axis=1)]) == {STUDENT.name, *PLAN.ensembles}


def is_mixed(row) -> bool:
    note = dataframe.describe_gaps(row.to_frame().T)
    return "mixes machines: 1 of 1 computed from another copy of a parent than the one here" in note


def test_a_damaged_list_of_copies_is_refused_in_one_line(halves, capsys):
    one, two, new = halves
    copies.add_copies(one, {TEACHER.digest: {"0" * 64}})
    path = copies.copies_path(one)
    path.write_bytes(path.read_bytes().replace(b"0000", b"1000", 1))
    for sources, target in (([one], new), ([two], one)):
        words = [str(source.root) for source in sources]
        assert main(["merge", *words, "--results", str(target.root)]) == 2
        assert capsys.readouterr().err.startswith(f"kdpipe: {path} is damaged or altered: ")
    assert not new.root.exists()


def test_checkpoints_that_only_the_other_has_are_added(store, halves):
    one, _, new = halves
    merge.merge_results([one], new)
    folder, record = new.run(TEACHER.name), record_of(new, TEACHER)
    epochs = list(record["checkpoints"])
    assert epochs
    for path in run_folder.find_checkpoint_files(folder, int(epochs[0])):
        path.unlink()
    files = {
        name: info
        for name, info in record["files"].items()
        if not name.startswith(f"checkpoints/epoch-{int(epochs[0]):04d}")
    }
    rest = {epoch: record["checkpoints"][epoch] for epoch in epochs[1:]}
    records.publish_record(folder, record | {"checkpoints": rest, "files": files})
    merge.merge_results([one], new)
    assert record_of(new, TEACHER)["checkpoints"].keys() == set(epochs)
    assert not list(verify_store(new))


# --- what is refused


@pytest.mark.parametrize("where", ["there", "here"])
def test_nothing_is_merged_while_a_job_works(halves, where):
    one, two, new = halves
    merge.merge_results([two], new)
    folder = (one if where == "there" else new).run("wrn10-9-labels-2e-s0-0123456789ab")
    with lock_run_folder(folder), pytest.raises(KdpipeError, match="a job works on it"):
        merge.merge_results([one], new)
    assert not new.run(TEACHER.name).exists()


@pytest.mark.parametrize("where", ["there", "here"])
def test_nothing_is_merged_while_a_study_runs(halves, where):
    one, two, new = halves
    merge.merge_results([two], new)
    lock = (one if where == "there" else new).root.parent / ".snakemake" / "kdpipe.lock"
    lock.parent.mkdir()
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `preflight.acquire_lock`
        with pytest.raises(KdpipeError, match="a study runs in"):
            merge.merge_results([one], new)
    assert not new.run(TEACHER.name).exists()
    merge.merge_results([one], new)


def test_what_are_no_other_results_is_refused_in_one_line(halves, tmp_path, capsys):
    one, _, new = halves
    (tmp_path / "empty").mkdir()
    link = tmp_path / "link"
    link.symlink_to(one.root)
    for source, target, message in (
        (one.root, one.root, "the folder that would be merged into; give others"),
        (link, one.root, "the folder that would be merged into; give others"),
        (tmp_path / "nowhere", new.root, "there is no such folder"),
        (tmp_path / "empty", new.root, "not a results folder"),
    ):
        assert main(["merge", str(source), "--results", str(target)]) == 2
        assert capsys.readouterr().err.startswith(f"kdpipe: {source}: {message}")


# --- archives, registrations, searches


def test_archives_of_parts_are_the_archive_of_the_whole(store, tmp_path):
    """Of which each has what its entries are about: a student's teacher, an ensemble's members."""
    students = {name for name, run in PLAN.runs.items() if run.parents}
    one = part(store, "one", lambda name: name not in students)
    two = part(store, "two", lambda name: name in {TEACHER.name, *students})
    folders = [tmp_path / name for name in ("a", "b", "whole", "merged")]
    for results_store, folder in zip((one, two, store), folders, strict=False):
        archived.archive_study(PLAN, results_store, folder)
    new = Store(folders[-1])
    sources = [Store(folders[0]), merge.find_source(folders[1] / records.ARCHIVE_FILE)]
    summaries = merge.merge_results(sources, new)
    assert not [problem for summary in summaries for problem in summary.problems]
    assert new.archive_path.read_bytes() == Store(folders[2]).archive_path.read_bytes()
    counts = [len(PLAN.nodes_by_name) - len(students), len(students) + 1]
    assert [s.n_present for s in merge.merge_results(sources, new)] == counts


def test_of_unequal_archives_that_here_stays(store, halves, tmp_path):
    one, _, _ = halves
    other = part(store, "other", lambda name: name in (TEACHER.name, STUDENT.name))
    trained_elsewhere(other)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    archived.archive_study(PLAN, one, here.root)
    archived.archive_study(PLAN, other, there.root)
    (summary,) = merge.merge_results([there], here)
    assert len(summary.problems) == 1 and "which stays" in summary.problems[0]
    entries = here.read_archive()
    assert entries["runs", TEACHER.name].record["files"] == record_of(one, TEACHER)["files"]
    assert entries["runs", STUDENT.name].record is not None


def test_an_archive_keeps_which_copies_its_students_learned_from(halves, tmp_path, say):
    """Else they would count as outdated in it, and where it is merged."""
    one, two, new = halves
    other = part(two, "other", lambda name: name == STUDENT.name)
    shutil.copytree(one.run(TEACHER.name), other.run(TEACHER.name))
    trained_elsewhere(other)
    merge.merge_results([one, other], new)
    copies.add_copies(new, {"0" * 64: {"1" * 64}})  # of another study
    known = {TEACHER.digest: copies.read_copies(new)[TEACHER.digest]}
    for source, name in ((new, "published"), (Store(tmp_path / "published"), "again")):
        archived.archive_study(PLAN, source, tmp_path / name)
        assert copies.read_copies(Store(tmp_path / name)) == known
    merge.merge_results([Store(tmp_path / "published")], Store(tmp_path / "merged"))
    for name in ("published", "again", "merged"):
        assert status.find_students_of_copies(PLAN, Store(tmp_path / name)).keys() == {STUDENT.name}
        assert not status.find_stale(PLAN, Store(tmp_path / name))
        message = say("status", "study.yaml", "--results", str(tmp_path / name))
        assert "  other copy  wrn10-0.5 from wrn10-1, kd, seed 0: made of wrn10-1" in message
    archived.archive_study(PLAN, one, tmp_path / "plain")
    assert not copies.copies_path(Store(tmp_path / "plain")).exists()


def test_an_archive_beside_runs_that_are_here_adds_nothing(store, halves, tmp_path):
    one, _, _ = halves
    archived.archive_study(PLAN, one, tmp_path / "a")
    (summary,) = merge.merge_results([Store(tmp_path / "a")], store)
    assert summary.n_present == 1 and not summary.merged and not store.archive_path.exists()


def test_a_registration_comes_along_and_its_look_stays_sealed(halves):
    one, two, new = halves
    content = {
        "format": 2, "study": "tiny", "looks": [3], "names": [[*PLAN.nodes_by_name, "more"]],
    }  # fmt: skip
    path = registrations.registration_path("tiny", one)
    path.parent.mkdir()
    path.write_bytes(registrations.encode_registration(content))
    merge.merge_results([one, two], new)
    assert registrations.registration_path("tiny", new).read_bytes() == path.read_bytes()
    assert registrations.find_sealed_names(new).keys() == {*PLAN.nodes_by_name, "more"}
    other = registrations.registration_path("tiny", two)
    other.parent.mkdir()
    other.write_bytes(registrations.encode_registration(content | {"looks": [2]}))
    with pytest.raises(KdpipeError, match="another registration of the study tiny"):
        merge.merge_results([two], new)
    other.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(KdpipeError, match="is not what kdpipe register has written"):
        merge.merge_results([two], new)


def write_round(store: Store, number: int, **changes) -> Path:
    content = dict.fromkeys(state.ROUND_KEYS) | {"round": number} | changes
    path = store.root / state.SEARCHES_FOLDER / "sought-0123456789ab" / f"round-{number}.json"
    write_json(path, hashing.add_checksum(content))
    return path


def test_decisions_of_a_search_come_along_and_those_here_stay(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    paths = [write_round(there, number) for number in (1, 2, 3)]
    mine = [here.root / path.relative_to(there.root) for path in paths]
    assert not list(state.copy_journals(there, here))
    assert [path.read_bytes() for path in mine] == [path.read_bytes() for path in paths]
    mine[2].unlink()
    write_round(here, 2, kept=["a: b"])
    before = mine[1].read_bytes()
    (problem,) = state.copy_journals(there, here)
    assert problem == f"{paths[1]}: this round was decided otherwise than in {mine[1]}, which stays"
    assert mine[1].read_bytes() == before and not mine[2].exists()
    paths[0].write_text("{}")
    (problem,) = state.copy_journals(there, here)
    assert "round-1.json is damaged or altered" in problem
