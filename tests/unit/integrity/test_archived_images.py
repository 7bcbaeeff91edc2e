"""Metrics of single images: alike from outputs and from an archive, and small enough to publish."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_study
from helpers.finished_study import PLAN, SCRATCH, STUDENT, TEACHER
from scipy import special

from kdpipe.analysis import per_image as accessors
from kdpipe.analysis.dataframe import build_results_frame
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.errors import StoreError
from kdpipe.jobs.train import train_run
from kdpipe.runs import per_image, records, run_folder
from kdpipe.runs.files import read_arrays
from kdpipe.runs.integrity import archive as archives
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.per_image import IMAGE_METRICS
from kdpipe.runs.records import EVAL_POINTS
from kdpipe.runs.store import Store
from kdpipe.stats.error_provenance import ImageQuantity
from kdpipe.training.forward import ensemble_logits

PUBLISHED = Path(__file__).parents[3] / "reports/published/fashion_mnist/records.jsonl.gz"
EARLY = next(
    run for run in PLAN.runs.values() if run.spec.teacher and run.spec.members[0].epoch == 1
)


def outputs(store, run, point="last", epoch=None):
    folder = store.run(run.name)
    record = store.load_records("runs")[run.name]
    path = records.find_outputs_path(folder, record, point)
    return read_arrays(path if epoch is None else run_folder.outputs_path(folder, epoch))[0]


def record_of(store, run, point="last"):
    return store.load_records("runs")[run.name][point]


def close(actual, expected):
    """Within the error that an archive states, for losses up to 40 nats."""
    return (abs(actual - expected) <= 0.021 * (expected + 1e-3) + 1e-9).all()


@pytest.mark.parametrize("point", EVAL_POINTS)
@pytest.mark.parametrize("run", [STUDENT, EARLY], ids=["full", "checkpoint"])
def test_metrics_of_images_are_those_of_the_logits(store, run, point):
    """Computed here by scipy from the logits of student and teacher."""
    metrics = PerImageMetrics(PLAN, store, point)
    mine, record = outputs(store, run, point), record_of(store, run, point)
    epoch = 1 if run is EARLY else None
    teacher, t = outputs(store, TEACHER, epoch=epoch), run.spec.method["temperature"]
    logits, labels = mine["val_logits"].astype(float), mine["val_labels"]
    nll = special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    assert close(metrics.load_metric(run.name, "val_nll"), nll)
    assert nll.mean() == pytest.approx(record["val"]["nll"])
    p, q = (special.softmax(each / t, axis=1) for each in (teacher["val_logits"], logits))
    kl = t**2 * special.rel_entr(p, q).sum(axis=1)
    assert close(metrics.load_metric(run.name, "val_kl"), kl)
    assert kl.mean() == pytest.approx(record["val"]["kl"], rel=1e-4, abs=1e-6)
    apart = mine["test_logits"].argmax(1) != teacher["test_logits"].argmax(1)
    assert np.array_equal(metrics.load_metric(run.name, "test_kd_error"), 100 * apart)
    assert apart.mean() == pytest.approx(1 - record["test"]["agreement"])
    wrong = logits.argmax(1) != labels
    assert np.array_equal(metrics.load_metric(run.name, "val_error"), 100 * wrong)
    taken = metrics.load_misclassified_validation(run.name)
    assert np.array_equal(taken.errors, wrong)
    assert np.array_equal(taken.predicted, logits.argmax(1)[wrong])
    errors = mine["test_logits"].argmax(1) != mine["test_labels"]
    assert np.array_equal(metrics.load_metric(run.name, "test_error"), 100 * errors)
    assert np.array_equal(metrics.load_labels(run.name, "val"), labels)
    assert np.array_equal(metrics.load_labels(run.name, "test"), mine["test_labels"])
    assert metrics.load_metric(run.name, "val_entropy") is None  # in its place is the KL
    by_epoch = metrics.load_epoch_errors(run.name)
    assert by_epoch.shape == (2, 40) and np.array_equal(by_epoch[record["epoch"] - 1], wrong)


def test_the_entropy_of_what_labels_have_taught(store):
    metrics = PerImageMetrics(PLAN, store)
    for run in (SCRATCH, TEACHER):
        p = special.softmax(outputs(store, run)["val_logits"].astype(float), axis=1)
        entropy = special.entr(p).sum(axis=1)
        assert close(metrics.load_metric(run.name, "val_entropy"), entropy)
        assert entropy.mean() == pytest.approx(record_of(store, run)["val"]["entropy"])
        assert metrics.load_metric(run.name, "val_kl") is None
        assert metrics.load_metric(run.name, "test_kd_error") is None


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_members_of_a_teacher_are_averaged_as_in_training(temperature):
    members = np.random.default_rng(0).normal(0, 3, (3, 5, 10)).astype(np.float32)
    expected = ensemble_logits(torch.from_numpy(members), temperature).numpy()
    actual = accessors._average_members(list(members), temperature)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    alone = accessors._average_members([members[0]], temperature)
    assert np.array_equal(alone, members[0])
    assert accessors._average_members([members[0], None], temperature) is None
    assert accessors._average_members([members[0], members[1, :4]], temperature) is None


# A study whose runs are best on validation before their last epoch.
OVERFIT = tiny_study.planned(
    recipe={"epochs": 5, "lr": 0.2, "drop_epochs": []}, data={"validation": 100}
)


@pytest.fixture(scope="module")
def overfit(shared):
    def build(folder):
        result = tiny_study.results(folder, shared)
        for run in OVERFIT.runs.values():
            train_run(run.spec, [], result)

    return Store(tiny_study.once(shared / "overfit", build) / "results")


def test_an_archive_has_both_evaluation_points(overfit, tmp_path):
    archives.archive_study(OVERFIT, overfit, tmp_path / "new")
    there = Store(tmp_path / "new")
    entries = [entry for entry in there.read_archive().values() if entry.kind == "runs"]
    assert any("best" in entry.per_image for entry in entries)
    assert same(all_of(overfit, OVERFIT), all_of(there, OVERFIT))
    assert not list(verify_store(there))


def test_a_part_of_a_sum_is_asked_for_by_one_lookup(overfit):
    """As the second interval does, see `stats.error_provenance`."""
    best, last = (PerImageMetrics(OVERFIT, overfit, point) for point in ("best", "last"))
    runs = [run for run in OVERFIT.runs.values() if record_of(overfit, run, "best")["epoch"] < 5]
    name = runs[0].name
    wrong = best.errors.load_error_mask(name)
    assert wrong.dtype == bool and np.array_equal(best.load_part(name), wrong)
    for metric in IMAGE_METRICS[1:]:
        part = ImageQuantity(name, metric)
        if best.load_metric(name, metric) is not None:
            assert np.array_equal(best.load_part(part), best.load_metric(name, metric))
            at_last = best.load_part(part._replace(eval_point="last"))
            assert np.array_equal(at_last, last.load_metric(name, metric))
            assert not np.array_equal(at_last, best.load_part(part)) or "error" in metric
    by_epoch = best.load_epoch_errors(name)
    actual = best.load_part(ImageQuantity(name, "val_error", (1, 2)))
    assert np.array_equal(actual, 50.0 * by_epoch[0] + 50.0 * by_epoch[1])
    assert best.load_part(ImageQuantity(name, "val_error", (1, 6))) is None
    assert best.load_part(ImageQuantity("unknown", "val_error", (1,))) is None
    assert best.load_part(ImageQuantity(name, "val_ece")) is None


def all_of(store, plan=PLAN) -> dict:
    """Everything that is known of single images, by evaluation point, run and metric."""
    known = {}
    for point in EVAL_POINTS:
        metrics = PerImageMetrics(plan, store, point)
        for name in plan.runs:
            for metric in IMAGE_METRICS:
                known[point, name, metric] = metrics.load_metric(name, metric)
            known[point, name, "epochs"] = metrics.load_epoch_errors(name)
            known[point, name, "taken"] = metrics.load_misclassified_validation(name).predicted
            for split in ("val", "test"):
                known[point, name, split] = metrics.load_labels(name, split)
    return known


def same(a, b):
    return all(
        (a[key] is None and b[key] is None) or np.array_equal(a[key], b[key]) for key in a | b
    )


def test_an_archive_says_the_same_as_the_outputs(store, tmp_path):
    archives.archive_study(PLAN, store, tmp_path / "new")
    there = Store(tmp_path / "new")
    here = all_of(store)
    assert same(here, all_of(there)) and sum(value is not None for value in here.values()) > 60
    labels = [entry for entry in there.read_archive().values() if entry.kind == "labels"]
    assert len(labels) == 2  # of both splits, once for all runs
    assert not list(verify_store(there))
    whole = there.archive_path.read_bytes()
    archives.archive_study(PLAN, there, tmp_path / "again")  # of an archive
    assert (tmp_path / "again/records.jsonl.gz").read_bytes() == whole
    shutil.rmtree(store.run(TEACHER.name))  # the teacher is lost: what was compared with it stays
    kept = PerImageMetrics(PLAN, store)
    assert kept.load_metric(STUDENT.name, "val_kl") is None
    assert kept.load_metric(STUDENT.name, "val_nll") is not None
    archives.archive_study(PLAN, store, tmp_path / "new")
    assert there.archive_path.read_bytes() == whole


def test_an_earlier_archive_lacks_them_and_is_read(store, archive):
    entries = records.read_archive(archive).values()
    earlier = []
    for entry in entries:
        changes = {"per_image": None}
        if entry.missed is not None:  # they had the labels of wrong images with each run
            errors = PerImageMetrics(PLAN, store).errors.load_misclassified(entry.name)
            changes["missed"] = errors.to_json()
        if entry.kind != "labels":
            earlier.append(dataclasses.replace(entry, **changes))
    there = Store(store.root / "earlier")
    records.write_archive(there.archive_path, earlier)
    assert b"per_image" not in records._decompress(there.archive_path)
    metrics = PerImageMetrics(PLAN, there)
    assert metrics.load_metric(STUDENT.name, "test_error") is not None
    assert metrics.load_metric(STUDENT.name, "val_nll") is None
    # Of what both take their wrong images for; of a teacher's checkpoint that is not there.
    expected = PerImageMetrics(PLAN, store).load_metric(STUDENT.name, "test_kd_error")
    assert np.array_equal(metrics.load_metric(STUDENT.name, "test_kd_error"), expected)
    assert metrics.load_metric(EARLY.name, "test_kd_error") is None
    assert metrics.load_epoch_errors(STUDENT.name) is None
    assert metrics.load_misclassified_validation(STUDENT.name) is None
    assert metrics.load_labels(STUDENT.name, "val") is None
    assert not list(verify_store(there))
    archives.archive_study(PLAN, store, there.root)  # made again of the outputs, it has them
    assert there.archive_path.read_bytes() == archive.read_bytes()


def test_runs_of_a_version_that_kept_no_epochs_lack_them(store):
    folder = store.run(STUDENT.name)
    record = store.load_records("runs")[STUDENT.name]
    path = run_folder.validation_errors_path(folder)
    del record["files"][path.name]
    records.publish_record(folder, record)
    path.unlink()
    metrics = PerImageMetrics(PLAN, store)
    assert metrics.load_epoch_errors(STUDENT.name) is None
    assert metrics.load_metric(STUDENT.name, "val_nll") is not None
    archives.archive_study(PLAN, store, store.root / "new")
    entry = Store(store.root / "new").read_archive()["runs", STUDENT.name]
    assert "epochs" not in entry.per_image and "last" in entry.per_image


def test_what_is_not_of_the_recorded_teacher_is_not_known(store):
    """As where a teacher of another validation part taught: the record's means tell it."""
    folder = store.run(STUDENT.name)
    record = store.load_records("runs")[STUDENT.name]
    record["last"]["val"]["kl"] *= 1.5
    record["last"]["test"]["agreement"] -= 0.1
    records.publish_record(folder, record)
    metrics = PerImageMetrics(PLAN, store)
    assert metrics.load_metric(STUDENT.name, "val_kl") is None
    assert metrics.load_metric(STUDENT.name, "test_kd_error") is None
    assert metrics.load_metric(STUDENT.name, "val_nll") is not None


