"""prune: what no study needs is shown, and removed when that is asked for; nothing else is."""

import shutil

from helpers import tiny_study
from helpers.finished_study import PLAN, SCRATCH, TEACHER

from kdpipe.cli.main import main
from kdpipe.jobs.train import train_run
from kdpipe.plan.resources import format_size
from kdpipe.runs import records, run_folder, store
from kdpipe.runs.integrity import prune


def tree(place):
    return sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*"))


def test_nothing_to_prune(place, say):
    assert say("prune", "study.yaml") == "results: everything in it is needed\n"


def test_prune_shows_first_and_removes_only_with_yes(place, say, tmp_path):
    """A study without the checkpoint, the ensemble and one more teacher's students."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
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
    assert tiny_study.record(place, TEACHER)["checkpoints"] == {}
    assert say("prune", "less.yaml") == "results: everything in it is needed\n"
    # what is wanted again is made again, to the same bytes
    train_run(TEACHER.spec, [1], place)
    assert "every file is whole" in say("verify")


def test_what_any_study_needs_stays(place, say, tmp_path):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    assert "everything in it is needed" in say("prune", "less.yaml", "study.yaml")


def test_prune_with_a_wrong_study_removes_nothing(place, say, tmp_path):
    (tmp_path / "wrong.yaml").write_text("study: [")
    before = tree(place)
    say("prune", "study.yaml", "wrong.yaml", "--yes", code=2)
    assert tree(place) == before


def test_prune_touches_only_what_has_kdpipes_name_and_marks(place, say, tmp_path):
    """And follows no link."""
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious/file").write_text("mine")
    (place.root / "runs/link").symlink_to(outside / "precious")
    stranger = place.root / "runs/stranger"
    stranger.mkdir()
    (stranger / "inner").symlink_to(outside)
    shutil.rmtree(place.root / "ensembles")
    (place.root / "ensembles").symlink_to(outside)
    for name in ("data/my_raw_images", "data/photos-0123456789ab", "runs/tb-0123456789ab"):
        (place.root / name).mkdir()
        (place.root / name / "events.npy").write_text("mine")
    noted = place.run("mine-0123456789ab")
    shutil.copytree(place.run(TEACHER.name), noted)
    for name in ("record.json", ".record.json"):
        (noted / name).unlink()
    (noted / "my notes.txt").write_text("mine")
    before = tree(place)
    said = say("prune", "study.yaml", "--yes")
    assert tree(place) == before and (outside / "precious/file").read_text() == "mine"
    left = {
        "ensembles": "a link",
        "runs/link": "a link",
        "runs/stranger": "not a name that kdpipe gives",
        "runs/tb-0123456789ab": "holds events.npy, which kdpipe has not written",
        "runs/mine-0123456789ab": "holds my notes.txt, which kdpipe has not written",
        "data/my_raw_images": "not a name that kdpipe gives",
        "data/photos-0123456789ab": "holds no record, no lock, no card",
    }
    assert set(said.splitlines()[1:]) == {
        f"not kdpipe's, left: results/{name} ({why})" for name, why in left.items()
    }
    (noted / "my notes.txt").unlink()  # it was locked as another run
    said = say("prune", "study.yaml", "--yes")
    assert f"it holds another run, {TEACHER.name} (moved aside" in said and noted.exists()


def test_a_folder_that_cannot_be_removed_is_named(place, say, tmp_path, monkeypatch, capsys):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())

    def refuses(path, *_, **__):
        raise PermissionError(13, "Permission denied", "record.json")

    monkeypatch.setattr(shutil, "rmtree", refuses)
    assert main(["prune", "less.yaml", "--yes"]) == 2
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    said = capsys.readouterr().err
    assert f"results/runs/{gone.name} cannot be removed: Permission denied" in said


def test_prune_leaves_what_is_being_trained(place, say, tmp_path):
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    gone = next(run for run in PLAN.runs.values() if "-e1-" in run.name)
    with store.lock_run_folder(place.run(gone.name)):
        assert gone.name not in say("prune", "less.yaml", "--yes")
    assert place.run(gone.name).exists()


def test_no_record_is_rewritten_that_a_process_works_on(place, say, tmp_path, monkeypatch):
    """A job that began after prune had looked: it may be about to write the record itself."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    before = tiny_study.exact(place.run(TEACHER.name)), tiny_study.record(place, TEACHER)
    monkeypatch.setattr(store, "is_running", lambda folder: False)
    with store.lock_run_folder(place.run(TEACHER.name)):
        say("prune", "less.yaml", "--yes")
    assert (tiny_study.exact(place.run(TEACHER.name)), tiny_study.record(place, TEACHER)) == before
    say("prune", "less.yaml", "--yes")
    assert tiny_study.record(place, TEACHER)["checkpoints"] == {}


