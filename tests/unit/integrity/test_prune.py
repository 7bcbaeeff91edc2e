"""prune: what no study needs is shown, and removed when that is asked for; nothing else is."""

import shutil

from helpers import tiny_study
from helpers.finished_study import PLAN, SCRATCH, TEACHER

from kdpipe.cli.main import main
from kdpipe.jobs.train import train_run
from kdpipe.plan.resources import format_size
from kdpipe.runs import records, run_folder
from kdpipe.runs import store as run_store
from kdpipe.runs.integrity import prune


def tree(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*"))


def test_nothing_to_prune(store, say):
    assert say("prune", "study.yaml") == "results: all results are needed\n"


def test_prune_shows_first_and_removes_only_with_yes(store, say, tmp_path):
    """A study without the checkpoint, the ensemble and one more teacher's students."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    (store.root / "data/old-0123456789ab").mkdir()
    before = tree(store)
    displayed = say("prune", "less.yaml")
    assert tree(store) == before
    assert "use --yes to remove it" in displayed
    expected = {
        f"runs/{gone.name}",
        f"runs/{TEACHER.name}/checkpoints/epoch-0001.safetensors",
        f"runs/{TEACHER.name}/checkpoints/epoch-0001-outputs.safetensors",
        "data/old-0123456789ab",
        *(f"ensembles/{name}" for name in PLAN.ensembles),
    }
    listed = {
        line.split("  results/")[1] for line in displayed.splitlines() if "  results/" in line
    }
    assert listed == expected
    removed = say("prune", "less.yaml", "--yes")
    assert removed.replace("removed", "") == displayed.replace(
        "not needed; use --yes to remove it", ""
    )
    after = tree(store)
    assert set(before) - set(after) == {
        path for path in before if any(path == e or path.startswith(f"{e}/") for e in expected)
    }
    assert "all files are intact" in say("verify")
    assert tiny_study.record(store, TEACHER)["checkpoints"] == {}
    assert say("prune", "less.yaml") == "results: all results are needed\n"
    # what is wanted again is made again, to the same bytes
    train_run(TEACHER.spec, [1], store)
    assert "all files are intact" in say("verify")


def test_what_any_study_needs_stays(store, say, tmp_path):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    assert "all results are needed" in say("prune", "less.yaml", "study.yaml")


def test_prune_with_a_wrong_study_removes_nothing(store, say, tmp_path):
    (tmp_path / "wrong.yaml").write_text("study: [")
    before = tree(store)
    say("prune", "study.yaml", "wrong.yaml", "--yes", code=2)
    assert tree(store) == before


def test_prune_touches_only_what_has_kdpipes_name_and_marks(store, say, tmp_path):
    """And follows no link."""
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious/file").write_text("mine")
    (store.root / "runs/link").symlink_to(outside / "precious")
    stranger = store.root / "runs/stranger"
    stranger.mkdir()
    (stranger / "inner").symlink_to(outside)
    shutil.rmtree(store.root / "ensembles")
    (store.root / "ensembles").symlink_to(outside)
    for name in ("data/my_raw_images", "data/photos-0123456789ab", "runs/tb-0123456789ab"):
        (store.root / name).mkdir()
        (store.root / name / "events.npy").write_text("mine")
    noted = store.run("mine-0123456789ab")
    shutil.copytree(store.run(TEACHER.name), noted)
    for name in ("record.json", ".record.json"):
        (noted / name).unlink()
    (noted / "my notes.txt").write_text("mine")
    before = tree(store)
    message = say("prune", "study.yaml", "--yes")
    assert tree(store) == before and (outside / "precious/file").read_text() == "mine"
    left = {
        "ensembles": "a link",
        "runs/link": "a link",
        "runs/stranger": "not a name that kdpipe gives",
        "runs/tb-0123456789ab": "holds events.npy, which kdpipe has not written",
        "runs/mine-0123456789ab": "holds my notes.txt, which kdpipe has not written",
        "data/my_raw_images": "not a name that kdpipe gives",
        "data/photos-0123456789ab": "holds no record, no lock, no card",
    }
    assert set(message.splitlines()[1:]) == {
        f"not kdpipe's, left: results/{name} ({why})" for name, why in left.items()
    }
    (noted / "my notes.txt").unlink()  # it was locked as another run
    message = say("prune", "study.yaml", "--yes")
    assert f"it holds another run, {TEACHER.name} (moved aside" in message and noted.exists()


def test_a_folder_that_cannot_be_removed_is_named(store, say, tmp_path, monkeypatch, capsys):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())

    def refuses(path, *_, **__):
        raise PermissionError(13, "Permission denied", "record.json")

    monkeypatch.setattr(shutil, "rmtree", refuses)
    assert main(["prune", "less.yaml", "--yes"]) == 2
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    message = capsys.readouterr().err
    assert f"results/runs/{gone.name} cannot be removed: Permission denied" in message


def test_prune_leaves_what_is_being_trained(store, say, tmp_path):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    with run_store.lock_run_folder(store.run(gone.name)):
        assert gone.name not in say("prune", "less.yaml", "--yes")
    assert store.run(gone.name).exists()


def test_no_record_is_rewritten_that_a_process_works_on(store, say, tmp_path, monkeypatch):
    """A job that began after prune had looked: it may be about to write the record itself."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    before = tiny_study.exact(store.run(TEACHER.name)), tiny_study.record(store, TEACHER)
    monkeypatch.setattr(run_store, "is_running", lambda folder: False)
    with run_store.lock_run_folder(store.run(TEACHER.name)):
        say("prune", "less.yaml", "--yes")
    assert (tiny_study.exact(store.run(TEACHER.name)), tiny_study.record(store, TEACHER)) == before
    say("prune", "less.yaml", "--yes")
    assert tiny_study.record(store, TEACHER)["checkpoints"] == {}


def test_a_checkpoint_that_one_of_two_records_lists_is_struck_out(store, say, tmp_path):
    """Killed when the first of them was written anew, and the other was not."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    path = store.run(TEACHER.name) / run_folder.RECORD_FILE
    before, remaining = path.read_bytes(), list(path.parent.glob("checkpoints/*"))
    arrays = {each: each.read_bytes() for each in remaining}
    say("prune", "less.yaml", "--yes")
    whole = path.read_bytes()
    path.write_bytes(before)
    for each, data in arrays.items():
        each.write_bytes(data)
    say("prune", "less.yaml", "--yes")
    assert path.read_bytes() == whole and not any(each.exists() for each in remaining)


def test_a_run_that_lies_under_the_name_of_another_keeps_its_checkpoints(store, say):
    """Somebody has renamed it: nobody else has them, and `verify` says to rename it back."""
    shutil.rmtree(store.run(SCRATCH.name))
    there = store.run(TEACHER.name).rename(store.run(SCRATCH.name))
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert there / "checkpoints/epoch-0001.safetensors" in before
    assert "all results are needed" in say("prune", "study.yaml", "--yes")
    assert {path: path.read_bytes() for path in before} == before
    assert "rename it back" in say("verify", code=2)


def test_a_copy_of_a_data_set_is_left(store, say):
    (whole,) = store.root.glob("data/digits-*")
    copy = shutil.copytree(whole, whole.with_name("cats-0123456789ab"))
    message = say("prune", "study.yaml", "--yes")
    assert f"left: {copy.relative_to(store.root.parent)} (it holds {whole.name}" in message
    (copy / "card.json").write_text("{}")
    assert "its card is damaged" in say("prune", "study.yaml", "--yes")
    assert copy.exists()


def test_a_folder_named_as_half_removed_that_holds_somebody_elses_is_left(store, say):
    path = store.root / "runs/.thesis-0123456789ab.removed/chapter.tex"
    path.parent.mkdir()
    path.write_text("precious")
    assert f"left: {path.parent.relative_to(store.root.parent)}" in say(
        "prune", "study.yaml", "--yes"
    )
    assert path.exists()


def test_what_descends_from_another_is_removed_before_it(store, say, tmp_path, monkeypatch):
    """Killed in between, the next prune would not know that it is outdated."""
    gone = []
    monkeypatch.setattr(prune, "_remove_path", lambda path: gone.append(path.name))
    outdated = dict.fromkeys([*PLAN.runs, *PLAN.ensembles], "another")
    monkeypatch.setattr(prune.status, "find_stale", lambda plan, store: outdated)
    say("prune", "study.yaml", "--outdated", "--yes")
    for item in [*PLAN.runs.values(), *PLAN.ensembles.values()]:
        for parent in item.parents:
            assert gone.index(item.name) < gone.index(parent.name)
    assert set(gone) == set(outdated)


def test_prune_takes_out_of_an_archive_what_no_study_has(store, say, archive, tmp_path):
    """And a results folder may be an archive alone."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    alone = tmp_path / "published"
    alone.mkdir()
    shutil.copy(archive, alone)
    before = (alone / archive.name).read_bytes()
    displayed = say("prune", "less.yaml", "--results", "published")
    assert "published/records.jsonl.gz: 2 of its 5 records\n" in displayed
    assert (alone / archive.name).read_bytes() == before
    say("prune", "less.yaml", "--results", "published", "--yes")
    remaining = records.read_archive(alone / archive.name).values()
    assert {entry.name for entry in remaining if entry.record} == {*tiny_study.planned().runs}
    assert sum(entry.kind == "labels" for entry in remaining) == 2  # of the runs that stay
    saved = len(before) - (alone / archive.name).stat().st_size
    assert format_size(saved) in displayed
    tiny_study.write(tmp_path / "other.yaml", tiny_study.study(seeds=[7]))
    say("prune", "other.yaml", "--results", "published", "--yes")
    assert not list(alone.iterdir())


def test_a_registration_stays_and_what_a_killed_one_left_goes(store, say):
    folder = store.root / "registrations"
    folder.mkdir()
    (folder / "tiny.json").write_text("{}")
    (folder / ".tiny.json.abc.tmp").write_bytes(b"")
    decided = store.root / "searches/tiny-0123456789ab"
    decided.mkdir(parents=True)
    (decided / "round-1.json").touch()
    (decided / ".round-2.json.abc.tmp").touch()
    message = say("prune", "study.yaml", "--yes")
    assert "results/registrations/.tiny.json.abc.tmp" in message
    assert f"{decided.name}/.round-2.json.abc.tmp" in message and "round-1" not in message
    assert [path.name for path in decided.iterdir()] == ["round-1.json"]
    assert [path.name for path in folder.iterdir()] == ["tiny.json"]
