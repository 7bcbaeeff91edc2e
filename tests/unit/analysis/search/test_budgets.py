"""What may be spent, and how slow a student may be: hours and milliseconds, by the records."""

import math

import pytest
from helpers.search_study import KEYS, study_of, to_the_end
from helpers.synthetic_study import write

from kdpipe.analysis import contest, recommendation
from kdpipe.analysis.search import rounds, search_space, state
from kdpipe.analysis.search.state import FRESH, LATENCY, STUDENTS, TEACHERS
from kdpipe.config.schema import SearchConfig
from kdpipe.plan import planner
from kdpipe.report.render import render_report
from kdpipe.runs.records import publish_record
from kdpipe.runs.store import Store

pytestmark = pytest.mark.slow

SECONDS = 10.0  # of every made run, whatever it is
TWO = {**KEYS["experiments"][0], "students": ["wrn10-0.5", "wrn10-1"]}
TWO["teachers"] = ["wrn16-1", "wrn16-2"]


def with_hours(seconds, **changes):
    """The study that may take so many seconds of jobs."""
    return study_of(search={**KEYS["search"], "hours": seconds / 3600}, **changes)


def took(plan):
    """Seconds of all runs of a plan by their records, done by hand."""
    return SECONDS * len(plan.runs)


def test_the_first_round_of_hours_trains_the_teachers_and_the_student_on_labels(tmp_path):
    study, store = with_hours(1e6), Store(tmp_path)
    plan, first = (
        rounds.plan_due_runs(study, store),
        rounds.get_search_state(study, store).current_round,
    )
    assert first.phase == TEACHERS
    assert {plan.runs[name].network for name in first.runs} == {
        "wrn10-1", "wrn16-1", "wrn16-2", "wrn10-0.5",
    }  # fmt: skip
    grid = {**KEYS["experiments"][0], "teachers": ["wrn10-1"], "stops": ["full"]}
    few = with_hours(1e6, experiments=[grid])
    assert (
        rounds.get_search_state(few, store).current_round.phase == TEACHERS
    )  # one stop, of which none can be set aside


def test_enough_hours_change_no_round_but_the_first(tmp_path):
    freely, plainly = Store(tmp_path / "freely"), Store(tmp_path / "plainly")
    _, actual = to_the_end(with_hours(1e6), freely)
    _, other = to_the_end(study_of(), plainly)
    assert [r.arm_keys for r in actual.rounds] == [r.arm_keys for r in other.rounds]
    assert actual.winners == other.winners and not actual.unaffordable


@pytest.mark.parametrize("runs", [25, 34, 46, 60])
def test_hours_are_kept_and_the_winner_has_its_fresh_seeds(runs, tmp_path):
    """Made runs take ten seconds, of which a price by multiply-adds learns that they all do."""
    study, store = with_hours(runs * SECONDS), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    assert took(plans[-1]) <= runs * SECONDS
    assert actual.rounds[-1].phase == FRESH and actual.rounds[-1].decided
    assert actual.hours == pytest.approx(took(plans[-1]) / 3600)
    freely = Store(tmp_path / "freely")
    assert len(plans[-1].runs) <= len(to_the_end(study_of(), freely)[0][-1].runs)


def test_fewer_hours_train_fewer_students(tmp_path):
    sizes = []
    for runs in (25, 46, 1000):
        store = Store(tmp_path / str(runs))
        sizes.append(len(to_the_end(with_hours(runs * SECONDS), store)[0][-1].runs))
    assert sizes[0] < sizes[1] < sizes[2]


def test_hours_that_pay_for_nobody_are_said_and_one_cell_goes_on(tmp_path):
    study, store = with_hours(SECONDS), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    assert "pays for 0 of" in actual.rounds[0].why[-1] and len(actual.rounds[1].arm_keys) == 1
    page = (render_report(plans[-1], store, tmp_path / "report") / "index.md").read_text()
    assert "of 10 seconds that they may take" in page


def test_both_budgets_bind(tmp_path):
    search = {**KEYS["search"], "student_epochs": 200, "hours": 46 * SECONDS / 3600}
    study, store = study_of(search=search), Store(tmp_path / "results")
    plans, _ = to_the_end(study, store)
    assert took(plans[-1]) <= 46 * SECONDS
    epochs = sum(run.epochs for run in plans[-1].runs.values() if run.spec.teacher)
    assert epochs <= 200


