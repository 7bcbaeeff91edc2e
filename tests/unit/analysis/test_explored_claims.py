"""Claims that a registration does not list: a family of their own, which moves no registered p."""

import json
from pathlib import Path

import pandas as pd
import pytest

from kdpipe.analysis import claim, dataframe
from kdpipe.analysis.claim import Claim, Evidence, Finding, judge_findings
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.analysis.preregistration import power_report, registration
from kdpipe.analysis.selection import build_finding, pivot_scratch_errors
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.report import page
from kdpipe.report.builtin_tables import validation
from kdpipe.runs.records import EVAL_POINTS
from kdpipe.runs.store import Store
from kdpipe.stats.power import Spread

ROOT = Path(__file__).parents[3]


def find_dummy(evidence: Evidence) -> Finding:
    """An effect of some points in every seed, so its p is among the smallest of a study."""
    errors = pivot_scratch_errors(evidence.frame)
    worse = errors["wrn10-0.5"] - errors["wrn10-1"]
    contrast = Contrast("error of the smaller network - of the larger", worse, delta=evidence.delta)
    return build_finding(
        [contrast], "a dummy", evidence.frame.loc[evidence.frame.kind == "scratch"]
    )


@pytest.fixture
def two_more_claims(monkeypatch):
    """One that the code calls primary, and one that it does not."""
    more = {"X1": Claim("A dummy", find_dummy, primary=True), "X2": Claim("Another", find_dummy)}
    known = claim.load_claims() | more
    monkeypatch.setattr(claim, "load_claims", lambda: known)
    return more


def judge_published(study: str, primary: list[str] | None, listed: bool) -> list[claim.Verdict]:
    plan = planner.build_plan(load.load_study(ROOT / "studies" / f"{study}.yaml"))
    store = Store(ROOT / "reports" / "published" / study)
    verdicts = claim.judge_both_eval_points(
        dataframe.build_results_frame(plan, store),
        dataframe.build_curves_frame(plan, store),
        plan.study.smallest_effect,
        plan.study.reading,
        dict(plan.study.claims),
        {point: PerImageMetrics(plan, store, point).load_part for point in EVAL_POINTS},
        [*(plan.study.primary or []), *(primary or [])],
        claim.get_current_interim(plan.study),
        plan.study.smallest_effects,
        registration.list_registered_claims(plan.study, store) if listed else None,
    )
    registered = registration.load_registered_verdicts(plan, store)
    assert registered is not None
    return claim.attach_registered(verdicts, registered.claims)


def flatten(value, path=()):
    """Its leaves by their path, for a comparison to 6 digits: t quantiles depend on SciPy."""
    if not isinstance(value, (dict, list)):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, item in items for k, v in flatten(item, (*path, key)).items()}


@pytest.mark.parametrize(
    ("study", "primary"), [("fashion_mnist", None), ("fashion_again", ["X1", "X2"])]
)
def test_no_entry_of_a_registered_claim_moves(study, primary, two_more_claims):
    verdicts = judge_published(study, primary, listed=True)
    rows = {row["id"]: row for row in claim.verdicts_to_json(verdicts)}
    folder = ROOT / "reports" / "published" / study
    committed = json.loads((folder / "claims.json").read_text())
    kept = json.loads((folder / "claims_rules_1.json").read_text())["claims"]
    listed = [row["id"] for row in kept]
    assert [row["id"] for row in committed if "explored" not in row] == listed and len(listed) == 22
    for row in committed:
        if row["id"] in listed:
            assert flatten(rows[row["id"]]) == pytest.approx(flatten(row), abs=1e-6)
    for row in kept:
        expected = {key: row[key] for key in claim.REGISTERED_FIELDS}
        assert rows[row["id"]]["registered"] == expected
    for key in two_more_claims:
        assert rows[key]["explored"] and not rows[key]["primary"]
        assert rows[key]["verdict"] == "supports" and rows[key]["registered"] is None
    # Differences of errors know their images, also where each half of the seeds chose its own.
    images = [row["images"] for key in ("E1", "E1p") for row in rows[key]["contrasts"]]
    assert images and not any("why" in one for one in images)


