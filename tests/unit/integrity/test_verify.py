"""verify: every fault of a results folder is one line that says what to do."""

import dataclasses
import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_study
from helpers.finished_study import PLAN, SCRATCH, STUDENT, TEACHER

from kdpipe.cli.main import main
from kdpipe.jobs.train import train_run
from kdpipe.plan.labels import label_nodes
from kdpipe.runs import records, run_folder
from kdpipe.runs import store as run_store
from kdpipe.runs.files import compute_file_info, read_arrays, write_arrays, write_json, write_npy

LABELS = label_nodes(PLAN)


def test_a_whole_folder(store, say):
    assert say("verify") == "results: all files are intact\n"


def damage_weights(store):
    path = store.run(TEACHER.name) / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path, "altered"


def cut_a_curve(store):
    path = store.run(SCRATCH.name) / "curve.jsonl"
    path.write_text("")
    return path, "truncated"


def remove_a_checkpoint(store):
    path = store.run(TEACHER.name) / "checkpoints/epoch-0001.safetensors"
    path.unlink()
    return path, "missing"


def exchange_weights(store):
    path = store.run(STUDENT.name) / "weights.safetensors"
    shutil.copy(store.run(SCRATCH.name) / "weights.safetensors", path)
    return path, "altered"


def leave_a_temporary_file(store):
    path = store.run(TEACHER.name) / ".weights.safetensors.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def add_a_file(store):
    path = store.run(TEACHER.name) / "checkpoints/epoch-0007.safetensors"
    path.write_bytes(b"what is this")
    return path, "left by a killed process"


def add_a_file_of_another_program(store):
    path = store.run(TEACHER.name) / "notes.bin"
    path.write_bytes(b"what is this")
    return path, "not a file of this run"


def rename_a_run(store):
    path = store.run("wrn10-1-labels-2e-s9-0123456789ab")
    store.run(TEACHER.name).rename(path)
    return path, "the record of another run"


def exchange_runs(store):
    shutil.rmtree(store.run(STUDENT.name))
    shutil.copytree(store.run(SCRATCH.name), store.run(STUDENT.name))
    return store.run(STUDENT.name), "the record of another run"


def improve_a_record(store):
    for name in ("record.json", ".record.json"):
        path = store.run(TEACHER.name) / name
        text = path.read_text()
        path.write_text(text.replace('"accuracy": 0.', '"accuracy": 1.', 1))
    return store.run(TEACHER.name), "altered"


def damage_an_ensemble(store):
    path = next(store.root.glob("ensembles/*/record.json"))
    path.write_text("{}")
    return path, "damaged, but its copy is intact"


def damage_a_kept_record(store):
    path = store.run(TEACHER.name) / run_folder.RECORD_COPY_FILE
    path.write_text("{}")
    return path, "damaged, but its copy is intact"


def lose_a_record(store):
    path = next(store.root.glob("ensembles/*/record.json"))
    path.unlink()
    return path, "missing, but its copy is intact: restored from the copy"


def lose_a_kept_record(store):
    path = store.run(TEACHER.name) / run_folder.RECORD_COPY_FILE
    path.unlink()
    return path, "missing, but its copy is intact: restored from the copy"


def put_a_folder_in_the_place_of_a_record(store):
    path = store.run(TEACHER.name) / run_folder.RECORD_FILE
    path.unlink()
    path.mkdir()
    return path, "damaged, but its copy is intact: it cannot be restored"


def damage_an_ensemble_and_its_copy(store):
    for path in store.root.glob("ensembles/*/*record.json"):
        path.write_text("{}")
    return path.parent, "not a record"


def damage_data(store):
    path = next(store.root.glob("data/*/train_labels.npy"))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    return path.parent, "data set digits"


def link_a_run(store):
    path = store.run(TEACHER.name)
    path.rename(store.root.parent / "elsewhere")
    path.symlink_to(store.root.parent / "elsewhere")
    return path, "a link"


def leave_a_state(store):
    """Killed after the record was written, and before it was tidied up."""
    path = store.run(TEACHER.name) / ".state.safetensors"
    shutil.copy(store.run(TEACHER.name) / "weights.safetensors", path)
    return path, "killed"


def leave_a_part_of_a_table(store):
    """Killed after the table was renamed, and before its parts were removed."""
    made_table(store)
    path = store.logit_cache(".wrn10-1-e2-0123456789ab") / "0123456789ab-3.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"part")
    (path.parent / ".lock").touch()
    return path, "killed"


