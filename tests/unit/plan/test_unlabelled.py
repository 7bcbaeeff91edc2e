"""Images without labels in a plan: no other run is renamed, and each is counted and priced."""

from types import SimpleNamespace

from helpers import synthetic_data, tiny_study
from helpers.small_plans import block, make, sound, study

from kdpipe import hashing
from kdpipe.analysis.preregistration import registration
from kdpipe.jobs import validate
from kdpipe.models import registry
from kdpipe.plan import render, resources
from kdpipe.plan.estimate import CostModel, Speed
from kdpipe.plan.nodes import Plan
from kdpipe.report import page
from kdpipe.workflow.rule_context import RuleContext

# Of 1,097 digits 64 are trained on, in 4 batches of 16, and 40 held out.
LEFT, STEPS, BESIDE, EPOCHS = 993, 4, 30, 4
METHODS = {
    "kd": {},
    "more": {"unlabelled": BESIDE},
    "stopped": {"unlabelled": BESIDE, "stop_epoch": 1},
}


def planned(*names, unlabelled="rest", **changes) -> Plan:
    methods = {name: METHODS[name] for name in names}
    data = tiny_study.STUDY["data"] | ({"unlabelled": unlabelled} if unlabelled else {})
    result = make(study(block(methods=list(names)), methods=methods, data=data, **changes))
    return sound(result)


def by_method(plan):
    return {cell.method: cell.run for cell in plan.cells}


def test_only_runs_that_use_them_say_so():
    for outputs in ("live", "table"):
        before = planned("kd", unlabelled=None, teacher_outputs=outputs)
        after = planned("kd", "more", "stopped", teacher_outputs=outputs)
        new = {by_method(after)[name].name for name in ("more", "stopped")}
        assert set(after.runs) - set(before.runs) == new and set(before.runs) < set(after.runs)
        assert set(before.logit_caches) < set(after.logit_caches) or outputs == "live"
        message = [run.name for run in after.runs.values() if "unlabelled" in str(run.spec)]
        assert set(message) == new
    requests = by_method(after)["more"].spec.method
    assert {key: value for key, value in requests.items() if "unlabelled" in key} == {
        "unlabelled": BESIDE,
        "unlabelled_from": "rest",
        "unlabelled_images": LEFT,
        "unlabelled_revision": 1,
    }


def test_prices_by_hand():
    runs = by_method(planned("kd", "more", "stopped"))
    costs = [registry.compute_cost(name, (1, 8, 8), 10) for name in ("wrn10-0.5", "wrn16-1")]
    student, teacher = (cost.multiply_adds for cost in costs)
    displayed = {"kd": 0, "more": EPOCHS * STEPS * BESIDE, "stopped": STEPS * BESIDE}
    requests = {"kd": EPOCHS * 64, "more": EPOCHS * 64, "stopped": 64}
    for name, run in runs.items():
        assert run.train_multiply_adds == 3 * student * (EPOCHS * 64 + displayed[name])
        assert run.teacher_multiply_adds == teacher * (requests[name] + displayed[name])


def test_a_table_of_them_is_a_second_one_and_shared():
    plan = planned("kd", "more", "stopped", teacher_outputs="table")
    labelled, others = plan.logit_caches.values()
    runs = by_method(plan)
    assert runs["kd"].logit_caches == (labelled,)
    assert runs["more"].logit_caches == runs["stopped"].logit_caches == (labelled, others)
    teacher = registry.compute_cost("wrn16-1", (1, 8, 8), 10).multiply_adds
    assert (labelled.multiply_adds, labelled.bytes) == (64 * 9 * teacher, 64 * 9 * 10 * 2)
    assert (others.multiply_adds, others.bytes) == (LEFT * 9 * teacher, LEFT * 9 * 10 * 2)
    text = render.render_plan_text(plan, dict.fromkeys([*plan.runs, *plan.logit_caches], "to do"))
    both = (64 + LEFT) * 9
    assert f"{both * teacher:.2e} mult-adds and {both * 20 / 1000:.3g} kB at a time as 2" in text
    displayed = (EPOCHS + 1) * STEPS * BESIDE
    message = "unlabelled images: 993, of which 30 are added to each batch of 2 students"
    assert f"{message}: shown {displayed} times" in text
    plain = planned("kd", unlabelled=None)
    assert "unlabelled" not in render.render_plan_text(plain, dict.fromkeys(plain.runs, "to do"))


def test_a_chain_has_them_in_each_step_and_a_table_of_each_kind():
    """The data of a teacher that learned of them are no other data."""
    data = tiny_study.STUDY["data"] | {"unlabelled": "rest"}
    again = block(teachers=["self"], generations=2, methods=["more"])
    plan = sound(make(study(again, methods=METHODS, data=data, teacher_outputs="table")))
    assert len(plan.logit_caches) == 4
    assert [len(cell.run.logit_caches) for cell in plan.cells] == [2, 2]
    assert len({str(run.spec.data) for run in plan.runs.values()}) == 1
    assert sorted(
        table.spec.unlabelled_from is not None for table in plan.logit_caches.values()
    ) == [
        *(False, False, True, True),
    ]


