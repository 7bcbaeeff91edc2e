"""The report of a study with made results: its files, and its page in a real browser."""

import dataclasses
import errno
import html
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import urlparse

import pandas as pd
import pytest
import yaml
from helpers import synthetic_study
from helpers.browser import CHROMIUM, browser
from helpers.snakemake_sandbox import ROOT
from helpers.synthetic_study import STUDY, made_plan, made_store, write

from kdpipe import hashing
from kdpipe.analysis import contest, dataframe, eval_point, recommendation
from kdpipe.analysis.claim import judge_claims, load_claims
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.models import registry
from kdpipe.plan.nodes import Plan
from kdpipe.report import fingerprint, render, terminal_summary
from kdpipe.report.builtin_tables import a_or_b
from kdpipe.report.figure import load_figures
from kdpipe.report.format import escape_markdown
from kdpipe.report.page import ReportContext, render_markdown
from kdpipe.report.render import render_report
from kdpipe.report.table import RenderedTable, load_tables, table_to_markdown
from kdpipe.runs.files import write_json
from kdpipe.runs.store import Store

# The study asks for no networks as files, and trains at one length and on one number of images.
EXPORTED = ROOT / "reports/published/digits_noisy/export"
FIGURES = [
    name
    for name, one in load_figures().items()
    if not one.uses_export_rows and name not in ("lengths", "train_sizes", "by_class")
]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """(folder, plan, store) of a report of a whole study."""
    folder = tmp_path_factory.mktemp("report")
    plan, store = made_store(folder)
    return render_report(plan, store, folder / "reports" / "made"), plan, store


@pytest.fixture
def no_figures(monkeypatch):
    """They take half of the time, and only tests of figures look at them."""
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})


def test_everything_is_written(rendered):
    folder, *_ = rendered
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *("index.html", "index.md", "results.csv", "claims.json", ".files", ".inputs")
    }
    every = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    command = ["sha256sum", "--strict", "-c", ".files"]
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == every - {".files"}
    assert fingerprint.is_intact(folder)
    written = {path.name for path in (folder / "tables").iterdir()}
    names = {*load_tables(), a_or_b.NAME} - {"probes"}  # nothing here starts from weights
    assert written == {f"{name}.{ending}" for name in names for ending in ("csv", "md", "tex")}
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert drawn == {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")}
    verdicts = json.loads((folder / "claims.json").read_text())
    assert [verdict["id"] for verdict in verdicts] == list(load_claims())
    assert all(verdict["reason"] or verdict["n"] for verdict in verdicts)


def test_a_report_is_unchanged_until_anything_it_depends_on_changes(
    rendered, tmp_path, monkeypatch
):
    original, plan, store = rendered
    folder = shutil.copytree(original, tmp_path / "made")

    def is_unchanged(plan=plan, store=store, file="STUDY"):
        return fingerprint.is_unchanged(plan, store, folder, file)

    assert is_unchanged()
    assert not is_unchanged(file="other.yaml")
    changes = {"workers": 3}  # it says how the study is run, and is on the page
    other = dataclasses.replace(plan, study=plan.study.model_copy(update=changes))
    assert not is_unchanged(other)
    other = plan.study.model_copy(update={"figures": {"mine.figure": ["size"]}})
    assert not is_unchanged(dataclasses.replace(plan, study=other))
    assert not is_unchanged(store=dataclasses.replace(store, altered={"runs": {"run": "why"}}))
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint.version, "hash_package", lambda: "other code")
        assert not is_unchanged()
    figure = folder / "figures" / "cost.png"
    content = figure.read_bytes()
    figure.unlink()
    assert not is_unchanged()
    figure.write_bytes(content[:-1] + b"x")
    assert not is_unchanged()
    figure.write_bytes(content)
    assert is_unchanged()