def leave_a_temporary_archive(store):
    path = store.root / ".records.jsonl.gz.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def leave_a_temporary_file_of_data(store):
    path = next(store.root.glob("data/*")) / ".card.json.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def leave_a_temporary_file_of_an_ensemble(store):
    path = next(store.root.glob("ensembles/*")) / ".record.json.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def made_table(store):
    result = store.logit_cache("wrn10-1-e2-0123456789ab")
    array = np.arange(6, dtype=np.float16).reshape(1, 2, 3)
    write_npy(result / "table.npy", array)
    sha256 = hashlib.sha256(array.data).hexdigest()
    digest = "0123456789ab".ljust(64, "0")  # its name ends in it
    write_json(result / "about.json", {"digest": digest, "weights": "cd" * 32, "sha256": sha256})
    return result


def damage_a_table(store):
    path = made_table(store) / "table.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path.parent, "damaged"


def damage_the_header_of_a_table(store):
    path = made_table(store) / "table.npy"
    data = bytearray(path.read_bytes())
    data[11] = 255
    path.write_bytes(data)
    return path.parent, "damaged"


def damage_a_part_of_a_table(store):
    path = store.logit_cache(".wrn10-1-e2-0123456789ab") / "0123456789ab-3.safetensors"
    write_arrays(path, {"part": np.zeros((2, 3), np.float16)}, {"view": 3})
    (path.parent / ".lock").touch()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path, "damaged"


def leave_a_table_that_nobody_awaits(store):
    """The last of its students was killed between its record and taking it away."""
    result = made_table(store)
    waiting = store.logit_cache(f".{result.name}") / "students" / STUDENT.name
    waiting.parent.mkdir(parents=True)
    waiting.touch()
    (waiting.parents[1] / ".lock").touch()
    return result, "killed"


def leave_half_a_folder(store):
    """Killed while it was removed."""
    gone = store.root / "runs" / ".wrn10-1-labels-2e-s9-0123456789ab.removed"
    gone.mkdir()
    (gone / "outputs.safetensors").write_bytes(b"the rest")
    return gone, "killed"


def test_a_whole_table_is_whole(store, say):
    made_table(store)
    assert say("verify") == "results: all files are intact\n"


LEFT = [
    leave_a_table_that_nobody_awaits, leave_half_a_folder,
    leave_a_temporary_file, leave_a_state, leave_a_part_of_a_table, leave_a_temporary_archive,
    leave_a_temporary_file_of_data, leave_a_temporary_file_of_an_ensemble,
]  # fmt: skip


@pytest.mark.parametrize("leave", LEFT)
def test_what_is_left_is_found_and_pruned(store, say, leave):
    path, _ = leave(store)
    assert str(path.relative_to(store.root.parent)) in say("verify", code=2)
    assert "removed" in say("prune", "study.yaml", "--yes")
    assert not path.exists() and say("verify") == "results: all files are intact\n"
    assert say("prune", "study.yaml") == "results: all results are needed\n"


def test_what_is_left_among_reports_is_found_and_pruned(store, say):
    path = Path("reports/x/tables/.methods.csv.abcdefgh.tmp")
    stranger = Path("reports/x/.mine.csv.abcdefgh.tmp")
    path.parent.mkdir(parents=True)
    for each in (path, stranger):
        each.write_text("half")
    assert say("verify", code=2).startswith(f"{path}: left by a killed process")
    assert str(path) in say("prune", "study.yaml") and path.exists()
    assert "removed" in say("prune", "study.yaml", "--yes") and not path.exists()
    assert say("verify") == "results: all files are intact\n" and stranger.exists()


FAULTS = [
    damage_weights, cut_a_curve, remove_a_checkpoint, exchange_weights, *LEFT,
    add_a_file, add_a_file_of_another_program, rename_a_run, exchange_runs, improve_a_record,
    damage_an_ensemble, damage_a_kept_record, lose_a_record, lose_a_kept_record,
    put_a_folder_in_the_place_of_a_record,
    damage_an_ensemble_and_its_copy, damage_data,
    link_a_run, damage_a_table, damage_the_header_of_a_table, damage_a_part_of_a_table,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_it(store, say, fault):
    path, word = fault(store)
    message = say("verify", "--results", str(store.root), code=2)
    assert message.count("\n") == 1
    assert (
        str(path) in message
        and word in message
        and ("remove" in message or "restored from" in message)
    )


@pytest.mark.parametrize("name", [run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE])
def test_a_damaged_record_is_put_back_from_its_copy(store, say, name):
    path = store.run(TEACHER.name) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:99])
    assert f"{path}: damaged" in say("verify", "--results", str(store.root), code=2)
    assert path.read_bytes() == whole and say("verify") == "results: all files are intact\n"


