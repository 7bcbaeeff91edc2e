"""The second interval against exact variances, against scipy on one level, and by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from made_study import made_store
from scipy import stats

from kdpipe.errors import StoreError
from kdpipe.evidence import frames, judgement, wrong_images
from kdpipe.evidence.wrong_images import Outcomes
from kdpipe.results.files import write_arrays
from kdpipe.results.store import OUTCOMES
from kdpipe.statistics.resampling import TracedError, intervals, traced


class Known:
    """Outcomes by name."""

    def __init__(self, rows):
        self.rows = {name: np.asarray(row, bool) for name, row in rows.items()}

    def wrong(self, name):
        return self.rows.get(name)


def error(name, row):
    return TracedError(100 * np.mean(row), {name: 1.0})


def made(seeds, images, seed=0):
    """Two methods whose errors depend on the seed and on how hard the image is."""
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1, images)
    rows = {}
    for method, ease in (("a", 1.2), ("b", 1.6)):
        for s in range(seeds):
            luck = random.normal(0, 0.4)
            rows[f"{method}{s}"] = hard + random.normal(0, 0.7, images) > ease + luck
    values = [error(f"a{s}", rows[f"a{s}"]) - error(f"b{s}", rows[f"b{s}"]) for s in range(seeds)]
    return pd.Series(values, dtype=object), Known(rows)


def grid(known, seeds):
    rows = [100.0 * known.rows[f"a{s}"] - 100.0 * known.rows[f"b{s}"] for s in range(seeds)]
    return np.stack(rows)


@pytest.mark.parametrize(("seeds", "images"), [(12, 400), (30, 150)])
def test_the_spread_is_that_of_two_crossed_multinomial_draws(seeds, images):
    # With counts u of seeds and v of images, E uu' = I + (1 - 1/S) 11', so the variance of
    # sum u v D / SN is exactly the one below; the draws are close to normal.
    values, known = made(seeds, images)
    d = grid(known, seeds)
    a, b = 1 - 1 / seeds, 1 - 1 / images
    square = (
        (d**2).sum()
        + b * (d.sum(axis=1) ** 2).sum()
        + a * (d.sum(axis=0) ** 2).sum()
        + a * b * d.sum() ** 2
    )
    sd = math.sqrt(square / d.size**2 - d.mean() ** 2)
    (found,) = intervals([(values, 0.95)], known, resamples=20_000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.03)
    assert (found.high + found.low) / 2 == pytest.approx(d.mean(), abs=0.1 * sd)
    assert (found.seeds, found.images, found.resamples) == (seeds, images, 20_000)


def test_where_all_seeds_agree_it_is_the_bootstrap_over_images():
    random = np.random.default_rng(1)
    one, other = random.random(500) < 0.2, random.random(500) < 0.1
    difference = error("one", one) - error("other", other)
    known = Known({"one": one, "other": other})
    (found,) = intervals([(pd.Series([difference] * 6, dtype=object), 0.95)], known, 20_000)
    oracle = stats.bootstrap(
        (100.0 * one - 100.0 * other,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.12)


def test_where_all_images_agree_it_is_the_bootstrap_over_seeds():
    known = Known({"right": np.zeros(50), "wrong": np.ones(50)})
    errors = [10.3, 25.1, 19.7, 40.2, 15.6, 30.9, 5.4]
    values = [TracedError(100.0, {"wrong": 1.0}) * (value / 100) for value in errors]
    (found,) = intervals([(pd.Series(values, dtype=object), 0.9)], known, 20_000)
    oracle = stats.bootstrap(
        (errors,), np.mean, method="percentile", n_resamples=20_000, confidence_level=0.9, rng=2
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.4)


def test_all_differences_share_their_resamples_and_a_level_is_a_level():
    values, known = made(8, 200)
    twice = intervals([(values, 0.95), (-values, 0.95), (values, 0.5)], known)
    first, mirrored, narrow = twice
    assert (mirrored.low, mirrored.high) == pytest.approx((-first.high, -first.low))
    assert first.low < narrow.low < narrow.high < first.high
    assert intervals([(values, 0.95)], known)[0].low == pytest.approx(first.low, abs=0.2)
    assert intervals([(values, 0.95), (-values, 0.95), (values, 0.5)], known) == twice


def test_what_has_no_second_interval_says_why():
    values, known = made(6, 100)
    few = pd.Series(list(values)[:4], dtype=object)
    cases = [
        (pd.Series([0.5, 0.7, 0.2, 0.1, 0.4]), known, "not a sum of test errors"),
        (values * values, known, "not a sum of test errors"),
        (few, known, "5 seeds are needed, 4 are there"),
        (pd.Series(dtype=float), known, "no seed has it"),
        (values, None, "holds no outputs"),
        (values, Known({}), "holds no outputs"),
        (values, Known({n: r for n, r in known.rows.items() if n != "b3"}), "no outputs of b3"),
    ]
    for one, rows, why in cases:
        (found,) = intervals([(one, 0.95)], rows)
        assert why in found.why and math.isnan(found.low)


def test_outcomes_of_other_runs_are_refused():
    values, known = made(6, 100)
    known.rows["a2"] = ~known.rows["a2"]
    with pytest.raises(StoreError, match="a2, b2 are not those of their records"):
        intervals([(values, 0.95)], known)


def test_a_sum_of_errors_knows_its_runs():
    a, b = TracedError(3.0, {"a": 1.0}), TracedError(5.0, {"b": 1.0})
    assert (a - b).parts == {"a": 1.0, "b": -1.0} and a - b == -2.0
    assert (sum([a, b]) / 2).parts == {"a": 0.5, "b": 0.5} and sum([a, b]) / 2 == 4.0
    assert (-(a - b)).parts == {"a": -1.0, "b": 1.0}
    assert not hasattr(a + 1.0, "parts") and a + 1.0 == 4.0
    assert math.isnan(a - math.nan) and math.isnan(math.nan - a)


# --- In a study ---------------------------------------------------------------------------------


def test_contrasts_of_errors_have_both_intervals_and_the_verdicts_stay(tmp_path):
    plan, store = made_store(tmp_path)
    frame, curves = frames.frame(plan, store), frames.curves(plan, store)
    bare = judgement.judge(frame, curves, 0.5)
    full = judgement.judge(frame, curves, 0.5, outcomes=Outcomes(plan, store))
    with_one = set()
    for before, after in zip(bare, full, strict=True):
        assert (before.verdict, before.p) == (after.verdict, pytest.approx(after.p, nan_ok=True))
        for contrast in after.contrasts:
            resampled = contrast["resampled"]
            if not resampled.why:
                with_one.add(after.id)
                assert resampled.low < contrast["effect"] < resampled.high
                assert resampled.level == contrast["level"] and resampled.images == 700
    assert {"C1", "C2", "C6", "C8", "C9", "C10", "C11s", "C12", "C13", "Q1"} <= with_one
    assert not {"C5", "C15", "C16", "C18"} & with_one


def test_a_contrast_is_made_of_the_runs_that_it_names(tmp_path):
    plan, store = made_store(tmp_path)
    frame = traced(frames.frame(plan, store))
    known = Outcomes(plan, store)
    for row in frame[frame.kind.isin(["student", "ensemble"])].itertuples():
        assert row.test_error.parts == {row.run: 1.0}
        assert 100 * known.wrong(row.run).mean() == pytest.approx(row.test_error)
    assert not hasattr(frame[frame.kind == "teacher"].test_error.iloc[0], "parts")


def test_outcomes_are_read_from_outputs_and_of_an_ensemble_from_its_members(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    (store.root / OUTCOMES).unlink()
    assert listed(plan, store) == {}
    team = next(t for t in plan.ensembles.values() if len(t.members) == 3)
    random = np.random.default_rng(0)
    labels = random.integers(10, size=700)
    shares = []
    for run, epoch in team.members:
        logits = random.normal(size=(700, 10)).astype(np.float32)
        logits[np.arange(700), labels] += 1.5
        shares.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        arrays = {"test_logits": logits, "test_labels": labels}
        path = store.run(run.name) / "outputs.safetensors"
        write_arrays(path, arrays, {"run": run.digest, "epoch": epoch})
    known = Outcomes(plan, store)
    for (run, _), share in zip(team.members, shares, strict=True):
        assert (known.wrong(run.name) == (share.argmax(axis=1) != labels)).all()
    assert (known.wrong(team.name) == (np.mean(shares, axis=0).argmax(axis=1) != labels)).all()
    lines = listed(plan, store)
    assert set(lines) == {team.name, *(run.name for run, _ in team.members)}
    text = [json.dumps({"name": name, **line}) + "\n" for name, line in lines.items()]
    (store.root / OUTCOMES).write_text("".join(text))
    for run, _ in team.members:
        (store.run(run.name) / "outputs.safetensors").unlink()
    assert listed(plan, store) == lines


def listed(plan, store) -> dict[str, dict]:
    """What an archive says of each run and ensemble whose wrong images are known."""
    known = Outcomes(plan, store)
    items = [*plan.runs.values(), *plan.ensembles.values()]
    return {
        item.name: {"digest": item.digest, **wrong_images.as_bits(wrong)}
        for item in items
        if (wrong := known.wrong(item.name)) is not None
    }


def test_damaged_outcomes_are_named(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    (store.root / OUTCOMES).write_text('{"name": "x"\n')
    with pytest.raises(StoreError, match=r"outcomes\.jsonl is damaged"):
        Outcomes(plan, store)
