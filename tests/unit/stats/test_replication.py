"""Whether a study done again meets the effects of the first: intervals by hand, and their rate."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def replication():
    """The module of the benchmark, which lies outside the package."""
    sys.path.insert(0, str(BENCHMARKS))
    import replication

    yield replication
    sys.path.remove(str(BENCHMARKS))


def mean(values):
    return float(np.mean([value for value in values if value is not None]))


def claim(key, verdict, *contrasts):
    actual = [
        {"text": text, "unit": "points", "effect": mean(values), "values": values}
        for text, values in contrasts
    ]
    return {"id": key, "verdict": verdict, "contrasts": actual}


def test_the_interval_by_hand(replication):
    # mean 2, standard deviation 1, t of 2 degrees of freedom 4.302653, sqrt(1/3 + 1/3) = 0.816497
    assert replication.expected([1.0, 2.0, 3.0], 3) == pytest.approx(
        (-1.513100, 5.513100), abs=1e-5
    )


def test_the_interval_holds_as_often_as_it_says(replication):
    draws = np.random.default_rng(0).normal(0.7, 0.4, (2000, 8))
    met = 0
    for one in draws:
        low, high = replication.expected(list(one[:5]), 3)
        met += low <= one[5:].mean() <= high
    assert met / len(draws) == pytest.approx(0.95, abs=0.015)


def test_each_effect_counts_once(replication):
    same, other = [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]
    no_mean = claim("M2", "supports", ("rho", [1.0, 2.0]))
    no_mean["contrasts"][0]["effect"] = 9.0
    first = [
        claim("C1", "supports", ("(a) not better: error", same), ("(b) worse: error", same)),
        claim("C2", "cannot tell", ("error", other), ("of one seed", [1.0])),
        claim("C13", "contradicts", ("gap", [0.0, 0.0])),
        no_mean,
    ]
    again = [
        claim("C1", "contradicts", ("error", [9.0, None, 10.0]), ("error", [9.0, 10.0])),
        claim("C2", "cannot tell", ("error", [0.2, 0.2]), ("of one seed", [1.0, 2.0])),
        claim("C13", "contradicts", ("gap", [0.1, 0.0])),
        claim("M2", "supports", ("rho", [1.0, 2.0])),
    ]
    one, two = replication.compared(first, again)
    assert (one.claim, one.text, one.first, one.again) == ("C1", "error", 2.0, 9.5)
    assert not one.within and one.one_direction
    assert two.claim == "C2" and two.within
    assert replication.table([one, two]).count("| no |") == 1