def test_nothing_is_called_whole_that_is_no_results_folder(store, say, tmp_path, capsys):
    (tmp_path / "other" / "data" / "cats_raw").mkdir(parents=True)
    (tmp_path / "other" / "runs" / "tensorboard_exp1").mkdir(parents=True)
    for folder, why in [
        ("nowhere", "no such folder"),
        ("other", "not a results folder"),
        (".", "no "),
    ]:
        for command in (["verify"], ["prune", "study.yaml", "--yes"]):
            assert main([*command, "--results", folder]) == 2
            message = capsys.readouterr().err
            assert (
                f"--results {folder}: " in message and why in message and message.count("\n") == 1
            )
    assert (tmp_path / "other" / "data" / "cats_raw").exists()


def test_what_lies_behind_a_linked_folder_is_looked_at(store, say, tmp_path):
    """As where runs/ is on another disk."""
    (store.root / "runs").rename(tmp_path / "disk")
    (store.root / "runs").symlink_to(tmp_path / "disk")
    assert say("verify") == "results: all files are intact\n"
    damage_weights(store)
    assert "altered" in say("verify", code=2)


def test_a_folder_moved_aside_is_named_and_left(store, say, tmp_path):
    run = store.run(TEACHER.name)
    aside = run.with_name(f"old-{run.name}")
    run.rename(aside)
    before = tiny_study.exact(aside)
    assert f"old-{run.name}: it holds the record of another run" in say("verify", code=2)
    train_run(TEACHER.spec, [1], store)
    assert (
        tiny_study.exact(run) == tiny_study.exact(aside) == before
    )  # its own folder was trained into
    assert f"not kdpipe's, left: results/runs/old-{run.name}" in say("prune", "study.yaml", "--yes")
    assert tiny_study.exact(aside) == before
    (line,) = say("verify", code=2).splitlines()
    assert f"old-{run.name}: " in line and "rename it back, move it out of here" in line


def test_of_what_is_not_kdpipes_no_removal_is_advised(store, say):
    """Somebody's backups, models and notes among the results: they are named, and no more."""
    backup = store.root / "runs/backup"
    backup.mkdir()
    store.run(TEACHER.name).rename(backup / TEACHER.name)
    (store.root / "runs/hf_model").mkdir()
    (store.root / "runs/hf_model/model.safetensors").write_bytes(b"anybody's")
    (store.root / "tables/paper").mkdir(parents=True)
    (store.root / "tables/paper/t.tex").write_text("mine")
    (store.root / "data/cats_raw").mkdir()
    (store.root / "data/cats_raw/card.json").write_text('{"cats": 9}')
    (store.root / "data/cats-0123456789ab").mkdir()
    (store.root / "data/cats-0123456789ab/cat.npy").write_text("mine")
    (store.root / ".draft.tmp").write_text("mine")
    whole, *others = say("verify").splitlines()
    assert whole == "results: all files are intact"
    left = ["runs/backup", "runs/hf_model", "data/cats-0123456789ab", "data/cats_raw"]
    assert [line.split(" (")[0] for line in others] == [
        f"not kdpipe's, left: results/{name}" for name in [*left, "tables/paper"]
    ]
    say("prune", "study.yaml", "--yes")
    assert (store.root / ".draft.tmp").exists()


def cut_off(run):
    """Of a finished run what one has that was killed early: its state and its lock."""
    state = read_arrays(run_folder.weights_path(run))
    for path in [each for each in run.iterdir() if each.name != run_folder.LOCK_FILE]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_arrays(run_folder.state_path(run), *state)


def tear_its_records(run):
    for name in (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE):
        (run / name).write_text("{")


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("became", [cut_off, tear_its_records])
def test_an_unfinished_or_damaged_run_moved_aside_is_left(store, say, tmp_path, became, planned):
    """Whether or not a study still has the run that it was."""
    study = tiny_study.write(
        tmp_path / "other.yaml", tiny_study.study(seeds=[0 if planned else 7])
    ).name
    run = store.run(TEACHER.name)
    became(run)
    aside = run.rename(run.with_name(f"old-{run.name}"))
    before = tiny_study.exact(aside) | {"state": run_folder.state_path(aside).exists()}
    message = say("prune", study, "--yes")
    assert f"not kdpipe's, left: results/runs/{aside.name} (" in message
    assert tiny_study.exact(aside) | {"state": run_folder.state_path(aside).exists()} == before
    assert aside.name in say("verify", code=2)


