"""A short run of the simulation of verdicts: 104 studies of known truth through the real judge."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STUDIES = 8  # of each setting


@pytest.fixture(scope="module")
def rates():
    """The module of the benchmark, which lies outside the package."""
    sys.path.insert(0, str(BENCHMARKS))
    import error_rates

    yield error_rates
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def found(rates):
    return {setting.name: rates.simulate(setting, STUDIES) for setting in rates.SETTINGS}


def test_false_verdicts_are_as_rare_as_stated(found):
    counts = [one["counts"] for one in found.values()]
    families = [
        sum(one.get(f"family: {family}", 0) for one in counts) for family in ("primary", "rest")
    ]
    # Of 104 studies at 5 % more than 12 would be a chance of 1 in 200.
    assert sum(one["studies"] for one in found.values()) == 104 and max(families) <= 12


def test_the_wider_interval_holds_the_truth(found):
    counts = [one["counts"] for one in found.values()]
    held, of = (sum(one[key] for one in counts) for key in ("wider", "of"))
    assert of > 1000 and held / of > 0.93


def test_what_is_true_is_found_and_every_claim_is_among_it(found, rates):
    strong = found["true by two, 10 seeds"]
    assert all("supports" in truth for truth in strong["truth"].values())
    supported = {key.split(":")[0] for key in strong["counts"] if key.endswith(": supports")}
    assert {"C4", "C5", "C11s", "C11c", "C16", "C17", "C18", "M2"} <= supported
    nothing = found["null"]["truth"]
    assert not any("supports" in nothing[key] for key in ("C2", "C6", "C11s", "C15", "M2"))
    assert "contradicts" in nothing["C6"] and "supports" in nothing["C9"]
    border = found["at the border of what counts"]["truth"]
    assert not any(border[key] for key in ("C1", "C8", "C9", "C10", "M1"))


def test_a_study_is_the_same_whenever_it_is_drawn(rates):
    whole = rates.simulate(rates.SETTINGS[0], 2)
    parts = rates._added(
        rates.simulate(rates.SETTINGS[0], 1), rates.simulate(rates.SETTINGS[0], 1, 1)
    )
    assert {k: v for k, v in whole["counts"].items() if v} == {
        k: v for k, v in parts["counts"].items() if v
    }
    assert "| null | 2 |" in rates.table({"null": whole})
