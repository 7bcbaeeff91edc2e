"""Length and size are part of a cell: labels, pairs and columns of a study that lists them."""

import pandas as pd
import pytest
from helpers import tiny_study
from helpers.small_plans import block

from kdpipe.analysis import dataframe, recommendation
from kdpipe.analysis.claim import Evidence, UntestableClaim
from kdpipe.analysis.preregistration.register import SimulatedStore, simulate_findings
from kdpipe.analysis.teacher_contrasts import compute_early_stopped_errors
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.report.table import load_tables

AXIS_COLUMNS = {*dataframe.LENGTH_COLUMNS, *dataframe.SIZE_COLUMNS}
BLOCKS = [
    block(epochs=[2, "2x"], train_size=[32, 64], stops=["full", "checkpoint 1", "schedule 4x"],
          methods=["kd", "eskd"], scratch_long=True),
    block("all", train_size=[32, 64], teacher_images="all"),
    block("again", teachers=["self"], generations=2, epochs=[4]),
    block("twice", teachers=["self"], epochs=[2, 4]),
    block("chain", via=["wrn10-1"], epochs=[2, 4]),
    block("team", teachers=["two"], train_size=[32]),
]  # fmt: skip


def make_study(blocks=BLOCKS, **keys):
    content = tiny_study.study(
        seeds=[0, 1, 2],
        methods={"kd": {}, "eskd": {"stop_epoch": 1}},
        ensembles={"two": {"networks": ["wrn10-0.5"], "copies": 2}, "line": {"block": "again"}},
        **keys,
    )
    return load.validate_study(content | {"experiments": list(blocks)}, "f")


@pytest.fixture(scope="module")
def plan():
    return planner.build_plan(make_study())


@pytest.fixture(scope="module")
def frame(plan):
    return dataframe.build_results_frame(plan, SimulatedStore(plan=plan))


def test_a_study_without_lists_has_no_column_more():
    plan = planner.build_plan(make_study([block(), block("again", teachers=["self"])]))
    bare = dataframe.build_results_frame(plan, SimulatedStore(plan=plan))
    assert not AXIS_COLUMNS & set(bare)
    tidy = dataframe.normalize_frame(bare)
    assert tidy.student.tolist() == tidy.student_network.tolist()
    assert tidy.teacher.tolist() == tidy.teacher_label.tolist()


def test_columns_say_length_size_and_steps(frame):
    assert set(frame) >= AXIS_COLUMNS
    rows = frame.loc[(frame.kind == "student") & (frame.block == "main")]
    # Steps of 16 images: 2 or 4 an epoch.
    found = set(zip(rows.length, rows.train_size, rows.steps, strict=True))
    assert found == {(2, 32, 4), (2, 64, 8), (4, 32, 8), (4, 64, 16)}
    longer = frame.loc[frame.kind == "scratch_long"]
    assert set(longer.length) == {2, 4} and (longer.epochs > longer.length).all()
    scratch = frame.loc[frame.kind == "scratch"]
    assert set(zip(scratch.epochs, scratch.drop_epochs, strict=True)) == {(2, "1"), (4, "2")}


def test_every_cell_stands_beside_its_own_scratch_run(plan, frame):
    """By the labels that tables and claims pair by, as the plan has it."""
    tidy = dataframe.normalize_frame(frame)
    scratch = tidy.loc[tidy.kind == "scratch"].set_index(["student", "seed"]).run
    assert scratch.index.is_unique
    expected = {(cell.run.name, cell.seed): plan.get_scratch_run(cell).name for cell in plan.cells}
    students = tidy.loc[tidy.kind == "student"]
    assert {
        (run, seed): scratch[student, seed]
        for run, seed, student in zip(students.run, students.seed, students.student, strict=True)
    } == expected


def test_labels_tell_lengths_and_sizes_apart_and_are_made_once(frame):
    tidy = dataframe.normalize_frame(frame)
    students = tidy.loc[tidy.kind == "student"]
    main = students.loc[students.block == "main"]
    assert list(dict.fromkeys(main.student)) == [
        "wrn10-0.5 (2 epochs, 32 images)",
        "wrn10-0.5 (2 epochs, 64 images)",
        "wrn10-0.5 (4 epochs, 32 images)",
        "wrn10-0.5 (4 epochs, 64 images)",
    ]
    assert set(main.teacher) == {"wrn16-1 (32 images)", "wrn16-1 (64 images)"}
    assert set(students.loc[students.block == "all"].teacher) == {"wrn16-1 (64 images)"}
    assert set(main.student_network) == {"wrn10-0.5"}
    assert set(main.teacher_label) == {"wrn16-1"}
    # A teacher that is as long as its student says so where its recipe does not.
    twice = students.loc[students.block == "twice"]
    assert set(twice.teacher) == {"wrn10-0.5 (64 images)", "wrn10-0.5 (4 epochs, 64 images)"}
    pd.testing.assert_frame_equal(dataframe.normalize_frame(tidy), tidy)


def test_no_cell_has_two_runs_of_one_seed(frame):
    tidy = dataframe.normalize_frame(frame)
    students = tidy.loc[tidy.kind == "student"]
    cells = students.groupby(["student", "teacher", "stop", "via", "generation", "method", "seed"])
    assert (cells.run.nunique() == 1).all()
    teachers = tidy.loc[tidy.kind == "teacher"].groupby(["teacher", "stop", "seed"])
    assert (teachers.run.nunique() == 1).all()


def test_a_longer_teacher_is_neither_full_nor_stopped_early(frame):
    tidy = dataframe.normalize_frame(frame)
    rows = tidy.loc[(tidy.block == "main") & (tidy.kind == "student")]
    kinds = rows.groupby("stop_kind").stop.unique()
    assert {kind: list(stops) for kind, stops in kinds.items()} == {
        "full": ["full"], "checkpoint": ["checkpoint 1"], "longer": ["schedule 8 (longer)"],
    }  # fmt: skip
    errors = compute_early_stopped_errors(Evidence(tidy, pd.DataFrame(), 0.5))
    assert errors.kind == "checkpoint" and "longer" not in set(errors.rows.stop_kind)


def test_every_claim_and_every_table_can_be_made(plan, frame):
    for finding in simulate_findings(plan.study).values():
        if not isinstance(finding, UntestableClaim):
            assert all(contrast.values.index.is_unique for contrast in finding.contrasts)
    for table in load_tables().values():
        table.function(frame)
    recommendations = recommendation.recommend_options(dataframe.normalize_frame(frame))
    assert "wrn10-0.5" in [item.student for item in recommendations]  # one contest of all of it
