"""A short run of the simulation of verdicts: 67 studies of known truth through the real judge."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny_study

from kdpipe.stats.variance_components import decompose_variance

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
NUMBERS = {"p_against": math.nan, "contrasts": []}
STUDIES, WITH_LOOKS = 5, 1  # of each setting


@pytest.fixture(scope="module")
def rates():
    """The module of the benchmark, which lies outside the package."""
    sys.path.insert(0, str(BENCHMARKS))
    import error_rates

    yield error_rates
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def simulated(rates, shared):
    """Results by setting, made once for all test processes, as JSON like the benchmark's."""

    def build(folder):
        results = {
            setting.name: rates.simulate(setting, WITH_LOOKS if setting.looks else STUDIES)
            for setting in rates.SETTINGS
        }
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(results))

    return json.loads((tiny_study.once(shared / "rates", build) / "results.json").read_text())


def test_false_verdicts_are_as_rare_as_stated(simulated):
    counts = [one["counts"] for one in simulated.values()]
    families = [
        sum(one.get(f"family: {family}", 0) for one in counts) for family in ("primary", "rest")
    ]
    # Of 67 studies at 5 % more than 9 in either family would be a chance of 1 in 280.
    assert sum(one["studies"] for one in simulated.values()) == 67 and max(families) <= 9


def test_the_wider_interval_holds_the_truth(simulated):
    counts = [one["counts"] for one in simulated.values()]
    held, of = (sum(one[key] for one in counts) for key in ("wider", "of"))
    assert of > 1000 and held / of > 0.93


def test_what_is_true_is_found_and_every_claim_is_among_it(simulated, rates):
    strong = simulated["true by two, 10 seeds"]
    assert all("supports" in truth for truth in strong["truth"].values())
    supported = {key.split(":")[0] for key in strong["counts"] if key.endswith(": supports")}
    assert {"C4", "C5", "C11s", "C11c", "C16", "C17", "C18", "M2"} <= supported
    nothing = simulated["null"]["truth"]
    assert not any("supports" in nothing[key] for key in ("C2", "C6", "C11s", "C15", "M2"))
    assert "contradicts" not in nothing["C6"] and "supports" in nothing["C9"]
    border = simulated["at the border of what counts"]["truth"]
    assert not any(border[key] for key in ("C1", "C8", "C9", "C10", "M1"))


def test_a_study_is_the_same_whenever_it_is_drawn(rates):
    whole = rates.simulate(rates.SETTINGS[0], 2)
    parts = rates._added(
        rates.simulate(rates.SETTINGS[0], 1), rates.simulate(rates.SETTINGS[0], 1, 1)
    )
    assert {k: v for k, v in whole["counts"].items() if v} == {
        k: v for k, v in parts["counts"].items() if v
    }
    assert "| null | 2 |" in rates.tabulate({"null": whole})


@pytest.mark.parametrize("name", ["null", "noise of splits", "cells missing"])
def test_what_is_measured_is_the_mean_over_its_images(rates, name):
    setting = next(one for one in rates.SETTINGS if one.name == name)
    studies = rates.Studies(setting)
    frame, curves = studies.draw(np.random.default_rng(0))
    done = frame.loc[frame.status == "done"]
    assert len(done) == len(frame) or name == "cells missing"
    for run, row in done.set_index("run").iloc[::17].iterrows():
        assert 100 * studies.load_images(run).mean() == pytest.approx(row.test_error)
        for metric in ("val_error", "test_kd_error", "val_kl", "val_nll", "val_entropy"):
            part = SimpleNamespace(run=run, metric=metric, epochs=())
            assert studies.load_images(part).mean() == pytest.approx(row[metric], rel=1e-5)
        for metric in ("train_kl", "train_nll", "train_entropy"):
            assert studies.load_images(SimpleNamespace(run=run, metric=metric, epochs=())) is None
    run = curves.run.iloc[-1]
    late = curves.loc[(curves.run == run) & (curves.epoch > 6)].val_error.mean()
    part = SimpleNamespace(run=run, metric="val_error", epochs=(7, 8))
    assert studies.load_images(part).mean() == pytest.approx(late)


def test_images_add_to_a_loss_what_the_setting_says(rates):
    """The sd of the images' part in the difference of two cells, in sds of one seed."""
    setting = replace(rates.SETTINGS[0], seeds=10, image_noise=1.0)
    studies, parts, spreads = rates.Studies(setting), [], []
    students = studies.labels.loc[studies.labels.kind == "student"]
    two = students.drop_duplicates(["method", "stop"]).cell.iloc[:2]
    rows = [students.index[students.cell == cell] for cell in two]
    for number in range(60):
        studies.draw(np.random.default_rng(number))
        losses = studies.by_image["val_nll"].astype(float)
        difference = losses[rows[0]] - losses[rows[1]]
        components = decompose_variance(difference, "seed", "image").components
        parts.append(components["image",] / setting.validation)
        spreads.append(difference.mean(axis=1).var(ddof=1))
    assert np.sqrt(np.mean(parts) / np.mean(spreads)) == pytest.approx(1.0, abs=0.1)
    assert np.sqrt(np.mean(spreads)) == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_intervals_of_90_percent_hold_the_truth_as_often(rates, simulated):
    """Beside all verdicts and alone it is one contrast a study, of the same truth."""
    border = next(one for one in rates.SETTINGS if one.name == "at the border of what counts")
    alone, whole = rates.cover_same(border, 40), simulated[border.name]
    assert alone["counts"]["of 90%"] == 40 and whole["counts"]["of 90%"] == STUDIES
    assert alone["truth"]["C10"] == whole["truth"]["C10"] == []
    assert 32 <= alone["counts"]["wider 90%"] <= 40
    assert not any(key.endswith(": false") for key in alone["counts"])


def test_a_false_verdict_at_any_look_counts_and_the_first_verdict_is_the_one_reported(
    rates, monkeypatch
):
    seen = []

    def judge(frame, curves, *_, interim):
        seeds = {int(seed) for seed in frame.seed}
        seen.append((interim.number, seeds, set(curves.run) <= set(frame.run)))
        verdict = {1: "cannot tell", 2: "supports", 3: "contradicts"}[interim.number]
        p = {1: 0.2, 2: 1e-4, 3: 0.9}[interim.number]
        return [SimpleNamespace(id="C2", primary=False, verdict=verdict, size="", **NUMBERS, p=p)]

    monkeypatch.setattr(rates, "judge_claims", judge)
    setting = replace(rates.SETTINGS[0], seeds=8, looks=(3, 5, 8))
    counts = rates.simulate(setting, 2)["counts"]
    assert seen[:3] == [(1, {*range(3)}, True), (2, {*range(5)}, True), (3, {*range(8)}, True)]
    assert counts["C2: supports"] == counts["C2: false"] == counts["C2: raw for"] == 2
    assert counts["family: rest"] == counts["family: rest by look 3"] == 2
    assert counts["family: rest by look 2"] == 2 and "family: rest by look 1" not in counts
    assert "C2: contradicts" not in counts and "family: primary" not in counts
