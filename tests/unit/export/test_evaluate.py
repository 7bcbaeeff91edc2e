"""What a gauge says of a network is what its export says of it."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers import exported_study, tiny_study

from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.errors import KdpipeError
from kdpipe.export import onnx_graph
from kdpipe.export.evaluate import evaluate_export
from kdpipe.plan import planner
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store

STUDY = exported_study.STUDY | {"export": True}


@pytest.fixture
def store(copied, monkeypatch):
    """The study that was run; its graphs are those of the export, a second in place of ten."""
    known = {name: (copied / "export" / name).read_bytes() for name in ("model.onnx", INT8)}
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: known["model.onnx"])
    monkeypatch.setattr(onnx_graph, "quantize", lambda *_: known[INT8])
    tiny_study.write(copied / "study.yaml", STUDY)
    return Store(Path("results"))


INT8 = "model.int8.onnx"


def plan():
    return planner.build_plan(load.load_study("study.yaml"))


def of(role: str):
    (actual,) = {row.export_eval for row in plan().export_eval_rows if row.role == role}
    return actual


def exported_role() -> str:
    """The role of the run whose graphs the fixture has: validation chose it."""
    run = json.loads(Path("export/config.json").read_bytes())["run"]
    return "student" if "-from-" in run else "scratch"


def record(one, store) -> dict:
    return json.loads((store.export_eval(one.name) / "record.json").read_bytes())


def test_it_says_of_the_students_files_what_their_export_says(copied, store):
    one = of(exported_role())
    message = evaluate_export(one.spec, store)
    assert (
        "validation error" in message and "test" not in message
    )  # a registered study may be sealed
    actual = record(one, store)
    export = json.loads((copied / "export" / "config.json").read_bytes())
    rows = export["measured"]["files"]
    assert {k: v["bytes"] for k, v in actual["graphs"].items()} == {
        "float32": export["files"]["model.onnx"]["bytes"],
        "int8": export["files"][INT8]["bytes"],
    }
    assert 100 * actual["last"]["test"]["accuracy"] == pytest.approx(rows[INT8]["accuracy"][0])
    assert 100 * actual["agreement"] == pytest.approx(rows[INT8]["agreement"][0])
    for facts in actual["graphs"].values():
        assert {"1", "64"} == set(facts["latency"])
        assert all(0 < t["low"] <= t["median"] <= t["high"] for t in facts["latency"].values())


def test_what_is_stored_is_what_the_8_bit_graph_says_of_every_image(copied, store):
    one = of(exported_role())
    evaluate_export(one.spec, store)
    arrays, about = read_arrays(store.export_eval(one.name) / "outputs.safetensors")
    assert about == {"run": one.digest, "epoch": 4}
    split = splits.load_split(one.spec.data, store)
    context = onnxruntime.InferenceSession((copied / "export" / INT8).read_bytes())
    for part, images in (("val", split.val), ("test", split.test)):
        pixels = np.array(images.images)
        (logits,) = context.run(None, {"pixels": pixels})
        np.testing.assert_allclose(arrays[f"{part}_logits"], logits, atol=1e-5)
        np.testing.assert_array_equal(arrays[f"{part}_labels"], images.labels)


def test_a_second_time_it_is_finished_and_stays(store):
    one = of(exported_role())
    evaluate_export(one.spec, store)
    before = record(one, store)
    assert "finished before (done)" in evaluate_export(one.spec, store)
    assert record(one, store) == before


def test_a_graph_that_is_not_the_network_is_refused(store):
    (other,) = {"student", "scratch"} - {exported_role()}
    one = of(other)
    with pytest.raises(KdpipeError, match="logits of its graph differ from PyTorch's"):
        evaluate_export(one.spec, store)
    assert not (store.export_eval(one.name) / "record.json").exists()
    assert "differ from PyTorch's" in store.failure_reason("gauges", one.name)


def test_what_diverged_is_skipped(store):
    one = of(exported_role())
    path = store.run(one.run.name) / "record.json"
    changed = json.loads(path.read_bytes()) | {"status": "diverged", "reason": "loss is nan"}
    from kdpipe.runs import records

    records.publish_record(path.parent, changed)
    assert "skipped" in evaluate_export(one.spec, store)
    assert record(one, store)["reason"].endswith("diverged: loss is nan")


def test_really_made_for_the_best_epoch_where_the_study_reads_there(copied):
    """No graph of the fixture: torch's exporter and ONNX Runtime, on the weights of that epoch."""
    tiny_study.write(copied / "study.yaml", STUDY | {"reading": "best"})
    store, one = Store(Path("results")), of("student")
    evaluate_export(one.spec, store)
    actual, run = record(one, store), store.run(one.run.name)
    trained = json.loads((run / "record.json").read_bytes())
    assert actual["last"]["epoch"] == trained["best"]["epoch"]
    assert actual["last"]["test"]["accuracy"] == pytest.approx(
        trained["best"]["test"]["accuracy"], abs=0.05
    )
    assert actual["graphs"]["int8"]["bytes"] < actual["graphs"]["float32"]["bytes"]
