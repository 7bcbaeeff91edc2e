"""What planning does for ten times as many runs, counted in lines of code and not in seconds."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import kdpipe
from kdpipe.config import load
from kdpipe.plan import estimate, planner, render
from kdpipe.plan.estimate import CostModel
from kdpipe.plan.nodes import LogitCache, Plan
from kdpipe.runs.store import Store
from kdpipe.workflow import run_state
from kdpipe.workflow.rule_context import RuleContext

ROOT = Path(__file__).parents[3]
PACKAGE = str(Path(kdpipe.__file__).parent)
NETWORKS = ["wrn10-1", "wrn10-2", "wrn16-1", "wrn16-2"]


def build_plan(seeds: int, outputs: str = "auto") -> Plan:
    """Return the plan of 4 students of 4 teachers at 6 stops: 100 runs for each seed."""
    content = {
        "study": "large",
        "seeds": list(range(seeds)),
        "teacher_outputs": outputs,
        "data": {"name": "digits", "validation": 100},
        "recipe": {"epochs": 30, "batch_size": 64, "lr": 0.1},
        "methods": {"kd": {}},
        "experiments": [
            {
                "name": "all",
                "teachers": NETWORKS,
                "stops": ["full", "every 5"],
                "students": [*NETWORKS],
                "methods": ["kd"],
            }
        ],
    }
    return planner.build_plan(load.validate_study(content, "large", Path()))


def count_steps(function: Callable[[], object]) -> int:
    """Count the lines of kdpipe that a function runs; each turn of a comprehension is one too."""
    steps = 0

    def trace(frame, event, argument):
        nonlocal steps
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        steps += 1
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return steps


class CountedName(str):
    """A name that counts how often it is compared: a search in a list runs no line of Python."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, other)


def describe(plan: Plan) -> str | None:
    """Do what `kdpipe plan` does with a plan."""
    priced = run_state.price_plan(plan, "cpu", Store(Path("nowhere")))
    estimate.estimate_peak_disk(plan, priced.total, priced.states)
    render.render_plan_text(plan, priced.states)
    return estimate.describe_estimate(priced.cost_model, priced.total, priced.states)


def evaluate_rules(plan: Plan) -> None:
    """Evaluate what the rules ask of each job, as a dry run does."""
    context = RuleContext(plan.study, plan, frozenset(plan.nodes_by_name), frozenset())
    context.records()
    for node in (*plan.nodes_by_name.values(), *plan.logit_caches.values()):
        wildcards = SimpleNamespace(name=node.name)
        functions = [context.inputs, context.spec, context.job_options, context.priority]
        functions += [context.threads]
        if isinstance(node, LogitCache):
            assert len(context.waiting_students(wildcards)) == len(NETWORKS)
        for function in functions:
            function(wildcards)
        context.minutes(wildcards, attempt=1)


def test_ten_times_as_many_runs_take_ten_times_as_much_work():
    """Whatever looks through all runs for each of them takes a hundred times the work."""
    studies = {seeds: build_plan(seeds) for seeds in (1, 10)}
    assert [len(plan.runs) for plan in studies.values()] == [100, 1000]
    for work in (describe, evaluate_rules, lambda plan: build_plan(len(plan.study.seeds))):
        few, many = (count_steps(partial(work, plan)) for plan in studies.values())
        assert few < many < 11 * few
        assert many < 1000 * 1000  # of each run, a thousand lines


def test_names_are_looked_up_and_not_searched_for():
    plan = build_plan(10)
    names = [CountedName(name) for name in plan.runs]
    CountedName.compared = 0
    estimate.simulate_schedule(plan, names, lambda node: 1.0, 2)
    assert 0 < CountedName.compared <= 2 * len(names)


@pytest.mark.parametrize("outputs", ["table", "live"])
def test_runs_that_differ_in_their_seed_alone_are_estimated_once(outputs, monkeypatch):
    estimated: list[str] = []
    compute = CostModel._compute_run_seconds

    def count(self, run, is_live):
        estimated.append(run.name)
        return compute(self, run, is_live)

    monkeypatch.setattr(CostModel, "_compute_run_seconds", count)
    counts = []
    for seeds in (1, 10):
        plan = build_plan(seeds, outputs)
        estimated.clear()
        assert describe(plan)
        counts.append(len(estimated))
        # Each as by itself: no other run's seconds are taken.
        cost_model = CostModel(plan)
        for run in plan.runs.values():
            alone = compute(cost_model, run, not run.logit_caches)
            assert cost_model._estimate_run(run, not run.logit_caches) == alone
    assert counts[0] == counts[1] < 100


def test_runs_of_every_kind_are_estimated_as_each_by_itself():
    study = load.load_study(ROOT / "benchmarks/every_kind.yaml")
    plan = planner.build_plan(study)
    cost_model = CostModel(plan)
    estimates = {
        run.name: cost_model._estimate_run(run, not run.logit_caches) for run in plan.runs.values()
    }
    alone = {
        run.name: CostModel(plan)._compute_run_seconds(run, not run.logit_caches)
        for run in plan.runs.values()
    }
    assert estimates == alone
    assert len(set(alone.values())) > 10, "of runs that differ"
