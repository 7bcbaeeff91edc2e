"""Numbers from logits, against scipy, scikit-learn and torch, and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss
from torch.nn.functional import cross_entropy

from kdpipe.losses.kd import kd
from kdpipe.runs import metrics
from kdpipe.training.forward import ensemble_logits

RNG = np.random.RandomState(0)
LOGITS = (3 * RNG.standard_normal((200, 10))).astype(np.float32)
TEACHER = (LOGITS + 2 * RNG.standard_normal((200, 10))).astype(np.float32)
LABELS = RNG.randint(0, 10, 200)


def test_against_scipy_and_scikit_learn():
    actual = metrics.compute_metrics(LOGITS, LABELS)
    p = softmax(LOGITS.astype(np.float64), axis=1)
    assert actual["n"] == 200
    assert actual["accuracy"] == accuracy_score(LABELS, p.argmax(1))
    assert actual["nll"] == pytest.approx(log_loss(LABELS, p, labels=range(10)))
    assert actual["entropy"] == pytest.approx(stats.entropy(p, axis=1).mean())
    assert actual["confidence"] == pytest.approx(p.max(1).mean())
    assert not {"kl", "agreement", "cross_entropy"} & set(actual)


def test_a_million_images_are_looked_at_in_parts(monkeypatch):
    whole = metrics.compute_metrics(LOGITS, LABELS, TEACHER, 4.0)
    monkeypatch.setattr(metrics, "CHUNK_ROWS", 7)
    assert metrics.compute_metrics(LOGITS, LABELS, TEACHER, 4.0) == whole  # to the bit


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_against_a_teacher_by_scipy(temperature):
    actual = metrics.compute_metrics(LOGITS, LABELS, TEACHER, temperature)
    student, teacher = (softmax(z.astype(float) / temperature, axis=1) for z in (LOGITS, TEACHER))
    scale = temperature**2
    kl = scale * stats.entropy(teacher, student, axis=1).mean()
    assert actual["kl"] == pytest.approx(kl)
    entropy = scale * stats.entropy(teacher, axis=1).mean()
    assert actual["cross_entropy"] == pytest.approx(kl + entropy)
    assert actual["agreement"] == (LOGITS.argmax(1) == TEACHER.argmax(1)).mean()
    assert actual["teacher_accuracy"] == accuracy_score(LABELS, TEACHER.argmax(1))
    # What does not concern the teacher stays what it was, at T = 1.
    assert metrics.compute_metrics(LOGITS, LABELS).items() <= actual.items()


def test_the_values_of_the_peers():
    """peers.md, 6.2: worked out by hand there."""
    student = np.array([[2, -1, 0.5, 0], [0, 1, 2, -2], [1.5, 1.5, -0.5, 0.25]])
    teacher = np.array([[3, 0, -1, 1], [-1, 2, 2.5, -3], [4, 0.5, -2, 0]])
    actual = metrics.compute_metrics(student, np.array([0, 2, 1]), teacher, 4)
    assert actual["nll"] == pytest.approx(0.5488646145, abs=1e-10)
    assert actual["kl"] == pytest.approx(0.7410657469, abs=1e-10)


def test_the_loss_and_the_metric_are_the_same_distance():
    student, teacher, labels = map(torch.from_numpy, (LOGITS, TEACHER, LABELS))
    actual = metrics.compute_metrics(LOGITS, LABELS, TEACHER, 4.0)
    assert float(kd(student, teacher, temperature=4.0)) == pytest.approx(actual["kl"], rel=1e-5)
    assert float(cross_entropy(student, labels)) == pytest.approx(actual["nll"], rel=1e-5)


def test_a_student_that_is_its_teacher():
    actual = metrics.compute_metrics(LOGITS, LABELS, LOGITS, 4.0)
    assert actual["kl"] == 0 and actual["agreement"] == 1
    assert actual["teacher_accuracy"] == actual["accuracy"]


def test_logits_of_any_size_give_finite_numbers():
    logits = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], np.float32)
    actual = metrics.compute_metrics(logits, np.array([0, 0]), -logits, 4.0)
    assert all(math.isfinite(value) for value in actual.values())
    assert actual["nll"] == pytest.approx(1000) and actual["accuracy"] == 0.5
    shifted = metrics.compute_metrics(LOGITS + 500, LABELS, TEACHER - 300, 4.0)
    for key, value in metrics.compute_metrics(LOGITS, LABELS, TEACHER, 4.0).items():
        assert shifted[key] == pytest.approx(value, rel=1e-3)


# --- calibration


def test_calibration_by_hand():
    """15 bins, of which the fifteenth is (14/15, 1].

    In it are 0.99 (right) and 0.95 (wrong): accuracy 0.5, confidence 0.97, a gap of 0.47.
    0.62 and 0.65 lie in (9/15, 10/15], both right: a gap of 1 - 0.635 = 0.365. 0.3 is alone in
    (4/15, 5/15], wrong: a gap of 0.3. Weighed by their numbers: (2*0.47 + 2*0.365 + 0.3) / 5.
    """
    confidence = np.array([0.99, 0.95, 0.62, 0.65, 0.3])
    correct = np.array([True, False, True, True, False])
    assert metrics.calibration_error(confidence, correct) == pytest.approx(1.97 / 5)


def slow_twin(confidence, correct):
    total = 0.0
    for low in range(15):
        inside = [i for i, c in enumerate(confidence) if low / 15 < c <= (low + 1) / 15]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def test_calibration_against_a_slow_twin():
    for seed in range(20):
        rng = np.random.RandomState(seed)
        confidence = rng.uniform(0.01, 1, 300)
        correct = rng.uniform(size=300) < confidence
        actual = metrics.calibration_error(confidence, correct)
        assert actual == pytest.approx(slow_twin(confidence, correct))


def test_calibration_at_the_ends():
    sure = np.ones(4)
    assert metrics.calibration_error(sure, np.array([True] * 4)) == 0
    assert metrics.calibration_error(sure, np.array([False] * 4)) == 1
    assert metrics.calibration_error(np.zeros(2), np.array([False] * 2)) == 0
    assert metrics.calibration_error(np.array([]), np.array([])) == 0


# --- ensembles


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_an_ensemble_of_copies_is_its_member(copies):
    averaged = metrics.average_logits(np.stack([LOGITS] * copies))
    np.testing.assert_allclose(softmax(averaged, axis=1), softmax(LOGITS, axis=1), atol=1e-6)
    np.testing.assert_array_equal(averaged.argmax(1), LOGITS.argmax(1))
    for key, value in metrics.compute_metrics(averaged, LABELS).items():
        assert value == pytest.approx(metrics.compute_metrics(LOGITS, LABELS)[key], abs=1e-6)


def test_probabilities_are_averaged_not_logits():
    """(0.9, 0.1) and (0.2, 0.8) make (0.55, 0.45); the mean of the logits would make (0.6, 0.4)."""
    members = np.log([[[0.9, 0.1]], [[0.2, 0.8]]])
    assert np.exp(metrics.average_logits(members)) == pytest.approx(np.array([[0.55, 0.45]]))
    of_logits = softmax(members.mean(0), axis=1)
    assert of_logits == pytest.approx(np.array([[0.6, 0.4]]))


def test_averaging_agrees_with_scipy_and_with_the_teacher_of_a_student():
    members = np.stack([LOGITS, TEACHER, -LOGITS])
    expected = softmax(members.astype(float), axis=2).mean(0)
    np.testing.assert_allclose(np.exp(metrics.average_logits(members)), expected, rtol=1e-12)
    taught = ensemble_logits(torch.from_numpy(members), temperature=1.0).numpy()
    np.testing.assert_allclose(softmax(taught, axis=1), expected, atol=1e-6)


def test_a_member_that_is_sure_does_not_make_infinity():
    members = np.array([[[2000.0, 0.0, 0.0]], [[0.0, 2000.0, 0.0]]])
    averaged = metrics.average_logits(members)
    assert np.isfinite(averaged).all()
    assert softmax(averaged, axis=1) == pytest.approx(np.array([[0.5, 0.5, 0]]))
