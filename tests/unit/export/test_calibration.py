"""Probabilities that are scaled: the temperature against a grid, and what loads it."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import kdpipe
from kdpipe.cli.main import main
from kdpipe.export import onnx_graph, verify
from kdpipe.runs import metrics


def overconfident(images=4000, classes=5, factor=2.5):
    """Logits whose labels are drawn from their own softmax, and the same logits times a factor."""
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(images, classes)) * 2
    shares = softmax(honest, axis=1).cumsum(axis=1)
    labels = (rng.random((images, 1)) > shares).sum(axis=1)
    return (factor * honest).astype(np.float32), labels


def test_it_finds_the_factor_that_logits_were_made_too_large_by():
    logits, labels = overconfident()
    actual = verify.fit_temperature(logits, labels)
    assert actual == pytest.approx(2.5, rel=0.1)
    grid = np.exp(np.linspace(-3, 3, 6001))
    nll = [-log_softmax(logits / t, axis=1)[range(len(labels)), labels].mean() for t in grid]
    assert actual == pytest.approx(grid[int(np.argmin(nll))], rel=2e-3)
    before, after = (
        metrics.compute_metrics(each, labels)["ece"] for each in (logits, logits / actual)
    )
    assert after < before / 3


def test_logits_that_are_always_right_are_not_divided_by_nothing():
    logits = 10 * np.eye(3, dtype=np.float32)
    assert 1 / verify.MAX_TEMPERATURE <= verify.fit_temperature(logits, np.arange(3)) <= 1


def test_an_export_says_and_uses_it(copied, monkeypatch, capsys):
    known = {name: (copied / "export" / name).read_bytes() for name in (FLOAT, INT8)}
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: known[FLOAT])
    monkeypatch.setattr(onnx_graph, "quantize", lambda *_: known[INT8])
    assert main(["export", "study.yaml", "--to", "scaled", "--calibrate"]) == 0
    config = json.loads((copied / "scaled" / "config.json").read_bytes())
    assert config["temperature"].keys() == {FLOAT, INT8}
    card = (copied / "scaled" / "README.md").read_text()
    assert "were not calibrated" not in card and "fitted on validation" in card
    picture = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    plain, scaled = kdpipe.load("export", "float"), kdpipe.load("scaled", "float")
    (logits,) = plain.logits([picture])
    expected = softmax(logits.astype(np.float64) / config["temperature"][FLOAT])
    assert scaled(picture) == pytest.approx(dict(zip(scaled.classes, expected, strict=True)))
    assert list(scaled(picture)) == list(plain(picture))


FLOAT, INT8 = "model.onnx", "model.int8.onnx"


def test_without_validation_it_is_refused(copied, capsys):
    text = (copied / "study.yaml").read_text().replace("validation: 40", "validation: 0")
    (copied / "study.yaml").write_text(text)
    assert main(["export", "study.yaml", "--to", "scaled", "--calibrate"]) == 2
    assert "no validation images" in capsys.readouterr().err
    assert not (copied / "scaled").exists()
