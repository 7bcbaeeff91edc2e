"""Who learns from mixed images: terms that look at labels, and tables, are refused."""

import pytest
from helpers import tiny_study

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.losses import method as methods
from kdpipe.plan import planner, render

BLIND = {"attention", "dist", "fitnet", "kd", "rkd", "sp", "ttm", "wttm"}


def get_message(capsys, tmp_path, **changes) -> str:
    study = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(**changes))
    code = main(["check", str(study)])
    actual = capsys.readouterr()
    assert code == (2 if actual.err else 0)
    return actual.err


@pytest.mark.parametrize("term", methods.load_terms())
def test_a_term_that_looks_at_labels_is_refused(term, tmp_path, capsys):
    changes = {
        "methods": {"this": {f"{term}_weight": 1.0}},
        "main": {"methods": ["this"]},
        "teacher_outputs": "auto",
    }
    text = get_message(capsys, tmp_path, recipe={"mixup": 0.2}, **changes)
    if term in BLIND:
        assert text == ""
    else:
        assert "experiments[0] (main).methods: this: " in text
        assert "uses the label of each image, and wrn10-0.5 is trained on images mixed" in text
        only = {"wrn10-0.5": {"mixup": None}}
        text = get_message(capsys, tmp_path, recipe={"mixup": 0.2}, network_recipes=only, **changes)
        assert text == ""


def test_tables_are_refused_and_auto_is_live_and_priced(tmp_path, capsys):
    text = get_message(capsys, tmp_path, recipe={"cutmix": 1.0}, teacher_outputs="table")
    assert (
        "teacher_outputs: table caches outputs for unmixed images, and wrn10-0.5 is trained on"
        in text
    )
    # Nine views, and twenty epochs: a table would pay.
    for recipe, outputs in (({"epochs": 20}, "float16"), ({"epochs": 20, "mixup": 0.2}, "live")):
        study = tiny_study.study(recipe=recipe, teacher_outputs="auto")
        plan = planner.build_plan(load.validate_study(study, "tiny"))
        (student,) = (run for run in plan.runs.values() if run.spec.teacher)
        assert student.spec.teacher.outputs == outputs
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    price = f"{student.teacher_multiply_adds:.2e}"
    assert f"of 1 students: {price} mult-adds, always live, since mixed" in text


def test_alphas_are_above_zero(tmp_path, capsys):
    assert "recipe.mixup: 0: input should be greater than 0" in get_message(
        capsys, tmp_path, recipe={"mixup": 0}
    )
