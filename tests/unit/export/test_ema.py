"""Of a run with an average of its weights the better one ships, and both are judged in the card."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import exported_study, tiny_study
from safetensors.numpy import load_file

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.export import onnx_graph, verify
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs import records, run_folder


@pytest.fixture
def trained(tmp_path, shared, monkeypatch):
    """A folder in which a run with an average was trained; exports are without 8 bits."""

    def none(*_):
        raise KdpipeError("it is not asked for here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx_graph, "quantize", none)  # seconds less, as the next line
    monkeypatch.setattr(verify, "MEASURE_SECONDS", 0.1)
    store = tiny_study.results(tmp_path, shared)

    def of(decay: float) -> Path:
        content = exported_study.STUDY | {"recipe": exported_study.STUDY["recipe"] | {"ema": decay}}
        plan = planner.build_plan(load.load_study(tiny_study.write(Path("study.yaml"), content)))
        run = next(iter(plan.runs.values()))
        train_run(run.spec, [], store)
        return store.run(run.name)

    return of


def changed(folder: Path, **keys) -> None:
    """The record of a run as if it had said something else."""
    record = records.read_record(folder, None)
    assert record is not None
    records.publish_record(folder, record | keys)


def exported_of(run: Path, capsys) -> tuple[dict, str, str]:
    """The config, the card, and what was said."""
    assert main(["export", "study.yaml", run.name, "--to", "export"]) == 0
    config = json.loads(Path("export/config.json").read_bytes())
    return config, Path("export/README.md").read_text(), capsys.readouterr().out


def accuracy(path: Path) -> float:
    """In points, by hand."""
    actual = load_file(path)
    return 100 * float(np.mean(actual["test_logits"].argmax(1) == actual["test_labels"]))


def test_of_equals_the_average_ships(trained, capsys):
    run = trained(0.5)
    content = records.read_record(run, None)
    assert content is not None
    changed(run, unaveraged=content["unaveraged"] | {"val": content["last"]["val"]})
    config, card, report = exported_of(run, capsys)
    assert "evaluation point last, weights averaged with decay 0.5, ships" in report
    assert re.search(
        r"The weights that ship are averaged \(decay 0.5\): "
        r"validation error ([\d.]+) %, not averaged \1 %",
        report,
    )
    assert config["ema"] == 0.5
    assert "those, averaged over its steps (exponentially, decay 0.5), after epoch 4" in card
    actual = run_folder.weights_path(run).read_bytes()
    assert Path("export/model.safetensors").read_bytes() == actual
    beside, row = config["measured"]["beside"], config["measured"]["files"]["model.onnx"]
    assert (beside["ema"], beside["epoch"]) == (None, 4)
    here, there = (
        accuracy(run_folder.outputs_path(run)),
        accuracy(run_folder.unaveraged_outputs_path(run)),
    )
    assert row["accuracy"][0] == pytest.approx(here)
    assert beside["accuracy"][0] == pytest.approx(there)
    assert beside["difference"][0] == pytest.approx(there - here)
    assert beside["latency"].keys() == {"1", "64"} and beside["bytes"] > 1000
    table = [line for line in card.splitlines() if line.startswith("| float32")]
    assert table[0].startswith(f"| float32, averaged (decay 0.5) | {here:.2f} (")
    assert table[1].startswith(f"| float32, not averaged (not in this folder) | {there:.2f} (")
    assert f"| {there - here:+.2f} (" in table[1]
    assert not Path("export/beside").exists() and config["files"].keys() == {
        "model.safetensors",
        "model.onnx",
    }


def test_an_average_that_is_mostly_beginning_does_not_ship(trained, capsys):
    run = trained(0.999)
    config, card, report = exported_of(run, capsys)
    message = records.read_record(run, None)
    assert message is not None
    errors = [100 * (1 - message[key]["val"]["accuracy"]) for key in ("unaveraged", "last")]
    assert errors[0] < errors[1]  # else this tests nothing
    assert (
        f"The weights that ship are not averaged: validation error {errors[0]:.2f} %, "
        f"averaged (decay 0.999) {errors[1]:.2f} %"
    ) in report
    assert config["ema"] is None and config["measured"]["beside"]["ema"] == 0.999
    own_value = run_folder.unaveraged_weights_path(run).read_bytes()
    assert Path("export/model.safetensors").read_bytes() == own_value
    actual = config["measured"]["files"]["model.onnx"]["accuracy"][0]
    assert actual == pytest.approx(accuracy(run_folder.unaveraged_outputs_path(run)))
    assert "those, not averaged over its steps as in the study, after epoch 4" in card


def test_a_run_that_has_not_kept_the_network_itself_ships_its_average(trained, capsys):
    run = trained(0.5)
    path = run / "record.json"
    record = json.loads(path.read_bytes())
    for key in ("unaveraged", "sha256"):
        del record[key]
    for each in run.glob("unaveraged*"):
        each.unlink()
        del record["files"][each.name]
    records.publish_record(run, record)
    config, card, _ = exported_of(run, capsys)
    assert config["ema"] == 0.5 and "beside" not in config["measured"]
    assert "The run did not keep its unaveraged weights." in card


def test_altered_weights_of_the_network_itself_are_refused(trained, capsys):
    run = trained(0.5)
    path = run_folder.unaveraged_weights_path(run)
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    assert main(["export", "study.yaml", run.name, "--to", "export"]) == 2
    assert path.name in capsys.readouterr().err and not Path("export").exists()