def test_time_and_memory_grow_by_them():
    plan = planned("kd", "more")
    runs = by_method(plan)
    speed = Speed(step=1.0, epoch=0.0, image=0.0, setup=0.0, start=0.0, megabytes=1.0)
    price = CostModel(plan, {run.name: speed for run in plan.runs.values()})
    is_live = not runs["kd"].logit_caches
    # 16 steps of 16 images, each as much longer as 30 more are.
    assert (
        price._estimate_run(runs["more"], is_live) - price._estimate_run(runs["kd"], is_live)
        == EPOCHS * STEPS * BESIDE / 16
    )
    kd, more = (resources._estimate_run(runs[name], plan.card, "cpu") for name in ("kd", "more"))
    assert more.images_seen - kd.images_seen == EPOCHS * STEPS * BESIDE
    assert more.host_bytes > kd.host_bytes


def test_the_rival_for_the_same_price_pays_for_them():
    """As many epochs on labels as student, unlabelled images and teacher cost together."""
    data = tiny_study.STUDY["data"] | {"unlabelled": "rest"}
    plan = make(
        study(block(methods=["more"], scratch_long=True), methods=METHODS, data=data, epochs=4)
    )
    (cell,) = plan.cells
    price = cell.run.multiply_adds / plan.get_scratch_run(cell).train_multiply_adds
    assert round(4 * price) in {run.epochs for _, run, _ in plan.scratch_long}


def test_those_of_ones_own_are_known_by_what_they_are(tmp_path):
    """Not by where they lie; other images make other runs, and `rest` is as it was."""
    rest = planned("kd", "more", teacher_outputs="table")
    card = synthetic_data.unlabelled_card(tmp_path / "more", 500)
    own = planned("kd", "more", unlabelled=str(tmp_path / "more"), teacher_outputs="table")
    requests = by_method(own)["more"].spec.method
    assert {key: value for key, value in requests.items() if "unlabelled" in key} == {
        "unlabelled": BESIDE,
        "unlabelled_from": card.sha256,
        "unlabelled_images": 500,
        "unlabelled_revision": 1,
    }
    assert requests["own_revision"] == hashing.REVISIONS["own"]
    names = {by_method(plan)["more"].name for plan in (rest, own)}
    assert set(rest.runs) ^ set(own.runs) == names
    labelled, others = own.logit_caches.values()
    assert labelled.name == next(iter(rest.logit_caches)) and others.spec.own_revision == 2
    assert others.bytes == 500 * 9 * 10 * 2
    synthetic_data.unlabelled_card(tmp_path / "elsewhere", 500)
    again = planned("kd", "more", unlabelled=str(tmp_path / "elsewhere"), teacher_outputs="table")
    assert list(again.runs) == list(own.runs) and list(again.logit_caches) == list(own.logit_caches)
    for run in (*own.runs.values(), others):
        validate.validate_spec(run.spec)
        assert run.spec.name == run.name


def test_their_memory_is_counted(tmp_path):
    synthetic_data.unlabelled_card(tmp_path / "more", 10**6)
    plan = planned("kd", "more", unlabelled=str(tmp_path / "more"))
    kd, more = (
        resources._estimate_run(by_method(plan)[name], plan.card, "cpu") for name in ("kd", "more")
    )
    assert more.image_bytes - kd.image_bytes == 3 * 10**6 * 10 * 10  # padded by 1 on each side


def test_whoever_sees_them_waits_for_them(tmp_path):
    card = synthetic_data.unlabelled_card(tmp_path / "more", 500)
    path = str(tmp_path / "more")
    plan = planned("kd", "more", unlabelled=path, teacher_outputs="table")
    names = frozenset(plan.runs)
    digits, others = f"logs/data/{plan.card.folder}.prepared", f"logs/data/{card.folder}.prepared"
    runs, (labelled, table) = by_method(plan), plan.logit_caches.values()
    dag = RuleContext(plan.study, plan, names, frozenset())

    def waits(item):
        return [one for one in dag.inputs(SimpleNamespace(name=item.name)) if "logs/data" in one]

    assert waits(runs["more"]) == waits(table) == [digits, others]
    assert waits(runs["kd"]) == waits(labelled) == waits(runs["kd"].parents[0]) == [digits]
    assert dag.data_source(SimpleNamespace(name=plan.card.folder)) == ["digits"]
    requests = dag.data_source(SimpleNamespace(name=card.folder))
    assert requests == ["digits", f"--unlabelled={path}"]
    ready = RuleContext(plan.study, plan, names, frozenset(plan.datasets))
    assert not any("logs/data" in one for one in ready.inputs(SimpleNamespace(name=table.name)))


def test_a_plan_and_a_report_say_whose_they_are(tmp_path):
    synthetic_data.unlabelled_card(tmp_path / "more", 500)
    plan = planned("kd", "more", unlabelled=str(tmp_path / "more"))
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    assert "unlabelled images: 500 of more, of which 30 are added to each batch" in text
    assert page._describe_unlabelled(plan) == "; 500 without labels, of more"
    assert (
        page._describe_unlabelled(planned("more"))
        == "; 993 without labels, of the training images left"
    )
    assert page._describe_unlabelled(planned("kd", unlabelled=None)) == ""


def test_a_registration_does_not_know_where_they_lie(tmp_path):
    synthetic_data.unlabelled_card(tmp_path / "more", 500)
    synthetic_data.unlabelled_card(tmp_path / "elsewhere", 500)
    plans = [planned("more", unlabelled=str(tmp_path / one)) for one in ("more", "elsewhere")]
    one, other = (registration.get_registered_content(plan.study) for plan in plans)
    assert one == other != registration.get_registered_content(planned("more").study)
