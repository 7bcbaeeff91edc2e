"""Chances of verdicts, against scipy's non-central t and studies simulated through the verdicts."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic_study, tiny_study
from scipy import stats

from kdpipe.analysis import claim, dataframe, eval_point
from kdpipe.analysis.claim import Contrast, Finding, judge_findings
from kdpipe.analysis.preregistration import power_report
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ErrorWithProvenance, ImageLevelEstimate
from kdpipe.stats.power import (
    PlannedContrast,
    Spread,
    compute_contrast_power,
    find_detectable_effect,
    simulate_joint_power,
)
from kdpipe.stats.variance_components import decompose_variance

SEEDS, EFFECT, SD = 8, 0.6, 0.5
STUDY = {key: synthetic_study.STUDY[key] for key in ("data", "recipe")} | {
    "study": "small",
    "smallest_effect": 1.0,
    "seeds": list(range(SEEDS)),
    "methods": {"kd": {}, "eskd": {"stop_epoch": 0.3}},
    "experiments": [
        {
            "name": "size",
            "teachers": ["wrn10-1", "wrn16-1"],
            "stops": ["full", "checkpoint 7"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "eskd"],
        }
    ],
}


@functools.cache
def of_this() -> dict[str, power_report.PowerEstimate]:
    return of()


def of(**keys) -> dict[str, power_report.PowerEstimate]:
    study = load.validate_study(STUDY | keys, "f")
    return {one.id: one for one in power_report.estimate_claim_power(study, EFFECT, Spread(SD**2))}


def power(distance: float, claims: int, n: int = SEEDS, df: int | None = None) -> float:
    """Of one contrast in a family of so many claims, both directions; df: n - 1 if left out."""
    df = df or n - 1
    critical = stats.t.isf(0.05 / (2 * claims), df)
    return float(stats.nct.sf(critical, df, distance / SD * math.sqrt(n)))


def test_chances_are_those_of_the_non_central_t():
    """Primary here: C1 (not better), C6 (two teachers), C11c (a mean over pairs)."""
    actual = of_this()
    assert {key for key, one in actual.items() if one.primary} == {"C1", "C6", "C11c"}
    assert actual["C11c"].power == pytest.approx(power(EFFECT, 3), abs=1e-6)
    assert actual["C6"].needs == 2  # which share no run, and so are independent
    assert actual["C6"].power == pytest.approx(power(EFFECT, 3) ** 2, abs=0.03)
    enough = actual["C11c"].seeds
    assert enough is not None and power(EFFECT, 3, enough) >= 0.8 > power(EFFECT, 3, enough - 1)
    named = of(primary=["C11c"])
    assert named["C11c"].power == pytest.approx(power(EFFECT, 1), abs=1e-6)


def test_what_rests_on_a_choice_has_two_degrees_of_freedom_less():
    """Two lengths of an early-stopped teacher; below five seeds one is left out in turn."""
    lengths = STUDY["experiments"][0] | {"stops": ["full", "checkpoint 5", "checkpoint 7"]}
    actual = of(experiments=[lengths])
    assert actual["C11c"].power == pytest.approx(power(EFFECT, 3, df=SEEDS - 2), abs=1e-6)
    assert actual["C11c"].power < of_this()["C11c"].power - 0.01
    assert actual["C1"].power == of_this()["C1"].power  # it has one smaller teacher
    few = of(experiments=[lengths], seeds=[0, 1, 2, 3])["C11c"]
    assert few.power == pytest.approx(power(EFFECT, 3, 4), abs=1e-6)


def test_not_better_counts_only_where_a_difference_would_be_seen():
    """By the spread that is found, so there is no edge at which all of it is lost."""
    seen, blind = of_this()["C1"], of(smallest_effect=0.4)["C1"]
    assert power(EFFECT, 3) < seen.power < power(EFFECT + 1.0, 3)
    assert power(EFFECT, 3) <= blind.power < power(EFFECT, 3) + 0.01
    assert blind.seeds is not None and blind.seeds > SEEDS


def test_claims_that_are_not_of_points_are_named_without_a_chance():
    actual = of(experiments=[STUDY["experiments"][0] | {"students": ["wrn10-0.5", "wrn10-0.7"]}])
    of_others = {"C15", "C16", "C18", "N1", "N2", "N3", "N4"}
    assert {key for key, one in actual.items() if not one.is_known} == of_others
    study = load.validate_study(STUDY, "f")
    lines = power_report.format_power(study, EFFECT, list(actual.values()), str, "sd 1")
    assert all(any(line.startswith(key) for line in lines) for key in actual)
    (line,) = (line for line in lines if line.startswith("C15"))
    assert line.split()[:5] == ["C15", "1", "above", "-", "-"]
    assert line.endswith("no smallest effect in points of error")


def test_the_last_of_several_looks_has_a_little_less():
    once, looked = of_this()["C11c"], of(looks=[3, 5, 8])["C11c"]
    assert once.power - 0.1 < looked.power < once.power


def test_simulated_studies_find_it_as_often():
    """400 studies of three claims through the verdicts; a standard error of 2.5 %."""
    random = np.random.default_rng(0)
    hits = np.zeros(400, bool)
    for study in range(400):
        parts = {
            key: Finding([Contrast(key, pd.Series(random.normal(mean, SD, SEEDS)), delta=1.0)], "")
            for key, mean in (("a", EFFECT), ("b", 0.0), ("c", 0.0))
        }
        judged = judge_findings({key: (key, True, part) for key, part in parts.items()})
        hits[study] = judged[0].verdict == "supports"
    assert power(EFFECT, 3) - 0.075 < hits.mean() < power(EFFECT, 3) + 0.2  # Holm goes on


IMAGES = 400


def drawn(random, effect, asks, spread, splits):
    """A contrast of 8 seeds in so many splits on 400 images, whose spread is all that is there."""
    parts = ((SEEDS, 1, 1), spread.seed / 2), ((1, splits, 1), spread.split * (splits > 1))
    values = effect + sum(random.normal(0, math.sqrt(of), shape) for shape, of in parts)
    values = values + random.normal(0, math.sqrt(spread.both), (SEEDS, splits, 1))
    # Half of what seeds differ by is of single images.
    values = values + random.normal(0, math.sqrt(spread.seed / 2 * IMAGES), (SEEDS, 1, IMAGES))
    values = values + random.normal(0, math.sqrt(spread.images * IMAGES), (1, 1, IMAGES))
    known = [
        replicates.make_replicate_id(seed, split)
        for seed in range(SEEDS)
        for split in range(splits)
    ]
    two = ("seed", "split", "image") if splits > 1 else ("seed", "image")
    second = (
        ImageLevelEstimate(decompose_variance(values if splits > 1 else values[:, 0], *two))
        if spread.images
        else None
    )
    by_unit = pd.Series(values.mean(2).ravel(), known)
    return Contrast("x", by_unit, asks, 1.0, image_estimate=second)


@pytest.mark.parametrize(
    ("asks", "effect", "spread", "splits"),
    [
        ("not better", 0.1, Spread(0.8**2), 1),  # what is seen is near delta
        ("same", 0.0, Spread(0.75**2), 1),
        ("above", 1.0, Spread(0.4**2, images=0.3**2), 1),
        ("not better", 0.0, Spread(0.45**2, images=0.25**2), 1),
        ("above", 1.5, Spread(0.3**2, 0.35**2, 0.3**2), 3),
    ],
)
def test_verdicts_come_out_as_often_as_is_said(asks, effect, spread, splits):
    """400 studies; a standard error of 2.5 %. Alone in its family a test has 0.025."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(400):
        finding = Finding([drawn(random, effect, asks, spread, splits)], "")
        hits += judge_findings({"X": ("title", True, finding)})[0].verdict == "supports"
    message = compute_contrast_power(asks, effect, 1.0, spread, SEEDS, splits, 0.025)
    assert 0.1 < message < 0.95 and hits / 400 == pytest.approx(message, abs=0.075)


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "small.yaml", STUDY)

    def say(*arguments: str) -> tuple[int, str]:
        code = main(["plan", "small.yaml", *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return say


def test_the_plan_says_chances_seeds_and_costs(typed):
    code, message = typed("--effect", "0.6", "--sd", "0.5")
    assert (
        code == 0 and "if the true effect is 0.6 points as claimed (sd 0.5 over seeds; " in message
    )
    assert "; the noise of test images is not counted)" in message
    line = next(line for line in message.splitlines() if line.startswith("C11c"))
    seeds = of_this()["C11c"].seeds
    assert line.split()[:4] == ["C11c", "◆", "1", "above"] and f" {seeds}  " in line
    assert "mult-adds" in line or "minutes" in line or "seconds" in line or "hours" in line
    assert "cannot show anything" not in message
    less = typed("--effect", "0.6", "--sd", "0.5", "--images-se", "0.3")[1]
    assert "(sd 0.5 over seeds, 0.3 of the images)" in less
    other = next(part for part in less.splitlines() if part.startswith("C11c"))
    percent = [int(part.split()[5].removesuffix("%")) for part in (line, other)]
    assert percent[0] > percent[1] + 20
    code, message = typed("--effect", "0.1", "--sd", "5")
    assert "this study cannot show anything: with 8 seeds no claim has a chance of 20%" in message
    assert "chance of a verdict" not in typed()[1]


def test_the_spread_may_be_that_of_a_pilot_by_its_name(typed, tmp_path):
    pilot = STUDY | {"study": "before", "seeds": [20, 21, 22]}
    path = tiny_study.write(tmp_path / "pilot.yaml", pilot)
    code, message = typed("--effect", "0.6", "--pilot", "before")
    assert code == 2 and "has no records of two of its seeds" in message and "--sd" in message
    synthetic_study.write(planner.build_plan(load.load_study(path)), Store(tmp_path / "results"))
    code, message = typed("--effect", "0.6", "--pilot", "before")
    assert code == 0 and "(sd over seeds of the records of before; averaged over" in message
    study = load.validate_study(STUDY, "f")
    spread = power_report.estimate_pilot_spreads(
        "before", tmp_path, Store(tmp_path / "results"), study
    )
    line = next(line for line in message.splitlines() if line.startswith("C11c"))
    assert f"{math.sqrt(spread['C11c'].seed):.2g}" in line
    assert spread["C11c"].df == 2 and "it knows with 2 degrees of freedom" in message
    code, message = typed("--pilot", "befor")
    assert code == 2 and "--pilot befor: no study file has study: befor" in message


def test_a_pilot_is_read_as_the_study_reads_and_its_splits_are_no_seeds(tmp_path):
    pilot = STUDY | {"study": "before", "seeds": [20, 21, 22], "splits": [0, 1, 2]}
    study = load.validate_study(STUDY | {"reading": "best", "claims": {"C6": ["size"]}}, "f")
    plan = planner.build_plan(load.load_study(tiny_study.write(tmp_path / "pilot.yaml", pilot)))
    store = Store(tmp_path / "results")
    synthetic_study.write(plan, store)
    actual = power_report.estimate_pilot_spreads("before", tmp_path, store, study)
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), "best")
    curves = dataframe.build_curves_frame(plan, store)
    finding = claim.evaluate_claim(claim.load_claims()["C11c"], frame, curves, 1.0)
    assert isinstance(finding, Finding)
    (needed,) = finding.needed_contrasts
    (known,) = needed.estimates
    assert actual["C11c"].seed == known.components["seed",]
    assert actual["C11c"].split == known.components["split",]
    assert actual["C11c"].both == known.components["seed", "split"] != 0
    last = power_report.estimate_pilot_spreads(
        "before", tmp_path, store, load.validate_study(STUDY, "f")
    )
    assert last["C11c"] != actual["C11c"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--effect", "0.5"], "give either --sd POINTS or --pilot STUDY"),
        (["--sd", "1", "--pilot", "x"], "give either --sd POINTS or --pilot STUDY"),
        (["--images-se", "1"], "give either --sd POINTS or --pilot STUDY"),
        (["--images-se", "1", "--pilot", "x"], "--pilot STUDY takes it from the study's records"),
    ],
)
def test_half_a_question_is_refused(typed, arguments, says):
    code, message = typed(*arguments)
    assert code == 2 and says in message


