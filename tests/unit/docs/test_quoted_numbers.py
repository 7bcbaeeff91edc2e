"""The numbers of claims that README and docs quote are those that decide."""

import json
import re

import pytest
from helpers.snakemake_sandbox import ROOT

REGISTERED = ROOT / "reports/published/fashion_mnist/claims_rules_1.json"
PAGES = [ROOT / "README.md", ROOT / "docs/fashion_mnist.md"]
ROW = re.compile(r"^\| (\w+): .*\|([^|]*?([-+]?[\d.]+) ± ([\d.]+)) \|$", re.MULTILINE)


def half_width(estimate: dict) -> float:
    """The half-width of the wider of the two intervals, by seeds and by seeds and images."""
    intervals = [estimate, estimate["images"] or estimate]
    return max((one["high"] - one["low"]) / 2 for one in intervals if one.get("low"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_interval_in_a_table_of_claims_is_the_wider_of_the_two(page):
    claims = {claim["id"]: claim for claim in json.loads(REGISTERED.read_text())["claims"]}
    rows = ROW.findall(page.read_text())
    assert {"C1", "C6", "C9", "C11s", "C11c"} <= {row[0] for row in rows}
    for claim, text, effect, width in rows:
        contrasts = [one for one in claims[claim]["contrasts"] if one["effect"] is not None]
        known = {(f"{abs(one['effect']):.2f}", f"{half_width(one):.2f}") for one in contrasts}
        assert (effect.lstrip("+-"), width) in known, f"{claim}: {text.strip()}; known: {known}"
