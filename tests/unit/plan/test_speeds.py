"""What was measured of this machine is found again for the same, and for nothing else."""

import json
from dataclasses import replace

import pytest
from helpers.small_plans import block, make, study

from kdpipe.plan import estimate
from kdpipe.plan.estimate import Speed

SPEED = Speed(step=0.01, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(estimate.CACHE_ENV, str(tmp_path))
    return tmp_path


def first(**keys):
    plan = make(study(block(), **keys))
    return plan, plan.scratch["wrn10-0.5", 0, 0]


def test_a_speed_is_found_for_every_run_of_its_network():
    plan, run = first(seeds=[0, 1])
    assert estimate.find_speeds(plan, "cpu") == {}
    estimate.save_speeds({estimate.make_speed_key(plan, run, "cpu"): SPEED})
    alike = {name for name, each in plan.runs.items() if each.network == run.network}
    assert estimate.find_speeds(plan, "cpu") == dict.fromkeys(alike, SPEED)
    assert estimate.find_speeds(plan, "cuda") == {}
    estimate.save_speeds({"other": SPEED})  # what was there stays
    assert len(estimate.load_speeds()) == 2


def test_another_batch_or_shape_or_torch_is_another_speed(monkeypatch):
    result, run = first()
    before = estimate.make_speed_key(result, run, "cpu")
    assert estimate.make_speed_key(*first(epochs=9), "cpu") == before
    recipe = run.spec.recipe.model_copy(update={"batch_size": 99})
    smaller = replace(run, spec=replace(run.spec, recipe=recipe))
    assert estimate.make_speed_key(result, smaller, "cpu") != before
    bigger, other = first()
    object.__setattr__(bigger, "card", bigger.card.resize_to(16))
    assert estimate.make_speed_key(bigger, other, "cpu") != before
    monkeypatch.setattr(estimate, "get_library_version", lambda name: "0.0")
    assert estimate.make_speed_key(*first(), "cpu") != before


NO_SPEEDS = [vars(SPEED) | {"step": value} for value in (None, "1", -1, [], float("nan"))]
TORN = ["", "[]", "{", '{"a": 1}', '{"a": {"step": 1}}', "[" * 100_000]
TORN += [json.dumps({"a": facts}) for facts in NO_SPEEDS]


@pytest.mark.parametrize("text", TORN, ids=lambda text: text[:40])
def test_a_cache_that_is_torn_is_empty_and_written_anew(folder, text):
    (folder / "speeds.json").write_text(text)
    assert estimate.load_speeds() == {}
    estimate.save_speeds({"a": SPEED})
    assert json.loads((folder / "speeds.json").read_text())["a"]["step"] == SPEED.step
