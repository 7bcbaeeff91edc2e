"""Chances of verdicts, against scipy's non-central t and studies simulated through the verdicts."""

import math

import made_study
import numpy as np
import pandas as pd
import pytest
import tiny
from scipy import stats

from kdpipe.beforehand import chances
from kdpipe.cli.main import main
from kdpipe.evidence.verdicts import Contrast, Finding, decide
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.study import checking

SEEDS, EFFECT, SD = 8, 0.6, 0.5
STUDY = {key: made_study.STUDY[key] for key in ("data", "recipe")} | {
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


def of(**keys) -> dict[str, chances.Chance]:
    study = checking.validate(STUDY | keys, "f")
    return {one.id: one for one in chances.of(study, EFFECT, SD)}


def power(distance: float, claims: int, n: int = SEEDS) -> float:
    """Of one contrast in a family of so many claims, both directions."""
    critical = stats.t.isf(0.05 / (2 * claims), n - 1)
    return float(stats.nct.sf(critical, n - 1, distance / SD * math.sqrt(n)))


def test_chances_are_those_of_the_non_central_t():
    """Primary here: C1 (not better), C6 (two teachers), C11c (a mean over pairs)."""
    found = of()
    assert {key for key, one in found.items() if one.primary} == {"C1", "C6", "C11c"}
    assert found["C11c"].power == pytest.approx(power(EFFECT, 3), abs=1e-6)
    assert found["C6"].needs == 2
    both = max(0, 1 - 2 * (1 - power(EFFECT, 3)))
    assert found["C6"].power == pytest.approx(both, abs=1e-6)
    enough = found["C11c"].seeds
    assert enough is not None and power(EFFECT, 3, enough) >= 0.8 > power(EFFECT, 3, enough - 1)
    named = of(primary=["C11c"])
    assert named["C11c"].power == pytest.approx(power(EFFECT, 1), abs=1e-6)


def test_not_better_counts_only_where_a_difference_would_be_seen():
    seen, blind = of()["C1"], of(smallest_effect=0.4)["C1"]
    assert seen.power == pytest.approx(power(EFFECT + 1.0, 3), abs=1e-6)
    assert blind.power == 0.0 and blind.seeds is not None and blind.seeds > SEEDS


def test_the_last_of_several_looks_has_a_little_less():
    once, looked = of()["C11c"], of(looks=[3, 5, 8])["C11c"]
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
        judged = decide({key: (key, True, part) for key, part in parts.items()})
        hits[study] = judged[0].verdict == "supports"
    assert power(EFFECT, 3) - 0.075 < hits.mean() < power(EFFECT, 3) + 0.2  # Holm goes on


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "small.yaml", STUDY)

    def say(*arguments: str) -> tuple[int, str]:
        code = main(["plan", "small.yaml", *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return say


def test_the_plan_says_chances_seeds_and_costs(typed):
    code, said = typed("--effect", "0.6", "--sd", "0.5")
    assert code == 0 and "if the true effect is 0.6 points as claimed (sd 0.5 over seeds)" in said
    line = next(line for line in said.splitlines() if line.startswith("C11c"))
    seeds = of()["C11c"].seeds
    assert line.split()[:4] == ["C11c", "◆", "1", "above"] and f" {seeds}  " in line
    assert "mult-adds" in line or "minutes" in line or "seconds" in line or "hours" in line
    assert "can tell nothing" not in said
    code, said = typed("--effect", "0.1", "--sd", "5")
    assert "this study can tell nothing: with 8 seeds no claim has a chance of 20%" in said
    assert "chance of a verdict" not in typed()[1]


def test_the_spread_may_be_that_of_a_pilot_by_its_name(typed, tmp_path):
    pilot = STUDY | {"study": "before", "seeds": [20, 21, 22]}
    path = tiny.write(tmp_path / "pilot.yaml", pilot)
    code, said = typed("--effect", "0.6", "--pilot", "before")
    assert code == 2 and "has no records of two seeds of it" in said and "--sd" in said
    made_study.write(planner.make(checking.load(path)), Store(tmp_path / "results"))
    code, said = typed("--effect", "0.6", "--pilot", "before")
    assert code == 0 and "(sd over seeds of the records of before)" in said
    spread = chances.of_pilot("before", tmp_path, Store(tmp_path / "results"))
    line = next(line for line in said.splitlines() if line.startswith("C11c"))
    assert f"{spread['C11c']:.2g}" in line
    code, said = typed("--pilot", "befor")
    assert code == 2 and "--pilot befor: no study file says study: befor" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--effect", "0.5"], "give one of the two"),
        (["--sd", "1", "--pilot", "x"], "give one of the two"),
    ],
)
def test_half_a_question_is_refused(typed, arguments, says):
    code, said = typed(*arguments)
    assert code == 2 and says in said


@pytest.mark.parametrize("value", ["0", "-1", "inf", "much"])
def test_an_effect_is_a_number_above_0(typed, value):
    with pytest.raises(SystemExit):
        typed("--effect", value)


def test_a_study_of_few_seeds_or_splits_can_tell_nothing(typed, tmp_path):
    for keys, what in (({"seeds": [0, 1]}, "seeds"), ({"splits": [0, 1]}, "splits")):
        tiny.write(tmp_path / "small.yaml", STUDY | keys)
        assert f"this study can tell nothing: of fewer than 3 {what}" in typed()[1]
