"""The search that was really run, beside the full grid: both from their committed records."""

from pathlib import Path

import pandas as pd
import pytest

from kdpipe.analysis.search import rounds
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.report.render import render_report
from kdpipe.runs.store import Store

ROOT = Path(__file__).parents[4]
PUBLISHED = ROOT / "reports/published"


@pytest.fixture(scope="module")
def searched():
    study = load.load_study(ROOT / "studies/digits_search.yaml")
    return study, rounds.get_search_state(study, Store(PUBLISHED / "digits_search"))


def test_it_has_ended_and_the_grid_decides_the_same(searched):
    study, actual = searched
    assert actual.current_round is None
    of_grid = rounds.get_search_state(study, Store(PUBLISHED / "digits_grid"))
    assert of_grid.rounds == actual.rounds and of_grid.winners == actual.winners


def test_its_runs_are_the_grids_with_the_same_results(searched):
    """It was run apart from it: the weights of both were equal, so their checksums are too."""
    study, _ = searched
    plan = rounds.plan_due_runs(study, Store(PUBLISHED / "digits_search"))
    one, other = (
        Store(PUBLISHED / f"digits_{name}").load_records("runs") for name in ("search", "grid")
    )
    grid = planner.build_plan(load.load_study(ROOT / "studies/digits_grid.yaml"))
    assert one.keys() == plan.runs.keys() < grid.runs.keys() == other.keys()
    for name, record in one.items():
        assert record["last"] == other[name]["last"]


def test_the_committed_table_is_that_of_the_records(searched, tmp_path):
    study, _ = searched
    store = Store(PUBLISHED / "digits_search")
    render_report(rounds.plan_due_runs(study, store), store, tmp_path)
    known, result = (
        pd.read_csv(folder / "tables/search.csv")
        for folder in (PUBLISHED / "digits_search", tmp_path)
    )
    chances = ["first", "close"]  # of draws, which another processor draws otherwise
    pd.testing.assert_frame_equal(result[chances], known[chances], rtol=0, atol=0.03)
    result, known = result.drop(columns=chances), known.drop(columns=chances)
    pd.testing.assert_frame_equal(result, known, rtol=1e-6, atol=1e-6)