def test_an_unfinished_run_of_another_digest_is_left(store, say):
    """`backup-202401011230` ends as kdpipe's names do; and the lock of kdpipe 0.2 is empty."""
    run = store.run(TEACHER.name)
    cut_off(run)
    (run / run_folder.LOCK_FILE).write_text("")
    aside = run.rename(run.with_name("backup-202401011230"))
    assert "is of another run" in say("prune", "study.yaml", "--yes")
    assert run_folder.state_path(aside).exists()
    assert "move it out of here" in say("verify", code=2)


@pytest.mark.parametrize("lead", ["nowhere", "a file"])
def test_a_folder_of_runs_that_is_none_is_a_fault(store, say, tmp_path, lead):
    """As where the disk that it was on is not there."""
    (store.root / "runs").rename(tmp_path / "disk")
    if lead == "nowhere":
        (store.root / "runs").symlink_to("/not/mounted")
    else:
        (store.root / "runs").write_text("")
    message = say("verify", code=2)
    assert f"results/runs: {'a link that leads ' * (lead == 'nowhere')}{lead}" in message


@pytest.mark.parametrize("word", ["verify", "prune"])
def test_a_folder_of_records_of_the_first_version_is_refused_in_one_message(
    word, store, monkeypatch, capsys
):
    """Weights were left out there on purpose: no advice to train all of it again."""
    for path in [*store.root.glob("runs/*/*.safetensors"), *store.root.glob("runs/*/checkpoints")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (store.root / run_store.OLD_FORM_FILE).write_text("")
    before = sorted(store.root.rglob("*"))
    assert main([word, *(["--yes", "study.yaml"] if word == "prune" else [])]) == 2
    captured = capsys.readouterr()
    assert "results/outcomes.jsonl: a folder of records as kdpipe 0.1 kept them" in captured.err
    assert (captured.out + captured.err).count("\n") == 1
    assert sorted(store.root.rglob("*")) == before


def test_all_faults_are_found_at_once(store, say):
    damage_weights(store)
    cut_a_curve(store)
    leave_a_temporary_file(store)
    assert say("verify", code=2).count("\n") == 3


def test_what_is_being_trained_is_left_alone(store, say):
    with run_store.lock_run_folder(store.run(TEACHER.name)):
        leave_a_temporary_file(store)
        assert "all files are intact" in say("verify")


# --- an archive among the results


def test_an_archive_among_the_results_is_whole_and_needed(store, say, archive):
    assert say("verify") == "results: all files are intact\n"
    assert say("prune", "study.yaml") == "results: all results are needed\n"


def cut_the_archive(store, path):
    path.write_bytes(path.read_bytes()[:-9])
    return f"{path} is damaged"


def exchange_two_lines(store, path):
    entries = records.read_archive(path).values()
    first, second, *others = [entry for entry in entries if entry.kind != "labels"]
    swapped = dataclasses.replace(first, name=second.name, kind=second.kind)
    labels = [entry for entry in entries if entry.kind == "labels"]
    records.write_archive(path, [swapped, *others, *labels])
    return f"{path}: what it holds as {second.name} is of another run: restore it"


def publish_other_numbers(store, path):
    folder = store.run(SCRATCH.name)
    record = records.read_record(folder, None)
    records.publish_record(folder, record | {"best": None})
    return f"{folder}: its record and the one in {path} differ (best): remove one"


@pytest.mark.parametrize("fault", [cut_the_archive, exchange_two_lines, publish_other_numbers])
def test_a_fault_of_an_archive_is_one_line_too(store, say, archive, fault):
    expected = fault(store, archive)
    message = say("verify", "--results", str(store.root), code=2)
    assert message.count("\n") == 1 and message.startswith(expected)


def test_an_archive_whose_first_line_is_missing_is_noted_and_written_anew(store, say, archive):
    """It looks like one of 0.1, which did not say how many records it holds."""
    first, rest = gzip.decompress(archive.read_bytes()).split(b"\n", 1)
    assert b'"count"' in first
    archive.write_bytes(gzip.compress(rest))
    line, note = say("verify").splitlines()
    assert line == "results: all files are intact"
    assert note.startswith("note: results/records.jsonl.gz does not say how many records it holds")
    say("archive", "study.yaml", "--results", "results", "--to", "results")
    assert say("verify") == "results: all files are intact\n"


# --- a teacher that was made again elsewhere


def made_again(store):
    """As on another machine: the same run, and other bytes."""
    folder = store.run(TEACHER.name)
    path = run_folder.weights_path(folder)
    arrays, about = read_arrays(path)
    write_arrays(path, {name: array * 1.001 for name, array in arrays.items()}, about)
    record = records.read_record(folder, None)
    files = record["files"] | {path.name: compute_file_info(path)}
    records.publish_record(folder, record | {"files": files})


def test_students_of_a_teacher_that_was_made_again_are_outdated(store, say):
    assert "outdated" not in say("status", "study.yaml")
    made_again(store)
    (line,) = say("verify", code=2).splitlines()
    assert f"{STUDENT.name}: outdated: made of {TEACHER.name} as it was" in line
    message = say("status", "study.yaml")
    (ensemble,) = PLAN.ensembles
    assert (
        "4 runs: 4 done" in message
        and f"  outdated  {LABELS[STUDENT.name]}: made of {LABELS[TEACHER.name]} as it was"
        in message
    )
    assert ensemble not in message  # of the scratch runs' outputs, which are what they were
    say("report", "study.yaml")
    for page in ("index.md", "index.html"):
        assert "Outdated" in (store.root.parent / "reports/tiny" / page).read_text()
    # kept, until they are asked to be made again
    assert "1 outdated, kept" in say("prune", "study.yaml", "--yes")
    assert f"runs/{STUDENT.name}" in say("prune", "study.yaml", "--outdated")
    say("prune", "study.yaml", "--outdated", "--yes")
    assert not store.run(STUDENT.name).exists() and store.run(TEACHER.name).exists()
    train_run(STUDENT.spec, [], store)
    assert say("verify") == "results: all files are intact\n"


def test_students_of_a_teacher_that_diverged_when_made_again_are_outdated(store, say):
    folder = store.run(TEACHER.name)
    record = records.read_record(folder, None)
    for path in run_folder.list_run_files(folder):
        path.unlink()
    gone = {"status": "diverged", "reason": "nan", "last": None, "best": None, "files": {}}
    records.publish_record(folder, record | gone | {"checkpoints": {}})
    lines = [line for line in say("verify", code=2).splitlines() if STUDENT.name in line]
    assert len(lines) == 1 and f"outdated: made of {TEACHER.name} as it was" in lines[0]
    assert "which has been made again since, and has diverged" in lines[0]
    assert f"  outdated  {LABELS[STUDENT.name]}: made of {LABELS[TEACHER.name]} as it was" in say(
        "status", "study.yaml"
    )
    say("prune", "study.yaml", "--outdated", "--yes")
    assert not store.run(STUDENT.name).exists()
    assert "skipped" in train_run(STUDENT.spec, [], store)


def test_a_record_that_does_not_say_what_it_was_made_of_counts(store, say):
    """As kdpipe wrote them until version 0.2."""
    record = records.read_record(store.run(STUDENT.name), None)
    assert [member["run"] for member in record.pop("parents")] == [TEACHER.digest]
    records.publish_record(store.run(STUDENT.name), record)
    made_again(store)
    assert say("verify") == "results: all files are intact\n"
    assert "outdated" not in say("status", "study.yaml")


def test_a_registration_is_read_and_is_enough_to_know_a_folder_by(tmp_path, monkeypatch, say):
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "study.yaml", tiny_study.study(seeds=[0, 1, 2]))
    say("register", "study.yaml")
    assert say("verify") == "results: all files are intact\n"
    folder = tmp_path / "results/searches/tiny-0123456789ab"
    folder.mkdir(parents=True)
    (folder / ".round-1.json.abc.tmp").touch()
    path = tmp_path / "results/registrations/tiny.json"
    path.write_bytes(path.read_bytes()[:-9])
    (path.parent / ".tiny.json.abc.tmp").write_bytes(b"")
    message = say("verify", code=2)
    assert "tiny.json is not what kdpipe register has written" in message
    assert "registrations/.tiny.json.abc.tmp: left by a killed process" in message
    assert f"{folder.name}/.round-1.json.abc.tmp: left by a killed process" in message


@pytest.mark.parametrize(("node", "key"), [(TEACHER, "network"), (STUDENT, "method")])
def test_a_spec_with_a_null_in_a_sealed_record_is_one_message(store, say, node, key):
    """A seal is over bytes, whatever they say."""
    folder = store.run(node.name)
    record = records.read_record(folder, None)
    record["spec"] |= {key: None}
    records.publish_record(folder, record)
    assert folder.name in say("verify", code=2)
