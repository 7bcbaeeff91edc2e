"""The search that was really run, beside the full grid: both from their committed records."""

from pathlib import Path

import pandas as pd
import pytest

from kdpipe.plan import planner
from kdpipe.report.render import render
from kdpipe.results.store import Store
from kdpipe.search import due
from kdpipe.study import checking

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports/published"


@pytest.fixture(scope="module")
def searched():
    study = checking.load(ROOT / "studies/digits_search.yaml")
    return study, due.of(study, Store(PUBLISHED / "digits_search"))


def test_it_has_ended_and_the_grid_decides_the_same(searched):
    study, found = searched
    assert found.due is None
    of_grid = due.of(study, Store(PUBLISHED / "digits_grid"))
    assert of_grid.rounds == found.rounds and of_grid.winners == found.winners


def test_its_runs_are_the_grids_with_the_same_results(searched):
    """It was run apart from it: the weights of both were equal, so their checksums are too."""
    study, _ = searched
    plan = due.plan(study, Store(PUBLISHED / "digits_search"))
    one, other = (
        Store(PUBLISHED / f"digits_{name}").records("runs") for name in ("search", "grid")
    )
    grid = planner.make(checking.load(ROOT / "studies/digits_grid.yaml"))
    assert one.keys() == plan.runs.keys() < grid.runs.keys() == other.keys()
    for name, record in one.items():
        assert record["last"] == other[name]["last"]


def test_the_committed_table_is_that_of_the_records(searched, tmp_path):
    study, _ = searched
    place = Store(PUBLISHED / "digits_search")
    render(due.plan(study, place), place, tmp_path)
    known, made = (
        pd.read_csv(folder / "tables/search.csv")
        for folder in (PUBLISHED / "digits_search", tmp_path)
    )
    chances = ["first", "close"]  # of draws, which another processor draws otherwise
    pd.testing.assert_frame_equal(made[chances], known[chances], rtol=0, atol=0.03)
    made, known = made.drop(columns=chances), known.drop(columns=chances)
    pd.testing.assert_frame_equal(made, known, rtol=1e-6, atol=1e-6)
