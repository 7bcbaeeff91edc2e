"""Records kept with a report: they render it again, without torch and without any weights."""

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_study import STUDY, made_plan, made_store, write

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.evidence import frames, wrong_images
from kdpipe.results.files import write_json
from kdpipe.results.store import Store
from kdpipe.upkeep import archive

REPOSITORY = Path(__file__).parents[2]
DIGITS = REPOSITORY / "reports" / "digits"
SCRIPT = """
import sys
from kdpipe.cli.main import main
code = main(["report", "config.yaml", "--results", sys.argv[1], "--reports", sys.argv[2]])
sys.exit(code or "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The digits report, rendered from its committed records."""
    folder = tmp_path_factory.mktemp("again")
    command = [sys.executable, "-c", SCRIPT, str(DIGITS / "records"), str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder / "digits"


def test_the_committed_records_give_the_committed_tables(again):
    names = {path.name for path in (again / "tables").glob("*.csv")}
    assert len(names) > 8
    assert names == {path.name for path in (DIGITS / "tables").glob("*.csv")}
    for name in [f"tables/{name}" for name in sorted(names)] + ["results.csv"]:
        made = pd.read_csv(again / name)
        assert any(_alike(made, pd.read_csv(io.StringIO(text))) for text in _committed(name)), name


def test_the_committed_records_give_the_committed_claims(again):
    made = json.loads((again / "claims.json").read_text())
    assert any(_close(made, json.loads(text)) for text in _committed("claims.json"))


def test_the_committed_records_say_nothing_of_the_machine_but_its_processor():
    files = [path for path in (DIGITS / "records").rglob("*") if path.is_file()]
    assert len(files) > 300 and sum(path.stat().st_size for path in files) < 4_000_000
    for path in files:
        text = path.read_text()
        assert not re.search(r'"(/|~|[A-Z]:\\)|/(home|tmp|root|usr|work)/|hostname', text), path
        if path.name == "record.json":
            known = {"kdpipe", "git", "python", "numpy", "torch"}
            assert json.loads(text)["versions"].keys() <= known


def _committed(name: str):
    """The file as it lies there, and as it was committed: a run of one's own changes the first."""
    yield (DIGITS / name).read_text()
    command = ["git", "show", f"HEAD:reports/digits/{name}"]
    known = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if known.returncode == 0:
        yield known.stdout


def _alike(made: pd.DataFrame, known: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(made, known, rtol=1e-7, atol=1e-9)
    except AssertionError:
        return False
    return True


def _close(made, known) -> bool:
    """Equal but for rounding; resampled intervals to a hundredth of a point."""
    if isinstance(made, dict):
        loose = "resamples" in made
        return made.keys() == known.keys() and all(
            math.isclose(made[key], known[key], abs_tol=0.01)
            if loose and isinstance(made[key], float)
            else _close(made[key], known[key])
            for key in made
        )
    if isinstance(made, list):
        return len(made) == len(known) and all(map(_close, made, known))
    if isinstance(made, float) and isinstance(known, float):
        return math.isclose(made, known, rel_tol=1e-7, abs_tol=1e-9)
    return made == known


# --- Of any study -------------------------------------------------------------------------------


def test_an_archive_renders_as_its_results_do_holes_included(tmp_path):
    made, store = made_plan(seeds=[0, 1]), Store(tmp_path / "results")
    write(made, store, {"wrn10-0.5-from-wrn16-2-e20": "diverged"})
    failed = next(name for name in made.runs if name.startswith("wrn16-1-from"))
    for path in store.run(failed).iterdir():
        path.unlink()
    write_json(store.run(failed) / "failure.json", {"reason": "no memory", "traceback": "at /x"})
    said = archive.write(made, store, tmp_path / "archive")
    assert f"{len(made.runs) - 1:,} runs" in said and f"{len(made.ensembles)} ensembles" in said
    there = Store(tmp_path / "archive")
    frame = frames.frame(made, store)
    assert {"done", "diverged", "failed"} == set(frame.status)
    pd.testing.assert_frame_equal(frames.frame(made, there), frame)
    pd.testing.assert_frame_equal(frames.curves(made, there), frames.curves(made, store))
    known = list(wrong_images.lines(wrong_images.Outcomes(made, store)))
    assert list(wrong_images.lines(wrong_images.Outcomes(made, there))) == known
    assert len(known) > len(made.ensembles)
    files = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert "/x" not in "".join(path.read_text() for path in files)


def test_an_archive_drops_what_the_plan_no_longer_has_and_nothing_else(tmp_path):
    made, store = made_store(tmp_path, seeds=[0, 1])
    folder = tmp_path / "archive"
    archive.write(made, store, folder)
    (folder / "runs" / "notes").mkdir()
    (folder / "runs" / "notes" / "mine.txt").write_text("a person's own")
    fewer = made_plan(seeds=[0])
    said = archive.write(fewer, store, folder)
    gone = [len(made.runs) - len(fewer.runs), len(made.ensembles) - len(fewer.ensembles)]
    gone.append(len(made.probes) - len(fewer.probes))
    assert f"{sum(gone):,} that the study no longer has were removed" in said
    assert {path.name for path in (folder / "runs").iterdir()} == {*fewer.runs, "notes"}
    assert {path.name for path in (folder / "ensembles").iterdir()} == {*fewer.ensembles}


def test_a_results_folder_is_no_place_for_an_archive(tmp_path):
    made, store = made_store(tmp_path, seeds=[0])
    run = store.run(next(iter(made.runs)))
    (run / "weights.safetensors").write_bytes(b"weights")
    with pytest.raises(KdpipeError, match="with weights in it"):
        archive.write(made, store, store.root)
    assert (run / "weights.safetensors").exists()


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lost", ["a folder", "the study", "one run", "one outcome", "nothing"])
def test_an_archive_never_loses_what_it_holds(tmp_path, capsys, monkeypatch, lost):
    """Typed in a fresh clone, `kdpipe archive` once emptied the committed records."""
    made, store = made_store(tmp_path, seeds=[0, 1])
    write_json(tmp_path / "made.yaml", {**STUDY, "seeds": [0, 1]})
    monkeypatch.chdir(tmp_path)
    command = ["archive", "made.yaml", "--to", "kept"]
    assert main(command) == 0
    before = _files(tmp_path / "kept")
    names = list(made.runs)
    said = {
        "a folder": "results is not there",
        "the study": "results holds no record of the study made",
        "one run": f"lacks, {names[3]} the first",
        "one outcome": f"lacks, {names[3]} the first",
        "nothing": "kept is the results folder itself",
    }
    if lost == "a folder":
        store.root.rename(tmp_path / "elsewhere")
    elif lost == "the study":
        for kind in ("runs", "ensembles", "probes"):
            (store.root / kind).rename(tmp_path / kind)
            (store.root / kind / "wrn10-1-scratch-s0-000000000000").mkdir(parents=True)
    elif lost == "one run":
        (store.run(names[3]) / "record.json").unlink()
    elif lost == "one outcome":
        path = store.root / wrong_images.FILE
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if names[3] not in line))
    else:
        command += ["--results", "../" + tmp_path.name + "/kept"]
    capsys.readouterr()
    assert main(command) == 2
    assert said[lost] in (words := capsys.readouterr().err) and words.count("\n") == 1
    assert _files(tmp_path / "kept") == before