def test_what_was_trained_for_something_else_decides_nothing(tmp_path):
    """Hours are those of what the rounds asked for, whatever else the results hold."""
    study, store = with_hours(34 * SECONDS), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    whole = planner.build_plan(study)
    rest = type(whole)(study, whole.card)
    rest.runs.update({n: r for n, r in whole.runs.items() if n not in plans[-1].runs})
    rest.checkpoints_to_keep.update(whole.checkpoints_to_keep)
    write(rest, store, seconds={"total": 1e6})
    assert rounds.get_search_state(study, store).rounds == actual.rounds
    assert rounds.get_search_state(study, store).hours == actual.hours


def fast(plan, network):
    """Milliseconds of a made gauge of a network."""
    return plan.scratch[network, 4, 0].cost.multiply_adds / 1e6


def with_latency(milliseconds, **changes):
    search = {**KEYS["search"], "latency": milliseconds}
    return study_of(search=search, export=True, experiments=[TWO], **changes)


def test_a_student_that_is_too_slow_does_not_compete(tmp_path):
    plan = planner.build_plan(with_latency(1.0))
    small, large = fast(plan, "wrn10-0.5"), fast(plan, "wrn10-1")
    assert small < large
    study, store = with_latency((small + large) / 2), Store(tmp_path / "results")
    first = rounds.get_search_state(study, store).current_round
    assert first.phase == LATENCY and first.seeds == (4,)
    requests = rounds.plan_due_runs(study, store)
    assert requests.runs.keys() == first.runs and len(requests.gauges) == 2
    plans, actual = to_the_end(study, store)
    assert actual.winners.keys() == {"wrn10-0.5"}
    assert actual.slow_students == {"wrn10-1": pytest.approx(large)}
    taught = {r.network for r in plans[-1].runs.values() if r.spec.teacher}
    assert taught == {"wrn10-0.5"}
    state.save_journal(actual, store)
    page = (render_report(plans[-1], store, tmp_path / "report") / "index.md").read_text()
    assert f"wrn10-1 does not compete: an image takes {large:.3g} ms." in page
    assert (
        f"too slow: an image takes {large:.3g} ms"
        in (tmp_path / "report/tables/search.md").read_text()
    )


def test_a_latency_that_all_keep_changes_nothing_else(tmp_path):
    other = study_of(experiments=[TWO], export=True)
    _, freely = to_the_end(other, Store(tmp_path / "freely"))
    store = Store(tmp_path / "results")
    _, actual = to_the_end(with_latency(1e3), store)
    # What the last lines of `kdpipe run` and `kdpipe export --best` decide by has them too.
    frame, _ = recommendation.recommend_for_plan(actual.plan, store)
    assert contest.measure_latencies(frame).keys() >= {"wrn10-0.5"}
    assert actual.winners == freely.winners and not actual.slow_students
    assert [r.arm_keys for r in actual.rounds[1:]] == [r.arm_keys for r in freely.rounds]


def test_a_round_waits_for_its_gauges(tmp_path):
    study, store = with_latency(1e3), Store(tmp_path / "results")
    plan = rounds.plan_due_runs(study, store)
    small = type(plan)(plan.study, plan.card)
    small.runs.update(plan.runs)
    write(small, store)  # its runs have ended, its gauges have not
    assert rounds.get_search_state(study, store).current_round.phase == LATENCY
    assert rounds.plan_due_runs(study, store).gauges.keys() == plan.gauges.keys()
    write(plan, store)
    assert rounds.get_search_state(study, store).current_round.phase == TEACHERS


def test_where_all_are_too_slow_the_search_ends_and_says_how_slow_each_is(tmp_path):
    study, store = with_latency(1e-6), Store(tmp_path / "results")
    plans, actual = to_the_end(study, store)
    assert actual.current_round is None and not actual.winners and len(plans) == 1
    assert state.round_to_json(actual, actual.rounds[0])["kept"] == []
    page = (render_report(plans[0], store, tmp_path / "report") / "index.md").read_text()
    assert "wrn10-1 does not compete: an image takes" in page and "So no student competes" in page


