"""An archive renders its report again, without torch or weights, and loses nothing it holds."""

import dataclasses
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from helpers.synthetic_study import STUDY, made_plan, made_store, write

from kdpipe.analysis import dataframe, eval_point
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.report import render
from kdpipe.report.render import render_report
from kdpipe.runs import records, run_folder
from kdpipe.runs import records as records_module
from kdpipe.runs.files import write_json
from kdpipe.runs.integrity import archive
from kdpipe.runs.store import Store, lock_published_folder

REPOSITORY = Path(__file__).parents[3]
PUBLISHED = REPOSITORY / "reports" / "published"
# The studies whose records and reports are committed; how many records, in how many bytes at most.
STUDIES = {
    "digits": ("studies/digits_first.yaml", 170, 500_000),
    "digits_noisy": ("config.yaml", 122, 1_500_000),
    "fashion_mnist": ("studies/fashion_mnist.yaml", 470, 3_000_000),
    "fashion_again": ("studies/fashion_again.yaml", 141, 1_000_000),
}
SCRIPT = """
import sys
from kdpipe.cli.main import main
code = main(["report", sys.argv[1], "--results", sys.argv[2], "--reports", sys.argv[3]])
sys.exit(code or "torch" in sys.modules)
"""


@pytest.fixture(scope="module", params=STUDIES)
def again(request, tmp_path_factory):
    """A report rendered from its committed records."""
    folder, (study, *_) = tmp_path_factory.mktemp("again"), STUDIES[request.param]
    command = [sys.executable, "-c", SCRIPT, study, str(PUBLISHED / request.param), str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder / request.param


@pytest.mark.slow
def test_the_committed_records_give_the_committed_tables(again):
    names = {path.name for path in (again / "tables").glob("*.csv")}
    assert len(names) > 7
    published = PUBLISHED / again.name
    assert names == {path.name for path in (published / "tables").glob("*.csv")}
    for name in [f"tables/{name}" for name in sorted(names)] + ["results.csv"]:
        result, known = pd.read_csv(again / name), pd.read_csv(published / name)
        pd.testing.assert_frame_equal(result, known, rtol=1e-7, atol=1e-9, obj=name)


@pytest.mark.slow
def test_the_committed_records_give_the_committed_claims(again):
    result = json.loads((again / "claims.json").read_text())
    assert _close(result, json.loads((PUBLISHED / again.name / "claims.json").read_text()))


@pytest.mark.parametrize("study", STUDIES)
def test_the_committed_records_say_nothing_of_the_machine_but_its_processor(study):
    path, (_, records, most) = PUBLISHED / study / records_module.ARCHIVE_FILE, STUDIES[study]
    assert len(records_module.read_archive(path)) == records and path.stat().st_size < most
    text = gzip.decompress(path.read_bytes()).decode()
    assert not re.search(r'"(/|~|[A-Z]:\\)|/(home|tmp|root|usr|work)/|hostname', text)
    known = {"kdpipe", "git", "python", "numpy", "torch"}
    for entry in records_module.read_archive(path).values():
        assert entry.record is None or entry.record["versions"].keys() <= known


def _close(result, known) -> bool:
    """Equal but for rounding."""
    if isinstance(result, dict):
        return result.keys() == known.keys() and all(
            _close(result[key], known[key]) for key in result
        )
    if isinstance(result, list):
        return len(result) == len(known) and all(map(_close, result, known))
    if isinstance(result, float) and isinstance(known, float):
        return math.isclose(result, known, rel_tol=1e-7, abs_tol=1e-9)
    return result == known


# --- Of any study -------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_archive_renders_as_its_results_do_holes_included(tmp_path, monkeypatch):
    """But for its figures, which are drawn of frames that are compared here."""
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    plan, store = made_plan(seeds=[0, 1]), Store(tmp_path / "results")
    write(plan, store, {"wrn10-0.5-from-wrn16-2-e20": "diverged"})
    failed = next(name for name in plan.runs if name.startswith("wrn16-1-from"))
    shutil.rmtree(store.run(failed))
    reason = {"reason": "no memory", "traceback": "at /x"}
    write_json(run_folder.failure_path(store.run(failed)), reason)
    message = archive.archive_study(plan, store, tmp_path / "archive")
    assert (
        f"{len(plan.runs) - 1:,} runs" in message and f"{len(plan.ensembles)} ensembles" in message
    )
    assert f"{len(plan.probes)} probes" in message
    there = Store(tmp_path / "archive")
    assert [path.name for path in there.root.iterdir()] == ["records.jsonl.gz"]
    frame = dataframe.build_results_frame(plan, store)
    assert {"done", "diverged", "failed"} == set(frame.status)
    pd.testing.assert_frame_equal(dataframe.build_results_frame(plan, there), frame)
    pd.testing.assert_frame_equal(
        dataframe.build_curves_frame(plan, there), dataframe.build_curves_frame(plan, store)
    )
    for name in {*plan.runs, *plan.ensembles} - {failed}:
        mine, reference = (
            eval_point.PerImageErrors(plan, store).load_error_mask(name) for store in (store, there)
        )
        assert (mine is None and reference is None) or (mine == reference).all()
    assert "/x" not in gzip.decompress(there.archive_path.read_bytes()).decode()
    pages = [render_report(plan, store, tmp_path / store.root.name) for store in (store, there)]
    assert _files(pages[0] / "tables") and _alike(*pages)


def _alike(one: Path, other: Path) -> bool:
    """Whether two folders hold the same report; they may hold other things.

    The last line of the text names what it was rendered from, which an archive holds otherwise.
    """
    texts = [_without_places(folder / "index.md").splitlines()[:-1] for folder in (one, other)]
    pages = [_without_places(folder / "index.html") for folder in (one, other)]
    if texts[0] != texts[1] or pages[0] != pages[1]:
        return False
    names = [Path("results.csv"), Path("claims.json")]
    names += [path.relative_to(one) for path in (one / "figures").glob("*")]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def _without_places(path: Path) -> str:
    """A page without where weights and records lie: an archive has none of the first."""
    text = re.sub("Weights of the seed .*?(</p>|$)", "", path.read_text(), flags=re.MULTILINE)
    text = re.sub("(?<=kdpipe report )(.*?)--results .*? (?=--row)", r"\1", text)
    return re.sub("(?<=claims.json</a>).*?</p>", "", text)


def test_the_same_results_give_the_same_bytes(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    archive.archive_study(plan, store, tmp_path / "one")
    one = tmp_path / "one" / records_module.ARCHIVE_FILE
    before = one.read_bytes()
    assert before[3:8] == bytes(5)  # gzip: no flags, so no file name, and no time
    shutil.copytree(store.root, tmp_path / "elsewhere")
    archive.archive_study(plan, Store(tmp_path / "elsewhere"), tmp_path / "two")
    assert (tmp_path / "two" / records_module.ARCHIVE_FILE).read_bytes() == before
    lines = gzip.decompress(before).splitlines()
    assert lines == sorted(lines)
    # another zlib may pack the same lines differently: then they are left as they were packed
    one.write_bytes(gzip.compress(gzip.decompress(before), compresslevel=1))
    other = one.read_bytes()
    archive.archive_study(plan, store, tmp_path / "one")
    assert other != before and one.read_bytes() == other


def test_what_the_results_lack_stays(tmp_path):
    """An older version of a study, another study of the same name, a run that has gone since."""
    plan, store = made_store(tmp_path, seeds=[0, 1])
    folder = tmp_path / "archive"
    archive.archive_study(plan, store, folder)
    before = records_module.read_archive(folder / records_module.ARCHIVE_FILE)
    fewer = made_plan(seeds=[0])
    shutil.rmtree(store.run(next(iter(fewer.runs))))
    message = archive.archive_study(fewer, store, folder)
    stayed = len(before) - len(fewer.runs) - len(fewer.ensembles) - len(fewer.probes) + 1
    assert f"; {stayed:,} of them were there and stayed" in message
    assert records_module.read_archive(folder / records_module.ARCHIVE_FILE) == before


def test_what_is_new_is_added_and_a_failure_gives_way_to_its_record(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    name = list(plan.runs)[3]
    shutil.move(store.run(name), tmp_path / "finished")
    write_json(run_folder.failure_path(store.run(name)), {"reason": "no memory", "traceback": None})
    archive.archive_study(plan, store, tmp_path / "archive")
    there = Store(tmp_path / "archive")
    assert (
        name not in there.load_records("runs") and there.failure_reason("runs", name) == "no memory"
    )
    shutil.rmtree(store.run(name))
    archive.archive_study(plan, store, there.root)  # nothing is known of it now
    assert there.failure_reason("runs", name) == "no memory"
    shutil.move(tmp_path / "finished", store.run(name))
    archive.archive_study(plan, store, there.root)
    assert there.load_records("runs") == store.load_records("runs")
    assert there.failure_reason("runs", name) is None
    shutil.rmtree(store.run(name))
    write_json(run_folder.failure_path(store.run(name)), {"reason": "again", "traceback": None})
    archive.archive_study(plan, store, there.root)
    assert name in there.load_records("runs")


def changed(store: Store, name: str, **changes) -> None:
    folder = store.run(name)
    records.publish_record(folder, records.read_record(folder, None) | changes)


def facts(size: int) -> dict:
    """Of a file, as a record has it; two sizes are two contents."""
    return {"bytes": size, "sha256": f"{size:064x}"}


def test_the_same_run_trained_again_is_the_same_run(tmp_path):
    """Other seconds, another day, another version of torch: what came out is what counts."""
    plan, store = made_store(tmp_path, seeds=[0])
    name = list(plan.runs)[3]
    archive.archive_study(plan, store, tmp_path / "archive")
    changed(store, name, seconds={"total": 99.0}, started="2030", versions={"torch": "9"})
    archive.archive_study(plan, store, tmp_path / "archive")
    (record,) = [Store(tmp_path / store).load_records("runs")[name] for store in ["archive"]]
    assert record["seconds"] == {"total": 99.0} and record["started"] == "2030"


def test_a_record_that_says_more_of_its_images_is_of_the_same_run(tmp_path):
    """Records did not always say what images are; what an archive holds of then is no other run."""
    plan, store = made_store(tmp_path, seeds=[0])
    name = list(plan.runs)[3]
    archive.archive_study(plan, store, tmp_path / "archive")
    changed(store, name, images={"classes": ["0", "1"]})
    archive.archive_study(plan, store, tmp_path / "archive")
    remaining = Store(tmp_path / "archive").load_records("runs")[name]
    assert remaining["images"] == {"classes": ["0", "1"]}
    changed(store, name, images={"classes": ["0", "2"]})
    with pytest.raises(KdpipeError, match=f"{name} the first .images."):
        archive.archive_study(plan, store, tmp_path / "archive")


def test_checkpoints_that_were_pruned_stay_in_the_archive(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    name = next(name for name, epochs in plan.checkpoints_to_keep.items() if epochs)
    curve = store.load_records("runs")[name]["files"]
    changed(store, name, files=curve | {"checkpoints/epoch-0007.safetensors": facts(2)})
    before = store.load_records("runs")[name]
    archive.archive_study(plan, store, tmp_path / "archive")
    changed(store, name, checkpoints={}, files=curve)
    archive.archive_study(plan, store, tmp_path / "archive")
    assert Store(tmp_path / "archive").load_records("runs")[name] == before


@pytest.mark.parametrize("differs", ["status", "last", "file outputs.safetensors", "checkpoint 7"])
def test_another_record_of_a_run_is_refused_and_both_are_said(tmp_path, capsys, differs):
    plan, store = made_store(tmp_path, seeds=[0])
    name = next(name for name, epochs in plan.checkpoints_to_keep.items() if 7 in epochs)
    files = store.load_records("runs")[name]["files"]
    changed(store, name, files=files | {"outputs.safetensors": facts(1)}, started="1 May")
    archive.archive_study(plan, store, tmp_path / "archive")
    before = _files(tmp_path / "archive")
    old = store.load_records("runs")[name]
    change: dict = {
        "status": {"status": "diverged", "last": None, "reason": "not finite"},
        "last": {"last": {**old["last"], "val": {**old["last"]["val"], "accuracy": 0.5}}},
        "file outputs.safetensors": {"files": files | {"outputs.safetensors": facts(2)}},
        "checkpoint 7": {"checkpoints": {"7": {"val": None}}},
    }[differs]
    changed(store, name, started="2 May", **change)
    with pytest.raises(KdpipeError) as error:
        archive.archive_study(plan, store, tmp_path / "archive")
    message = str(error.value)
    assert f"other records of 1 runs or ensembles than {store.root}, {name} the first" in message
    assert f" the first ({differs}): there " in message
    assert (
        "started 1 May" in message
        and "started 2 May" in message
        and "nothing was written" in message
    )
    known = {"status": "diverged, not finite", "last": "validation error 50.00 %"}
    assert known.get(differs, "done, validation error") in message
    assert f"remove {store.run(name)}" in message
    assert _files(tmp_path / "archive") == before


def test_another_record_in_the_archive_among_the_results_is_refused(tmp_path):
    """Where the archive lies beside the folders the folder speaks: it must not be what is asked."""
    plan, store = made_store(tmp_path, seeds=[0])
    name = list(plan.runs)[3]
    archive.archive_study(plan, store, store.root)
    before = store.archive_path.read_bytes()
    changed(store, name, best=None)
    with pytest.raises(KdpipeError, match=f"{name} the first .best."):
        archive.archive_study(plan, store, store.root)
    assert store.archive_path.read_bytes() == before


def test_two_studies_put_into_one_archive_at_once_are_both_in_it(tmp_path):
    """The second waits, and merges into what the first has written."""
    plan, store = made_store(tmp_path, seeds=[0])
    folder = tmp_path / "archive"
    with ThreadPoolExecutor() as pool, lock_published_folder(folder):
        later = pool.submit(archive.archive_study, plan, store, folder)
        time.sleep(0.3)
        assert not later.done()
        another = {"digest": "ab" * 32, "status": "skipped"}
        entry = records_module.ArchiveEntry("runs", "of-another-study", "ab" * 32, another)
        records_module.write_archive(folder / records_module.ARCHIVE_FILE, [entry])
    assert "1 of them were there and stayed" in later.result()
    assert ("runs", "of-another-study") in records_module.read_archive(
        folder / records_module.ARCHIVE_FILE
    )


def test_a_full_disk_or_a_kill_leaves_the_archive_as_it_was(tmp_path, monkeypatch):
    plan, store = made_store(tmp_path, seeds=[0])
    archive.archive_study(plan, store, tmp_path / "archive")
    before = _files(tmp_path / "archive")
    name = list(plan.runs)[3]
    changed(store, name, started="2030")
    for path, error in [("fsync", OSError(28, "no space")), ("replace", KeyboardInterrupt())]:
        with monkeypatch.context() as patch, pytest.raises((KdpipeError, KeyboardInterrupt)):
            patch.setattr(os, path, lambda *_, error=error: (_ for _ in ()).throw(error))
            archive.archive_study(plan, store, tmp_path / "archive")
        assert _files(tmp_path / "archive") == before
    (tmp_path / "archive" / ".records.jsonl.gz.x.tmp").write_bytes(b"half")  # of a killed one
    archive.archive_study(plan, store, tmp_path / "archive")
    assert [path.name for path in _files(tmp_path / "archive")] == [records_module.ARCHIVE_FILE]


def test_a_damaged_record_is_never_left_out_in_silence(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    folder = store.run(list(plan.runs)[3])
    for name in ("record.json", ".record.json"):
        (folder / name).write_bytes(b"{}")
    with pytest.raises(KdpipeError, match=r"record.json is not a record.*nothing was archived"):
        archive.archive_study(plan, store, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


def test_an_archive_has_all_that_a_report_reads(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    write_json(tmp_path / "made.yaml", {**STUDY, "seeds": [0]})
    command = ["archive", str(tmp_path / "made.yaml"), "--results", str(store.root)]
    assert main([*command, "--to", str(tmp_path / "new")]) == 0
    there = Store(tmp_path / "new")
    for kind in records_module.RECORD_KINDS:
        assert there.load_records(kind) == store.load_records(kind)
    assert (
        there.load_wrong_images() == store.load_wrong_images()
        and len(there.load_wrong_images()) > 10
    )
    assert all(there.load_curve(name) == store.load_curve(name) is not None for name in plan.runs)


@pytest.mark.slow
def test_archive_publishes_records_and_report(tmp_path, capsys, monkeypatch):
    plan, store = made_store(tmp_path, seeds=[0])
    write_json(tmp_path / "made.yaml", {**STUDY, "seeds": [0]})
    monkeypatch.chdir(tmp_path)
    assert main(["archive", "made.yaml"]) == 0
    message = capsys.readouterr().out.splitlines()
    folder = Path("reports/published/made")
    assert message[0].startswith(f"{folder}/records.jsonl.gz: {len(plan.runs)} runs")
    assert message[1] == f"{folder}/index.html: rendered from it"
    known = {"records.jsonl.gz", "index.html", "index.md", "results.csv", "claims.json"}
    assert {path.name for path in folder.iterdir()} == known | {"tables", "figures"}
    assert main(["report", "made.yaml"]) == 0
    assert capsys.readouterr().out == "reports/made/index.html: rendered\n"
    assert _alike(Path("reports/made"), folder)
    # and from the published file alone
    shutil.rmtree(store.root)
    assert main(["report", "made.yaml", "--results", str(folder), "--reports", "again"]) == 0
    assert _alike(Path("reports/made"), Path("again/made"))


def test_a_curve_that_its_record_does_not_describe_is_refused(tmp_path, capsys, monkeypatch):
    """A report has a hole there: tests/faults/test_listing.py."""
    plan, store = made_store(tmp_path, seeds=[0])
    write_json(tmp_path / "made.yaml", {**STUDY, "seeds": [0]})
    monkeypatch.chdir(tmp_path)
    path = run_folder.curve_path(store.run(list(plan.runs)[3]))
    path.write_bytes(path.read_bytes().replace(b'"ce": 0.', b'"ce": 9.', 1))
    assert main(["archive", "made.yaml"]) == 2
    message = capsys.readouterr().err
    assert (
        str(path.relative_to(tmp_path)) in message
        and "not what the record of its run says" in message
    )
    assert not (tmp_path / "reports").exists()


def test_git_sees_what_is_published_and_nothing_that_a_run_leaves():
    left = ["results/runs/x/record.json", "logs/runs/x.log", "reports/digits/index.html"]
    remaining = [
        "reports/published/digits/index.html",
        "src/kdpipe/results/store.py",
        "tests/results/x",
    ]
    ignored = subprocess.run(
        ["git", "check-ignore", *left, *remaining], cwd=REPOSITORY, capture_output=True, text=True
    )
    if ignored.returncode > 1:
        pytest.skip("not a clone")
    assert ignored.stdout.split() == left


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lost", ["a folder", "the study", "the archive"])
def test_nothing_is_written_where_there_is_nothing_to_merge(tmp_path, capsys, monkeypatch, lost):
    """Typed in a fresh clone, `kdpipe archive` once emptied the committed records."""
    _, store = made_store(tmp_path, seeds=[0])
    write_json(tmp_path / "made.yaml", {**STUDY, "seeds": [0]})
    monkeypatch.chdir(tmp_path)
    command = ["archive", "made.yaml", "--to", "reports/kept"]
    assert main(command) == 0
    remaining = tmp_path / "reports"
    message = {
        "a folder": "results is not there",
        "the study": "results holds no record of the study made",
        "the archive": "records.jsonl.gz is damaged or not an archive",
    }
    if lost == "a folder":
        store.root.rename(tmp_path / "elsewhere")
    elif lost == "the study":
        for kind in records_module.RECORD_KINDS:
            if (store.root / kind).exists():  # the study has no gauges
                (store.root / kind).rename(tmp_path / kind)
            (store.root / kind / "wrn10-1-scratch-s0-000000000000").mkdir(parents=True)
    else:
        path = remaining / "kept" / records_module.ARCHIVE_FILE
        path.write_bytes(path.read_bytes()[:-100])
    before = _files(remaining)
    capsys.readouterr()
    assert main(command) == 2
    assert message[lost] in (words := capsys.readouterr().err) and words.count("\n") == 1
    assert _files(remaining) == before


def test_a_record_under_the_name_of_another_is_refused(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    archive.archive_study(plan, store, tmp_path / "archive")
    path = tmp_path / "archive" / records_module.ARCHIVE_FILE
    entries = records_module.read_archive(path)
    one, two = [entry for entry in entries.values() if entry.kind == "runs"][:2]
    swapped = dataclasses.replace(one, digest=two.digest, record=two.record)
    records_module.write_archive(path, [*(e for e in entries.values() if e is not one), swapped])
    with pytest.raises(KdpipeError, match=f"{one.name} the first"):
        archive.archive_study(plan, store, tmp_path / "archive")
