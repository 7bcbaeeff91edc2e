"""What a search can find out, beforehand: against searches that are played one by one."""

import json

import numpy as np
import pytest
from helpers.search_study import KEYS, study_of, to_the_end
from helpers.synthetic_study import write

from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.search import elimination_rule, worth
from kdpipe.analysis.search.worth import SearchSpread, simulate_search
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.runs.store import Store


def play(sizes, seeds, spread, delta, whole, rng):
    """One search by the rule's own functions."""
    stop = [i for i, size in enumerate(sizes) for _ in range(size)]
    teachers = rng.normal(0, spread.teacher, len(sizes))
    true = teachers[stop] + rng.normal(0, spread.cell, len(stop))
    here = true + rng.normal(0, spread.images, len(stop))
    errors = here[:, None] + rng.normal(0, spread.run, (len(stop), seeds))
    alive = list(range(len(stop)))
    for n in range(1, seeds + 1):
        means = {c: errors[c, :n].mean() for c in alive}
        best = min(means, key=means.get)
        alive = alive if whole else elimination_rule.select_survivors(means)
        if len(alive) == 1:
            break
    regret = true[best] - true.min()
    return regret <= 0, regret <= delta


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_the_share_of_searches_that_are_played(whole):
    sizes, spread = [3, 3, 2, 4], SearchSpread(0.6, 0.4, 0.8, 0.2, "")
    rng = np.random.default_rng(3)
    played = np.mean([play(sizes, 4, spread, 0.3, whole, rng) for _ in range(1_000)], axis=0)
    actual = simulate_search(sizes, 4, spread, 0.3, whole)
    assert actual == pytest.approx(tuple(played), abs=0.06) and 0.2 < actual[0] < actual[1] < 0.95


def test_without_noise_it_finds_the_best():
    assert simulate_search([3] * 9, 3, SearchSpread(0.5, 0.4, 0, 0, ""), 0.1) == (1, 1)
    assert simulate_search([1], 3, SearchSpread(0.5, 0.4, 9, 9, ""), 0.1) == (1, 1)


def test_a_plan_says_what_the_search_can_find_out(tmp_path, capsys):
    path = tmp_path / "sought.yaml"
    path.write_text(json.dumps(KEYS))
    options = ["plan", str(path), "--results", str(tmp_path / "results")]
    assert main(options) == 0
    text = capsys.readouterr().out
    spread = worth.assume_spread(study_of().data.validation)
    p_best, p_close = simulate_search([3] * 9, 4, spread, study_of().smallest_effect, revision=2)
    assert f"would choose the best of the 27 cells of wrn10-0.5 with {p_best:.0%}" in text
    assert f"points of it with {p_close:.0%}" in text
    assert main([*options, "--sd", "9"]) == 0
    text = capsys.readouterr().out
    assert "a paired difference with an sd of 9" in text and "that can hardly pay. 4 times" in text


def test_the_spread_may_be_that_of_a_pilot(tmp_path, capsys, monkeypatch):
    store = Store(tmp_path / "results")
    pilot = {key: value for key, value in KEYS.items() if key != "search"} | {"study": "before"}
    for name, keys in (("sought", KEYS), ("before", pilot)):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(keys))
    options = ["plan", str(tmp_path / "sought.yaml"), "--results", str(store.root)]
    assert main([*options, "--pilot", "before"]) == 2
    assert "no two students of it with two seeds" in capsys.readouterr().err
    write(planner.build_plan(load.load_study(tmp_path / "before.yaml")), store)
    with monkeypatch.context() as patch:
        patch.setattr(registration, "find_blinding_reason", lambda *_: "its look is not reached")
        with pytest.raises(KdpipeError, match="--pilot before: its look is not reached"):
            worth.estimate_pilot_spread("before", tmp_path, store, study_of())
    spread = worth.estimate_pilot_spread("before", tmp_path, store, study_of())
    assert spread.run > 0 and spread.cell > 0 and spread.source == "the spread of before"


def test_of_a_search_that_has_ended_it_says_nothing(tmp_path, capsys):
    store = Store(tmp_path / "results")
    to_the_end(study_of(), store)
    path = tmp_path / "sought.yaml"
    path.write_text(json.dumps(KEYS))
    assert main(["plan", str(path), "--results", str(store.root)]) == 0
    assert "would choose the best" not in capsys.readouterr().out