def test_a_student_that_diverges_is_not_fast(tmp_path):
    """Its gauge is skipped, and has no graphs."""
    study, store = with_latency(1e3), Store(tmp_path / "results")
    plan = rounds.plan_due_runs(study, store)
    write(plan, store, {"wrn10-1-labels": "diverged"})
    for gauge in plan.gauges.values():
        record = store.load_records("gauges")[gauge.name]
        if gauge.run.network == "wrn10-1":
            del record["graphs"], record["agreement"]
            publish_record(
                store.export_eval(gauge.name), record | {"status": "skipped", "last": None}
            )
    actual = rounds.get_search_state(study, store)
    assert actual.slow_students == {"wrn10-1": math.inf} and actual.current_round.phase == TEACHERS
    assert state.round_to_json(actual, actual.rounds[0])["known"]["wrn10-1"] is None
    page = (
        render_report(rounds.plan_due_runs(study, store), store, tmp_path / "report") / "index.md"
    ).read_text()
    assert "wrn10-1 does not compete: its scratch run diverged" in page


def priced(plan, store, seconds):
    """Records of a plan; seconds: of the runs of a network."""
    for network, each in seconds.items():
        small = type(plan)(plan.study, plan.card)
        small.runs.update({n: r for n, r in plan.runs.items() if r.network == network})
        small.checkpoints_to_keep.update(plan.checkpoints_to_keep)
        write(small, store, seconds={"total": each})


def ended_by(study, store, seconds):
    """The end of a search whose runs take what their network takes, and all its runs' seconds."""
    for _ in range(20):
        plan = rounds.plan_due_runs(study, store)
        priced(plan, store, seconds)
        actual = rounds.get_search_state(study, store)
        if actual.current_round is None:
            return actual, sum(seconds[run.network] for run in plan.runs.values())
    raise AssertionError("it does not end")


@pytest.mark.parametrize("teachers", [["wrn16-2", "wrn16-1"], ["wrn16-1", "wrn16-2"]])
def test_a_dear_cell_takes_nothing_from_a_cheap_one(teachers, tmp_path):
    """1,000 s and 10 s of teachers at the first seed, five students and scratch runs, 3 x 10 s."""
    grid = {**KEYS["experiments"][0], "teachers": teachers, "stops": ["full"], "methods": ["kd"]}
    seconds = {"wrn16-2": 1000.0, "wrn16-1": 10.0, "wrn10-0.5": 10.0}
    for most, message in ((1200, "pays for 1 of 2"), (200, "pays for 0 of 2")):
        study, store = with_hours(most, experiments=[grid]), Store(tmp_path / str(most))
        actual, took_ = ended_by(study, store, seconds)
        assert message in actual.rounds[0].why[-1]
        assert actual.winners["wrn10-0.5"].teacher == "wrn16-1" and took_ <= 1200


def test_what_slow_students_took_is_no_longer_there(tmp_path):
    seconds = {"wrn16-2": 10.0, "wrn16-1": 10.0, "wrn10-0.5": 10.0, "wrn10-1": 1000.0}
    plan = planner.build_plan(with_latency(1.0))
    latency = (fast(plan, "wrn10-0.5") + fast(plan, "wrn10-1")) / 2
    search = {**KEYS["search"], "latency": latency, "hours": 1250 / 3600}
    study = study_of(search=search, export=True, experiments=[TWO])
    store = Store(tmp_path)
    write(rounds.plan_due_runs(study, store), store)  # with its gauges
    actual, took_ = ended_by(study, store, seconds)
    assert actual.slow_students.keys() == {"wrn10-1"} and took_ <= 1250
    assert any("the budget pays for" in why for one in actual.rounds for why in one.why)


def test_hours_pay_for_none_where_nothing_says_what_one_takes(tmp_path):
    """All that was trained diverged: records without seconds."""
    study, store = with_hours(100 * SECONDS), Store(tmp_path)
    plan = rounds.plan_due_runs(study, store)
    write(plan, store, dict.fromkeys(plan.runs, "diverged"))
    for run in plan.runs.values():
        record = store.load_records("runs")[run.name]
        del record["seconds"]
        publish_record(store.run(run.name), record)
    actual = rounds.get_search_state(study, store)
    assert "pays for 0 of" in actual.rounds[0].why[-1] and len(actual.current_round.arm_keys) == 1