def test_a_checkpoint_that_one_of_two_records_lists_is_struck_out(place, say, tmp_path):
    """Killed when the first of them was written anew, and the other was not."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    path = place.run(TEACHER.name) / run_folder.RECORD_FILE
    before, kept = path.read_bytes(), list(path.parent.glob("checkpoints/*"))
    arrays = {each: each.read_bytes() for each in kept}
    say("prune", "less.yaml", "--yes")
    whole = path.read_bytes()
    path.write_bytes(before)
    for each, data in arrays.items():
        each.write_bytes(data)
    say("prune", "less.yaml", "--yes")
    assert path.read_bytes() == whole and not any(each.exists() for each in kept)


def test_a_run_that_lies_under_the_name_of_another_keeps_its_checkpoints(place, say):
    """Somebody has renamed it: nobody else has them, and `verify` says to rename it back."""
    shutil.rmtree(place.run(SCRATCH.name))
    there = place.run(TEACHER.name).rename(place.run(SCRATCH.name))
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert there / "checkpoints/epoch-0001.safetensors" in before
    assert "everything in it is needed" in say("prune", "study.yaml", "--yes")
    assert {path: path.read_bytes() for path in before} == before
    assert "rename it back" in say("verify", code=2)


def test_a_copy_of_a_data_set_is_left(place, say):
    (whole,) = place.root.glob("data/digits-*")
    copy = shutil.copytree(whole, whole.with_name("cats-0123456789ab"))
    said = say("prune", "study.yaml", "--yes")
    assert f"left: {copy.relative_to(place.root.parent)} (it holds {whole.name}" in said
    (copy / "card.json").write_text("{}")
    assert "its card is damaged" in say("prune", "study.yaml", "--yes")
    assert copy.exists()


def test_a_folder_named_as_half_removed_that_holds_somebody_elses_is_left(place, say):
    path = place.root / "runs/.thesis-0123456789ab.removed/chapter.tex"
    path.parent.mkdir()
    path.write_text("precious")
    assert f"left: {path.parent.relative_to(place.root.parent)}" in say(
        "prune", "study.yaml", "--yes"
    )
    assert path.exists()


def test_what_descends_from_another_is_removed_before_it(place, say, tmp_path, monkeypatch):
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


def test_prune_takes_out_of_an_archive_what_no_study_has(place, say, archive, tmp_path):
    """And a results folder may be an archive alone."""
    tiny_study.write(tmp_path / "less.yaml", tiny_study.study())
    alone = tmp_path / "published"
    alone.mkdir()
    shutil.copy(archive, alone)
    before = (alone / archive.name).read_bytes()
    shown = say("prune", "less.yaml", "--results", "published")
    assert "published/records.jsonl.gz: 2 of its 5 records\n" in shown
    assert (alone / archive.name).read_bytes() == before
    say("prune", "less.yaml", "--results", "published", "--yes")
    assert {entry.name for entry in records.read_archive(alone / archive.name).values()} == {
        *tiny_study.planned().runs
    }
    saved = len(before) - (alone / archive.name).stat().st_size
    assert format_size(saved) in shown
    tiny_study.write(tmp_path / "other.yaml", tiny_study.study(seeds=[7]))
    say("prune", "other.yaml", "--results", "published", "--yes")
    assert not list(alone.iterdir())


def test_a_registration_stays_and_what_a_killed_one_left_goes(place, say):
    folder = place.root / "registrations"
    folder.mkdir()
    (folder / "tiny.json").write_text("{}")
    (folder / ".tiny.json.abc.tmp").write_bytes(b"")
    decided = place.root / "searches/tiny-0123456789ab"
    decided.mkdir(parents=True)
    (decided / "round-1.json").touch()
    (decided / ".round-2.json.abc.tmp").touch()
    said = say("prune", "study.yaml", "--yes")
    assert "results/registrations/.tiny.json.abc.tmp" in said
    assert f"{decided.name}/.round-2.json.abc.tmp" in said and "round-1" not in said
    assert [path.name for path in decided.iterdir()] == ["round-1.json"]
    assert [path.name for path in folder.iterdir()] == ["tiny.json"]
