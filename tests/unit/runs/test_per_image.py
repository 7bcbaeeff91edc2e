"""Values of single images come back as they were, losses within the error that is stated."""

import json

import numpy as np
import pytest

from kdpipe.runs import per_image


def losses(kind: str) -> np.ndarray:
    random = np.random.default_rng(0)
    return {
        "usual": np.logaddexp(0, -random.normal(4, 3, 3000)),
        "tiny": 10.0 ** random.uniform(-12, -2, 500),
        "wide": 10.0 ** random.uniform(-9, 3, 3000),
        "zero": np.zeros(7),
        "none": np.zeros(0),
        "rounded below zero": np.array([-1e-17, 0.5]),
    }[kind]


@pytest.mark.parametrize("kind", ["usual", "tiny", "wide", "zero", "none", "rounded below zero"])
def test_a_stored_loss_is_off_by_at_most_what_is_stated(kind):
    values = losses(kind)
    stored = json.loads(json.dumps(per_image.encode_losses(values)))
    actual = per_image.decode_losses(stored)
    top = stored["top"]
    assert actual.shape == values.shape and top >= values.max(initial=0)
    # the bound by hand: half a step of the scale log(1 + x / 0.001), of which a byte has 255
    half = np.log1p(top / 1e-3) / 510
    bound = (np.exp(half) - 1) * (np.maximum(values, 0) + 1e-3)
    assert (abs(actual - values) <= bound + 1e-12).all()
    np.testing.assert_allclose(per_image.bound_loss_error(np.maximum(values, 0), top), bound)
    assert np.exp(np.log1p(40 / 1e-3) / 510) - 1 < 0.021  # as the module says
    assert np.exp(np.log1p(100 / 1e-3) / 510) - 1 < 0.023
    again = per_image.decode_losses(per_image.encode_losses(actual))
    assert (abs(again - actual) <= bound + 1e-12).all()


def test_the_mean_of_stored_losses_is_nearly_theirs():
    values = losses("usual")
    mean = per_image.decode_losses(per_image.encode_losses(values)).mean()
    assert mean == pytest.approx(values.mean(), rel=2e-3)


def test_bits_of_images_and_epochs_come_back():
    random = np.random.default_rng(1)
    for images in (1, 8, 13):
        bits = random.random(images) < 0.5
        assert np.array_equal(per_image.decode_bits(per_image.encode_bits(bits)), bits)
        epochs = random.random((5, images)) < 0.3
        stored = per_image.encode_epochs(epochs)
        assert np.array_equal(per_image.decode_epochs(stored), epochs)
        assert len(stored["bits"]) == 2 * -(-5 * images // 8)


@pytest.mark.parametrize("largest", [9, 300, 70_000])
def test_labels_come_back_and_no_others(largest):
    labels = np.array([0, largest, 3, largest // 2])
    digest, stored = per_image.encode_labels(labels)
    assert np.array_equal(per_image.decode_labels(digest, stored), labels)
    assert per_image.encode_labels(labels.astype(np.int32))[0] == digest
    _, others = per_image.encode_labels(labels[::-1])
    with pytest.raises(ValueError, match="other labels"):
        per_image.decode_labels(digest, others)


def test_wrong_images_come_back_with_what_they_are_taken_for():
    labels, predicted = np.array([0, 1, 2, 3, 4]), np.array([0, 2, 2, 1, 4])
    actual = per_image.decode_misclassified(per_image.encode_misclassified(predicted, labels))
    assert actual.errors.tolist() == [False, True, False, True, False]
    assert actual.predicted.tolist() == [2, 1]


def entry() -> tuple[dict, dict]:
    labels = {split: per_image.encode_labels(np.arange(n) % 3) for split, n in SIZES.items()}
    predicted = np.zeros(SIZES["val"], int)
    point = {
        "val": per_image.encode_misclassified(predicted, np.arange(SIZES["val"]) % 3),
        "nll": per_image.encode_losses(np.ones(SIZES["val"])),
        "kl": per_image.encode_losses(np.ones(SIZES["val"])),
        "disagrees": per_image.encode_bits(np.ones(SIZES["test"], bool)),
    }
    epochs = per_image.encode_epochs(np.ones((2, SIZES["val"]), bool))
    digests = {split: digest for split, (digest, _) in labels.items()}
    stored = {"labels": digests, "last": point, "best": dict(point), "epochs": epochs}
    return stored, dict(labels.values())


SIZES = {"val": 9, "test": 12}


def test_metrics_are_points_and_nats():
    stored, labels = entry()
    assert per_image.find_form_error(stored, labels) is None
    metric = {name: per_image.decode_metric(stored["last"], name) for name in per_image.LOSSES}
    assert metric["val_entropy"] is None and metric["val_kl"] == pytest.approx(1, rel=0.02)
    wrong = per_image.decode_metric(stored["last"], "val_error")
    assert wrong.tolist() == [0, 100, 100] * 3
    assert per_image.decode_metric(stored["last"], "test_kd_error").tolist() == [100.0] * 12


DAMAGE = {
    "a byte less": lambda s: s["last"]["nll"].update(codes=s["last"]["nll"]["codes"][:-4]),
    "no base64": lambda s: s["last"]["kl"].update(codes="?" * 12),
    "an infinite scale": lambda s: s["last"]["kl"].update(top=float("inf")),
    "a scale of text": lambda s: s["best"]["nll"].update(top="x"),
    "bits of fewer": lambda s: s["last"]["disagrees"].update(bits="ff"),
    "another number": lambda s: s["last"]["disagrees"].update(images=11),
    "a negative number": lambda s: s["last"]["disagrees"].update(images=-1),
    "a class less": lambda s: s["last"]["val"]["predicted"].pop(),
    "epochs of fewer images": lambda s: s["epochs"].update(images=8, bits="ffff"),
    "no epochs": lambda s: s.update(epochs=3),
    "labels of another split": lambda s: s["labels"].update(train=s["labels"]["val"]),
    "labels that are gone": lambda s: s["labels"].update(val="0" * 64),
    "labels of none": lambda s: s.update(labels={}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed(name):
    stored, labels = entry()
    DAMAGE[name](stored)
    assert per_image.find_form_error(stored, labels) is not None


def test_means_are_those_of_the_record():
    stored, _ = entry()
    metrics = {"accuracy": 3 / 9, "nll": 1.01, "kl": 0.99}
    record = {"last": {"val": metrics}, "best": {"val": metrics}}
    curve = [{"epoch": 1, "val": {"accuracy": 0.0}}, {"epoch": 2, "val": {"accuracy": 0.0}}]
    assert per_image.find_mean_error(stored, record, curve) is None
    for key in metrics:
        other = {"last": {"val": metrics | {key: 0.5}}, "best": {"val": metrics}}
        reason = per_image.find_mean_error(stored, other, curve)
        assert reason is not None and "at last" in reason
    curve[1]["val"]["accuracy"] = 0.1
    assert "epoch 2" in per_image.find_mean_error(stored, record, curve)