@pytest.mark.parametrize("value", ["-1", "inf", "much"])
def test_an_effect_is_a_number_from_0_on(typed, value):
    with pytest.raises(SystemExit):
        typed("--effect", value)


def test_an_effect_of_0_is_a_question_too(typed):
    """A difference is then found by mistake; what is not better is true, and more likely."""
    code, message = typed("--effect", "0", "--sd", "0.5")
    assert (
        code == 0 and "above, at an effect of 0: the chance of a verdict that is wrong" in message
    )
    assert "not better: both are equal, and such a claim is true" in message
    lines = {line.split()[0]: line.split() for line in message.splitlines() if line[:1] == "C"}
    assert lines["C11c"][5] == f"{0.05 / 6:.0%}" and lines["C11c"][6:8] == ["no", "number"]
    assert int(lines["C1"][6].removesuffix("%")) > 10
    told = typed("--effect", "0.6", "--sd", "0.5")[1]
    assert "not better: what the claim defends is better by 0.6 points; --effect 0 asks" in told


def test_what_a_pilot_leaves_open_costs_power():
    """Three seeds: the variance may be many times as large. Against draws of it."""
    known = Spread(0.22**2)
    pilot = Spread(0.22**2, images=0.05**2, df=2)
    sure = compute_contrast_power("not better", 0.1, 0.5, known, 10, 1, 0.005)
    actual = compute_contrast_power("not better", 0.1, 0.5, pilot, 10, 1, 0.005)
    assert sure > 0.99 and 0.6 < actual < 0.85
    draws = 2 / np.random.default_rng(0).chisquare(2, 1_000)
    slow = [
        compute_contrast_power(
            "not better", 0.1, 0.5, Spread(known.seed * draw, images=0.05**2), 10, 1, 0.005
        )
        for draw in draws
    ]
    assert actual == pytest.approx(np.mean(slow), abs=0.03)


