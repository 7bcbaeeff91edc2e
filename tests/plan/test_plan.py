"""The plan, against counts and prices worked out by hand."""

import itertools
import subprocess
import sys
from collections import Counter

import pytest
import tiny

from kdpipe.networks import naming
from kdpipe.plan import planner, prices
from kdpipe.plan.status import STATES
from kdpipe.study import checking, stops


def make(content):
    return planner.make(checking.validate(content, "f"))


def block(name="main", **keys):
    """One experiment, tiny unless said otherwise."""
    made = {"name": name, "teachers": ["wrn16-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
    return made | keys


def study(*blocks, epochs=4, seeds=(0,), **keys):
    """A study of these blocks."""
    recipe = {"epochs": epochs, "drop_epochs": [2]}
    return tiny.study(experiments=list(blocks), recipe=recipe, seeds=list(seeds), **keys)


def on_labels(made):
    return [run for run in made.runs.values() if run.spec["teacher"] is None]


def sound(made):
    """What holds for every plan: parents exist, come first and are finished at the epoch used."""
    seen = {}
    for name, run in made.runs.items():
        assert name == run.name and run.digest not in seen
        members = run.spec["teacher"]["members"] if run.spec["teacher"] else []
        assert {member["run"] for member in members} == {parent.digest for parent in run.parents}
        for member in members:
            parent = seen[member["run"]]  # it came before
            assert parent.network == member["network"] and 0 <= member["epoch"] <= parent.epochs
            kept = made.keep.get(parent.name, set())
            assert member["epoch"] in kept | {parent.epochs}
        seen[run.digest] = run
    for ensemble in made.ensembles.values():
        assert all(seen[run.digest] is run for run, _ in ensemble.members)
        for run, epoch in ensemble.members:
            assert epoch in made.keep.get(run.name, set()) | {run.epochs}
    assert set(made.roles) == set(made.runs)
    assert set(made.keep) <= set(made.runs)
    return made


METHODS = {"kd": {}, "eskd": {"stop_epoch": 2}, "hot": {"temperature": 9}}


def test_a_block_is_a_product():
    """2 teachers x 3 stops x 2 students x 3 methods x 2 seeds.

    A checkpoint is no run of its own; a schedule is: 2 x 2 x 2 runs teach. 2 x 2 are scratch.
    """
    made = sound(
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
    assert len(made.cells) == 2 * 3 * 2 * 3 * 2 == 72
    assert len(made.runs) == 72 + 8 + 4
    assert len(on_labels(made)) == 12
    roles = Counter(role for roles in made.roles.values() for role in roles)
    assert roles == {"student": 72, "teacher": 8, "scratch": 4}
    assert len({(c.teacher.label, c.teacher.stop.label, c.student, c.method, c.seed)
                for c in made.cells}) == 72  # fmt: skip
    schedules = [run for run in on_labels(made) if run.epochs == 3]
    assert [run.spec["recipe"]["drop_epochs"] for run in schedules] == [[1, 2]] * 4
    assert {epoch for kept in made.keep.values() for epoch in kept} == {1}
    assert len(made.keep) == 4


def test_a_seed_learns_from_its_own_teacher_or_from_one():
    made = make(study(block(), block("one", teacher_seed=5), seeds=[0, 1]))
    pairs = [(cell.block, cell.seed, cell.teacher.members[0][0].seed) for cell in made.cells]
    assert pairs == [("main", 0, 0), ("main", 1, 1), ("one", 0, 5), ("one", 1, 5)]
    # Three teachers, four students, and two scratch runs - none for the teacher's own seed.
    assert len(sound(made).runs) == 3 + 4 + 2
    assert set(made.scratch) == {("wrn10-0.5", 0), ("wrn10-0.5", 1)}


def test_every_student_has_its_scratch_run_for_every_seed():
    blocks = [block(students=["wrn10-1", "wrn10-0.5"], seeds=[3, 4]), block("b", via=["wrn16-2"])]
    made = make(study(*blocks, seeds=[0, 1]))
    expected = set(itertools.product(["wrn10-1", "wrn10-0.5"], [3, 4]))
    expected |= set(itertools.product(["wrn16-2", "wrn10-0.5"], [0, 1]))
    assert set(made.scratch) == expected
    for cell in made.cells:
        run = made.scratch[cell.student, cell.seed]
        assert (run.network, run.seed, run.spec["teacher"]) == (cell.student, cell.seed, None)


def test_the_plan_is_a_union():
    """A block that repeats another adds its cells and no run; one that overlaps adds the rest."""
    first = block(students=["wrn10-0.5", "wrn10-1"])
    alone = sound(make(study(first)))
    assert len(alone.runs) == 1 + 2 + 2
    twice = sound(make(study(first, first | {"name": "again"})))
    assert list(twice.runs) == list(alone.runs)
    assert len(twice.cells) == 2 * len(alone.cells)
    more = sound(make(study(first, block("more", students=["wrn10-1", "wrn10-2"]))))
    assert len(more.runs) == len(alone.runs) + 2  # wrn10-2 from scratch, and taught
    assert set(alone.runs) <= set(more.runs)
    other_way = make(study(block("more", students=["wrn10-1", "wrn10-2"]), first))
    assert set(other_way.runs) == set(more.runs)


def test_two_studies_share_their_runs():
    one = make(study(block(methods=["kd", "hot"]), methods=METHODS, study="one"))
    two = make(study(block("x", methods=["kd", "eskd"]), methods=METHODS, study="two"))
    shared = set(one.runs) & set(two.runs)
    assert len(shared) == 3 and len(set(one.runs) | set(two.runs)) == 5
    assert all(one.runs[name].spec == two.runs[name].spec for name in shared)


def test_a_chain_of_five():
    """wrn16-4 -> wrn16-3 -> wrn16-2 -> wrn16-1 -> wrn10-1, for two seeds.

    Each seed: the head; four steps; scratch runs of the four; and, to compare with, the student
    straight from the head and straight from each of the three between (which are their scratch
    runs).
    """
    via = ["wrn16-3", "wrn16-2", "wrn16-1"]
    chain = block(teachers=["wrn16-4"], via=via, students=["wrn10-1"])
    made = sound(make(study(chain, seeds=[0, 1])))
    assert len(made.runs) == 2 * (1 + 4 + 4 + 4)
    path = [cell for cell in made.cells if cell.seed == 0][:4]
    assert [cell.student for cell in path] == [*via, "wrn10-1"]
    assert [cell.step for cell in path] == [1, 2, 3, 4]
    assert [cell.last for cell in path] == [False, False, False, True]
    assert [len(cell.via) for cell in path] == [0, 1, 2, 3]
    teachers = [cell.run.parents[0] for cell in path]
    assert teachers[1:] == [cell.run for cell in path[:-1]]
    assert (teachers[0].network, teachers[0].spec["teacher"]) == ("wrn16-4", None)
    direct = [cell for cell in made.cells if cell.seed == 0][4:]
    assert [cell.teacher.label for cell in direct] == ["wrn16-4", *via]
    assert all(cell.student == "wrn10-1" and cell.last for cell in direct)
    assert all(cell.run.parents[0].spec["teacher"] is None for cell in direct)


def test_a_chain_with_a_method_for_each_step():
    staged = block(via=["wrn10-1"], methods=["kd", ["hot", "kd"]])
    made = sound(make(study(staged, methods=METHODS)))
    # Teacher, two scratch; each method a step to wrn10-1 and one to the student; two direct.
    assert len(made.runs) == 1 + 2 + 2 * 2 + 2
    assert [cell.method for cell in made.cells] == ["kd", "kd", "hot", "hot > kd", "kd", "kd"]
    temperatures = [cell.run.spec["method"]["temperature"] for cell in made.cells]
    assert temperatures == [4, 4, 9, 4, 4, 4]


def test_twenty_checkpoints_and_ten_generations():
    """One teacher kept at 20 epochs, and for each of them 10 generations of the student."""
    stops_of = ["checkpoint 0", "every 5", "full"]  # 0, 5, ..., 90, 95 -> 1 + 19, and the end
    made = sound(make(study(block(stops=stops_of[:2], generations=10), epochs=100)))
    assert len(made.runs) == 1 + 1 + 20 * 10
    assert len(made.cells) == 200
    (kept,) = made.keep.values()
    assert kept == set(range(0, 100, 5))
    for start in range(0, 200, 10):
        path = made.cells[start : start + 10]
        assert [cell.generation for cell in path] == list(range(1, 11))
        assert [cell.run.parents[0] for cell in path[1:]] == [cell.run for cell in path[:-1]]
        assert [cell.run.spec["stage"] for cell in path] == list(range(10))
    assert len(make(study(block(stops=stops_of, generations=10), epochs=100)).runs) == 212


def test_generations_of_a_network_from_itself():
    made = sound(make(study(block(teachers=["self"], generations=3), seeds=[0, 1])))
    assert len(made.runs) == 2 * (1 + 3)
    assert made.roles[made.scratch["wrn10-0.5", 0].name] == {"scratch", "teacher"}
    assert [cell.run.spec["stage"] for cell in made.cells[:3]] == [1, 2, 3]


def test_a_checkpoint_at_the_last_epoch_is_the_full_teacher():
    full, last = make(study(block())), make(study(block(stops=["checkpoint 4"])))
    assert list(full.runs) == list(last.runs) and not last.keep
    both = make(study(block(stops=["checkpoint 4", "full"])))
    assert len(both.cells) == 1


def test_kept_checkpoints_belong_to_the_full_training():
    """A schedule of three epochs has no fourth; asking for one of the full run is no mistake."""
    asked = {"wrn16-1": ["checkpoint 3", "every 2"], "wrn10-0.5": ["checkpoint 4"]}
    made = sound(make(study(block(stops=["full", "schedule 1/2"]), keep_checkpoints=asked)))
    (name,) = made.keep
    assert made.keep[name] == {2, 3}
    assert (made.runs[name].network, made.runs[name].epochs) == ("wrn16-1", 4)


def test_any_network_can_teach():
    """A block as a teacher: its last network, at its end and at a checkpoint."""
    blocks = [
        block("better", teachers=["self"], students=["wrn10-1"], generations=2),
        block("taught", teachers=["better", "wrn10-1"], stops=["full", "checkpoint 1"]),
    ]
    made = sound(make(study(*blocks)))
    # wrn10-1 and two generations; the student from scratch and from two teachers at two epochs.
    assert len(made.runs) == 3 + 1 + 4
    cells = [cell for cell in made.cells if cell.block == "taught"]
    last = next(cell.run for cell in made.cells if cell.generation == 2)
    assert [cell.run.parents[0] is last for cell in cells] == [True, True, False, False]
    assert made.keep[last.name] == {1}
    backwards = make(study(*reversed(blocks)))
    assert set(sound(backwards).runs) == set(made.runs)


# --- ensembles


def test_ensembles_of_a_seed_share_no_member_with_another_seeds():
    ensembles = {
        "scratch": {"networks": ["wrn10-0.5"], "copies": 4},
        "line": {"block": "again"},
        "team": {"networks": ["wrn10-1", "wrn16-1"], "copies": 2},
        "shots": {"networks": ["wrn16-1"], "stops": ["every 1", "full"]},
    }
    blocks = [block(), block("again", teachers=["self"], generations=3)]
    made = sound(make(study(*blocks, seeds=[0, 1, 2], ensembles=ensembles)))
    rows = {(row.label, row.ensemble.seed): row.ensemble for row in made.ensemble_rows}
    assert len(rows) == 4 * 3
    for label in ensembles:
        sets = [{run.digest for run, _ in rows[label, seed].members} for seed in (0, 1, 2)]
        for one, other in itertools.combinations(sets, 2):
            assert not one & other
    assert [len(rows[label, 0].members) for label in ensembles] == [4, 3, 4, 4]
    # Member 0 is the scratch run of the seed, the others are trained for this alone.
    scratch = [run for run, _ in rows["scratch", 1].members]
    assert scratch[0] is made.scratch["wrn10-0.5", 1]
    assert [run.spec["member"] for run in scratch] == [0, 1, 2, 3]
    assert {run.seed for run in scratch} == {1}
    assert [epoch for _, epoch in rows["shots", 0].members] == [1, 2, 3, 4]
    assert len({run.digest for run, _ in rows["shots", 0].members}) == 1


def test_an_ensemble_of_a_block_has_the_seeds_of_the_block():
    made = sound(
        make(
            study(
                block("again", teachers=["self"], generations=2, seeds=[5]),
                block(),
                ensembles={"line": {"block": "again"}},
                seeds=[0, 1],
            )
        )
    )
    assert [row.ensemble.seed for row in made.ensemble_rows] == [5]
    assert len(made.runs) == 3 + 2 * 3  # nothing is trained for seeds that nobody asked for


def test_an_ensemble_teaches():
    ensembles = {"three": {"networks": ["wrn10-1"], "copies": 3, "average_at": "temperature"}}
    made = sound(make(study(block(teachers=["three"]), ensembles=ensembles)))
    assert len(made.runs) == 3 + 2
    (cell,) = made.cells
    assert len(cell.run.parents) == 3
    assert cell.run.spec["teacher"]["average_at"] == "temperature"
    assert cell.teacher.multiply_adds == 3 * naming.cost("wrn10-1", (1, 8, 8), 10).multiply_adds


@pytest.mark.parametrize("stops_of", [["full"], ["every 2", "full"], ["checkpoint 4", "full"]])
def test_copies_of_equal_operations(stops_of):
    """As many as the other ensemble's multiply-adds pay for, whatever a copy is made of."""
    ensembles = {
        "team": {"networks": ["wrn16-1", "wrn10-1"]},
        "equal": {"networks": ["wrn10-0.5"], "stops": stops_of, "operations_of": "team"},
        "least": {"networks": ["wrn16-4"], "operations_of": "team"},
    }
    made = sound(make(study(block(), ensembles=ensembles)))
    size = {row.label: len(row.ensemble.members) for row in made.ensemble_rows}
    price = {n: naming.cost(n, (1, 8, 8), 10).multiply_adds for n in NETWORKS}
    points = len(stops.expand(stops_of, 4))
    paid = price["wrn16-1"] + price["wrn10-1"]
    assert size == {
        "team": 2,
        "equal": points * (paid // (points * price["wrn10-0.5"])),
        "least": 1,
    }
    cost = next(row.ensemble.cost for row in made.ensemble_rows if row.label == "equal")
    assert paid - points * price["wrn10-0.5"] < cost.multiply_adds <= paid


NETWORKS = ("wrn10-0.5", "wrn10-1", "wrn16-1", "wrn16-4")


# --- prices


def wrn10_half():
    """Multiply-adds and parameters of wrn10-0.5 on 1x8x8 images in 10 classes, layer by layer."""
    layers = [  # inputs, outputs, kernel, pixels of the output
        (1, 16, 3, 64),
        *[(16, 8, 3, 64), (8, 8, 3, 64), (16, 8, 1, 64)],
        *[(8, 16, 3, 16), (16, 16, 3, 16), (8, 16, 1, 16)],
        *[(16, 32, 3, 4), (32, 32, 3, 4), (16, 32, 1, 4)],
    ]
    macs = sum(i * o * k * k * pixels for i, o, k, pixels in layers) + 32 * 10
    weights = sum(i * o * k * k for i, o, k, _ in layers) + 32 * 10 + 10
    normalised = 2 * (16 + 8 + 8 + 16 + 16 + 32 + 32)  # before each 3x3 but the stem; at the end
    return macs, weights + normalised


def test_prices_by_hand():
    """Train 64 images, hold out 40; the digits have 700 to test and 10 classes."""
    made = make(
        study(block(stops=["full", "checkpoint 1"], methods=["kd", "eskd"]), methods=METHODS)
    )
    macs, parameters = wrn10_half()
    scratch = made.scratch["wrn10-0.5", 0]
    assert scratch.cost == (parameters, macs)
    assert scratch.train_multiply_adds == 3 * macs * 64 * 4
    assert scratch.teacher_multiply_adds == 0
    assert prices.disk(made, scratch) == 4 * (parameters + (40 + 700) * 10)
    teacher = naming.cost("wrn16-1", (1, 8, 8), 10)
    students = [cell.run for cell in made.cells]
    assert [run.train_multiply_adds for run in students] == [scratch.train_multiply_adds] * 4
    per_epoch = teacher.multiply_adds * 64  # ESKD asks the teacher in 2 of 4 epochs
    forwards = [run.teacher_multiply_adds for run in students]
    assert forwards == [4 * per_epoch, 2 * per_epoch] * 2
    big = students[0].parents[0]
    assert prices.disk(made, big) == 4 * 2 * (teacher.parameters + 740 * 10)  # the end, epoch 1

    said = prices.as_json(made, dict.fromkeys([*made.runs], "to do"))
    assert sum(run["epochs"] for run in said["runs"]) == 4 * (1 + 1 + 4)
    total = sum(run["multiply_adds"] for run in said["runs"])
    assert total == 3 * 64 * 4 * (5 * macs + teacher.multiply_adds) + 12 * per_epoch
    assert [run["blocks"] for run in said["runs"]] == [["main"]] * 6
    text = prices.as_text(made, dict.fromkeys([*made.runs], "to do"))
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if "to do" in line}
    assert rows["teacher"][1:3] == ["1", "4"] and rows["student"][1:3] == ["4", "16"]
    assert rows["main"][1:3] == ["6", "24"] and rows["all runs, each once"][4:6] == ["6", "24"]
    assert rows["main"][3] == f"{total:.2e}"


def test_the_states_in_a_plan_are_counted():
    made = make(study(block(), seeds=[0, 1]))
    states = dict(zip(made.runs, [*STATES, "done", "to do"], strict=True))
    lines = prices.as_text(made, states).splitlines()
    (line,) = [line for line in lines if line.startswith("all runs")]
    assert line.endswith("2 done, 1 diverged, 1 skipped, 2 to do")


def test_scratch_long_has_the_operations_of_its_distillation():
    """Three forwards of the student to one of the teacher: epochs x (1 + T / 3S)."""
    made = sound(make(study(block(scratch_long=True, methods=["kd", "eskd"]), methods=METHODS)))
    student = naming.cost("wrn10-0.5", (1, 8, 8), 10).multiply_adds
    teacher = naming.cost("wrn16-1", (1, 8, 8), 10).multiply_adds
    longer = [run for _, run, _ in made.scratch_long]
    factors = [1 + teacher / (3 * student), 1 + 2 / 4 * teacher / (3 * student)]
    assert [run.epochs for run in longer] == [round(4 * factor) for factor in factors]
    drops = [run.spec["recipe"]["drop_epochs"] for run in longer]
    assert drops == [[round(2 * factor)] for factor in factors]
    for run, (_, _, cell) in zip(longer, made.scratch_long, strict=True):
        paid = cell.run.train_multiply_adds + cell.run.teacher_multiply_adds
        assert abs(run.train_multiply_adds - paid) <= run.train_multiply_adds / run.epochs / 2
        assert run.spec["teacher"] is None and run.spec["member"] == 0


# --- size and speed


def test_ten_thousand_runs():
    """2 teachers, each full and at 24 checkpoints, 5 students, 4 methods, 10 seeds."""
    methods = METHODS | {"cold": {"temperature": 1}}
    networks_of = [f"wrn10-{width}" for width in (0.25, 0.5, 1, 2, 3)]
    big = block(
        teachers=["wrn16-1", "wrn16-2"],
        stops=["full", "every 4"],
        students=networks_of,
        methods=list(methods),
    )
    content = study(big, epochs=100, seeds=range(10), methods=methods)
    made = sound(make(content))
    assert len(made.cells) == 2 * 25 * 5 * 4 * 10 == 10_000
    assert len(made.runs) == 10_000 + 2 * 10 + 5 * 10


def test_planning_imports_no_torch(tmp_path):
    path = tiny.write(tmp_path / "study.yaml", study(block()))
    code = (
        "import sys; from kdpipe.cli.main import main; "
        f"assert main(['plan', {str(path)!r}]) == 0 and main(['check', {str(path)!r}]) == 0; "
        "print([name for name in ('torch', 'torchvision', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == [path]
