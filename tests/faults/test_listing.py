"""Every file that a report reads is compared with its digest: what is altered is never shown, and
what is gone is said.

Which files it reads is found by listening to `open`, not known from a list of the code.
"""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import tiny_study
from helpers.every_file import World
from helpers.fault_tally import FULL, Tally

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.jobs.eval_ensemble import eval_ensemble
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.report import fingerprint, render

LISTEN = """
import json, os, sys
read = set()
sys.addaudithook(lambda name, found: read.add(str(found[0])) if name == "open" else None)
from kdpipe.cli.main import main
code = main(sys.argv[1:])
root = os.getcwd()
print("READ", json.dumps(sorted({os.path.relpath(each, root) for each in read
    if os.path.realpath(each).startswith(root + os.sep)})), file=sys.stderr)
sys.exit(code)
"""


NAMES = re.compile(r"(?<=s/)[^/]+-[0-9a-f]{12}")  # of folders, in which the same files lie


def read_by(world: World, *command: str) -> list[str]:
    """The files of the world that a command opens and has not written itself."""
    whole = world.files()
    script = [sys.executable, "-c", LISTEN, *command]
    process = subprocess.run(script, cwd=world.folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    opened = json.loads(process.stderr.split("READ ")[1])
    return [path for path in opened if path in whole and not path.startswith("reports/")]


def altered(data: bytes) -> bytes:
    """One digit is another: what a checksum finds, and no parser."""
    for store in range(len(data) // 3, len(data)):
        if chr(data[store]).isdigit():
            new = b"1" if data[store : store + 1] != b"1" else b"2"
            return data[:store] + new + data[store + 1 :]
    store = len(data) // 2
    return data[:store] + bytes([data[store] ^ 1]) + data[store + 1 :]


def chosen(opened: list[str], tally: Tally) -> list[tuple[str, list[Path]]]:
    """The files to look at, each with its copy, which would be taken in its place; one file of
    each kind unless all are wanted."""
    actual = []
    every = opened if FULL else list({NAMES.sub("", path): path for path in opened}.values())
    for path in tally.choose(every, len(every)):
        # The card of what is prepared is compared with, and nothing of it is shown.
        of_data = re.fullmatch(r"results/data/[^/]+/card\.json", path)
        if not (of_data or path.endswith((".py", "study.yaml"))):
            is_record = path.endswith("record.json")
            copies = list(Path(path).parent.glob("*record.json")) if is_record else [Path(path)]
            actual.append((path, copies))
    return actual


@pytest.mark.parametrize("source", ["results", "published"])
def test_an_altered_file_is_never_shown(source, finished, tmp_path, monkeypatch, capsys, tally):
    world = finished.copied(tmp_path / "world")
    monkeypatch.chdir(world.folder)
    command = ["report", "study.yaml", "--results", source]
    opened = read_by(world, *command)
    kinds = {Path(path).name for path in opened}
    if source == "results":
        assert {"record.json", "curve.jsonl", "outputs.safetensors", "mine.card.json"} <= kinds
    else:
        assert "records.jsonl.gz" in kinds
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    assert main(command) == 0
    capsys.readouterr()
    before = Path("reports/world/results.csv").read_bytes(), Path("reports/world/claims.json")
    csv, claims = before[0], before[1].read_bytes()
    for path, copies in chosen(opened, tally):
        whole = Path(path).read_bytes()
        for each in copies:
            each.write_bytes(altered(whole))
        with tally.trying(path):
            code = main(command)
            captured = capsys.readouterr()
            text = (
                captured.out
                + captured.err
                + Path("reports/world/results.csv").read_text() * (code == 0)
            )
            folder = Path(path).parent.name or path
            named = folder in text and ("damaged" in text or "altered" in text)
            assert code in (0, 2)
            if code == 0 and not named:
                assert Path("reports/world/results.csv").read_bytes() == csv
                assert Path("reports/world/claims.json").read_bytes() == claims
                raise AssertionError("altered, and nothing is said of it")
            is_named = named or (code == 2 and path.rsplit("/", 1)[-1] in captured.err)
            assert is_named, captured.err
        for each in copies:
            each.write_bytes(whole)
    assert main(command) == 0 and Path("reports/world/results.csv").read_bytes() == csv
    tally.check()
    shutil.rmtree("reports")


def displayed(csv: bytes) -> list[tuple]:
    """What, which, and its error, of each row."""
    frame = pd.read_csv(io.BytesIO(csv)).fillna("")
    return list(frame[["kind", "run", "status", "test_error"]].itertuples(index=False, name=None))


def test_a_run_of_which_a_file_is_altered_is_a_hole(finished, tmp_path, monkeypatch, capsys):
    """What is shown of the others is what it was; the report is called up to date by nobody."""
    world = finished.copied(tmp_path / "world")
    monkeypatch.chdir(world.folder)
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    command, csv = ["report", "study.yaml"], Path("reports/world/results.csv")
    assert main(command) == 0
    whole = csv.read_bytes()
    (folder,) = world.store.root.glob("runs/wrn10-0.5-labels-*")
    for name in ("curve.jsonl", "outputs.safetensors"):
        remaining = (folder / name).read_bytes()
        (folder / name).write_bytes(altered(remaining))
        capsys.readouterr()
        assert main(command) == 0
        assert f"{folder.name}/{name} is damaged" in capsys.readouterr().err
        before, now = displayed(whole), displayed(csv.read_bytes())
        holes = [old for old, new in zip(before, now, strict=True) if old != new]
        assert len(before) > 10 and [hole[0] for hole in holes] == ["scratch", "ensemble"]
        assert csv.read_text().count(f'damaged,"{folder.relative_to(world.folder)}/{name}') == 2
        plan, store = world.plan(), world.store
        assert fingerprint.read_digest(csv.parent) != fingerprint.compute_digest(plan, store)
        (folder / name).write_bytes(remaining)
        assert main(command) == 0 and csv.read_bytes() == whole
        assert fingerprint.read_digest(csv.parent) == fingerprint.compute_digest(plan, store)


def test_of_altered_outputs_of_a_checkpoint_the_ensemble_is_a_hole(
    tmp_path, shared, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    shots = {"networks": ["wrn10-0.5"], "stops": ["checkpoint 1", "full"]}
    content = tiny_study.study(ensembles={"shots": shots}, tables={"ensembles": ["shots"]})
    store = tiny_study.results(tmp_path, shared)
    plan = planner.build_plan(load.load_study(tiny_study.write(Path("study.yaml"), content)))
    for run in plan.runs.values():
        train_run(run.spec, sorted(plan.checkpoints_to_keep.get(run.name, ())), store)
    (team,) = plan.ensembles.values()
    eval_ensemble(team.spec, store)
    command, csv = ["report", "study.yaml"], Path("reports/tiny/results.csv")
    assert main(command) == 0
    before = displayed(csv.read_bytes())
    (path,) = store.root.glob("runs/*/checkpoints/epoch-0001-outputs.safetensors")
    path.write_bytes(altered(path.read_bytes()))
    capsys.readouterr()
    assert main(command) == 0
    now = displayed(csv.read_bytes())
    holes = [(old[0], new[2]) for old, new in zip(before, now, strict=True) if old != new]
    assert holes == [("ensemble", "damaged")]
    assert f"{path.relative_to(tmp_path)} is damaged" in csv.read_text()


@pytest.mark.parametrize("source", ["results", "published"])
def test_a_deleted_file_is_said(source, finished, tmp_path, monkeypatch, capsys, tally):
    """A run without its record was not run, which the report shows; the rest is damage."""
    world = finished.copied(tmp_path / "world")
    monkeypatch.chdir(world.folder)
    command = ["report", "study.yaml", "--results", source]
    opened = read_by(world, *command)
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    page, csv = Path("reports/world/index.md"), Path("reports/world/results.csv")
    whole, before = csv.read_bytes(), source_of(page)
    for path, copies in chosen(opened, tally):
        remaining = {each: each.read_bytes() for each in copies}
        for each in copies:
            each.unlink()
        capsys.readouterr()
        with tally.trying(path):
            code = main(command)
            text = "".join(capsys.readouterr())
            if code == 0:
                name, rows = Path(path).parent.name, csv.read_text().splitlines()
                why = "not run" if path.endswith("record.json") else "is missing"
                assert any(name in row and why in row for row in rows)
                assert source_of(page) != before
            else:
                assert code == 2 and (Path(path).name in text or source in text), text
        for each, data in remaining.items():
            each.write_bytes(data)
    assert main(command) == 0 and csv.read_bytes() == whole
    shutil.rmtree("reports")
    tally.check()


def source_of(page: Path) -> str:
    """What a report was rendered from."""
    return page.read_text().splitlines()[-1]
