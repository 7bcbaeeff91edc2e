"""Blocks and ensembles as cells and rows, counted by hand."""

import itertools
from collections import Counter

import pytest
from helpers.small_plans import METHODS, block, make, on_labels, sound, study

from kdpipe.config import stops
from kdpipe.models import registry


def test_a_block_is_a_product():
    """2 teachers x 3 stops x 2 students x 3 methods x 2 seeds.

    A checkpoint is no run of its own; a schedule is: 2 x 2 x 2 runs teach. 2 x 2 are scratch.
    """
    samples = sound(
        make(
            study(
                block(
                    teachers=["wrn16-1", "wrn16-2"],
                    stops=["full", "checkpoint 1", "schedule 1/3"],
                    students=["wrn10-0.5", "wrn10-1"],
                    methods=["kd", "eskd", "hot"],
                ),
                methods=METHODS,
                seeds=[0, 1],
            )
        )
    )
    assert len(samples.cells) == 2 * 3 * 2 * 3 * 2 == 72
    assert len(samples.runs) == 72 + 8 + 4
    assert len(on_labels(samples)) == 12
    roles = Counter(role for roles in samples.roles.values() for role in roles)
    assert roles == {"student": 72, "teacher": 8, "scratch": 4}
    assert len({(c.teacher.label, c.teacher.stop.label, c.student, c.method, c.seed)
                for c in samples.cells}) == 72  # fmt: skip
    schedules = [run for run in on_labels(samples) if run.epochs == 3]
    assert [run.spec.recipe.drop_epochs for run in schedules] == [[1, 2]] * 4
    assert {epoch for remaining in samples.checkpoints_to_keep.values() for epoch in remaining} == {
        1
    }
    assert len(samples.checkpoints_to_keep) == 4


def test_a_seed_learns_from_its_own_teacher_or_from_one():
    plan = make(study(block(), block("one", teacher_seed=5), seeds=[0, 1]))
    pairs = [(cell.block, cell.seed, cell.teacher.members[0][0].seed) for cell in plan.cells]
    assert pairs == [("main", 0, 0), ("main", 1, 1), ("one", 0, 5), ("one", 1, 5)]
    # Three teachers, four students, and two scratch runs - none for the teacher's own seed.
    assert len(sound(plan).runs) == 3 + 4 + 2
    assert set(plan.scratch) == {("wrn10-0.5", 0, 0), ("wrn10-0.5", 1, 0)}


def test_every_student_has_its_scratch_run_for_every_seed():
    blocks = [block(students=["wrn10-1", "wrn10-0.5"], seeds=[3, 4]), block("b", via=["wrn16-2"])]
    plan = make(study(*blocks, seeds=[0, 1]))
    expected = set(itertools.product(["wrn10-1", "wrn10-0.5"], [3, 4]))
    expected |= set(itertools.product(["wrn16-2", "wrn10-0.5"], [0, 1]))
    assert set(plan.scratch) == {(*pair, 0) for pair in expected}
    for cell in plan.cells:
        run = plan.get_scratch_run(cell)
        assert (run.network, run.seed, run.spec.teacher) == (cell.student, cell.seed, None)


def test_each_split_has_runs_of_its_own_and_the_first_those_it_always_had():
    blocks = [
        block(stops=["full", "checkpoint 2"], scratch_long=True),
        block("again", teachers=["self"], generations=2),
        block("team", teachers=["three"]),
    ]
    teams = {"three": {"networks": ["wrn10-0.5"], "copies": 3}, "line": {"block": "again"}}
    one = make(study(*blocks, seeds=[3, 4], ensembles=teams))
    samples = sound(make(study(*blocks, seeds=[3, 4], ensembles=teams, splits=[0, 2])))
    assert len(samples.runs) == 2 * len(one.runs) and len(samples.cells) == 2 * len(one.cells)
    assert {name for name, run in samples.runs.items() if run.split == 0} == set(one.runs)
    assert {name for name, team in samples.ensembles.items() if team.split == 0} == set(
        one.ensembles
    )
    others = [run for run in samples.runs.values() if run.split == 2]
    assert all(f"-s{run.seed}-split2-" in run.name for run in others)
    assert all(parent.split == run.split for run in samples.runs.values() for parent in run.parents)
    for cell in samples.cells:
        alone = samples.get_scratch_run(cell)
        assert (alone.split, alone.seed) == (cell.run.split, cell.seed)
    for team in samples.ensembles.values():
        assert {run.split for run, _ in team.members} == {team.split}


