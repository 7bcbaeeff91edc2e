"""verify, prune and status: what is in a results folder, what is wanted of it, what is going on."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time

import pytest
import tiny

from kdpipe.cli.main import main
from kdpipe.jobs.score import score
from kdpipe.jobs.train import train
from kdpipe.plan.prices import as_size
from kdpipe.results import archived, records, run_folder, store
from kdpipe.results.store import Store
from kdpipe.upkeep import archive as archived_now

STUDY = tiny.study(
    main={"stops": ["full", "checkpoint 1"]},
    ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
)
PLAN = tiny.planned(
    main={"stops": ["full", "checkpoint 1"]},
    ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
)
SCRATCH, TEACHER, STUDENT = list(PLAN.runs.values())[:3]


@pytest.fixture
def place(tmp_path, shared, monkeypatch):
    def build(folder):
        made = tiny.results(folder, shared)
        for run in PLAN.runs.values():
            train(run.spec, sorted(PLAN.keep.get(run.name, ())), made)
        for ensemble in PLAN.ensembles.values():
            score(ensemble.spec, made)

    source = tiny.once(shared / "housekeeping", build)
    shutil.copytree(source / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "study.yaml", STUDY)
    return Store(tmp_path / "results")


@pytest.fixture
def say(capsys):
    def run(*command, code=0):
        assert main(list(command)) == code
        return capsys.readouterr().out

    return run


def tree(place):
    return sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*"))


# --- verify


def test_a_whole_folder(place, say):
    assert say("verify") == "results: every file is whole\n"
    assert say("verify", "--results", "nowhere") == "nowhere: every file is whole\n"


def damage_weights(place):
    path = place.run(TEACHER.name) / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path, "altered"


def cut_a_curve(place):
    path = place.run(SCRATCH.name) / "curve.jsonl"
    path.write_text("")
    return path, "truncated"


def remove_a_checkpoint(place):
    path = place.run(TEACHER.name) / "checkpoints/epoch-0001.safetensors"
    path.unlink()
    return path, "missing"


def exchange_weights(place):
    path = place.run(STUDENT.name) / "weights.safetensors"
    shutil.copy(place.run(SCRATCH.name) / "weights.safetensors", path)
    return path, "altered"


def leave_a_temporary_file(place):
    path = place.run(TEACHER.name) / ".weights.safetensors.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def add_a_file(place):
    path = place.run(TEACHER.name) / "checkpoints/epoch-0007.safetensors"
    path.write_bytes(b"what is this")
    return path, "not a file of this run"


def rename_a_run(place):
    path = place.run("wrn10-1-labels-2e-s9-0123456789ab")
    place.run(TEACHER.name).rename(path)
    return path, "the record of another run"


def exchange_runs(place):
    shutil.rmtree(place.run(STUDENT.name))
    shutil.copytree(place.run(SCRATCH.name), place.run(STUDENT.name))
    return place.run(STUDENT.name), "the record of another run"


def improve_a_record(place):
    for name in ("record.json", ".record.json"):
        path = place.run(TEACHER.name) / name
        text = path.read_text()
        path.write_text(text.replace('"accuracy": 0.', '"accuracy": 1.', 1))
    return place.run(TEACHER.name), "altered"


def damage_an_ensemble(place):
    path = next(place.root.glob("ensembles/*/record.json"))
    path.write_text("{}")
    return path, "not a record"


def damage_data(place):
    path = next(place.root.glob("data/*/train_labels.npy"))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    return path.parent, "data set digits"


def link_a_run(place):
    path = place.run(TEACHER.name)
    path.rename(place.root.parent / "elsewhere")
    path.symlink_to(place.root.parent / "elsewhere")
    return path, "a link"


FAULTS = [
    damage_weights, cut_a_curve, remove_a_checkpoint, exchange_weights, leave_a_temporary_file,
    add_a_file, rename_a_run, exchange_runs, improve_a_record, damage_an_ensemble, damage_data,
    link_a_run,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_it(place, say, fault):
    path, word = fault(place)
    said = say("verify", "--results", str(place.root), code=2)
    assert said.count("\n") == 1
    assert str(path) in said and word in said and "remove" in said


def test_all_faults_are_found_at_once(place, say):
    damage_weights(place)
    cut_a_curve(place)
    leave_a_temporary_file(place)
    assert say("verify", code=2).count("\n") == 3


def test_what_is_being_trained_is_left_alone(place, say):
    with store.only_one(place.run(TEACHER.name)):
        leave_a_temporary_file(place)
        assert "every file is whole" in say("verify")


# --- prune


def test_nothing_to_prune(place, say):
    assert say("prune", "study.yaml") == "results: everything in it is needed\n"


def test_prune_shows_first_and_removes_only_with_yes(place, say, tmp_path):
    """A study without the checkpoint, the ensemble and one more teacher's students."""
    tiny.write(tmp_path / "less.yaml", tiny.study())
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    (place.root / "data/old-0123456789ab").mkdir()
    before = tree(place)
    shown = say("prune", "less.yaml")
    assert tree(place) == before
    assert "with --yes it is removed" in shown
    expected = {
        f"runs/{gone.name}",
        f"runs/{TEACHER.name}/checkpoints/epoch-0001.safetensors",
        f"runs/{TEACHER.name}/checkpoints/epoch-0001-outputs.safetensors",
        "data/old-0123456789ab",
        *(f"ensembles/{name}" for name in PLAN.ensembles),
    }
    listed = {line.split("  results/")[1] for line in shown.splitlines() if "  results/" in line}
    assert listed == expected
    removed = say("prune", "less.yaml", "--yes")
    assert removed.replace("removed", "") == shown.replace(
        "not needed; with --yes it is removed", ""
    )
    after = tree(place)
    assert set(before) - set(after) == {
        path for path in before if any(path == e or path.startswith(f"{e}/") for e in expected)
    }
    assert "every file is whole" in say("verify")
    assert tiny.record(place, TEACHER)["checkpoints"] == {}
    assert say("prune", "less.yaml") == "results: everything in it is needed\n"
    # what is wanted again is made again, to the same bytes
    train(TEACHER.spec, [1], place)
    assert "every file is whole" in say("verify")


