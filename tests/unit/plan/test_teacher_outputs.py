"""What a study takes with live teachers and with tables: against the plans of both."""

import pytest
from helpers.small_plans import METHODS, block, make, study

from kdpipe.plan import estimate, teacher_outputs
from kdpipe.plan.estimate import CostModel, Speed

FAST = Speed(step=0.01, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)
SLOW = Speed(step=0.04, epoch=0.2, image=0.5, setup=0.7, start=2.0, megabytes=800)


def cost_model(plan, **records):
    speeds = {name: SLOW if run.network == "wrn16-1" else FAST for name, run in plan.runs.items()}
    return CostModel(plan, speeds, records)


def total(model):
    """The sum over the jobs of a plan, each with its cores."""
    plan = model.plan
    nodes = (*plan.nodes_by_name.values(), *plan.logit_caches.values())
    return sum(estimate.count_threads(node, plan) * model.estimate_seconds(node) for node in nodes)


CASES = {
    "few": dict(blocks=block(), seeds=range(3)),
    "two precisions": dict(
        blocks=block(stops=["full", "checkpoint 1"], methods=["kd", "cold", "eskd"]),
        methods=METHODS | {"cold": {"temperature": 1.0}},
        epochs=12,
    ),
    "two students": dict(blocks=block(students=["wrn10-0.5", "wrn10-1"]), epochs=5),
}


@pytest.mark.parametrize("written", ["auto", "table", "live"])
@pytest.mark.parametrize("case", CASES)
def test_prices_are_those_of_the_plans_with_either_key(case, written):
    keys = dict(CASES[case])
    blocks = keys.pop("blocks")
    plans = {
        way: make(study(blocks, **keys, teacher_outputs=way)) for way in (written, "table", "live")
    }
    prices = teacher_outputs.price_outputs(cost_model(plans[written]))
    assert prices.planned == pytest.approx(total(cost_model(plans[written])))
    assert prices.live == pytest.approx(total(cost_model(plans["live"])))
    assert prices.table == pytest.approx(total(cost_model(plans["table"])))


def test_finished_runs_correct_the_prices():
    plan = make(study(block(), seeds=range(2)))
    record = {"status": "done", "seconds": {"total": 100.0}}
    model = cost_model(plan, **dict.fromkeys(plan.runs, record))
    other = cost_model(make(study(block(), seeds=range(2), teacher_outputs="table")))
    other.__dict__["_corrections"] = model._corrections  # those of the first plan's runs
    assert model._corrections
    prices = teacher_outputs.price_outputs(model)
    assert prices.table == pytest.approx(total(other))


@pytest.mark.parametrize(
    ("epochs", "students", "written", "advice"),
    [
        (4, 1, "auto", None),  # 9 views, against 2 x 4 epochs: live, and that is cheaper
        (4, 3, "auto", None),  # a table would take three quarters, which is little of the whole
        (4, 1, "table", "live"),
        (5, 1, "auto", "live"),
        (5, 2, "auto", None),
        (20, 1, "live", "table"),
    ],
)
def test_the_line_says_both_prices_and_what_to_write(epochs, students, written, advice):
    """A table of 9 views costs 9 forwards of each image, live one for each epoch of a student."""
    blocks = block(students=["wrn10-0.5", "wrn10-1", "wrn10-2"][:students])
    model = cost_model(make(study(blocks, epochs=epochs, teacher_outputs=written)))
    line = teacher_outputs.describe_prices(model)
    prices = teacher_outputs.price_outputs(model)
    hours = {"table": prices.table / 3600, "live": prices.live / 3600}
    assert f"in {hours['table']:.2g} core-hours with tables" in line
    assert f"in {hours['live']:.2g} core-hours with live teachers" in line
    if advice is None:
        assert "write" not in line
    else:
        assert (
            f"; write teacher_outputs: {advice} for {hours[advice]:.2g} core-hours instead of "
            f"{prices.planned / 3600:.2g} core-hours here" in line
        )


def test_no_table_is_advised_that_would_be_refused():
    """With mixed images or features there is none; nor with endless views, nor without a speed."""
    mixed = study(block(), epochs=20)
    mixed["network_recipes"] = {"wrn10-0.5": {"mixup": 0.2}}
    blocks = block(students=["wrn10-0.5", "wrn10-1"])
    mixed["experiments"] = [blocks]
    model = cost_model(make(mixed))
    prices = teacher_outputs.price_outputs(model)
    assert prices.table is None and prices.cheapest == ("live", prices.live)
    assert "tables are not for all its students" in teacher_outputs.describe_prices(model)
    plan = make(study(block(), data={"augment": {"policy": "trivial"}}))
    assert teacher_outputs.price_outputs(cost_model(plan)) is None
    assert teacher_outputs.describe_prices(CostModel(make(study(block())))) is None
