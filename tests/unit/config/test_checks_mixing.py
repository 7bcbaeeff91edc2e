"""Who learns from mixed images: terms that look at labels, and tables, are refused."""

import pytest
from helpers import tiny_study

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.losses import method as methods
from kdpipe.plan import planner, render, teacher_outputs

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
    assert "or have a number of mixed views drawn once (data.views: 16)" in text
    # Nine views, and twenty epochs: a table would pay.
    for recipe, outputs in (({"epochs": 20}, "float16"), ({"epochs": 20, "mixup": 0.2}, "live")):
        study = tiny_study.study(recipe=recipe, teacher_outputs="auto")
        plan = planner.build_plan(load.validate_study(study, "tiny"))
        (student,) = (run for run in plan.runs.values() if run.spec.teacher)
        assert student.spec.teacher.outputs == outputs
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    price = f"{student.teacher_multiply_adds:.2e}"
    assert f"of 1 students: {price} mult-adds, always live, since mixed" in text


def test_drawn_views_are_mixed_once_and_a_table_of_them_is_planned_and_priced(tmp_path, capsys):
    drawn = {"recipe": {"mixup": 0.2, "epochs": 20}, "data": {"views": 4}}
    for changes in ({"teacher_outputs": "table"}, {"teacher_outputs": "auto"}):
        assert get_message(capsys, tmp_path, **drawn | changes) == ""
    # Mixtures of images that are not augmented are no two alike.
    plain, only = {"pad": 0, "views": 4}, {"wrn10-0.5": {"mixup": 0.5}}
    assert get_message(capsys, tmp_path, **drawn | {"data": plain}) == ""
    assert get_message(capsys, tmp_path, data=plain, network_recipes=only) == ""
    assert "give 1: remove this key" in get_message(capsys, tmp_path, data=plain)
    plan = tiny_study.planned(**drawn, teacher_outputs="auto")
    (cache,) = plan.logit_caches.values()
    (student,) = (run for run in plan.runs.values() if run.spec.teacher)
    assert cache.spec.data == student.spec.data
    assert cache.multiply_adds == 64 * (4 + 1) * cache.parent.cost.multiply_adds
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    assert f"teacher outputs: {cache.multiply_adds:.2e} mult-adds and" in text
    live = f"1 table of 5 views; {student.teacher_multiply_adds:.2e} mult-adds live (auto takes"
    assert live in text and "always live" not in text


def test_students_that_are_mixed_in_another_way_have_a_table_of_their_own():
    def plan(**changes):
        main = {"students": ["wrn10-0.5", "wrn10-0.25"], "methods": ["kd"]}
        changes = {"teacher_outputs": "table", "main": main} | changes
        return tiny_study.planned(data={"views": 4}, **changes)

    assert len(plan(recipe={"mixup": 0.2}).logit_caches) == 1
    for only in ({"mixup": 0.3}, {"mixup": None}, {"cutmix": 1.0}):
        both = plan(recipe={"mixup": 0.2}, network_recipes={"wrn10-0.25": only})
        assert len(both.logit_caches) == 2
        students = [run for run in both.runs.values() if run.spec.teacher]
        assert len(teacher_outputs.list_caches(students)) == 2
    # Views keep their names where they are not mixed, and so do mixed images that are not drawn.
    unmixed, names = plan(), set(plan().runs)
    assert all("mixed" not in run.spec.data.views for run in unmixed.runs.values())
    assert names.isdisjoint(plan(recipe={"mixup": 0.2}).runs)
    live = tiny_study.planned(recipe={"mixup": 0.2}, teacher_outputs="auto")
    assert all("mixed" not in run.spec.data.views for run in live.runs.values())


def test_alphas_are_above_zero(tmp_path, capsys):
    assert "recipe.mixup: 0: input should be greater than 0" in get_message(
        capsys, tmp_path, recipe={"mixup": 0}
    )