def test_what_any_study_needs_stays(place, say, tmp_path):
    tiny.write(tmp_path / "less.yaml", tiny.study())
    assert "everything in it is needed" in say("prune", "less.yaml", "study.yaml")


def test_prune_with_a_wrong_study_removes_nothing(place, say, tmp_path):
    (tmp_path / "wrong.yaml").write_text("study: [")
    before = tree(place)
    say("prune", "study.yaml", "wrong.yaml", "--yes", code=2)
    assert tree(place) == before


def test_prune_follows_no_link(place, say, tmp_path):
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious/file").write_text("mine")
    (place.root / "runs/link").symlink_to(outside / "precious")
    stranger = place.root / "runs/stranger"
    stranger.mkdir()
    (stranger / "inner").symlink_to(outside)
    shutil.rmtree(place.root / "ensembles")
    (place.root / "ensembles").symlink_to(outside)
    say("prune", "study.yaml", "--yes")
    assert (outside / "precious/file").read_text() == "mine"
    assert not (place.root / "runs/link").is_symlink() and not stranger.exists()
    assert (place.root / "ensembles").is_symlink()


def test_prune_leaves_what_is_being_trained(place, say, tmp_path):
    tiny.write(tmp_path / "less.yaml", tiny.study())
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    with store.only_one(place.run(gone.name)):
        assert gone.name not in say("prune", "less.yaml", "--yes")
    assert place.run(gone.name).exists()


# --- status


def test_status_of_a_finished_study(place, say):
    said = say("status", "study.yaml")
    assert "4 runs: 4 done" in said and "1 ensembles: 1 scored" in said
    assert "time left" not in said


def test_status_of_nothing(tmp_path, say, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "study.yaml", STUDY)
    said = say("status", "study.yaml")
    assert "4 runs: 4 to do" in said and "unknown until a run has finished" in said