def test_a_chain_of_five():
    """wrn16-4 -> wrn16-3 -> wrn16-2 -> wrn16-1 -> wrn10-1, for two seeds.

    Each seed: the head; four steps; scratch runs of the four; and, to compare with, the student
    straight from the head and straight from each of the three between (which are their scratch
    runs).
    """
    via = ["wrn16-3", "wrn16-2", "wrn16-1"]
    chain = block(teachers=["wrn16-4"], via=via, students=["wrn10-1"])
    samples = sound(make(study(chain, seeds=[0, 1])))
    assert len(samples.runs) == 2 * (1 + 4 + 4 + 4)
    path = [cell for cell in samples.cells if cell.seed == 0][:4]
    assert [cell.student for cell in path] == [*via, "wrn10-1"]
    assert [cell.step for cell in path] == [1, 2, 3, 4]
    assert [cell.last for cell in path] == [False, False, False, True]
    assert [len(cell.via) for cell in path] == [0, 1, 2, 3]
    teachers = [cell.run.parents[0] for cell in path]
    assert teachers[1:] == [cell.run for cell in path[:-1]]
    assert (teachers[0].network, teachers[0].spec.teacher) == ("wrn16-4", None)
    direct = [cell for cell in samples.cells if cell.seed == 0][4:]
    assert [cell.teacher.label for cell in direct] == ["wrn16-4", *via]
    assert all(cell.student == "wrn10-1" and cell.last for cell in direct)
    assert all(cell.run.parents[0].spec.teacher is None for cell in direct)


def test_a_chain_with_a_method_for_each_step():
    staged = block(via=["wrn10-1"], methods=["kd", ["hot", "kd"]])
    samples = sound(make(study(staged, methods=METHODS)))
    # Teacher, two scratch; each method a step to wrn10-1 and one to the student; two direct.
    assert len(samples.runs) == 1 + 2 + 2 * 2 + 2
    assert [cell.method for cell in samples.cells] == ["kd", "kd", "hot", "hot > kd", "kd", "kd"]
    temperatures = [cell.run.spec.method["temperature"] for cell in samples.cells]
    assert temperatures == [4, 4, 9, 4, 4, 4]


def test_twenty_checkpoints_and_ten_generations():
    """One teacher kept at 20 epochs, and for each of them 10 generations of the student."""
    stops_of = ["checkpoint 0", "every 5", "full"]  # 0, 5, ..., 90, 95 -> 1 + 19, and the end
    samples = sound(make(study(block(stops=stops_of[:2], generations=10), epochs=100)))
    assert len(samples.runs) == 1 + 1 + 20 * 10
    assert len(samples.cells) == 200
    (remaining,) = samples.checkpoints_to_keep.values()
    assert remaining == set(range(0, 100, 5))
    for start in range(0, 200, 10):
        path = samples.cells[start : start + 10]
        assert [cell.generation for cell in path] == list(range(1, 11))
        assert [cell.run.parents[0] for cell in path[1:]] == [cell.run for cell in path[:-1]]
        assert [cell.run.spec.stage for cell in path] == list(range(10))
    assert len(make(study(block(stops=stops_of, generations=10), epochs=100)).runs) == 212


def test_generations_of_a_network_from_itself():
    samples = sound(make(study(block(teachers=["self"], generations=3), seeds=[0, 1])))
    assert len(samples.runs) == 2 * (1 + 3)
    assert samples.roles[samples.scratch["wrn10-0.5", 0, 0].name] == {"scratch", "teacher"}
    assert [cell.run.spec.stage for cell in samples.cells[:3]] == [1, 2, 3]


def test_a_checkpoint_at_the_last_epoch_is_the_full_teacher():
    full, last = make(study(block())), make(study(block(stops=["checkpoint 4"])))
    assert list(full.runs) == list(last.runs) and not last.checkpoints_to_keep
    both = make(study(block(stops=["checkpoint 4", "full"])))
    assert len(both.cells) == 1