@pytest.mark.parametrize("name", [fingerprint.INPUTS_FILE, fingerprint.CHECKSUM_FILE, "index.md"])
def test_special_files_in_a_report_are_not_waited_for(name, rendered, tmp_path, monkeypatch):
    original, plan, store = rendered
    folder = shutil.copytree(original, tmp_path / "made")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    (folder / ".draft").symlink_to("/dev/zero")
    if name != fingerprint.CHECKSUM_FILE:
        (folder / fingerprint.CHECKSUM_FILE).write_text(f"{'0' * 64}  .draft\n")

    def stop(*_):
        raise AssertionError("it waits for a FIFO, or reads a device")

    monkeypatch.setattr(fingerprint, "compute_digest", lambda *_: "0")
    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    try:
        assert not fingerprint.is_unchanged(plan, store, folder, "STUDY")
        assert not fingerprint.is_intact(folder)
        assert (fingerprint.read_digest(folder) is None) == (name == "index.md")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def test_a_folder_in_the_place_of_a_file_leaves_the_report_that_is_there(
    rendered, tmp_path, no_figures
):
    original, plan, store = rendered
    folder = shutil.copytree(original, tmp_path / "made")
    (folder / "index.md").write_bytes(b"before")
    (folder / fingerprint.INPUTS_FILE).unlink()
    (folder / fingerprint.INPUTS_FILE).mkdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=r"made/\.inputs cannot be written: Is a directory"):
        render_report(plan, store, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_and_nothing_else(rendered, tmp_path):
    folder, result, store = rendered
    (tmp_path / "made" / "figures").mkdir(parents=True)
    (tmp_path / "made" / "figures" / "mine.svg").write_text("<svg/>")  # a person's own
    again = render_report(result, store, tmp_path / "made", worker_count=2)  # figures in parallel
    written = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    for path in written:
        assert (again / path).read_bytes() == (folder / path).read_bytes(), path
    there = {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert {str(path) for path in there - written} == {"figures/mine.svg"}


@pytest.mark.slow
def test_of_an_earlier_study_nothing_is_left_and_of_others_everything(
    rendered, tmp_path, no_figures
):
    whole, plan, store = rendered
    folder = tmp_path / "made"
    shutil.copytree(whole, folder)
    mine = {"tables/mine.csv", "figures/mine.png", "tables/.draft.tmp", "figures/notes.txt"}
    for name in mine:
        (folder / name).write_text("a person's own")
    (folder / "tables/.chains.csv.abc.tmp").write_text("half")  # killed there
    less = plan.study.model_copy(update={"tables": {"teacher_size": plan.study.tables["chains"]}})
    render_report(dataclasses.replace(plan, study=less), store, folder)
    there = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    tables_there = {name for name in there if name.startswith("tables/")} - mine
    assert tables_there == {
        f"tables/{name}.{ending}"
        for name in ("teacher_size", a_or_b.NAME)
        for ending in ("csv", "md", "tex")
    }
    assert mine <= there


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_report_that_is_there(
    rendered, tmp_path, monkeypatch, no_figures
):
    whole, result, store = rendered
    folder = Path(shutil.copytree(whole, tmp_path / "made"))
    for path in (folder / "results.csv", folder / "tables/chains.csv"):
        path.write_text("an earlier one")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    real = os.fsync

    def full(descriptor):
        if "/.index.md." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"no space left to write .*index\.md"):
        render_report(result, store, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_index_md_has_the_answer_the_claims_and_every_table(rendered):
    text = (rendered[0] / "index.md").read_text()
    assert "## What to ship\n\n**Distill: train wrn16-1 " in text and "## A or B?" in text
    assert all(f"| {key}" in text for key in load_claims())
    assert text.count("\n**") >= len(load_tables())
    assert "±" in text and "against scratch" in text


def test_latex_is_escaped_and_rounded(rendered):
    text = (rendered[0] / "tables" / "teacher_size.tex").read_text()
    assert r"\toprule" in text and r"$\pm$" in text
    assert "±" not in text and not re.search(r"(?<!\\)%", text)


HOSTILE = "<script>a|b</script>\n# c [d](javascript:e) `f` *g* ~~h~~ \\| &lt;"
AS_TEXT = r"\<script>a\|b\</script> # c [d\](javascript:e) \`f\` \*g\* \~\~h\~\~ \\\| \&lt;"


def test_markdown_is_escaped(rendered):
    """As CommonMark has it: a backslash before what would be more than text."""
    folder, plan, _ = rendered
    frame = pd.read_csv(folder / "results.csv")
    named = dataclasses.replace(plan, card=dataclasses.replace(plan.card, title=HOSTILE))
    text = render_markdown(ReportContext(named, frame, [], [], [], []))
    assert f"- Data: {AS_TEXT}: 6" in text and HOSTILE not in text
    grid = pd.DataFrame([{"student": HOSTILE, "n": "3"}])
    lines = table_to_markdown(RenderedTable("x", "X", "How to read.", grid, grid, [])).splitlines()
    assert lines[4] == f"| {AS_TEXT} | 3   |" and len(lines) == 5


@pytest.mark.parametrize("text", ["wrn10-0.5", "a_b", "p < 0.0001", "kd > ce", "[full]", "a & b"])
def test_what_means_nothing_in_markdown_stays_as_it_is(text):
    assert escape_markdown(text) == text


# --- Holes --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_half_done_renders_with_its_holes(tmp_path, no_figures):
    plan, store = made_plan(), Store(tmp_path / "results")
    holes = {"wrn10-0.5-from-wrn16-2-e20": "diverged", "wrn10-1-from": "skipped"}
    write(plan, store, holes)
    folder = render_report(plan, store, tmp_path / "made")
    page = (folder / "index.html").read_text()
    assert "runs have no result" in page and "diverged for the sake of a test" in page
    assert "5 diverged" in (folder / "index.md").read_text()
    verdicts = {v["id"]: v for v in json.loads((folder / "claims.json").read_text())}
    assert verdicts["C1"]["missing"]


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_with_few_seeds_there_is_no_verdict(tmp_path, seeds):
    plan, store = made_store(tmp_path, seeds=seeds)
    frame = dataframe.build_results_frame(plan, store)
    verdicts = judge_claims(frame, dataframe.build_curves_frame(plan, store), 0.5)
    assert {verdict.verdict for verdict in verdicts} == {"not tested"}
    assert not any("nan" in verdict.reason for verdict in verdicts)
    marks = [
        gain.mark
        for one in recommendation.recommend_options(frame)
        for gain in (one.decision, *one.taught.gains, *one.labels.gains)
    ]
    assert set(marks) == {"too few seeds"}


@pytest.mark.parametrize("there", ["nothing", "a folder", "another study", "a file"])
def test_without_any_record_a_report_that_is_there_stays(tmp_path, capsys, monkeypatch, there):
    content = {**STUDY, "tables": {}, "transfers": {}}
    write_json(tmp_path / "made.yaml", content)
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "reports" / "made" / "index.md"
    good.parent.mkdir(parents=True)
    good.write_text("a good report")
    if there == "a folder":
        (tmp_path / "results").mkdir()
    elif there == "another study":
        made_store(tmp_path, seeds=[77])
    elif there == "a file":
        (tmp_path / "results").write_text("not a folder")
    verbs = ["report", "status", "plan"] if there == "a file" else ["report"]
    for results in ("results", "results/runs")[: 2 if there == "a file" else 1]:
        for verb in verbs:
            assert main([verb, "made.yaml", "--results", results]) == 2
            message = capsys.readouterr().err
            assert "--results" in message and "results" in message and message.count("\n") == 1
    assert [path.name for path in (tmp_path / "reports").rglob("*")] == ["made", "index.md"]
    assert good.read_text() == "a good report"


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["failed", "diverged"])
def test_a_study_in_which_everything_failed_renders(tmp_path, lost):
    """As Snakemake asks for it when a job has failed: the study on standard input."""
    content = {**STUDY, "seeds": [0, 1, 2]}
    plan, store = made_plan(seeds=[0, 1, 2]), Store(tmp_path / "results")
    if lost == "diverged":
        write(plan, store, {"": "diverged"})
        store.archive_path.unlink()
    else:
        for name in plan.runs:
            write_json(store.run(name) / "failure.json", {"reason": "no memory", "traceback": ""})
    process = subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"],
        input=json.dumps(content), text=True, cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    text = (tmp_path / "reports" / "made" / "index.md").read_text()
    reason = f"none of its distilled runs has a result yet (81 {lost})"
    assert f"No answer for wrn10-0.5: {reason}." in text and "nan" not in text
    page = (tmp_path / "reports" / "made" / "index.html").read_text()
    assert ("no memory" if lost == "failed" else "for the sake of a test") in page


def test_curves_are_a_frame_of_their_own(rendered, tmp_path):
    _, plan, store = rendered
    frame = dataframe.build_results_frame(plan, store)
    assert dataframe.build_curves_frame(plan, Store(tmp_path / "none")).empty
    assert len(dataframe.build_curves_frame(plan, store)) == 20 * len(plan.runs) - _shorter(plan)
    kinds = {"scratch", "scratch_long", "teacher", "student", "ensemble", "probe"}
    assert set(frame.kind) == kinds


def _shorter(plan: Plan) -> int:
    return sum(20 - run.epochs for run in plan.runs.values())


# --- The answer ---------------------------------------------------------------------------------


def test_the_answer_is_chosen_on_validation_and_tested_without_the_seed(rendered):
    _, plan, store = rendered
    frame = dataframe.build_results_frame(plan, store)
    actual = {one.student: one for one in recommendation.recommend_options(frame)}["wrn10-0.5"]
    rows = frame[(frame.kind == "student") & (frame.student == "wrn10-0.5")]
    rows = rows.drop_duplicates(["teacher", "stop", "via", "generation", "method", "seed"])
    rows = rows[rows["last"].astype(bool)]
    keys = ["teacher", "stop", "via", "generation", "method"]
    means = rows.groupby(keys, sort=False).val_error.mean()
    best = rows.set_index(keys).sort_index().loc[means.idxmin()]
    entrant = actual.taught.entrant
    assert entrant.validation.mean == pytest.approx(means.min())
    assert entrant.test.mean == pytest.approx(best.test_error.mean())
    assert actual.taught.n_options == len(means)
    # The gain over scratch, by hand: each seed's option is the best of the other half's seeds.
    gains = []
    scratch = frame[(frame.kind == "scratch") & (frame.student == "wrn10-0.5")].set_index("seed")
    for seed in plan.study.seeds:
        half = plan.study.seeds.index(seed) % 2
        other_half = [s for i, s in enumerate(plan.study.seeds) if i % 2 != half]
        others = rows[rows.seed.isin(other_half)].groupby(keys, sort=False)
        others = others.val_error.mean().round(9)
        cell = rows.set_index([*keys, "seed"]).sort_index().loc[(*others.idxmin(), seed)]
        gains.append(float(cell.test_error) - scratch.test_error[seed])
    scratch_gains = (gain for gain in actual.taught.gains if gain.kind == "scratch")
    gain = next(scratch_gains, actual.decision)  # where it is all there is on labels alone
    assert gain.difference.mean == pytest.approx(pd.Series(gains).mean())
    names = " ".join(gain.baseline for gain in actual.taught.gains)
    assert "best full teacher" in names and "3 scratch runs" in names and "epochs" in names
    assert all(
        gain.image_interval.keys() == {"why"} for gain in actual.taught.gains
    )  # no outcomes were given


def test_each_rival_is_singled_out_by_name_or_named_with_its_cure(rendered):
    _, result, store = rendered
    frame = dataframe.build_results_frame(result, store)
    small, medium, *_ = recommendation.recommend_options(
        frame, PerImageMetrics(result, store, "last").load_part
    )
    small, medium = small.taught, medium.taught
    chosen = small.entrant.key
    teacher = frame[(frame.kind == "teacher") & (frame.teacher == chosen["teacher"])].iloc[0]
    scratch = frame[(frame.kind == "scratch") & (frame.student == "wrn10-0.5")].iloc[0]
    copies = int(teacher.multiply_adds // scratch.multiply_adds)
    size = 2 + (chosen["via"] != "")
    message = [*(gain.baseline for gain in small.gains), *small.missing_baselines]
    (equal_cost,) = [text for text in message if "equal operations" in text]
    (equal_size,) = [text for text in message if "equal size" in text]
    assert f"{copies} scratch runs" in equal_cost and chosen["teacher"] in equal_cost
    assert f"{size} scratch runs" in equal_size
    assert any(
        "scratch for " in gain.baseline and "wrn16-1" in gain.baseline for gain in small.gains
    )
    # The other student has neither an ensemble nor a longer run.
    missing = " ".join(medium.missing_baselines)
    assert "scratch_long: true" in missing and "copies: 2" in missing
    assert all(gain.image_interval["levels"]["image"] == 700 for gain in small.gains)
    costs = {cost.name: cost for cost in small.costs}
    assert costs["parameters"].student_alone == scratch.parameters
    assert costs["parameters"].with_teacher == scratch.parameters + teacher.parameters


def test_the_cure_for_a_missing_ensemble_can_be_pasted_as_it_is(tmp_path):
    experiment = {"name": "one", "teachers": ["wrn16-2"], "students": ["wrn10-0.5"]}
    changes = {"experiments": [{**experiment, "methods": ["kd"]}], "tables": {}, "transfers": {}}
    plan, store = made_store(tmp_path, ensembles={}, **changes)
    (actual,) = recommendation.recommend_options(dataframe.build_results_frame(plan, store))
    cures = [text.split("write under ensembles: ")[1:] for text in actual.taught.missing_baselines]
    entries: dict = {}
    for (entry,) in filter(None, cures):
        entries |= yaml.safe_load(entry)
    large, small = (registry.compute_cost(name, (1, 8, 8), 10) for name in ("wrn16-2", "wrn10-0.5"))
    dear = large.multiply_adds // small.multiply_adds
    assert sorted(entry["copies"] for entry in entries.values()) == [2, dear]
    plan, store = made_store(tmp_path, ensembles=entries, **changes)
    (actual,) = recommendation.recommend_options(dataframe.build_results_frame(plan, store))
    assert not any("ensemble" in text for text in actual.taught.missing_baselines)
    assert sum("scratch runs averaged" in gain.baseline for gain in actual.taught.gains) == 2


@pytest.mark.parametrize("mark", ["better", "worse", "too few seeds"])
def test_the_weights_are_those_of_the_seed_that_validates_best(rendered, mark):
    _, result, store = rendered
    frame = normalize_frame(
        eval_point.select_eval_point(dataframe.build_results_frame(result, store), "last")
    )
    small = recommendation.recommend_options(frame)[0]
    decision = dataclasses.replace(small.decision, mark=mark)
    decided = dataclasses.replace(small, decision=decision, preferred="taught")
    ships = "labels" if mark == "worse" else "taught"
    assert decided.side == ships
    listed = {"weights.safetensors": {"size": 1}}
    known = {
        name: {**one, "files": listed, "last": {"epoch": 20}}
        for name, one in store.load_records("runs").items()
    }
    actual = recommendation.find_weights(frame, [decided], known)
    key = decided.shipped.entrant.key
    kinds = ["student"] if ships == "taught" else ["scratch", "scratch_long"]
    rows = frame[frame.kind.isin(kinds) & (frame.student == small.student)]
    rows = rows[rows.epochs == key["epochs"]]
    for name in contest.OPTION_COLUMNS if ships == "taught" else ():
        rows = rows[rows[name] == key[name]]
    best = rows.loc[rows.val_error.astype(float).idxmin(), "run"]
    assert actual == {small.student: f"runs/{best}/weights.safetensors"}


def _taught_by_one(tmp_path, **changes):
    """(index.md, index.html) of a study with one student, one teacher, one method."""
    experiment = {"name": "one", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"]}
    only = {"experiments": [{**experiment, "methods": ["kd"]}], "tables": {}, "transfers": {}}
    teams = {"two": {"networks": ["wrn10-0.5"], "copies": 2}}
    plan, store = made_store(tmp_path, **{"ensembles": teams, **only, **changes})
    folder = render_report(plan, store, tmp_path / "made")
    page = re.sub(r"<[^>]+>", "", (folder / "index.html").read_text())
    return (folder / "index.md").read_text(), " ".join(html.unescape(page).split())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (-4.0, "Distill: train wrn10-0.5 taught by wrn10-1 with kd: "),
        (+6.0, "Do not distill yet: train wrn10-0.5 on labels: "),
        (None, "Do not distill yet: train wrn10-0.5 on labels: "),
    ],
)
def test_the_verdict_writes_the_headline(tmp_path, monkeypatch, harm, message):
    """harm: points that being taught adds; None: none, and as much noise as would hide any."""
    law = synthetic_study._error

    def error(run, errors):
        if harm is None:
            return 20.0 + (1 if run.seed % 2 else -1) * (1 if run.spec.teacher else -1)
        return law(run, errors) + (harm if run.spec.teacher else 0.0)

    monkeypatch.setattr(synthetic_study, "_error", error)
    text, page = _taught_by_one(tmp_path)
    headline = re.search(r"\*\*(D.+)\*\*", text)[1]
    assert headline.startswith(message) and headline in page
    mark = "cannot tell" if harm is None else "better"
    gain = re.search(rf"of its own\): ([+-]?[\d.]+ ± [\d.]+) points, {mark} \(n 5\)", text)
    assert gain is not None and f"{gain[1]} points: {mark}" in headline
    assert "times as much to train" in headline  # unequal prices, in the same breath
    # the average of two is made 20 % better than one
    better = (
        "Better still is two, 2 scratch runs averaged (equal size: the path has 2 networks): by"
    )
    assert (better in headline) == (harm != -4.0)


@pytest.mark.parametrize("seeds", [[0, 1], [0, 1, 2, 3]])
def test_one_option_few_seeds_and_no_tables_in_words(tmp_path, seeds):
    text, page = _taught_by_one(tmp_path, seeds=seeds)
    few = len(seeds) < 3
    errors = r"Test error [\d.]+( ± [\d.]+)? % \(accuracy [\d.]+ %\), n \d(, too few seeds .+?)?;"
    interval = re.search(errors, text)
    assert bool(interval[1]) != few and (interval[2] == ", too few seeds for an interval") == few
    displayed = re.search(r"Test error [\d.]+( ± [\d.]+)? % .*?; validation error (.+?) %", page)
    assert bool(displayed[1]) != few and ("±" in displayed[2]) != few
    assert ("Too few seeds to decide for wrn10-0.5: on labels alone " in text) == few
    for message in (text, page):
        message = re.sub(r"\d+ of \d+ cells", "", message)  # a figure's title
        assert (
            "nan" not in message
            and "1 options" not in message
            and f"{len(seeds)} of " not in message
        )
        assert "No tables were asked for." in message and "tables: {teacher_size: [one]}" in message
        assert ("3 seeds are needed, 2 are there" in message) == few
    assert ("3 seeds with every cell are needed, 2 are there" in page) == few


def test_an_ensemble_of_snapshots_is_no_ensemble_of_scratch_runs(tmp_path):
    teams = {
        "two": {"networks": ["wrn10-0.5"], "copies": 2},
        "shots": {"networks": ["wrn10-0.5"], "stops": ["checkpoint 12", "full"]},
    }
    experiment = {"name": "one", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"]}
    changes = {"experiments": [{**experiment, "methods": ["kd"]}], "tables": {}, "transfers": {}}
    plan, store = made_store(tmp_path, ensembles=teams, **changes)
    (actual,) = recommendation.recommend_options(dataframe.build_results_frame(plan, store))
    named = [gain.baseline for gain in actual.taught.gains if "averaged" in gain.baseline]
    assert named == ["two, 2 scratch runs averaged (equal size: the path has 2 networks)"]


@pytest.mark.slow
def test_a_published_page_links_the_exported_folder_and_says_whether_it_is_the_recorded_one(
    tmp_path,
):
    """Beside its records alone a page says how to train again; beside an export, what that has."""
    plan, store = made_store(tmp_path)
    report, _ = render.collect_context(plan, store)
    name = Path(next(iter(report.weight_paths.values()))).parts[1]
    text = render_report(plan, store, store.root).joinpath("index.html").read_text()
    commands = re.findall("<code>(kdpipe [^<]*)</code>", text)
    train = f"kdpipe run STUDY --cores 2 results/runs/{name}/record.json"
    assert train in commands
    assert f"kdpipe export STUDY {name} --results {store.root} --trained results" in commands
    folder = store.root / "export" / name
    folder.mkdir(parents=True)
    for digest, text in (
        ("0" * 64, "on a processor, with other weights as the result: test error 12.50 %, "),
        (record_digest(store, name), "Its weights have the recorded checksum."),
    ):
        config = json.loads(next(EXPORTED.glob("*/config.json")).read_bytes())
        config["files"]["model.safetensors"]["sha256"] = digest
        config["measured"] |= {"processor": "a processor"}
        config["measured"]["files"]["model.onnx"]["accuracy"] = [87.5, 80, 90]
        (folder / "config.json").write_text(json.dumps(hashing.add_checksum(config)))
        page = render_report(plan, store, store.root)
        html_text = (page / "index.html").read_text()
        assert f'href="export/{name}/README.md"' in html_text and text in html_text
        assert f"<code>kdpipe predict {folder} IMAGE</code>" in html_text
        assert train not in (page / "index.md").read_text()
    elsewhere = render_report(plan, store, tmp_path / "page") / "index.html"
    assert f"<code>kdpipe export STUDY {name}</code>" in elsewhere.read_text()
    (folder / "config.json").write_text("{")
    with pytest.raises(KdpipeError, match="is not as kdpipe export has written it"):
        render_report(plan, store, store.root)


def record_digest(store: Store, name: str) -> str:
    """The checksum of a file of a run, as its record has it."""
    files = store.load_records("runs")[name]["files"]
    return next(iter(files.values()))["sha256"]


def test_without_validation_there_is_no_answer(rendered):
    _, result, store = rendered
    frame = dataframe.build_results_frame(result, store).assign(val_error=None)
    actual = recommendation.recommend_options(frame)[0]
    assert actual.shipped is None and "refuses to choose" in actual.reason


@pytest.mark.slow
def test_a_study_without_validation_images_has_a_page(tmp_path):
    """All of it: tables, figures, the curve of each run, without a warning."""
    plan, store = made_plan(data=STUDY["data"] | {"validation": 0}), Store(tmp_path / "results")
    write(plan, store, validated=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = render_report(plan, store, tmp_path / "reports")
    page = (folder / "index.html").read_text()
    assert page.count("<polyline") == len(plan.runs) - sum(not r.epochs for r in plan.runs.values())
    assert "refuses to choose" in page
    claims = {one["id"]: one for one in json.loads((folder / "claims.json").read_text())}
    assert claims["C1"]["reason"] == "there are no validation errors to choose by"
    assert claims["C6"]["n"] == 5 and claims["C18"]["verdict"] == "not tested"  # on validation


# --- In a browser -------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM ON PATH: the page was not looked at (apt install chromium)",
)


@pytest.fixture(scope="module")
def page(rendered, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.file = rendered[0] / "index.html"
        yield opened


@needs_browser
def test_no_error_and_no_request_leaves_the_page(page):
    page.events.clear()
    page.open(page.file, 1600)
    page.run("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    errors = [
        event
        for event in page.events
        if event["method"]
        in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    ]
    assert errors == []
    requests = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert {urlparse(url).scheme for url in requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in requests) == 1


@needs_browser
@pytest.mark.parametrize("width", [360, 768, 1280, 1600])
def test_the_page_holds(page, width):
    page.open(page.file, width)
    page.run("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    assert page.run("document.documentElement.scrollWidth") <= width
    small = page.run(
        "[...document.querySelectorAll('p, td, li, dd')]"
        ".filter(e => parseFloat(getComputedStyle(e).fontSize) < 13).length"
    )
    assert small == 0


def test_the_answer_comes_first(rendered):
    page = (rendered[0] / "index.html").read_text()
    top = page[page.index("</style>") : page.index('<p class="do">')]
    words = re.sub(r"<nav.*?</nav>|<[^>]+>", " ", top, flags=re.DOTALL).split()
    assert 5 < len(words) <= 60, words
    assert page.index('id="registration"') > page.index('id="claims"')


@needs_browser
def test_no_decision_figure_is_cut_off(page):
    page.open(page.file, 1280)
    boxes = "[...document.querySelectorAll('.first .scroll')]"
    assert page.run(f"{boxes}.length") > 1
    assert page.run(f"{boxes}.filter(e => e.scrollWidth > e.clientWidth).length") == 0


@needs_browser
def test_no_claim_of_a_registered_study_is_cut_off(page):
    """The widest table of claims has two verdicts a row: as registered, and by the rules of now."""
    page.open(ROOT / "reports/published/fashion_mnist/index.html", 1280)
    box = "document.querySelector('table.claims').parentElement"
    assert page.run(f"{box}.scrollWidth - {box}.clientWidth") == 0


@needs_browser
def test_every_figure_has_a_size_words_in_its_place_and_a_caption(page):
    page.open(page.file, 1600)
    actual = page.run(
        """[...document.querySelectorAll("figure")].map(figure => {
          const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
          const text = id => document.getElementById(svg.getAttribute(id))?.textContent ?? "";
          return [svg.getAttribute("role"), text("aria-labelledby"), text("aria-describedby"),
                  figure.querySelector("figcaption").textContent, box.width, box.height];
        })"""
    )
    assert len(actual) == len(FIGURES)
    for role, name, description, caption, width, height in actual:
        assert role == "img" and len(name) > 5 and len(description) > 40
        assert caption == f"{description} SVGPNG"
        assert "n = 5" in caption and "test" in caption
        assert width > 300 and height > 150
    assert page.run("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == (
        page.run("document.querySelectorAll('[id]').length")
    )


@needs_browser
def test_tables_sort_by_mouse_and_by_keyboard(page):
    page.open(page.file, 1600)
    table = "document.querySelector('[aria-labelledby=table-teacher_size] table')"
    column = f"(i => [...{table}.tBodies[0].rows].map(row => row.cells[i].textContent))"
    heads = page.run(f"[...{table}.tHead.rows[0].cells].map(h => h.textContent)")
    error = heads.index("error")
    button = f"{table}.querySelectorAll('th button')[{error}]"
    before = page.run(f"{column}({error})")
    page.run(f"{button}.click()")
    rising = page.run(f"{column}({error})")
    numbers = [float(text.split()[0]) for text in rising]
    assert numbers == sorted(numbers) and sorted(rising) == sorted(before)
    assert page.run(f"{button}.parentElement.getAttribute('aria-sort')") == "ascending"
    page.run(f"{button}.focus()")
    page.press("Enter")
    falling = [float(text.split()[0]) for text in page.run(f"{column}({error})")]
    assert falling == sorted(numbers, reverse=True)
    size = heads.index("parameters of the teacher")  # 77.56 k after 691.4 k if it went by text
    page.run(button.replace(f"[{error}]", f"[{size}]") + ".click()")
    sizes = page.run(f"{column}({size})")
    assert sizes[0] == "77.56 k" and sizes[-1] == "-"


@needs_browser
def test_the_heading_of_a_long_table_stays_and_no_unit_stands_alone(page):
    page.open(page.file, 1280)
    page.run("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    box = "document.querySelector('.scroll.long')"
    assert page.run(f"{box}.querySelectorAll('tbody tr').length") > 40
    head, row = (
        f"{box}.querySelector('{part}').getBoundingClientRect().top" for part in ("th + th", "td")
    )
    before = page.run(f"[{head}, {row}]")
    page.run(f"{box}.scrollTop = 300")
    after = page.run(f"[{head}, {row}]")
    assert after[0] == before[0] and after[1] == before[1] - 300
    assert page.run(
        "[...document.querySelectorAll('.do')].every(p => !/[0-9] %|± /.test(p.innerText))"
    )


@needs_browser
def test_it_can_be_read_without_a_mouse_and_prints(page):
    page.open(page.file, 1600)
    regions = "[...document.querySelectorAll('.scroll')]"
    named = "(e.ariaLabel || e.getAttribute('aria-labelledby'))"
    assert page.run(f"{regions}.filter(e => e.tabIndex !== 0 || !{named}).length") == 0
    levels = page.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.paper().startswith(b"%PDF")


def test_the_last_words_name_the_weights_of_each_student(tmp_path, monkeypatch):
    plan, store = made_store(tmp_path)
    page, shipped = tmp_path / "page", {"wrn10-0.5": "one", "wrn10-1": "two"}
    monkeypatch.setattr(recommendation, "find_weights", lambda *_: shipped)
    (store.root / "one").touch()
    (store.root / "two").touch()
    message = terminal_summary.describe_outcome(plan, store, page)
    after = [f"weights of {student}: {store.root / path}" for student, path in shipped.items()]
    export = "files to ship: kdpipe export STUDY --best"
    assert message[-4:] == [f"page: {page}", *after, export]
    (store.root / "two").unlink()
    assert terminal_summary.describe_outcome(plan, store, page) == [*message[:-2], export]