def test_without_the_list_they_would_have_moved(two_more_claims):
    committed = json.loads((ROOT / "reports/published/fashion_again/claims.json").read_text())
    verdicts = judge_published("fashion_again", ["X1"], listed=False)
    rows = {row["id"]: row for row in claim.verdicts_to_json(verdicts)}
    moved = [row["id"] for row in committed if rows[row["id"]]["p_corrected"] != row["p_corrected"]]
    assert {"C1", "C8"} <= {*moved}  # of both families


def test_three_families_are_corrected_apart():
    values = {"A": 0.10, "B": 0.12, "C": 0.14, "D": 0.16, "E": 0.18}
    noise = pd.Series([0.0, 0.11, -0.07, 0.05, -0.09])
    findings = {
        key: (key, key in "AE", Finding([Contrast("x", noise + mean)], ""))
        for key, mean in values.items()
    }
    verdicts = {v.id: v for v in judge_findings(findings, listed="AB")}
    assert {key: one.tests for key, one in verdicts.items()} == dict(A=2, B=2, C=6, D=6, E=6)
    assert [key for key, one in verdicts.items() if one.explored] == ["C", "D", "E"]
    assert [key for key, one in verdicts.items() if one.primary] == ["A"]
    alone = {v.id: v for v in judge_findings({key: findings[key] for key in "AB"})}
    assert {key: verdicts[key] for key in "AB"} == alone
    named = {v.id: v for v in judge_findings(findings, primary="BC", listed="AB")}
    assert [key for key, one in named.items() if one.primary] == ["B"]
    assert not any(one.explored for one in judge_findings(findings))


def test_the_page_tells_them_from_registered_ones(two_more_claims):
    verdicts = {v.id: v for v in judge_published("fashion_again", None, listed=True)}
    assert page.get_family_mark(verdicts["X1"]) == " ◇"
    assert (
        page.get_family_mark(verdicts["C1"]) == " ◆" and page.get_family_mark(verdicts["C2"]) == ""
    )
    registered, by_rules_2, explored = page.count_verdicts(list(verdicts.values())).split(". ")
    for words, start in ((registered, "As registered: "), (by_rules_2, "By rules 2: ")):
        counts = [int(part.split()[0]) for part in words.removeprefix(start).split(", ")]
        assert words.startswith(start) and sum(counts) == 22
    assert explored.startswith("Not registered (◇): 2 supports, 0 contradicts")
    assert "that the registration does not list" in page._describe_explored(list(verdicts.values()))
    assert page._describe_explored([verdicts["C1"]]) == ""


def test_before_the_look_they_are_not_among_the_primary_ones_either(two_more_claims):
    blind = {v.id: v for v in validation.make_blind_verdicts("sealed", ["C1", "X1"], ["C1", "C2"])}
    assert [key for key, one in blind.items() if one.primary] == ["C1"]
    assert blind["X1"].explored and blind["C6"].explored and not blind["C2"].explored
    assert {one.reason for one in blind.values()} == {"sealed"}


def test_the_power_of_a_registered_study_counts_its_own_families(two_more_claims):
    study = load.load_study(ROOT / "studies/fashion_again.yaml")
    study = study.model_copy(update={"primary": [*study.primary, "X1"]})
    powers = {e.id: e for e in power_report.estimate_claim_power(study, 0.5, Spread(0.01))}
    assert powers["X1"].power > 0 and not powers["X1"].primary
    unregistered = study.model_copy(update={"registration": None})
    more = {e.id: e for e in power_report.estimate_claim_power(unregistered, 0.5, Spread(0.01))}
    assert more["X1"].primary and more["C1"].power < powers["C1"].power