def test_status_says_what_runs_what_failed_and_how_long(place, say, tmp_path, warm):
    more = tiny.study(seeds=[0, 1], main={"stops": ["full", "checkpoint 1"]})
    tiny.write(tmp_path / "more.yaml", more)
    new = [run for run in tiny.planned(seeds=[0, 1]).runs.values() if run.seed == 1]
    scratch, teacher = new[:2]
    place.run(teacher.name).mkdir()
    (place.run(teacher.name) / "failure.json").write_text('{"reason": "no space left"}')
    record = tiny.record(place, STUDENT)
    record.pop("sha256")
    records.publish(place.run(STUDENT.name), record | {"status": "diverged", "reason": "nan"})
    with store.only_one(place.run(scratch.name)):
        said = say("status", "more.yaml")
    assert "8 runs: 3 done, 1 diverged, 1 running, 1 failed, 2 to do" in said
    assert f"running  {scratch.name}: epoch 0 of 2 done" in said
    assert f"failed  {teacher.name}: no space left" in said
    assert f"diverged  {STUDENT.name}: nan" in said
    assert "time left: about" in said and "one run at a time" in said


def test_status_reads_the_epoch_of_a_running_run(tmp_path, shared, warm, say, monkeypatch):
    place = tiny.results(tmp_path, shared)
    long = {"recipe": {"epochs": 300}}
    tiny.write(tmp_path / "long.yaml", tiny.study(**long))
    run = next(iter(tiny.planned(**long).runs.values()))
    monkeypatch.chdir(tmp_path)
    child = warm.start(*tiny.train(run), cwd=tmp_path)
    while not (place.run(run.name) / ".state.safetensors").exists():
        time.sleep(0.02)
    said = say("status", "long.yaml")
    child.kill()
    child.wait()
    assert "1 running, 2 to do" in said
    epoch = int(said.split("epoch ")[1].split()[0])
    assert 0 < epoch <= 300


def test_time_left_is_priced():
    from kdpipe.upkeep import watching

    done = {"status": "done", "seconds": {"total": 10.0}}
    text = watching._time_left(PLAN, {SCRATCH.name: done}, [SCRATCH], {SCRATCH.name: 1}, 1)
    assert text == "time left: about 8 seconds, one run at a time"  # half of 10, and its start
    twice = watching._time_left(PLAN, {SCRATCH.name: done}, [SCRATCH], {SCRATCH.name: 0}, 2)
    assert twice == "time left: about 6 seconds, 2 runs at a time"
    # another network is priced by its multiply-adds
    other = watching._time_left(PLAN, {SCRATCH.name: done}, [TEACHER], {TEACHER.name: 0}, 1)
    seconds = 10 * TEACHER.train_multiply_adds / SCRATCH.train_multiply_adds + 3
    assert other == f"time left: about {seconds:.0f} seconds, one run at a time"


def test_the_starts_of_short_runs_are_in_the_time(place, say):
    """Of runs of a second it is the start that takes the time; status and plan say the same."""
    shutil.rmtree(place.run(TEACHER.name))
    shutil.rmtree(place.run(STUDENT.name))
    path = place.run(SCRATCH.name) / records.RECORD
    record = json.loads(path.read_text()) | {"seconds": {"total": 1e-6}}
    records.publish(path.parent, {key: record[key] for key in record if key != "checksum"})
    left = "about 6 seconds"
    assert f"time left: {left}, one run at a time" in say("status", "study.yaml")
    assert f"time: {left} on this machine for the runs to do" in say("plan", "study.yaml")


def test_a_plan_tells_no_time_where_nothing_has_run(place, say):
    assert "\ntime" not in say("plan", "study.yaml")  # all is done
    assert "time: unknown until a run has finished" in say("plan", "study.yaml", "--results", "no")


def test_status_says_that_there_is_no_results_folder(place, say):
    nowhere = place.root.parent / "nowhere"
    said = say("status", "study.yaml", "--results", "nowhere")
    assert f"no results yet at {nowhere}" in said
    assert "no results" not in say("status", "study.yaml")


