"""Experiments that list lengths of training: every run's epochs, drops and stops, by hand."""

import pytest
from helpers import tiny_study
from helpers.small_plans import block, make, on_labels, sound, study

METHODS = {
    "kd": {},
    "share": {"stop_epoch": 0.3},
    "count": {"stop_epoch": 6},  # of the recipe's 10 epochs
    "warm": {"dkd_weight": 1.0, "dkd_warmup": 2},
}


def make_of_ten(*blocks, **keys):
    """The plan of blocks whose recipe has 10 epochs, with drops after 3, 6 and 9."""
    keys = {"methods": METHODS} | keys
    recipe = {"epochs": 10, "drop_epochs": [3, 6, 9]}
    content = tiny_study.study(recipe=recipe, **keys)
    return make(content | {"experiments": list(blocks)})


def describe(run):
    return run.epochs, tuple(run.spec.recipe.drop_epochs)


def list_kd_epochs(plan):
    return {
        (cell.method, cell.run.epochs): cell.run.spec.method["kd_epochs"] for cell in plan.cells
    }


def test_each_length_has_its_students_and_its_scratch_run():
    """Lengths 10, 20, 5 and 2: drops are at 0.3, 0.6 and 0.9 of each, rounded."""
    plan = sound(make_of_ten(block(epochs=[10, "2x", "0.5x", 2])))
    drops = {10: [3, 6, 9], 20: [6, 12, 18], 5: [2, 3, 4], 2: [1]}  # 1.5 and 4.5 to even
    assert [describe(cell.run) for cell in plan.cells] == [
        (length, tuple(drops[length])) for length in (10, 20, 5, 2)
    ]
    for cell in plan.cells:
        scratch = plan.get_scratch_run(cell)
        assert scratch.spec.teacher is None
        assert describe(scratch) == describe(cell.run)
        assert (scratch.network, scratch.seed) == (cell.student, cell.seed)
    # One teacher at its own length, four scratch runs, four students.
    assert [describe(run) for run in on_labels(plan) if run.network == "wrn16-1"] == [
        (10, (3, 6, 9))
    ]
    assert len(plan.runs) == 1 + 4 + 4


def test_the_length_of_the_recipe_is_the_very_run_and_no_key_is_as_before():
    bare = make_of_ten(block())
    listed = make_of_ten(block(epochs=["1x"]))
    assert list(bare.runs) == list(listed.runs)
    assert bare.scratch and not bare.scratch_variants
    by_hand = make(
        tiny_study.study(
            recipe={"epochs": 20, "drop_epochs": [6, 12, 18]},
            network_recipes={"wrn16-1": {"epochs": 10, "drop_epochs": [3, 6, 9]}},
            main={"teachers": ["wrn16-1"]},
        )
    )
    assert set(make_of_ten(block(epochs=["2x"])).runs) == set(by_hand.runs)


def test_the_stop_of_a_method_follows_the_length():
    methods = ["kd", "share", "count"]
    plan = sound(make_of_ten(block(methods=methods, epochs=[5, 10, 20])))
    assert list_kd_epochs(plan) == {
        ("kd", 5): 5, ("kd", 10): 10, ("kd", 20): 20,
        ("share", 5): 2, ("share", 10): 3, ("share", 20): 6,  # 0.3 x 5 is 1.5
        ("count", 5): 3, ("count", 10): 6, ("count", 20): 12,
    }  # fmt: skip


def test_a_warm_up_of_a_term_follows_the_length():
    plan = sound(make_of_ten(block(methods=["warm"], epochs=[5, 10, 20])))
    warmups = [cell.run.spec.method["dkd_warmup"] for cell in plan.cells]
    assert warmups == [1, 2, 4]


def test_stops_of_a_teacher_follow_its_own_length():
    stops = ["full", "checkpoint 4", "schedule 5", "schedule 4x", "schedule 3/2x"]
    plan = sound(make_of_ten(block(stops=stops, epochs=[10, 40])))
    teachers = {
        ("full", 10, 10, (3, 6, 9)),
        ("checkpoint", 4, 10, (3, 6, 9)),
        ("schedule", 5, 5, (2, 3, 4)),
        ("longer", 40, 40, (12, 24, 36)),
        ("longer", 20, 20, (3, 6, 9, 12, 15, 18)),
    }
    for length in (10, 40):
        cells = [cell for cell in plan.cells if cell.run.epochs == length]
        found = {
            (cell.teacher.stop.kind, epoch, run.epochs, tuple(run.spec.recipe.drop_epochs))
            for cell in cells
            for run, epoch in cell.teacher.members
        }
        assert found == teachers
    # Four trainings teach, whatever the students' lengths; two lengths of scratch.
    assert len(plan.runs) == 4 + 2 + 2 * 5
    assert plan.cells[3].teacher.stop.label == "schedule 40 (longer)"


def test_a_longer_teacher_is_the_recipe_of_so_many_epochs():
    """A recipe of 40 epochs stopped by `schedule 10` is that of 10, and the other way round."""
    longer = make_of_ten(block(stops=["schedule 4x", "full"]))
    recipes = {"wrn16-1": {"epochs": 40, "drop_epochs": [12, 24, 36]}}
    shorter = make_of_ten(block(stops=["full", "schedule 10"]), network_recipes=recipes)
    assert set(longer.runs) == set(shorter.runs)


