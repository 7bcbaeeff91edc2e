"""Experiments that list sizes of the training set: every run's images, by hand."""

from helpers import tiny_study
from helpers.small_plans import METHODS, block, make, on_labels, sound, study

from kdpipe.config.count_runs import RunCounter
from kdpipe.config.partial_config import PartialConfig
from kdpipe.data.views import Views
from kdpipe.plan import render


def list_sizes(runs):
    return [run.spec.data.train_size for run in runs]


def test_teachers_are_trained_on_the_images_of_their_student():
    """Sizes 16, 32 and 64, which is the study's: a teacher, a scratch run, a student for each."""
    plan = sound(make(study(block(train_size=[16, 32, 64]))))
    assert len(plan.runs) == 3 * 3
    for cell in plan.cells:
        (teacher,) = cell.run.parents
        scratch = plan.get_scratch_run(cell)
        assert list_sizes([teacher, scratch, cell.run]) == [cell.train_size] * 3
        assert {run.spec.data.validation for run in (teacher, scratch, cell.run)} == {40}
    # What has all images is the very run of a study without the key.
    bare = make(study(block()))
    assert set(bare.runs) == {
        run.name for run in plan.runs.values() if run.spec.data.train_size == 64
    }
    # And what has few that of a study which has no more.
    few = make(study(block()) | {"data": tiny_study.STUDY["data"] | {"train_size": 16}})
    assert set(few.runs) == {
        run.name for run in plan.runs.values() if run.spec.data.train_size == 16
    }


def test_teachers_of_all_images_are_one_for_all_sizes():
    plan = sound(make(study(block(train_size=[16, 32], teacher_images="all"))))
    (teacher,) = {cell.run.parents[0] for cell in plan.cells}
    assert list_sizes([teacher]) == [64]
    assert list_sizes(cell.run for cell in plan.cells) == [16, 32]
    assert sorted(list_sizes(on_labels(plan))) == [16, 32, 64]


def test_a_table_is_of_the_students_images():
    keys = {"train_size": [16, 32], "teacher_images": "all", "stops": ["full", "checkpoint 1"]}
    plan = sound(make(study(block(**keys), teacher_outputs="table")))
    assert len(plan.logit_caches) == 2 * 2
    views = Views.from_spec(plan.cells[0].run.spec.data.views).count
    for cell in plan.cells:
        (cache,) = cell.run.logit_caches
        assert cache.spec.n_images == cell.train_size
        assert cache.multiply_adds == cell.train_size * views * cache.parent.cost.multiply_adds
        assert cache.bytes == cell.train_size * views * 10 * 2


def test_self_blocks_and_ensembles_teach_on_the_same_images():
    ensembles = {"two": {"networks": ["wrn10-1"], "copies": 2}}
    blocks = [
        block("better", teachers=["self"], students=["wrn10-1"]),
        block(teachers=["self", "better", "two"], train_size=[16]),
    ]
    plan = sound(make(study(*blocks, ensembles=ensembles)))
    for cell in plan.cells:
        if cell.block == "main":
            assert set(list_sizes(run for run, _ in cell.teacher.members)) == {16}
    # The ensemble itself, and the other experiment, are those of all images.
    (row,) = plan.ensemble_rows
    assert list_sizes(run for run, _ in row.ensemble.members) == [64, 64]
    assert list_sizes(cell.run for cell in plan.cells if cell.block == "better") == [64]


def test_the_price_counts_the_images_of_each_size():
    plan = make(study(block(train_size=[16, 32])))
    half, whole = (plan.get_scratch_run(cell) for cell in plan.cells)
    assert 2 * half.train_multiply_adds == whole.train_multiply_adds
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    by_size = [line.split() for line in text.splitlines() if line.startswith("  ")]
    by_size = [row for row in by_size if "images" in row]
    # A student and its scratch run of 4 epochs each; with the two teachers, 6 runs in all.
    assert [row[:4] for row in by_size] == [["16", "images", "2", "8"], ["32", "images", "2", "8"]]
    assert rows["main"][1:3] == ["6", "24"]


def test_runs_are_counted_before_they_are_planned():
    """Students, teachers and scratch runs of each length and size; the count may be no lower."""
    blocks = [
        block(epochs=[2, "2x"], train_size=[16, 32], methods=["kd", "eskd"]),
        block("all", train_size=[16, 64], teacher_images="all", stops=["full", "schedule 2x"]),
        block("chain", via=["wrn10-1"], epochs=[2, 3]),
    ]
    content = study(*blocks, methods=METHODS | {"eskd": {"stop_epoch": 0.5}}, seeds=[0, 1])
    plan = make(content)
    count = RunCounter(PartialConfig(content, "f")).count_runs()
    assert len(plan.runs) <= count <= 1.3 * len(plan.runs)
