"""What a finite number of images moves options apart, against products of pairs and known truth."""

import itertools

import numpy as np
import pandas as pd
import pytest

from kdpipe.stats import image_spread
from kdpipe.stats.error_provenance import ErrorWithProvenance, ImageQuantity
from kdpipe.stats.image_spread import NO_IMAGES, find_image_spread
from kdpipe.stats.replicates import make_replicate_id

TEACHERS = ["a", "a", "b", "b"]
IMAGES = 60


def draw_outcomes(seeds=3, splits=1):
    """What runs get wrong, by name, and frames of their errors on test and on validation."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=IMAGES) + rng.normal(size=(4, 1, 1, IMAGES))
    wrong = hard + rng.normal(size=(4, seeds, splits, IMAGES)) > 0.5
    by_run, test, validation = {}, {}, {}
    for option, seed, split in itertools.product(range(4), range(seeds), range(splits)):
        run, key = f"{option}-{seed}-{split}", make_replicate_id(seed, split)
        by_run[run] = wrong[option, seed, split]
        error = 100 * by_run[run].mean()
        quantity = ImageQuantity(run, "val_error")
        test.setdefault(option, {})[key] = ErrorWithProvenance(error, {run: 1.0})
        validation.setdefault(option, {})[key] = ErrorWithProvenance(error, {quantity: 1.0})
    frames = [
        pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in one.items()})
        for one in (test, validation)
    ]
    return wrong, by_run, *frames


def compute_twin(wrong):
    """The mean covariance of every pair of runs with two seeds, one by one."""
    sums = {"same": [], "teacher": [], "apart": []}
    options, seeds, splits, _ = wrong.shape
    for split in range(splits):
        runs = list(itertools.product(range(options), range(seeds)))
        for (a, r), (b, s) in itertools.product(runs, runs):
            if r != s:
                kind = "same" if a == b else "teacher" if TEACHERS[a] == TEACHERS[b] else "apart"
                covariance = np.cov(100 * wrong[a, r, split], 100 * wrong[b, s, split])[0, 1]
                sums[kind].append(covariance)
    same, teacher, apart = (np.mean(values) for values in sums.values())
    return max(0, teacher - apart), max(0, same - teacher)


@pytest.mark.parametrize("splits", [1, 2])
def test_it_is_the_mean_of_all_pairs_of_seeds(monkeypatch, splits):
    monkeypatch.setattr(image_spread, "CHUNK", 25)
    wrong, by_run, test, _ = draw_outcomes(splits=splits)
    actual = find_image_spread(test, TEACHERS, by_run.get)
    expected = compute_twin(wrong)
    assert (actual.teacher, actual.option) == pytest.approx(np.array(expected) / IMAGES)
    assert actual.source == "test" and not actual.is_by_split and actual.option > 0


def test_where_validation_was_not_kept_test_stands_for_it():
    _, by_run, test, validation = draw_outcomes()
    of_test = find_image_spread(test, TEACHERS, by_run.get)
    kept = {ImageQuantity(run, "val_error"): 100.0 * wrong for run, wrong in by_run.items()}
    own = find_image_spread(validation, TEACHERS, kept.get)
    assert (own.option, own.source, own.is_by_split) == (
        pytest.approx(of_test.option),
        "validation",
        True,
    )
    # A validation set of twice as many images.
    instead = find_image_spread(validation, TEACHERS, by_run.get, 2 * IMAGES)
    assert instead.option == pytest.approx(of_test.option / 2) and instead.source == "test"
    assert find_image_spread(validation, TEACHERS, by_run.get) is NO_IMAGES  # of what size?
    assert find_image_spread(validation, TEACHERS, {}.get, IMAGES) is NO_IMAGES
    assert find_image_spread(validation.astype(float), TEACHERS, by_run.get) is NO_IMAGES


def test_it_is_the_variance_of_means_over_images():
    """Options with a taste of their own, whose mean over other images has that variance."""
    rng, n, means, actual = np.random.default_rng(1), 200, [], []
    for _ in range(60):
        hard = rng.normal(size=n) + 0.7 * rng.normal(size=(6, 1, n))
        wrong = hard + 0.5 * rng.normal(size=(6, 4, n)) > 1
        errors = 100 * wrong.mean(axis=(1, 2))
        means.append((errors - errors.mean()) ** 2)
        names = np.array([f"{o}-{s}" for o in range(6) for s in range(4)])
        frame = pd.DataFrame(
            {
                o: pd.Series(
                    [
                        ErrorWithProvenance(100 * wrong[o, s].mean(), {f"{o}-{s}": 1.0})
                        for s in range(4)
                    ],
                    dtype=object,
                )
                for o in range(6)
            }
        )
        lookup = dict(zip(names, wrong.reshape(24, n), strict=True)).get
        actual.append(find_image_spread(frame, range(6), lookup).option)
    # What one seed does alone is in the means too: a fourth of that of a run.
    alone = np.mean(means) * 6 / 5
    assert 0.5 * alone < np.mean(actual) < 0.95 * alone