def test_any_network_can_teach():
    """A block as a teacher: its last network, at its end and at a checkpoint."""
    blocks = [
        block("better", teachers=["self"], students=["wrn10-1"], generations=2),
        block("taught", teachers=["better", "wrn10-1"], stops=["full", "checkpoint 1"]),
    ]
    samples = sound(make(study(*blocks)))
    # wrn10-1 and two generations; the student from scratch and from two teachers at two epochs.
    assert len(samples.runs) == 3 + 1 + 4
    cells = [cell for cell in samples.cells if cell.block == "taught"]
    last = next(cell.run for cell in samples.cells if cell.generation == 2)
    assert [cell.run.parents[0] is last for cell in cells] == [True, True, False, False]
    assert samples.checkpoints_to_keep[last.name] == {1}
    backwards = make(study(*reversed(blocks)))
    assert set(sound(backwards).runs) == set(samples.runs)


def test_ensembles_of_a_seed_share_no_member_with_another_seeds():
    ensembles = {
        "scratch": {"networks": ["wrn10-0.5"], "copies": 4},
        "line": {"block": "again"},
        "team": {"networks": ["wrn10-1", "wrn16-1"], "copies": 2},
        "shots": {"networks": ["wrn16-1"], "stops": ["every 1", "full"]},
    }
    blocks = [block(), block("again", teachers=["self"], generations=3)]
    samples = sound(make(study(*blocks, seeds=[0, 1, 2], ensembles=ensembles)))
    rows = {(row.label, row.ensemble.seed): row.ensemble for row in samples.ensemble_rows}
    assert len(rows) == 4 * 3
    for label in ensembles:
        sets = [{run.digest for run, _ in rows[label, seed].members} for seed in (0, 1, 2)]
        for one, other in itertools.combinations(sets, 2):
            assert not one & other
    assert [len(rows[label, 0].members) for label in ensembles] == [4, 3, 4, 4]
    # Member 0 is the scratch run of the seed, the others are trained for this alone.
    scratch = [run for run, _ in rows["scratch", 1].members]
    assert scratch[0] is samples.scratch["wrn10-0.5", 1, 0]
    assert [run.spec.member for run in scratch] == [0, 1, 2, 3]
    assert {run.seed for run in scratch} == {1}
    assert [epoch for _, epoch in rows["shots", 0].members] == [1, 2, 3, 4]
    assert len({run.digest for run, _ in rows["shots", 0].members}) == 1


def test_an_ensemble_of_a_block_has_the_seeds_of_the_block():
    samples = sound(
        make(
            study(
                block("again", teachers=["self"], generations=2, seeds=[5]),
                block(),
                ensembles={"line": {"block": "again"}},
                seeds=[0, 1],
            )
        )
    )
    assert [row.ensemble.seed for row in samples.ensemble_rows] == [5]
    assert len(samples.runs) == 3 + 2 * 3  # nothing is trained for seeds that nobody asked for


def test_an_ensemble_teaches():
    ensembles = {"three": {"networks": ["wrn10-1"], "copies": 3, "average_at": "temperature"}}
    samples = sound(make(study(block(teachers=["three"]), ensembles=ensembles)))
    assert len(samples.runs) == 3 + 2
    (cell,) = samples.cells
    assert len(cell.run.parents) == 3
    assert cell.run.spec.teacher.average_at == "temperature"
    assert (
        cell.teacher.multiply_adds
        == 3 * registry.compute_cost("wrn10-1", (1, 8, 8), 10).multiply_adds
    )


@pytest.mark.parametrize("stops_of", [["full"], ["every 2", "full"], ["checkpoint 4", "full"]])
def test_copies_of_equal_operations(stops_of):
    """As many as the other ensemble's multiply-adds pay for, whatever a copy is made of."""
    ensembles = {
        "team": {"networks": ["wrn16-1", "wrn10-1"]},
        "equal": {"networks": ["wrn10-0.5"], "stops": stops_of, "operations_of": "team"},
        "least": {"networks": ["wrn16-4"], "operations_of": "team"},
    }
    samples = sound(make(study(block(), ensembles=ensembles)))
    size = {row.label: len(row.ensemble.members) for row in samples.ensemble_rows}
    price = {n: registry.compute_cost(n, (1, 8, 8), 10).multiply_adds for n in NETWORKS}
    points = len(stops.expand_stops(stops_of, 4))
    paid = price["wrn16-1"] + price["wrn10-1"]
    assert size == {
        "team": 2,
        "equal": points * (paid // (points * price["wrn10-0.5"])),
        "least": 1,
    }
    cost = next(row.ensemble.cost for row in samples.ensemble_rows if row.label == "equal")
    assert paid - points * price["wrn10-0.5"] < cost.multiply_adds <= paid


NETWORKS = ("wrn10-0.5", "wrn10-1", "wrn16-1", "wrn16-4")
