"""A searched study on a page: every cell with its end, and no claim by what chose the winner."""

import json
import os
import re

import pandas as pd
import pytest
from helpers.search_study import KEYS, study_of, to_the_end
from helpers.synthetic_study import write

from kdpipe.analysis import dataframe, recommendation
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.analysis.search import forecast, rounds, search_space, uncertainty
from kdpipe.analysis.search.state import FRESH
from kdpipe.cli.main import main
from kdpipe.report import terminal_summary
from kdpipe.report.builtin_tables import search
from kdpipe.report.render import collect_context, render_report
from kdpipe.runs.store import Store


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    study, store = study_of(), Store(folder / "results")
    plans, actual = to_the_end(study, store)
    return folder, plans[-1], store, actual


def test_the_table_has_every_cell_with_what_was_seen_of_it(ended):
    folder, plan, store, _ = ended
    render_report(plan, store, folder / "report")
    table = pd.read_csv(folder / "report/tables/search.csv", keep_default_na=False)
    assert len(table) == 27 and (table.end == "chosen").sum() == 1
    assert set(table.end) <= {"chosen"} | {f"dropped in round {n}" for n in range(2, 9)} | {
        "set aside for its teacher in round 1"
    }
    records = store.load_records("runs")
    errors = {}
    for cell in plan.cells:
        if cell.seed < 4:
            last = records[cell.run.name]["last"]["val"]
            one = search_space.make_arm_key(cell)
            errors.setdefault(one, []).append(100 * (1 - last["accuracy"]))
    for row in table.to_dict("records"):
        key = (row["student"], row["teacher"], row["stop"], row["via"], row["method"], 1)
        seen = errors.get(search_space.ArmKey(*key), [])
        assert row["seeds"] == len(seen)
        if seen:
            assert float(row["error"]) == pytest.approx(sum(seen) / len(seen))
        else:
            assert row["error"] == "" and row["end"] == "set aside for its teacher in round 1"
    assert table["first"].astype(float).sum() == pytest.approx(1, abs=1e-6)
    assert table.iloc[0].end == "chosen"
    assert (folder / "report/figures/search.svg").stat().st_size > 5000


def test_the_winner_is_judged_by_fresh_seeds_alone(ended):
    _, plan, store, actual = ended
    frame = dataframe.build_results_frame(plan, store)
    taught = frame[frame.kind == "student"]
    assert set(taught.seed) == {4, 5, 6} and len(taught) == 3
    assert len(frame[frame.kind == "tried"]) == sum(len(seen) for seen in actual.errors.values())
    assert "tried" not in set(normalize_frame(frame).kind)
    (one,) = recommendation.recommend_options(frame)
    test = one.taught.entrant.test
    assert test.n == 3 and test.mean == pytest.approx(taught.test_error.mean())
    # Against labels alone over the fresh seeds, though these have others too.
    assert one.labels.entrant.test.n == 3 and one.decision.difference.n == 3


def test_a_figure_says_over_how_many_seeds_its_students_are_too(ended):
    """Three are fresh; of the winner's teacher and others more are there."""
    folder, plan, store, _ = ended
    page = (render_report(plan, store, folder / "report") / "index.html").read_text()
    seeds = {run.seed for run in plan.runs.values() if run.network != "wrn10-0.5"}
    assert len(seeds) > 3
    assert f"intervals over n = 3 seeds to {len(seeds)} seeds; test set" in page


def test_claims_that_compare_cells_are_not_tested(ended):
    _, plan, store, _ = ended
    verdicts = {one.id: one for one in collect_context(plan, store)[0].verdicts}
    for name in ("C1", "C6", "C11s", "C11c", "C5"):
        assert verdicts[name].verdict == "not tested", name


def test_how_sure_it_is_stands_on_the_page(ended):
    folder, plan, store, actual = ended
    render_report(plan, store, folder / "report")
    (one,) = uncertainty.estimate_uncertainties(actual, plan.study.smallest_effect)
    page = (folder / "report/index.md").read_text()
    # By hand: the fewest cells whose chances add up to nine tenths.
    chances = sorted(one.p_best.values(), reverse=True)
    count = next(n for n in range(1, 28) if sum(chances[:n]) >= 0.9 - 1e-9)
    assert len(one.likely) == count and chances[0] == one.p_best[one.likely[0]]
    text = f"one of {count} of the 27 cells" if count > 13 else f"one of {count} cells ("
    assert f"by the model the best of all is {text}" in page.replace("By", "by")
    assert "with a probability of 90%" in page
    assert 1 <= one.seed_gain.n_likely < 27