@pytest.mark.parametrize(
    ("shared", "spread", "splits"),
    [
        (0.5, Spread(0.5**2), 1),
        (0.0, Spread(0.6**2, images=0.2**2), 1),
        (0.5, Spread(0.3**2, 0.2**2, 0.3**2), 3),
    ],
)
def test_contrasts_hold_together_as_often_as_is_simulated(shared, spread, splits):
    """Against one contrast where both are the same, and against the product and the bound."""
    one = PlannedContrast("above", 1.0)
    alone = compute_contrast_power("above", 0.7, 1.0, spread, SEEDS, splits, 0.01)
    same = simulate_joint_power([one] * 2, np.ones((2, 2)), 0.7, spread, SEEDS, splits, 0.01)
    assert same == pytest.approx(alone, abs=0.03)
    correlation = np.array([[1, shared], [shared, 1]])
    both = simulate_joint_power([one] * 2, correlation, 0.7, spread, SEEDS, splits, 0.01)
    assert both == pytest.approx(alone**2, abs=0.03) if not shared else both > alone**2 + 0.01
    assert max(0, 2 * alone - 1) - 0.02 < both < alone


def test_joint_power_is_that_of_simulated_seeds():
    """Two contrasts with one shared run: `not better` and `same`, t tests written out."""
    rng, n, delta, level = np.random.default_rng(1), 8, 1.0, 0.02
    runs = rng.normal(0, 0.5, (3_000, n, 3))
    a, b = runs[:, :, 0] - runs[:, :, 2] + 0.2, runs[:, :, 1] - runs[:, :, 2]
    critical = stats.t.isf(level, n - 1)
    half = [critical * x.std(axis=1, ddof=1) / math.sqrt(n) for x in (a, b)]
    seen = [find_detectable_effect(1.0, n - 1, level) * h / critical < delta for h in half]
    holds = a.mean(axis=1) > half[0] - delta * seen[0]
    holds &= (np.abs(b.mean(axis=1)) < delta - half[1]) & seen[1]
    planned = [PlannedContrast("not better", delta), PlannedContrast("same", delta)]
    correlation = np.array([[1, 0.5], [0.5, 1]])
    actual = simulate_joint_power(planned, correlation, 0.2, Spread(0.5), n, 1, level)
    assert 0.2 < actual < 0.9 and actual == pytest.approx(holds.mean(), abs=0.03)


def test_contrasts_that_share_a_run_are_correlated():
    def effect(*parts):
        values = [ErrorWithProvenance(1.0, dict.fromkeys(parts, 1.0) | {"s": -1.0})] * 3
        return Contrast("x", pd.Series(values, dtype=object))

    plain = Contrast("x", pd.Series([1.0, 2.0]))
    actual = power_report._correlate_contrasts([effect("a"), effect("b"), plain])
    np.testing.assert_allclose(actual, [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])


def test_a_study_of_few_seeds_or_splits_can_tell_nothing(typed, tmp_path):
    for keys, what in (({"seeds": [0, 1]}, "seeds"), ({"splits": [0, 1]}, "splits")):
        tiny_study.write(tmp_path / "small.yaml", STUDY | keys)
        assert (
            f"this study can reach no verdict: fewer than 3 {what} give no confidence interval"
            in typed()[1]
        )
