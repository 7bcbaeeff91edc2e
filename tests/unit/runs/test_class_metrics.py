"""Metrics of predicted classes: hand values, another library, variance of resampled images."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from kdpipe.runs.class_metrics import compute_decision_metric, compute_decision_values
from kdpipe.runs.decision_metric import DECISION_METRICS

# 6 images of class 0, 3 of class 1, 1 of class 2; 5, 1 and 0 of them are right.
LABELS = np.array([0] * 6 + [1] * 3 + [2])
PREDICTED = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("top1", 6 / 10),
        ("balanced", (5 / 6 + 1 / 3 + 0) / 3),
        ("macro_f1", (2 * 5 / (6 + 8) + 2 * 1 / (3 + 2) + 0) / 3),
    ],
)
def test_a_metric_of_unequal_classes_has_the_value_by_hand(metric, expected):
    assert compute_decision_metric(PREDICTED, LABELS, metric) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, 300, p=np.array([40, 20, 10, 5, 3, 2, 1]) / 81)
    predicted = np.where(rng.random(300) < 0.7, labels, rng.integers(0, 9, 300))
    f1 = sklearn_metrics.f1_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert compute_decision_metric(predicted, labels, "macro_f1") == pytest.approx(f1)
    recalls = sklearn_metrics.recall_score(
        labels, predicted, labels=np.unique(labels), average="macro"
    )
    assert compute_decision_metric(predicted, labels, "balanced") == pytest.approx(recalls)


@pytest.mark.parametrize(("classes", "size"), [(3, 7), (10, 100), (7, 49), (100, 3)])
def test_on_balanced_data_balanced_accuracy_is_top_1_to_the_last_bit(classes, size):
    rng = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), size)
    for _ in range(50):
        predicted = np.where(rng.random(len(labels)) < 0.8, labels, rng.integers(classes))
        top1, balanced = (
            compute_decision_metric(predicted, labels, metric) for metric in ("top1", "balanced")
        )
        assert top1 == balanced == float((predicted == labels).mean())


@pytest.mark.parametrize("metric", DECISION_METRICS)
def test_the_values_of_images_have_the_error_as_their_mean(metric):
    expected = 100 * (1 - compute_decision_metric(PREDICTED, LABELS, metric))
    assert compute_decision_values(PREDICTED, LABELS, metric).mean() == pytest.approx(expected)


def test_the_variance_of_balanced_error_is_that_of_its_classes():
    values = compute_decision_values(PREDICTED, LABELS, "balanced")
    # s^2 / n within each class, by hand; the class of one image has none.
    expected = (5 / 36 * 6 / 5 / 6 + 2 / 9 * 3 / 2 / 3 + 0) / 9
    assert values.var(ddof=1) / len(values) == pytest.approx(1e4 * expected)


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_the_variance_is_that_of_resampling_each_class(metric):
    rng = np.random.default_rng(1)
    sizes = np.array([600, 200, 60])
    labels = np.repeat(np.arange(3), sizes)
    predicted = np.where(rng.random(len(labels)) < 0.75, labels, rng.integers(0, 3, len(labels)))
    parts = np.split(np.arange(len(labels)), np.cumsum(sizes)[:-1])
    resampled = []
    for _ in range(2000):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in parts])
        resampled.append(100 * compute_decision_metric(predicted[drawn], labels[drawn], metric))
    values = compute_decision_values(predicted, labels, metric)
    assert values.var(ddof=1) / len(values) == pytest.approx(np.var(resampled), rel=0.1)


def test_no_images_have_no_metric():
    nothing = np.array([], dtype=int)
    assert np.isnan(compute_decision_metric(nothing, nothing, "balanced"))
