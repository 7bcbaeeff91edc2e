"""The plan as a user reads it, and as a program does."""

import pytest
from helpers.small_plans import METHODS, block, make, study

from kdpipe.models import registry
from kdpipe.plan import render
from kdpipe.plan.resources import format_size
from kdpipe.plan.status import STATES


def test_the_plan_as_json_and_on_one_screen_by_hand():
    """One teacher at two stops, two methods: 2 runs on labels and 4 students of 4 epochs."""
    stopped = block(stops=["full", "checkpoint 1"], methods=["kd", "eskd"])
    plan = make(study(stopped, methods=METHODS))
    macs = plan.scratch["wrn10-0.5", 0, 0].cost.multiply_adds
    teacher = registry.compute_cost("wrn16-1", (1, 8, 8), 10)
    per_epoch = teacher.multiply_adds * 64  # ESKD asks the teacher in 2 of 4 epochs
    content = render.render_plan_json(plan, dict.fromkeys([*plan.runs], "to do"))
    assert sum(run["epochs"] for run in content["runs"]) == 4 * (1 + 1 + 4)
    total = sum(run["multiply_adds"] for run in content["runs"])
    assert total == 3 * 64 * 4 * (5 * macs + teacher.multiply_adds) + 12 * per_epoch
    assert [run["blocks"] for run in content["runs"]] == [["main"]] * 6
    text = render.render_plan_text(plan, dict.fromkeys([*plan.runs], "to do"))
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if "to do" in line}
    assert rows["teacher"][1:3] == ["1", "4"] and rows["student"][1:3] == ["4", "16"]
    assert rows["main"][1:3] == ["6", "24"] and rows["all runs, each once"][4:6] == ["6", "24"]
    assert rows["main"][3] == f"{total:.2e}"


def test_the_price_of_tables_is_that_of_the_planned_ones():
    """One teacher, asked in half and in single precision: two tables of 64 images by 9 views."""
    methods = {"kd": {}, "cold": {"temperature": 1.0}}
    content = study(block(methods=["kd", "cold"]), methods=methods, teacher_outputs="table")
    plan = make(content)
    views = plan.cells[0].run.logit_caches[0].bytes // (64 * 10 * 2)
    teacher = registry.compute_cost("wrn16-1", (1, 8, 8), 10).multiply_adds
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    size = format_size(64 * views * 10 * (2 + 4))
    assert f"{2 * 64 * views * teacher:.2e} mult-adds and {size} at a time as 2" in text
    plan = make(content | {"teacher_outputs": "live"})
    live = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    assert (
        f"mult-adds and {format_size(64 * views * 10 * 3)} each as 2 tables" in live
    )  # the same price, whatever is chosen


@pytest.mark.parametrize(
    ("epochs", "students", "chosen", "message"),
    [
        (
            4,
            1,
            "auto",
            "auto takes live teachers)",
        ),  # 9 views, against 2 x 4 epochs; and it is cheaper
        (4, 3, "auto", "auto takes live teachers); teacher_outputs: table would take 75% of these"),
        (
            4,
            1,
            "table",
            "the study takes tables); teacher_outputs: live would take 44% of these operations",
        ),
        (5, 1, "auto", "auto takes tables); teacher_outputs: live would take 56% of these"),
        (5, 2, "auto", "auto takes tables)"),
        (
            20,
            1,
            "live",
            "the study takes live teachers); teacher_outputs: table would take 45% of these",
        ),
    ],
)
def test_the_plan_says_where_the_other_choice_is_cheaper(epochs, students, chosen, message):
    """A table of 9 views costs 9 forwards of each image, live one for each epoch of a student."""
    blocks = block(students=["wrn10-0.5", "wrn10-1", "wrn10-2"][:students], methods=["kd"])
    content = study(blocks, epochs=epochs, teacher_outputs=chosen)
    text = render.render_plan_text(plan := make(content), dict.fromkeys(plan.runs, "to do"))
    (line,) = [line for line in text.splitlines() if line.startswith("teacher outputs")]
    assert line.partition("mult-adds live (")[2].startswith(message)
    assert line.endswith(message) or "would take" in message


def test_a_mixture_is_said_and_one_more_student_renames_nothing():
    two = block(students=["wrn10-0.5", "wrn10-1"])
    content = study(two, epochs=5, teacher_outputs="auto")
    content["network_recipes"] = {"wrn10-1": {"epochs": 4}}
    plan = make(content)
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    assert "(auto takes a table for 1 student, and live teachers for 1)" in text
    more = content | {"experiments": [block(students=["wrn10-0.5", "wrn10-1", "wrn10-2"])]}
    assert list(plan.runs) == [name for name in make(more).runs if name in plan.runs]


def test_the_states_in_a_plan_are_counted():
    plan = make(study(block(), seeds=[0, 1]))
    states = dict(zip(plan.runs, [*STATES, "done", "to do"], strict=True))
    lines = render.render_plan_text(plan, states).splitlines()
    (line,) = [line for line in lines if line.startswith("all runs")]
    assert line.endswith("2 done, 1 diverged, 1 skipped, 2 to do")
