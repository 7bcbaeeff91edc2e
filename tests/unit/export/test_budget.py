"""Within a budget every network of the study competes, and no file is measured twice."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.export import exporter, measured_files, select
from kdpipe.export.measured_files import LatencySummary, MeasuredFiles
from kdpipe.export.select import ExportBudget, ExportFile
from kdpipe.plan import planner
from kdpipe.plan.estimate import CACHE_ENV
from kdpipe.runs.store import Store

ANYTHING = ExportBudget(max_bytes=10**9)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))


def candidates_of(folder: Path):
    """Plan, store and candidates of the study of a folder."""
    plan = planner.build_plan(load.load_study(folder / "study.yaml"))
    store = Store(folder / "results")
    return plan, store, select.find_candidates(plan, store, None, ANYTHING)


def measured(index: int, network: str, size: int, right=(True, False, True)) -> MeasuredFiles:
    file = ExportFile(index, "model.onnx", 25.0, size, 2.0, np.array(right), network)
    return MeasuredFiles([file], {"model.onnx": {1: LatencySummary(2.0, 1.0, 3.0, 7)}})


def ways_of(*cells):
    """The runs that compete beside those that a recommendation ships: here `small` of seed 0."""
    shipped = "student-mid-full--small-kd-1--40-s0-m0"
    plan = SimpleNamespace(runs={shipped: SimpleNamespace(network="small")})
    known = normalize_frame(frame(*cells))
    return select._select_other_networks(known, [shipped], plan)


def test_every_network_that_the_study_trained_competes(built):
    plan, store, candidates = candidates_of(built)
    networks = [item.run.network for item in candidates]
    assert networks == ["wrn10-0.5", "wrn10-1"]  # what ships first, then the teacher
    assert [item.answer is None for item in candidates] == [False, True]
    alone = select.find_candidates(plan, store, None, ExportBudget())
    assert [item.run.network for item in alone] == ["wrn10-0.5"]


def test_a_network_competes_as_it_was_trained_best_on_validation():
    """By hand: a teacher by its best stop, its best seed; and one on the way of a chain."""
    chain = {"student": "mid", "teacher": "large", "last": False}
    student = cell([9.0], teacher="mid", val_error=[9.0], last=True)
    runs = ways_of(
        student,
        cell([8.0, 7.0], "teacher", student="", teacher="large", val_error=[8.0, 7.0]),
        cell([6.0], "teacher", student="", teacher="large", stop="checkpoint 9", val_error=[1.0]),
        cell([5.0, 6.0], **chain, val_error=[5.0, 6.0]),
        cell([1.0], **chain, method="eskd", val_error=[1.0]),  # of one seed alone
        cell([9.0, 9.0], "scratch", student="mid", val_error=[9.0, 9.0]),
    )
    assert runs == [
        "student-large-full--mid-kd-1--40-s0-m0",
        "teacher-large-full----0--40-s1-m0",
    ]
    untrained = cell([5.0], **chain | {"stop": "checkpoint 0"}, val_error=[5.0])
    assert ways_of(student, untrained) == []


def test_what_was_measured_is_not_measured_again(built, monkeypatch):
    plan, store, candidates = candidates_of(built)
    converted = []

    def convert(candidate, *_):
        converted.append(candidate.run.network)
        return SimpleNamespace(times=measured(0, "", 1).times)

    def evaluate(index, *_):
        return measured(index, candidates[index].run.network, 500 + index).files

    monkeypatch.setattr(exporter, "_build_export", convert)
    monkeypatch.setattr(exporter, "_evaluate_files", evaluate)
    first, builds, _ = exporter._measure_candidates(candidates, plan, store, True)
    assert converted == ["wrn10-0.5", "wrn10-1"] and list(builds) == [0, 1]
    again, builds, _ = exporter._measure_candidates(candidates, plan, store, True)
    assert len(converted) == 2 and not builds
    for a, b in zip(first, again, strict=True):
        assert a.times == b.times and str(a.files[0]) == str(b.files[0])
        assert a.files[0].candidate_index == b.files[0].candidate_index
        assert a.files[0].is_right.tolist() == b.files[0].is_right.tolist()
    # Another machine, and other weights, are other measurements.
    monkeypatch.setattr(measured_files.host, "read_cpu_model", lambda: "another")
    exporter._measure_candidates(candidates, plan, store, True)
    assert len(converted) == 4


def test_one_that_cannot_be_converted_does_not_compete(built, monkeypatch):
    plan, store, candidates = candidates_of(built)

    def convert(candidate, *_):
        if candidate.run.network == "wrn10-1":
            raise KdpipeError("it has an odd layer")
        return SimpleNamespace(times={})

    monkeypatch.setattr(exporter, "_build_export", convert)
    monkeypatch.setattr(
        exporter, "_evaluate_files", lambda i, *_: measured(i, "wrn10-0.5", 500).files
    )
    found, _, messages = exporter._measure_candidates(candidates, plan, store, True)
    assert messages == ["wrn10-1 does not compete: it has an odd layer"]
    assert [item.files[0].network for item in found] == ["wrn10-0.5"]
    with pytest.raises(KdpipeError, match="it has an odd layer"):
        exporter._measure_candidates(candidates[1:], plan, store, True)


def test_a_known_no_needs_no_conversion_and_names_the_nearest(copied, monkeypatch, capsys):
    plan, store, candidates = candidates_of(copied)
    keys = [measured_files.make_key(item, plan, store) for item in candidates]
    sizes = {"wrn10-0.5": 500, "wrn10-1": 900}
    measured_files.save_measured(
        {
            key: measured(0, item.run.network, sizes[item.run.network])
            for key, item in zip(keys, candidates, strict=True)
        }
    )
    monkeypatch.setattr(exporter, "export_network", None)
    assert main(["export", "study.yaml", "--best", "--at-most", "400B"]) == 2
    message = capsys.readouterr().err
    assert "nothing fits at most 400 bytes; the closest is model.onnx of wrn10-0.5: " in message
    assert "500 bytes" in message
    with pytest.raises(TypeError):  # it fits, so it is exported
        main(["export", "study.yaml", "--best", "--at-most", "600B"])
    (copied / "../cache/exports.json").write_text('{"key": {"files": 3}}')
    assert measured_files.load_measured(keys) == [None, None]


def test_the_nearest_is_that_which_exceeds_a_limit_least():
    files = [measured(0, "a", 1000).files[0], measured(1, "b", 300).files[0]]
    budget = ExportBudget(max_milliseconds=1.0, max_bytes=500)
    assert [budget.measure_excess(file) for file in files] == [2.0, 2.0]
    assert budget.measure_excess(ExportFile(0, "", 0.0, 2000, 0.5)) == 4.0