def test_students_share_the_hours(tmp_path):
    study = with_hours(120 * SECONDS, experiments=[TWO])
    plans, actual = to_the_end(study, Store(tmp_path / "results"))
    assert took(plans[-1]) <= 120 * SECONDS
    assert len(actual.winners) == 2 and [r.phase for r in actual.rounds[:2]] == [TEACHERS, STUDENTS]


def of_grid(study):
    """The plan, its candidates as the study has them, and the scratch runs of its fresh seeds."""
    plan = planner.build_plan(study)
    (ones,) = search_space.collect_arms(plan).values()
    return plan, ones, [plan.scratch["wrn10-0.5", seed, 0] for seed in (4, 5, 6)]


def test_what_is_paid_for_by_hand():
    """Every job costs one: a cell is its student, its teacher and the teacher's table."""
    _, ones, scratch = of_grid(study_of())
    three = [one for one in ones if one.stop == ones[0].stop]
    assert len(three) == 3

    def paid(most, ones, **more):
        limits = [state.Limit(each, lambda job: 1.0) for each in most]
        requests = {"rivals": [], "spent": {}, "seeds": [0, 1, 2, 3], "fresh_runs": scratch, **more}
        return len(state.select_affordable(limits, ones, **requests))

    # One cell: 3, and for each of three fresh seeds as many and a scratch run.
    assert [paid([most], ones[:1]) for most in (14, 15)] == [0, 1]
    # Two of one teacher: 4, and the fresh seeds; of two cells one goes on and needs no second seed.
    assert [paid([most], three[:2]) for most in (15, 16)] == [1, 2]
    # Three: 5, of which two go on to a second seed, with their teacher and its table 4.
    assert [paid([most], three) for most in (20, 21)] == [2, 3]
    # What was made is not paid for again, but counts.
    result = state.collect_jobs([three[0].cells[0].run])
    assert [paid([most], ones[:1], spent=result) for most in (14, 15)] == [0, 1]
    # Two that compete beside it go on too.
    assert [paid([most], three[:1], rivals=three[1:]) for most in (18, 19)] == [0, 1]
    # Of two limits both bind.
    assert [paid(most, three) for most in ([21, 16], [16, 21], [21, 21])] == [2, 2, 3]


def test_hours_are_those_of_the_record_and_else_a_price_by_those_there_are(tmp_path):
    study = study_of()
    plan, ones, _ = of_grid(study)
    small = type(plan)(plan.study, plan.card)
    small.runs.update(plan.runs)
    write(small, Store(tmp_path), seconds={"total": 36.0})
    records = Store(tmp_path).load_records("runs")
    assert state.make_hour_price(plan, {}) is None
    run = ones[0].cells[0].run
    others = {n: r for n, r in records.items() if n not in (run.name, ones[1].cells[0].run.name)}
    odd = records[run.name] | {"seconds": {"total": 7200.0}}
    price = state.make_hour_price(plan, others)
    assert price(run) == pytest.approx(0.01, rel=0.2)  # as the others of its network
    assert state.make_hour_price(plan, others | {run.name: odd})(run) == 2.0


def test_each_student_has_its_share():
    search = SearchConfig.model_validate({"blocks": ["grid"], "hours": 6, "student_epochs": 100})
    _, ones, _ = of_grid(study_of())
    gone = state.collect_jobs([ones[0].cells[0].run])  # three jobs
    assert [limit.maximum for limit in state.make_limits(search, 2, lambda job: 1.0, {})] == [
        50,
        3,
    ]
    assert [limit.maximum for limit in state.make_limits(search, 2, lambda job: 1.0, gone)] == [
        50,
        1.5,
    ]


def test_the_teachers_of_the_first_seed_have_been_paid_for(tmp_path, monkeypatch):
    requests = []
    affordable = state.select_affordable

    def watched(limits, ones, rivals, spent, *more):
        requests.append(set(spent))
        return affordable(limits, ones, rivals, spent, *more)

    monkeypatch.setattr(state, "select_affordable", watched)
    study, store = with_hours(1e6), Store(tmp_path)
    plan = rounds.plan_due_runs(study, store)
    write(plan, store)
    requests.clear()
    rounds.get_search_state(study, store)
    assert requests[0] == {n for n, run in plan.runs.items() if run.network != "wrn10-0.5"}