def test_no_validation_is_noted(place, say):
    without = {**STUDY, "data": STUDY["data"] | {"validation": 0}}
    tiny.write(place.root.parent / "without.yaml", without)
    for verb in ("check", "plan"):
        assert "note: no validation images: the report will not choose a best teacher" in say(
            verb, "without.yaml"
        )
        assert "note" not in say(verb, "study.yaml")
    assert json.loads(say("plan", "without.yaml", "--json"))


def test_a_report_with_holes_says_how_many_and_where_the_reasons_are(place, say):
    assert say("report", "study.yaml").endswith(": rendered\n")
    shutil.rmtree(place.run(STUDENT.name))
    assert say("report", "study.yaml").endswith(": rendered without 1 of 4 runs\n")
    (place.run(TEACHER.name) / records.RECORD).unlink()
    run_folder.failure(place.run(TEACHER.name)).write_text('{"reason": "no space"}')
    said = say("report", "study.yaml")
    assert said.endswith(
        "without 2 of 4 runs, of which 1 failed: kdpipe status study.yaml says why\n"
    )
    assert f"failed  {TEACHER.name}: no space" in say("status", "study.yaml")


def test_these_verbs_need_no_torch(place):
    script = (
        "import sys; from kdpipe.cli.main import main; "
        "codes = [main(a.split()) for a in sys.argv[1:]]; "
        "print(codes, 'torch' in sys.modules)"
    )
    verbs = ["verify", "prune study.yaml", "status study.yaml", "plan study.yaml"]
    done = subprocess.run([sys.executable, "-c", script, *verbs], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0] False", done.stderr


# --- an archive among the results


@pytest.fixture
def archive(place):
    archived_now.write(PLAN, place, place.root)
    return place.archive


def test_an_archive_among_the_results_is_whole_and_needed(place, say, archive):
    assert say("verify") == "results: every file is whole\n"
    assert say("prune", "study.yaml") == "results: everything in it is needed\n"


def cut_the_archive(place, path):
    path.write_bytes(path.read_bytes()[:-9])
    return f"{path} is damaged"


def exchange_two_lines(place, path):
    first, second, *others = archived.read(path).values()
    swapped = dataclasses.replace(first, name=second.name, kind=second.kind)
    archived.write(path, [swapped, *others])
    return f"{path}: what it holds as {second.name} is of another run: remove"


def publish_other_numbers(place, path):
    folder = place.run(SCRATCH.name)
    record = records.read(folder, None)
    records.publish(folder, record | {"best": None})
    return f"{folder}: its record and the one in {path} differ (best): remove one"


@pytest.mark.parametrize("fault", [cut_the_archive, exchange_two_lines, publish_other_numbers])
def test_a_fault_of_an_archive_is_one_line_too(place, say, archive, fault):
    expected = fault(place, archive)
    said = say("verify", "--results", str(place.root), code=2)
    assert said.count("\n") == 1 and said.startswith(expected)


def test_prune_takes_out_of_an_archive_what_no_study_has(place, say, archive, tmp_path):
    """And a results folder may be an archive alone."""
    tiny.write(tmp_path / "less.yaml", tiny.study())
    alone = tmp_path / "published"
    alone.mkdir()
    shutil.copy(archive, alone)
    before = (alone / archive.name).read_bytes()
    shown = say("prune", "less.yaml", "--results", "published")
    assert "published/records.jsonl.gz: 2 of its 5 records\n" in shown
    assert (alone / archive.name).read_bytes() == before
    say("prune", "less.yaml", "--results", "published", "--yes")
    assert {entry.name for entry in archived.read(alone / archive.name).values()} == {
        *tiny.planned().runs
    }
    saved = len(before) - (alone / archive.name).stat().st_size
    assert as_size(saved) in shown
    tiny.write(tmp_path / "other.yaml", tiny.study(seeds=[7]))
    say("prune", "other.yaml", "--results", "published", "--yes")
    assert not list(alone.iterdir())


def test_status_counts_what_is_archived(place, say, archive):
    for kind in archived.KINDS:
        shutil.rmtree(place.root / kind, ignore_errors=True)
    said = say("status", "study.yaml")
    assert "4 runs: 4 done" in said and "1 ensembles: 1 scored" in said
