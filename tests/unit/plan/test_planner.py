"""The plan as a whole: a union of its blocks, without torch, and fast enough for 10,000 runs."""

import subprocess
import sys

from helpers import tiny_study
from helpers.small_plans import METHODS, block, make, sound, study


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


def test_kept_checkpoints_belong_to_the_full_training():
    """A schedule of three epochs has no fourth; asking for one of the full run is no mistake."""
    requests = {"wrn16-1": ["checkpoint 3", "every 2"], "wrn10-0.5": ["checkpoint 4"]}
    samples = sound(make(study(block(stops=["full", "schedule 1/2"]), keep_checkpoints=requests)))
    (name,) = samples.checkpoints_to_keep
    assert samples.checkpoints_to_keep[name] == {2, 3}
    assert (samples.runs[name].network, samples.runs[name].epochs) == ("wrn16-1", 4)


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
    samples = sound(make(content))
    assert len(samples.cells) == 2 * 25 * 5 * 4 * 10 == 10_000
    assert len(samples.runs) == 10_000 + 2 * 10 + 5 * 10


def test_planning_imports_no_torch(tmp_path):
    path = tiny_study.write(tmp_path / "study.yaml", study(block()))
    code = (
        "import sys; from kdpipe.cli.main import main; "
        f"assert main(['plan', {str(path)!r}]) == 0 and main(['check', {str(path)!r}]) == 0; "
        "print([name for name in ('torch', 'torchvision', 'pandas') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == [path]