def change_nll(stored):
    stored["last"]["nll"] = per_image.encode_losses(np.full(40, 9.0))


def change_epochs(stored):
    stored["epochs"] = per_image.encode_epochs(np.ones((2, 40), bool))


def cut_off(stored):
    stored["last"]["nll"]["codes"] = stored["last"]["nll"]["codes"][:-8]


CHANGES = {
    change_nll: "val_nll at last: 9",
    change_epochs: "the errors of epoch 1 are not those of its curve",
    cut_off: "another number of images",
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_notices_what_somebody_has_changed_and_sealed_again(archive, tmp_path, change):
    entries = records.read_archive(archive)
    entry = entries["runs", STUDENT.name]
    change(entry.per_image)
    there = Store(tmp_path / "changed")
    records.write_archive(there.archive_path, entries.values())
    faults = list(verify_store(there))
    assert len(faults) == 1 and STUDENT.name in faults[0]
    if change is not cut_off:
        assert CHANGES[change] in faults[0]
        return
    with pytest.raises(StoreError, match=f"single images of {STUDENT.name} is damaged"):
        PerImageMetrics(PLAN, there).load_metric(STUDENT.name, "val_nll")


def test_labels_that_are_gone_are_noticed(archive, tmp_path):
    entries = [entry for entry in records.read_archive(archive).values() if entry.kind == "runs"]
    there = Store(tmp_path / "changed")
    records.write_archive(there.archive_path, entries)
    assert all("the labels" in fault for fault in verify_store(there))
    assert len(list(verify_store(there))) == len(entries)


def test_labels_stay_as_long_as_a_run_refers_to_them(archive):
    entries = list(records.read_archive(archive).values())
    assert records.drop_unused_labels(entries) == entries
    others = [entry for entry in entries if entry.kind != "runs"]
    assert [entry.kind for entry in others].count("labels") == 2
    assert "labels" not in {entry.kind for entry in records.drop_unused_labels(others)}


def made_images(seed: int, taught: bool) -> dict:
    """Metrics of 2,000 validation and 10,000 test images, 8 % of them wrong, over 60 epochs."""
    random = np.random.default_rng(seed)
    ease = np.random.default_rng(0).normal(4, 2.5, 2000)  # of each image, for all runs
    points = {}
    for point in EVAL_POINTS:
        margin = ease + random.normal(0, 1, 2000)
        labels = np.random.default_rng(1).integers(0, 10, 2000)
        predicted = np.where(margin < 0, random.integers(0, 10, 2000), labels)
        losses = np.logaddexp(0, -margin)
        other = "kl" if taught else "entropy"
        points[point] = {
            "val": per_image.encode_misclassified(predicted, labels),
            "nll": per_image.encode_losses(losses),
            other: per_image.encode_losses(losses * random.uniform(0.1, 1, 2000)),
        }
        if taught:
            disagrees = random.random(10_000) < 0.08
            points[point]["disagrees"] = per_image.encode_bits(disagrees)
    noise = random.normal(0, 1, (60, 2000)) - 3 * np.exp(-np.arange(60) / 15)[:, None]
    points["epochs"] = per_image.encode_epochs(ease + 0.6 * noise < 0)
    return {"labels": {"val": "0" * 64, "test": "1" * 64}, **points}


def test_an_archive_of_440_runs_stays_below_10_mb():
    """Twenty of the Fashion study's, with images that no two runs share but for their ease."""
    runs = [entry for entry in records.read_archive(PUBLISHED).values() if entry.record]
    every = [entry for entry in runs if entry.kind == "runs"][::22][:20]
    made = []
    for i, entry in enumerate(every):
        changes = {"per_image": made_images(i, taught=i % 5 > 0)}
        for key in ("missed", "missed_at_best"):  # the labels have a line of their own now
            if (missed := getattr(entry, key)) is not None:
                changes[key] = {name: missed[name] for name in ("sizes", "predicted")}
        made.append(dataclasses.replace(entry, **changes))
    assert len(made) == 20
    size = 22 * records.archive_size(made)
    print(
        f"{size / 1e6:.2f} MB, of which {22 * records.archive_size(every) / 1e6:.2f} without them"
    )
    assert size < 10e6


def test_by_another_metric_an_archive_keeps_the_predictions_of_checkpoints(store, tmp_path):
    plan = tiny_study.planned(
        main={"stops": ["full", "checkpoint 1"]},
        ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
        metric="balanced",
    )
    there = Store(tmp_path / "there")
    archives.archive_study(plan, store, there.root)
    assert list(verify_store(there)) == []
    expected = outputs(store, TEACHER, epoch=1)
    for split in ("val", "test"):
        predicted, labels = PerImageMetrics(plan, there).load_predictions(TEACHER.name, split, 1)
        assert np.array_equal(predicted, expected[f"{split}_logits"].argmax(axis=1))
        assert np.array_equal(labels, expected[f"{split}_labels"])
    frames = [build_results_frame(plan, each) for each in (store, there)]
    assert frames[0].teacher_test_error.notna().any()
    pd.testing.assert_frame_equal(*frames)
