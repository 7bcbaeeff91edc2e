"""What was measured of this machine is found again for the same, and for nothing else."""

import json

import pytest
from made_plan import block, make, study

from kdpipe.plan.cost import speeds
from kdpipe.plan.cost.speeds import Speed

SPEED = Speed(step=0.01, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(speeds.CACHE, str(tmp_path))
    return tmp_path


def first(**keys):
    made = make(study(block(), **keys))
    return made, made.scratch["wrn10-0.5", 0, 0]


def test_a_speed_is_found_for_every_run_of_its_network():
    made, run = first(seeds=[0, 1])
    assert speeds.of(made, "cpu") == {}
    speeds.keep({speeds.key(made, run, "cpu"): SPEED})
    alike = {name for name, each in made.runs.items() if each.network == run.network}
    assert speeds.of(made, "cpu") == dict.fromkeys(alike, SPEED)
    assert speeds.of(made, "cuda") == {}
    speeds.keep({"other": SPEED})  # what was there stays
    assert len(speeds.known()) == 2


def test_another_batch_or_shape_or_torch_is_another_speed(monkeypatch):
    made, run = first()
    before = speeds.key(made, run, "cpu")
    assert speeds.key(*first(epochs=9), "cpu") == before
    run.spec["recipe"]["batch_size"] += 1
    assert speeds.key(made, run, "cpu") != before
    bigger, other = first()
    object.__setattr__(bigger, "card", bigger.card.resized(16))
    assert speeds.key(bigger, other, "cpu") != before
    monkeypatch.setattr(speeds, "_torch", lambda: "0.0")
    assert speeds.key(*first(), "cpu") != before


NO_SPEEDS = [vars(SPEED) | {"step": value} for value in (None, "1", -1, [], float("nan"))]
TORN = ["", "[]", "{", '{"a": 1}', '{"a": {"step": 1}}', "[" * 100_000]
TORN += [json.dumps({"a": facts}) for facts in NO_SPEEDS]


@pytest.mark.parametrize("text", TORN, ids=lambda text: text[:40])
def test_a_cache_that_is_torn_is_empty_and_written_anew(folder, text):
    (folder / "speeds.json").write_text(text)
    assert speeds.known() == {}
    speeds.keep({"a": SPEED})
    assert json.loads((folder / "speeds.json").read_text())["a"]["step"] == SPEED.step