def test_a_path_is_as_long_as_its_student():
    """Via and generations are trained for 20 epochs, their head for its own 10."""
    recipes = {"wrn10-1": {"epochs": 4, "drop_epochs": [2]}}
    chain = block(via=["wrn10-1"], generations=2, epochs=["2x"])
    plan = sound(make_of_ten(chain, network_recipes=recipes))
    path = [cell.run for cell in plan.cells[:3]]
    # The recipe of wrn10-1 drops at half of its epochs, also of 20.
    assert [describe(run) for run in path] == [(20, (10,)), (20, (6, 12, 18)), (20, (6, 12, 18))]
    assert describe(path[0].parents[0]) == (10, (3, 6, 9))
    # Direct: from the head, and from wrn10-1 on labels, its scratch run of 20 epochs.
    head, mid = (cell.run.parents[0] for cell in plan.cells[3:])
    assert (head.network, describe(head)) == ("wrn16-1", (10, (3, 6, 9)))
    assert (mid.network, describe(mid)) == ("wrn10-1", (20, (10,)))
    assert {describe(plan.get_scratch_run(cell)) for cell in plan.cells} == {
        (20, (10,)),
        (20, (6, 12, 18)),
    }


def test_self_is_as_long_as_the_student_and_its_stops_follow():
    plan = sound(
        make_of_ten(block(teachers=["self"], stops=["full", "checkpoint 4"], epochs=[10, 20]))
    )
    members = [cell.teacher.members[0] for cell in plan.cells]
    assert [(run.epochs, epoch) for run, epoch in members] == [(10, 10), (10, 4), (20, 20), (20, 8)]
    assert all(
        run is plan.get_scratch_run(cell)
        for (run, _), cell in zip(members, plan.cells, strict=True)
    )


def test_ensembles_stay_at_the_epochs_of_the_recipe():
    ensembles = {"two": {"networks": ["wrn10-1"], "copies": 2}, "line": {"block": "again"}}
    blocks = [
        block(teachers=["two"], epochs=[5, 20]),
        block("again", teachers=["self"], generations=2, epochs=[20]),
    ]
    plan = sound(make_of_ten(*blocks, ensembles=ensembles))
    epochs = {
        row.label: [run.epochs for run, _ in row.ensemble.members] for row in plan.ensemble_rows
    }
    # The generations of a block are as long as the block says.
    assert epochs == {"two": [10, 10], "line": [20, 20]}
    assert {epoch for cell in plan.cells[:2] for _, epoch in cell.teacher.members} == {10}


def test_a_block_that_teaches_has_its_own_length():
    blocks = [
        block("long", teachers=["self"], students=["wrn10-1"], epochs=["2x"]),
        block(teachers=["long"], stops=["full", "checkpoint 15"], epochs=[5]),
    ]
    plan = sound(make_of_ten(*blocks))
    cells = [cell for cell in plan.cells if cell.block == "main"]
    assert [(run.epochs, epoch) for cell in cells for run, epoch in cell.teacher.members] == [
        (20, 20),
        (20, 15),
    ]
    assert {cell.run.epochs for cell in cells} == {5}


def test_scratch_long_pays_for_the_student_that_it_stands_beside():
    """Twice the epochs and the teacher's answers cost twice: so does scratch of equal cost."""
    plan = sound(make_of_ten(block(epochs=[10, 20], scratch_long=True)))
    bare = sound(make_of_ten(block(scratch_long=True)))
    by_length = {}
    for _, run, cell in plan.scratch_long:
        by_length.setdefault(cell.run.epochs, []).append(run)
    assert by_length[10] == [plan.runs[run.name] for _, run, _ in bare.scratch_long]
    for short, long in zip(by_length[10][:1], by_length[20][:1], strict=True):
        assert abs(long.epochs - 2 * short.epochs) <= 1  # each is rounded
    # Where the recipes are equal it is one run, as of 10 epochs stretched to just as many.
    multiple = by_length[10][0].epochs
    joint = make_of_ten(block(epochs=[10, multiple], scratch_long=True))
    scratch = joint.scratch_variants["wrn10-0.5", 0, 0, multiple, None]
    same = scratch.spec.recipe.drop_epochs == by_length[10][0].spec.recipe.drop_epochs
    assert (scratch.name == by_length[10][0].name) == same


def test_one_table_serves_all_lengths():
    """The epochs of the recipe decide, so students of 2 epochs do as those of 10 do."""
    plan = sound(make_of_ten(block(epochs=[2, 10, 40]), teacher_outputs="auto"))
    assert len(plan.logit_caches) == 1
    (table,) = plan.logit_caches.values()
    assert [cell.run.logit_caches for cell in plan.cells] == [(table,)] * 3
    # 3 epochs do not pay for 9 views, and 40 as a length change nothing about it.
    live = make(study(block(epochs=[40]), epochs=3, teacher_outputs="auto"))
    assert not live.logit_caches


@pytest.mark.parametrize("splits", [[0], [0, 3]])
def test_each_split_has_all_lengths(splits):
    plan = sound(make_of_ten(block(epochs=[5, 10]), splits=splits))
    assert len(plan.runs) == len(splits) * (1 + 2 + 2)
    for cell in plan.cells:
        assert plan.get_scratch_run(cell).split == cell.run.split
