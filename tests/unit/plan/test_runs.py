"""How one run is planned: what it learns from, for how long, and from which streams."""

from helpers.small_plans import METHODS, block, make, sound, study

from kdpipe.models import registry
from kdpipe.plan.resources import MAX_EPOCHS_MULTIPLIER


def test_scratch_long_has_the_operations_of_its_distillation():
    """Three forwards of the student to one of the teacher: epochs x (1 + T / 3S)."""
    samples = sound(make(study(block(scratch_long=True, methods=["kd", "eskd"]), methods=METHODS)))
    student = registry.compute_cost("wrn10-0.5", (1, 8, 8), 10).multiply_adds
    teacher = registry.compute_cost("wrn16-1", (1, 8, 8), 10).multiply_adds
    priced = samples.scratch_long[::2]  # each is followed by the one that costs what its path does
    longer = [run for _, run, _ in priced]
    factors = [1 + teacher / (3 * student), 1 + 2 / 4 * teacher / (3 * student)]
    assert [run.epochs for run in longer] == [round(4 * factor) for factor in factors]
    drops = [run.spec.recipe.drop_epochs for run in longer]
    assert drops == [[round(2 * factor)] for factor in factors]
    for run, (_, _, cell) in zip(longer, priced, strict=True):
        paid = cell.run.train_multiply_adds + cell.run.teacher_multiply_adds
        assert abs(run.train_multiply_adds - paid) <= run.train_multiply_adds / run.epochs / 2
        assert run.spec.teacher is None and run.spec.member == 0


def test_a_rival_costs_what_everything_along_the_path_cost():
    """Teacher, its students on the way and the last one, each with its teacher's answers."""
    small, mid = (
        registry.compute_cost(name, (1, 8, 8), 10).multiply_adds
        for name in ("wrn10-0.5", "wrn10-1")
    )
    chain = block(teachers=["wrn10-1"], via=["wrn10-0.5"], students=["wrn10-0.5"])
    again = block(name="again", teachers=["self"], students=["wrn10-0.5"], generations=3)
    early = block(name="early", teachers=["wrn10-1"], stops=["checkpoint 1"])
    blocks = [{**one, "scratch_long": True} for one in (chain, again, early)]
    samples = sound(make(study(*blocks)))
    step = 3 * small + small  # a student of its own kind, with the answers
    by_hand = {
        "chain": (3 * mid) + (3 * small + mid) + step,
        "direct from mid": 3 * mid + 3 * small + mid,
        "direct from small": 3 * small + step,
        "again": 3 * small + 3 * step,
        "early": 3 * mid / 4 + 3 * small + mid,  # one epoch of four
    }
    paths = [(run, cell) for _, run, cell in samples.scratch_long[1::2]]
    factors = [cost / (3 * small) for cost in by_hand.values()]
    assert [run.epochs for run, _ in paths] == [round(4 * factor) for factor in factors]
    assert [cell.block for _, cell in paths] == ["main", "main", "main", "again", "early"]
    assert len({run.name for run, _ in paths}) == len({run.epochs for run, _ in paths})


def test_a_rival_that_would_be_absurdly_long_is_held():
    samples = sound(make(study(block(teachers=["wrn16-4"], scratch_long=True))))
    taught, path = (run for _, run, _ in samples.scratch_long)
    assert path.epochs == 4 * MAX_EPOCHS_MULTIPLIER and path.spec.recipe.drop_epochs == [
        2 * MAX_EPOCHS_MULTIPLIER
    ]
    assert (
        taught.epochs > 4 * MAX_EPOCHS_MULTIPLIER
    )  # what it was before stays, and so does its name


def test_tables_are_shared_by_all_who_ask_the_same():
    """Two stops of one teacher, each in the precision that two temperatures ask for."""
    methods = METHODS | {"cold": {"temperature": 1}}
    blocks = block(
        students=["wrn10-0.5", "wrn10-1"], stops=["full", "checkpoint 1"], methods=list(methods)
    )
    samples = sound(make(study(blocks, methods=methods, teacher_outputs="table")))
    teacher = samples.cells[0].teacher.members[0][0]
    actual = {(table.parent, table.spec.epoch, table.spec.precision): table
             for table in samples.logit_caches.values()}  # fmt: skip
    assert set(actual) == {(teacher, e, p) for e in (1, 4) for p in ("float16", "float32")}
    entries = 64 * 9  # images, and views of pad 1 without flip
    for (_, _, precision), table in actual.items():
        assert table.bytes == entries * 10 * {"float16": 2, "float32": 4}[precision]
        assert table.multiply_adds == entries * teacher.cost.multiply_adds
    for run in (cell.run for cell in samples.cells):
        (table,) = run.logit_caches
        (member,) = run.spec.teacher.members
        assert (table.spec.run, table.spec.epoch) == (member.run, member.epoch)
        assert table.spec.precision == run.spec.teacher.outputs


def test_no_student_draws_from_a_stream_of_its_teacher():
    """Stage 0 is the scratch run's; a network that taught itself is one stage further each time."""
    plan = make(study(block(), block("again", teachers=["self"], generations=2)))
    assert [cell.run.spec.stage for cell in plan.cells] == [0, 1, 2]
    chained = make(study(block(via=["wrn10-1"])))
    stages = {(cell.student, len(cell.via)): cell.run.spec.stage for cell in chained.cells}
    assert stages == {("wrn10-1", 0): 0, ("wrn10-0.5", 1): 1, ("wrn10-0.5", 0): 0}


def test_the_smoothing_of_a_method_stands_in_the_recipe():
    methods = {"kd": {}, "smooth": {"label_smoothing": 0.1}}
    plan = make(study(block(methods=list(methods)), methods=methods))
    assert [cell.run.spec.recipe.label_smoothing for cell in plan.cells] == [0.0, 0.1]
