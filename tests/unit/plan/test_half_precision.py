"""What `kdpipe plan --measure` says of bfloat16: by speeds that are known, added up by hand."""

import pytest
from helpers import tiny_study

from kdpipe.devices import host
from kdpipe.plan import estimate, half_precision
from kdpipe.plan.estimate import CostModel, Speed
from kdpipe.plan.half_precision import RECIPE_KEY, TEACHER_KEY
from kdpipe.workflow import machine_benchmark

BOTH = f"{RECIPE_KEY} and {TEACHER_KEY}"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A processor with bfloat16, without speeds."""
    monkeypatch.setenv(estimate.CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setattr(host, "has_bfloat16", lambda: True)


def _save_speeds(study, step: float, half_step: float, image: float, half_image: float):
    """All networks of a study take as long: float32 and bfloat16, as student and as teacher."""
    variants = half_precision.build_variants(study)
    for plan in (half_precision.planner.build_plan(study), *variants.values()):
        for run in plan.runs.values():
            steps = half_step if run.spec.recipe.autocast else step
            speed = Speed(steps, 0.0, image, 0.0, 0.0, 1.0, half_image)
            estimate.save_speeds({estimate.make_speed_key(plan, run, "cpu"): speed})
    return variants


def test_the_line_names_the_keys_and_what_each_would_save():
    study = tiny_study.planned().study
    variants = _save_speeds(study, 1000.0, 200.0, 1.0, 0.1)
    assert list(variants) == [RECIPE_KEY, TEACHER_KEY, BOTH]
    line = half_precision.describe_gain(study, variants, "cpu")
    assert line.startswith("bfloat16: this study in ") and line.endswith(
        "; the numbers differ, so it is another study"
    )
    assert f"here, with {BOTH}; " in line
    assert f" with {RECIPE_KEY}; " in line and f" with {TEACHER_KEY}; " in line
    # A teacher that is not faster in bfloat16, and a student that is slower.
    variants = _save_speeds(study, 100.0, 200.0, 10.0, 10.0)
    assert "no gain here" in half_precision.describe_gain(study, variants, "cpu")


def test_what_a_teacher_answers_costs_by_the_precision_of_its_student():
    """64 images and two epochs of a live teacher: 128 forwards, at 10 s or at 2 s."""
    study = tiny_study.planned().study
    variants = _save_speeds(study, 1.0, 1.0, 10.0, 2.0)
    seconds = []
    for plan in (tiny_study.planned(), variants[TEACHER_KEY]):
        model = CostModel(plan, estimate.find_speeds(plan, "cpu"), start=0.0)
        seconds.append(model.estimate_seconds(plan.cells[-1].run))
    assert seconds[0] - seconds[1] == pytest.approx(128 * 8.0)
    table = tiny_study.planned(teacher_outputs="table", teacher_precision="bfloat16")
    model = CostModel(table, estimate.find_speeds(table, "cpu"), start=0.0)
    (cache,) = table.logit_caches.values()
    assert model.estimate_seconds(cache) == pytest.approx(64 * 9 * 2.0)


def test_methods_to_which_rounding_matters_keep_their_teacher():
    methods = {"kd": {}, "cold": {"temperature": 1.0}}
    study = tiny_study.planned(methods=methods, main={"methods": list(methods)}).study
    plan = half_precision.build_variants(study)[TEACHER_KEY]
    precisions = {cell.method: cell.run.spec.teacher.teacher_precision for cell in plan.cells}
    assert precisions == {"kd": "bfloat16", "cold": "float32"}
    alone = tiny_study.planned(methods={"kd": {"temperature": 1.0}}).study
    assert list(half_precision.build_variants(alone)) == [RECIPE_KEY]


def test_a_study_in_bfloat16_and_a_processor_without_it(monkeypatch):
    done = tiny_study.planned(teacher_precision="bfloat16", recipe={"autocast": "bfloat16"}).study
    variants = half_precision.build_variants(done)
    assert variants == {} and half_precision.describe_gain(done, variants, "cpu") == ""
    monkeypatch.setattr(host, "has_bfloat16", lambda: False)
    line = half_precision.describe_gain(done, {}, "cpu")
    assert "no bfloat16 arithmetic" in line and "slower" in line


def test_both_ways_are_measured_in_one_go(monkeypatch, capsys):
    plan = tiny_study.planned()
    variants = half_precision.build_variants(plan.study)
    asked = []
    monkeypatch.setattr(
        machine_benchmark, "measure_speeds", lambda plan, runs, device, half: asked.extend(runs)
    )
    machine_benchmark.measure_missing(plan, plan.runs, "cpu", variants.values())
    ways = [(run.network, run.spec.recipe.autocast) for run in asked]
    assert sorted(ways, key=str) == [
        ("wrn10-0.5", "bfloat16"), ("wrn10-0.5", None), ("wrn10-1", "bfloat16"), ("wrn10-1", None),
    ]  # fmt: skip
    asked.clear()
    _save_speeds(plan.study, 1.0, 1.0, 1.0, 0.0)  # by a version that did not ask for bfloat16
    machine_benchmark.measure_missing(plan, plan.runs, "cpu")
    assert asked == []
    machine_benchmark.measure_missing(plan, plan.runs, "cpu", variants.values())
    assert len(asked) == 4


def test_the_flags_of_a_processor(monkeypatch):
    monkeypatch.undo()
    for text, expected in (
        ("flags : fpu avx512_bf16 x", True),
        ("flags : fpu amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("flags : fpu avx2 avx512f", False),
    ):
        monkeypatch.setattr(host.Path, "read_text", lambda *_, text=text: text)
        assert host.has_bfloat16.__wrapped__() is expected