def test_a_search_that_goes_on_says_which_round_is_due(tmp_path, capsys):
    study, store = study_of(), Store(tmp_path / "results")
    write(rounds.plan_due_runs(study, store), store)
    path = tmp_path / "sought.yaml"
    path.write_text(json.dumps(KEYS))
    options = ["--results", str(store.root), "--reports", str(tmp_path / "reports")]
    assert main(["report", str(path), *options]) == 0
    # By hand: 3 x 3 + 2 cells of the first seed, whose teachers are there; then those set aside,
    # three more seeds (11 or 27, 5, 2 cells), and the fresh seeds.
    progress = (
        "the search is in round 2 (students, seed 0), with 11 runs to do; at most 5 more rounds "
        "follow"
    )
    for name in ("index.md", "index.html"):
        page = (tmp_path / "reports/sought" / name).read_text()
        assert f"No answer yet: {progress}." in page.replace("\N{NO-BREAK SPACE}", " ")
        assert "No answer for" not in page
    assert main(["status", str(path), "--results", str(store.root)]) == 0
    assert f"\n{progress}\n" in capsys.readouterr().out
    assert main(["plan", str(path), "--results", str(store.root)]) == 0
    message = capsys.readouterr().out
    assert "search: round 2 is due (students, seed 0)" in message
    # 27 cells of 20 epochs over 7 seeds; by hand: with the cut 3 x 3 + 2, 5, 2 with a seed each, at
    # most 27, 11, 5, 2; and three fresh ones. (Two fifths of two is one, and needs no more seeds.)
    assert f"{20 * (11 + 5 + 2 + 3):,} to {20 * (27 + 11 + 5 + 2 + 3):,} student-epochs" in message
    assert f"of the {27 * 20 * 7:,} of the whole grid" in message


def test_the_headline_waits_for_the_fresh_seeds_and_the_terminal_has_two_lines(ended, tmp_path):
    """What some of the fresh seeds show is not yet the answer."""
    _, plan, whole, actual = ended
    study, store = study_of(), Store(tmp_path / "results")
    page, n_later = tmp_path / "report", []
    for _ in actual.rounds:
        due = rounds.plan_due_runs(study, store)
        state = rounds.get_search_state(study, store)
        n_later.append(forecast.count_later_rounds(state))
        message = terminal_summary.describe_outcome(due, store, page)
        assert message == [search.format_search_headline(state), f"page: {page}"]
        last = max(state.current_round.runs)
        write(due, store)
        os.rename(store.run(last), tmp_path / last)
        state = rounds.get_search_state(study, store)
        assert state.current_round.pending == {last}
        assert "with 1 run to do" in forecast.format_progress(state)
        if state.current_round.phase == FRESH:
            text = (render_report(due, store, page) / "index.md").read_text()
            assert "with 1 run to do; it is the last one." in text and "**So far: " in text
        os.rename(tmp_path / last, store.run(last))
    # No rule of this study leaves a round out: the most that can follow do.
    assert n_later == list(reversed(range(len(actual.rounds))))
    answer, decided, *_, shown = terminal_summary.describe_outcome(plan, whole, page)[:3]
    assert re.fullmatch(r"Distill: train wrn10-0.5 taught by .*: [\d.]+ ± [\d.]+ % error\.", answer)
    decision = r"On labels alone it is .* %\. The difference is -[\d.]+ ± [\d.]+ points: better\."
    assert re.fullmatch(decision, decided) and not shown.startswith("By the model")


def test_a_cell_that_diverged_is_not_the_best(tmp_path):
    study, store = study_of(), Store(tmp_path / "results")
    write(rounds.plan_due_runs(study, store), store)
    worst = next(cell for cell in rounds.plan_due_runs(study, store).cells)
    _, actual = to_the_end(study, store, holes={worst.run.name: "diverged"})
    (one,) = uncertainty.estimate_uncertainties(actual, study.smallest_effect)
    gone = search_space.make_arm_key(worst)
    assert one.p_best[gone] == one.p_close[gone] == 0
    assert sum(one.p_best.values()) == pytest.approx(1)


def test_where_all_diverged_nothing_is_chosen(tmp_path):
    study, store = study_of(), Store(tmp_path / "results")
    plans, _ = to_the_end(study, store, holes={"wrn10-0.5-from": "diverged"})
    render_report(plans[-1], store, tmp_path / "report")
    page = (tmp_path / "report/index.md").read_text()
    assert "no cell of 27 was completed" in page and " of 27 cells, " not in page
