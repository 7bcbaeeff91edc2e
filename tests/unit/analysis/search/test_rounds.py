"""A search goes from round to round by its records, and by nothing else."""

import itertools
import json
import math
import random

import pytest
from helpers.search_study import KEYS, study_of, to_the_end
from helpers.synthetic_study import write

from kdpipe.analysis.search import elimination_rule, rounds, search_space, state
from kdpipe.analysis.search.state import FRESH, RECALLED, STUDENTS, TEACHERS
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan import planner
from kdpipe.report.render import render_report
from kdpipe.runs.records import publish_record
from kdpipe.runs.store import Store


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    study, store = study_of(), Store(tmp_path_factory.mktemp("sought") / "results")
    return study, store, *to_the_end(study, store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The full grid with all its records; made ones of a run are the same in any plan."""
    study, store = study_of(), Store(tmp_path_factory.mktemp("whole") / "results")
    plan = planner.build_plan(study)
    write(plan, store)
    return study, plan, store


def by_hand(study, plan, records):
    """The rule of a search with one student, once more and straightforwardly, from all records."""
    seeds, blocks = study.seeds[:-3], {}
    for cell in plan.cells:
        blocks.setdefault(search_space.make_arm_key(cell), {})[cell.seed] = cell

    def error(option, seed):
        return 100 * (1 - records[blocks[option][seed].run.name]["last"]["val"]["accuracy"])

    nll = {}
    for option, cells in blocks.items():
        run, epoch = cells[seeds[0]].teacher.members[0]
        record = records[run.name]
        content = record["last"] if epoch == run.epochs else record["checkpoints"][str(epoch)]
        nll[option.teacher, option.stop] = content["val"]["nll"]
    order = sorted(nll, key=nll.get)
    remaining, rest = order[:3], order[3:]  # of nine
    probed = [rest[2], rest[-1]]
    first = {stop: next(o for o in blocks if (o.teacher, o.stop) == stop) for stop in nll}
    alive = [
        o for o in blocks if (o.teacher, o.stop) in remaining or o in (first[p] for p in probed)
    ]
    requests = [set(alive)]
    stops = [*remaining, *probed]
    held = elimination_rule.compute_rank_correlation(
        [nll[stop] for stop in stops], [error(first[stop], seeds[0]) for stop in stops]
    )
    if held < 0.5:
        requests.append(set(blocks) - set(alive))
        alive = list(blocks)
    for number in range(len(seeds)):
        if number:
            requests.append(set(alive))
        mean = {o: sum(error(o, s) for s in seeds[: number + 1]) / (number + 1) for o in alive}
        on = -(-2 * len(alive) // 5) if number + 1 < len(seeds) else 1
        alive = sorted(alive, key=mean.get)[:on]
        if len(alive) == 1:
            break
    return requests, alive[0], held


def test_the_rounds_are_those_of_the_rule_done_by_hand(whole):
    study, plan, store = whole
    actual = rounds.get_search_state(study, store)
    requests, winner, held = by_hand(study, plan, store.load_records("runs"))
    # Of a plan the order of options decides between equals: that of the study here too.
    assert [set(one.arm_keys) for one in actual.rounds[1:-1]] == requests
    assert actual.winners == {"wrn10-0.5": winner}
    assert actual.correlations["wrn10-0.5"] == pytest.approx(held)
    assert [one.phase for one in actual.rounds][:2] == [TEACHERS, STUDENTS]
    assert actual.rounds[-1].phase == FRESH and actual.rounds[-1].seeds == (4, 5, 6)


def test_a_search_ends_where_the_full_grid_says_it_would(ended, whole):
    study, _, _, actual = ended
    assert actual.rounds == rounds.get_search_state(study, whole[2]).rounds
    assert actual.winners == rounds.get_search_state(study, whole[2]).winners


def test_its_runs_are_those_of_the_full_grid_and_fewer(ended, whole):
    plan, plans = whole[1], ended[2]
    for one in plans:
        for kind, items in one.recorded_nodes.items():
            assert items.keys() <= plan.recorded_nodes[kind].keys()
            for name, item in items.items():
                assert item.spec == plan.recorded_nodes[kind][name].spec
                assert {parent.name for parent in item.parents} <= one.runs.keys()
    sizes = [len(one.runs) for one in plans]
    assert sizes == sorted(sizes) and sizes[-1] < len(plan.runs) / 3
    with_records = [set(one.runs) for one in plans]
    assert all(a <= b for a, b in itertools.pairwise(with_records))


def test_teachers_are_trained_for_seeds_at_which_somebody_learns_from_them(ended):
    plans = ended[2]
    last = plans[-1]
    learnt = {parent.name for run in last.runs.values() for parent in run.parents}
    for run in last.runs.values():
        if run.spec.teacher is None and run.network != "wrn10-0.5" and run.seed != 0:
            assert run.name in learnt
    first_seed = {run.network for run in plans[0].runs.values()}
    assert first_seed == {"wrn10-1", "wrn16-1", "wrn16-2", "wrn10-0.5"}
    assert all(run.spec.teacher is None for run in plans[0].runs.values())


def test_a_teacher_keeps_what_the_whole_grid_wants_of_it(ended, whole):
    last = ended[2][-1]
    assert last.checkpoints_to_keep == {
        name: at for name, at in whole[1].checkpoints_to_keep.items() if name in last.runs
    }


def test_only_the_winner_and_scratch_get_fresh_seeds(ended):
    _, _, plans, actual = ended
    fresh = [cell for cell in plans[-1].cells if cell.seed in (4, 5, 6)]
    assert {search_space.make_arm_key(cell) for cell in fresh} == set(actual.winners.values())
    assert len(fresh) == 3
    assert {key for key in plans[-1].scratch if key[1] > 3} == {
        ("wrn10-0.5", seed, 0) for seed in (4, 5, 6)
    }


def test_whatever_records_there_are_the_rounds_are_the_first_of_all_rounds(ended, tmp_path):
    study, _, plans, actual = ended
    names = sorted(plans[-1].runs)
    for number in range(8):
        some = random.Random(number).sample(names, random.Random(number).randrange(len(names)))
        other = Store(tmp_path / str(number))
        write_some(plans[-1], other, some)
        here = rounds.get_search_state(study, other).rounds
        decided = [one for one in here if one.decided]
        assert decided == actual.rounds[: len(decided)]
        if len(here) > len(decided):
            assert here[-1].runs == actual.rounds[len(decided)].runs


def write_some(plan, store, names):
    small = type(plan)(plan.study, plan.card)
    small.runs.update({name: run for name, run in plan.runs.items() if name in names})
    small.checkpoints_to_keep.update(plan.checkpoints_to_keep)
    # The made error of a student needs no record of its parents, only their place in the plan.
    write(small, store)


def test_where_good_teachers_have_bad_students_nothing_stays_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(elimination_rule, "MIN_CORRELATION", 1.1)
    study, store = study_of(), Store(tmp_path / "results")
    _, actual = to_the_end(study, store)
    whats = [one.phase for one in actual.rounds]
    assert whats[:3] == [TEACHERS, STUDENTS, RECALLED]
    assert len(actual.rounds[1].arm_keys) + len(actual.rounds[2].arm_keys) == 27
    assert "competes after all" in actual.rounds[1].why[0]
    assert actual.rounds[3].seeds == (1,) and len(actual.rounds[3].arm_keys) == 11


def epochs_of_students(plan):
    return sum(run.epochs for run in plan.runs.values() if run.spec.teacher)


@pytest.mark.parametrize("budget", [80, 200, 300, 430])
def test_a_budget_is_kept_and_the_winner_has_its_fresh_seeds(budget, tmp_path):
    search = {**KEYS["search"], "student_epochs": budget}
    study, store = study_of(search=search), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    assert epochs_of_students(plans[-1]) <= budget
    assert actual.rounds[-1].phase == FRESH and actual.rounds[-1].decided


def test_a_budget_that_pays_for_nobody_is_refused(tmp_path):
    study = study_of(search={**KEYS["search"], "student_epochs": 79})
    with pytest.raises(KdpipeError, match=r"79 is too small.*need 80 epochs"):
        rounds.plan_due_runs(study, Store(tmp_path / "results"))


def test_a_budget_leaves_seeds_to_choose_by_and_not_one_alone(tmp_path):
    """As many at first as leave something for the seeds after it, and for the fresh ones."""
    search = {**KEYS["search"], "student_epochs": 20 * 14}
    study, store = study_of(search=search), Store(tmp_path / "results")
    _, actual = to_the_end(study, store)
    seeds = [one.seeds for one in actual.rounds if one.phase == STUDENTS]
    assert seeds[:2] == [(0,), (1,)]
    assert actual.unaffordable


def test_a_budget_that_drops_cells_before_any_round_says_so(tmp_path):
    grid = {**KEYS["experiments"][0], "teachers": ["wrn10-1"], "stops": ["full", "checkpoint 7"]}
    search = {**KEYS["search"], "student_epochs": 140}
    study, store = study_of(experiments=[grid], search=search), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    assert epochs_of_students(plans[-1]) <= 140 and actual.unaffordable
    render_report(plans[-1], store, tmp_path / "report")
    assert "not paid for by the budget" in (tmp_path / "report/tables/search.md").read_text()


def test_a_cell_that_another_block_has_too_is_refused(tmp_path):
    other = {**KEYS["experiments"][0], "name": "other", "methods": ["kd"], "stops": ["full"]}
    study = study_of(experiments=[*KEYS["experiments"], other])
    with pytest.raises(KdpipeError, match=r"other shares the cell .*with grid: search both"):
        rounds.plan_due_runs(study, Store(tmp_path))


def test_one_option_of_two_teacher_seeds_is_refused(tmp_path):
    other = {**KEYS["experiments"][0], "name": "other", "teacher_seed": 3}
    search = {**KEYS["search"], "blocks": ["grid", "other"]}
    study = study_of(experiments=[*KEYS["experiments"], other], search=search)
    with pytest.raises(KdpipeError, match="has two cells with different teachers"):
        rounds.plan_due_runs(study, Store(tmp_path))


def test_two_students_compete_apart(tmp_path):
    grid = {**KEYS["experiments"][0], "students": ["wrn10-0.5", "wrn10-1"]}
    grid["teachers"] = ["wrn16-1", "wrn16-2"]
    study, store = study_of(experiments=[grid]), Store(tmp_path / "results")
    _, actual = to_the_end(study, store)
    assert actual.winners.keys() == {"wrn10-0.5", "wrn10-1"}
    assert all(option.student == student for student, option in actual.winners.items())


def test_an_ensemble_that_teaches_has_members_where_it_teaches(tmp_path):
    """And for all seeds if a table reads it."""
    grid = {**KEYS["experiments"][0], "teachers": ["wrn16-1", "team"], "stops": ["full"]}
    team = {"team": {"networks": ["wrn10-1"], "copies": 2}}
    study, store = study_of(experiments=[grid], ensembles=team), Store(tmp_path / "results")
    plans, _ = to_the_end(study, store)
    last = plans[-1]
    seeds = {cell.seed for cell in last.cells if cell.teacher.label == "team"}
    assert {row.ensemble.seed for row in last.ensemble_rows} == seeds
    members = {run.seed for run in last.runs.values() if run.network == "wrn10-1"}
    assert members == seeds and 0 in seeds and len(seeds) < 7
    read = study_of(experiments=[grid], ensembles=team, tables={"ensembles": ["team"]})
    rows = rounds.plan_due_runs(read, Store(tmp_path / "other")).ensemble_rows
    assert {row.ensemble.seed for row in rows} == set(study.seeds)


def test_a_student_of_too_many_operations_does_not_compete(tmp_path):
    grid = {**KEYS["experiments"][0], "students": ["wrn10-0.5", "wrn10-1"]}
    small = planner.build_plan(study_of()).scratch["wrn10-0.5", 0, 0].cost.multiply_adds
    search = {**KEYS["search"], "multiply_adds": small}
    study = study_of(experiments=[grid], search=search)
    assert rounds.get_search_state(study, Store(tmp_path)).competing.keys() == {"wrn10-0.5"}
    study = study_of(experiments=[grid], search={**search, "multiply_adds": small - 1})
    with pytest.raises(KdpipeError, match="needs at most"):
        rounds.get_search_state(study, Store(tmp_path))


def test_what_diverged_is_dropped_and_ends_nothing(tmp_path):
    study, store = study_of(), Store(tmp_path / "results")
    write(rounds.plan_due_runs(study, store), store)
    worst = next(cell for cell in rounds.plan_due_runs(study, store).cells)
    _, actual = to_the_end(study, store, holes={worst.run.name: "diverged"})
    last = next(one for one in actual.rounds if one.phase == STUDENTS and one.seeds == (1,))
    assert search_space.make_arm_key(worst) not in last.arm_keys
    assert math.isinf(actual.errors[search_space.make_arm_key(worst)][0])
    remaining = [one for one in actual.rounds if worst.seed in one.seeds][-1]
    assert None in state.round_to_json(actual, remaining)["known"].values()


def decided(study, store):
    actual = rounds.get_search_state(study, store)
    state.save_journal(actual, store)
    return actual


def test_a_decision_is_kept_and_one_on_other_records_is_noticed(tmp_path):
    study, store = study_of(), Store(tmp_path / "results")
    write(rounds.plan_due_runs(study, store), store)
    decided(study, store)
    (results_store,) = (store.root / "searches").iterdir()
    assert [path.name for path in results_store.iterdir()] == ["round-1.json"]
    write(rounds.plan_due_runs(study, store), store)
    actual = decided(study, store)
    content = state.round_to_json(actual, actual.rounds[0])
    assert len(content["known"]) == 9 and content["next"] == "students, seed 0"
    assert len(content["kept"]) == 3 * 3 + 2 and len(content["dropped"]) == 27 - 11
    before = {path.name: path.read_bytes() for path in results_store.iterdir()}
    assert before.keys() == {"round-1.json", "round-2.json"}
    decided(study, store)  # as it was
    assert {path.name: path.read_bytes() for path in results_store.iterdir()} == before
    write_changed(store, planner.build_plan(study).runs[min(actual.rounds[1].runs)])
    with pytest.raises(StoreError, match=r"round-2.json: round 2 .*known.*restore the records"):
        decided(study, store)
    assert {path.name: path.read_bytes() for path in results_store.iterdir()} == before


@pytest.fixture
def journal(tmp_path):
    """A store with the decisions of two rounds, their folder, and what writes them again."""
    study, store = study_of(), Store(tmp_path / "results")
    for _ in range(2):
        write(rounds.plan_due_runs(study, store), store)
        decided(study, store)
    (folder,) = (store.root / "searches").iterdir()
    return store, folder, lambda: decided(study, store)


def test_decisions_as_they_were_written_are_whole(journal):
    assert list(state.find_journal_errors(journal[0])) == []


@pytest.mark.parametrize("number", [1, 2])
def test_every_value_of_a_decision_that_is_altered_is_named(journal, number):
    store, folder, _ = journal
    path = folder / f"round-{number}.json"
    content = json.loads(path.read_bytes())
    for key in content:
        altered = {k: "x" if k == key else value for k, value in content.items()}
        renamed = {f"{k}x" if k == key else k: value for k, value in content.items()}
        for damaged in (json.dumps(altered), json.dumps(renamed), json.dumps(content)[:-9]):
            path.write_text(damaged)
            (message,) = state.find_journal_errors(store)
            assert message.startswith(f"{path} is damaged or altered: remove it")
            with pytest.raises(StoreError, match="damaged or altered"):
                journal[2]()


def test_a_decision_that_is_missing_or_of_another_round_or_foreign_is_named(journal):
    store, folder, again = journal
    first, second = folder / "round-1.json", folder / "round-2.json"
    whole = first.read_bytes()
    first.unlink()
    (message,) = state.find_journal_errors(store)
    assert message.startswith(f"{first}: missing, although later rounds exist")
    again()
    assert first.read_bytes() == whole
    first.write_bytes(second.read_bytes())
    (folder / "round-x.json").write_text("{}")
    assert [line.partition(": ")[2] for line in state.find_journal_errors(store)] == [
        "the decision of another round: remove it",
        "not a decision of a search: move it out of here, or remove it",
    ]


def test_a_decision_of_earlier_versions_gets_its_checksum(journal):
    store, folder, again = journal
    path = folder / "round-1.json"
    sealed = path.read_bytes()
    content = json.loads(sealed)
    del content["seal"]
    path.write_text(json.dumps(content | {"why": ["invented"]}))
    assert list(state.find_journal_errors(store)) == []
    again()
    assert path.read_bytes() == sealed


def write_changed(store, run):
    """Another outcome of a run, as of one that was made again elsewhere."""
    record = store.load_records("runs")[run.name]
    record["last"]["val"]["accuracy"] -= 0.01
    publish_record(store.run(run.name), record)


def test_a_study_without_a_search_has_its_whole_plan(tmp_path):
    study = study_of(search=None)
    assert rounds.get_search_state(study, Store(tmp_path)) is None
    assert (
        rounds.plan_due_runs(study, Store(tmp_path)).runs.keys()
        == planner.build_plan(study).runs.keys()
    )


def test_a_search_keeps_the_rule_that_it_was_begun_by(tmp_path):
    """Without one it is the newest: half of the cells go on, and the decisions lie apart."""
    by_rule, ends = {}, {}
    for rule in (2, None):
        search = {**KEYS["search"], "rule": rule}
        study, store = study_of(search=search), Store(tmp_path / f"results-{rule}")
        _, ended = to_the_end(study, store)
        sizes = [len(one.survivors) for one in ended.rounds if one.phase == STUDENTS]
        by_rule[rule] = sizes, state.get_journal_folder(ended, store).name
        ends[rule] = ended
    assert by_rule[2][0] != by_rule[None][0] and by_rule[2][1] != by_rule[None][1]
    # All 27 are called back: 27, 11, 5, 2, 1 by two fifths; 27, 14, 7, 4 by half, then seeds end.
    assert by_rule[2][0][1:] == [5, 2, 1] and by_rule[None][0][1:] == [7, 4, 1]
    # It does not go on by another than it was begun by.
    store = Store(tmp_path / "results")
    state.save_journal(ends[2], store)
    with pytest.raises(KdpipeError, match="started under rule 2") as error:
        state.save_journal(ends[None], store)
    assert "write rule: 2 under search" in str(error.value)
