"""Ensembles, scored from the stored outputs of their members."""

import itertools
import json

import numpy as np
import pytest
import tiny
from planned_runs import copied, do, runs
from scipy.special import softmax

from kdpipe import identity
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.jobs.score import score
from kdpipe.jobs.train import train
from kdpipe.plan import status
from kdpipe.results import records
from kdpipe.results.files import read_arrays
from kdpipe.specs.made import ensemble_name


def test_every_kind_of_ensemble_is_scored_as_computed_directly(tmp_path, pair):
    made, source = pair
    place = copied(source, tmp_path)
    assert len(made.ensembles) == 8
    members = [{run.name for run, _ in e.members} for e in made.ensembles.values() if e.seed == 0]
    others = [{run.name for run, _ in e.members} for e in made.ensembles.values() if e.seed == 1]
    assert not set().union(*members) & set().union(*others)  # seeds share no member
    for ensemble in made.ensembles.values():
        score(ensemble.spec, place)
        scored = tiny.record(place, ensemble)
        for reading, split in itertools.product(("last", "best"), ("val", "test")):
            found, probabilities = scored[reading], []
            for run, epoch in ensemble.members:
                folder = place.run(run.name)
                path = folder / "outputs.safetensors"
                if epoch < run.epochs:
                    path = folder / "checkpoints" / f"epoch-{epoch:04d}-outputs.safetensors"
                elif reading == "best" and (folder / "best-outputs.safetensors").exists():
                    path = folder / "best-outputs.safetensors"
                stored = read_arrays(path)[0]
                probabilities.append(softmax(stored[f"{split}_logits"].astype(np.float64), axis=1))
            labels = stored[f"{split}_labels"]
            mean = np.mean(probabilities, axis=0)
            assert found[split]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
            nll = -np.log(mean[np.arange(len(labels)), labels]).mean()
            assert found[split]["nll"] == pytest.approx(nll)


def test_an_ensemble_of_older_members_has_no_best_until_they_have_theirs(tmp_path, pair):
    """Scored again then, under the same name, and never asked for before."""
    made, source = pair
    place = copied(source, tmp_path)
    team = next(
        team
        for team in made.ensembles.values()
        if any(list(place.run(run.name).glob("best-*")) for run, _ in team.members)
    )
    older = next(run for run, _ in team.members if list(place.run(run.name).glob("best-*")))
    folder = place.run(older.name)
    record = tiny.record(place, older)
    record.pop("sha256")
    aside = [path.rename(tmp_path / path.name) for path in folder.glob("best-*")]
    files = {name: facts for name, facts in record["files"].items() if name[:5] != "best-"}
    records.publish(folder, record | {"files": files})
    assert train(older.spec, [], place).endswith("finished before (done)")
    score(team.spec, place)
    before = tiny.record(place, team)
    assert before["best"] is None and before["last"]
    assert status.of(made, place)[team.name] == "done"
    for path in aside:
        path.rename(folder / path.name)
    records.publish(folder, record)
    assert status.of(made, place)[team.name] == "to do"
    score(team.spec, place)
    after = tiny.record(place, team)
    assert after["last"] == before["last"] and after["best"]["test"]["n"] == 700
    assert status.of(made, place)[team.name] == "done"
    for scored in (before, after):
        scored.pop("sha256")
    assert records.disagreement(before, after) is None
    assert records.united(before, after)["best"] == after["best"]
    assert records.united(after, before)["best"] == after["best"]
    assert records.disagreement(after, after | {"best": before["last"]}) == "best"


def test_a_checkpoint_of_a_run_whose_curve_is_gone_is_refused_by_name(pair, tmp_path):
    """With what it would be compared with; nothing is trained."""
    made, source = pair
    place = copied(source, tmp_path)
    run = next(iter(made.runs.values()))
    curve = place.run(run.name) / "curve.jsonl"
    curve.unlink()
    with pytest.raises(KdpipeError, match=f"{curve} is missing, which its record lists: put it"):
        train(run.spec, [0], place)
    record = records.read(place.run(run.name), None)
    files = {name: facts for name, facts in record["files"].items() if name != curve.name}
    records.publish(place.run(run.name), record | {"files": files})
    with pytest.raises(KdpipeError, match=r"its record lists no curve.jsonl, which a training up"):
        train(run.spec, [0], place)
    assert not list(place.run(run.name).glob("checkpoints/epoch-0000*"))


def test_an_ensemble_of_copies_of_one_run_equals_it(finished):
    run = runs()[0]
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": run.digest, "epoch": run.epochs}] * 3}
    score(spec, finished)
    name = ensemble_name(spec, identity.digest(spec))
    found = json.loads((finished.ensemble(name) / "record.json").read_text())
    alone = tiny.record(finished, run)["last"]
    for split in ("val", "test"):
        for key in ("accuracy", "nll", "ece", "entropy", "confidence"):
            assert found["last"][split][key] == pytest.approx(alone[split][key])


def test_members_with_other_images_are_not_averaged(finished):
    other = tiny.planned(data={"split_seed": 1})
    stranger = next(iter(other.runs.values()))
    do(stranger, finished)
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": r.digest, "epoch": 2} for r in (runs()[0], stranger)]}
    with pytest.raises(StoreError, match="different images"):
        score(spec, finished)


def test_an_ensemble_with_a_diverged_member_is_skipped(finished):
    run = runs()[0]
    record = tiny.record(finished, run)
    record.pop("sha256")
    records.publish(finished.run(run.name), record | {"status": "diverged", "reason": "nan"})
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": r.digest, "epoch": 2} for r in runs()[:2]]}
    assert "skipped" in score(spec, finished)
