"""Ensembles, scored from the stored outputs of their members."""

import itertools
import json

import numpy as np
import pytest
from helpers import tiny_study
from helpers.trained_runs import copied, do, runs
from scipy.special import softmax

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.jobs.eval_ensemble import eval_ensemble
from kdpipe.jobs.train import train_run
from kdpipe.plan import status
from kdpipe.runs import records
from kdpipe.runs.files import read_arrays
from kdpipe.runs.spec import build_ensemble_spec


def test_every_kind_of_ensemble_is_scored_as_computed_directly(tmp_path, pair):
    plan, source = pair
    store = copied(source, tmp_path)
    assert len(plan.ensembles) == 8
    members = [{run.name for run, _ in e.members} for e in plan.ensembles.values() if e.seed == 0]
    others = [{run.name for run, _ in e.members} for e in plan.ensembles.values() if e.seed == 1]
    assert not set().union(*members) & set().union(*others)  # seeds share no member
    for ensemble in plan.ensembles.values():
        eval_ensemble(ensemble.spec, store)
        scored = tiny_study.record(store, ensemble)
        for reading, split in itertools.product(("last", "best"), ("val", "test")):
            actual, probabilities = scored[reading], []
            for run, epoch in ensemble.members:
                folder = store.run(run.name)
                path = folder / "outputs.safetensors"
                if epoch < run.epochs:
                    path = folder / "checkpoints" / f"epoch-{epoch:04d}-outputs.safetensors"
                elif reading == "best" and (folder / "best-outputs.safetensors").exists():
                    path = folder / "best-outputs.safetensors"
                stored = read_arrays(path)[0]
                probabilities.append(softmax(stored[f"{split}_logits"].astype(np.float64), axis=1))
            labels = stored[f"{split}_labels"]
            mean = np.mean(probabilities, axis=0)
            assert actual[split]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
            nll = -np.log(mean[np.arange(len(labels)), labels]).mean()
            assert actual[split]["nll"] == pytest.approx(nll)


def test_an_ensemble_of_older_members_has_no_best_until_they_have_theirs(tmp_path, pair):
    """Scored again then, under the same name, and never asked for before."""
    plan, source = pair
    store = copied(source, tmp_path)
    team = next(
        team
        for team in plan.ensembles.values()
        if any(list(store.run(run.name).glob("best-*")) for run, _ in team.members)
    )
    older = next(run for run, _ in team.members if list(store.run(run.name).glob("best-*")))
    folder = store.run(older.name)
    record = tiny_study.record(store, older)
    record.pop("sha256")
    aside = [path.rename(tmp_path / path.name) for path in folder.glob("best-*")]
    files = {name: facts for name, facts in record["files"].items() if name[:5] != "best-"}
    records.publish_record(folder, record | {"files": files})
    assert train_run(older.spec, [], store).endswith("finished before (done)")
    eval_ensemble(team.spec, store)
    before = tiny_study.record(store, team)
    assert before["best"] is None and before["last"]
    assert status.get_plan_status(plan, store)[team.name] == "done"
    for path in aside:
        path.rename(folder / path.name)
    records.publish_record(folder, record)
    assert status.get_plan_status(plan, store)[team.name] == "to do"
    eval_ensemble(team.spec, store)
    after = tiny_study.record(store, team)
    assert after["last"] == before["last"] and after["best"]["test"]["n"] == 700
    assert status.get_plan_status(plan, store)[team.name] == "done"
    for scored in (before, after):
        scored.pop("sha256")
    assert records.diff_records(before, after) is None
    assert records.merge_records(before, after)["best"] == after["best"]
    assert records.merge_records(after, before)["best"] == after["best"]
    assert records.diff_records(after, after | {"best": before["last"]}) == "best"


def test_a_checkpoint_of_a_run_whose_curve_is_gone_is_refused_by_name(pair, tmp_path):
    """With what it would be compared with; nothing is trained."""
    plan, source = pair
    store = copied(source, tmp_path)
    run = next(iter(plan.runs.values()))
    curve = store.run(run.name) / "curve.jsonl"
    curve.unlink()
    with pytest.raises(KdpipeError, match=f"{curve} is missing, which its record lists: put it"):
        train_run(run.spec, [0], store)
    record = records.read_record(store.run(run.name), None)
    files = {name: facts for name, facts in record["files"].items() if name != curve.name}
    records.publish_record(store.run(run.name), record | {"files": files})
    with pytest.raises(
        KdpipeError, match=r"its record does not list curve.jsonl, which retraining up"
    ):
        train_run(run.spec, [0], store)
    assert not list(store.run(run.name).glob("checkpoints/epoch-0000*"))


def test_an_ensemble_of_copies_of_one_run_equals_it(finished):
    run = runs()[0]
    spec = build_ensemble_spec([(run.digest, run.epochs)] * 3, seed=0)
    eval_ensemble(spec, finished)
    actual = json.loads((finished.ensemble(spec.name) / "record.json").read_text())
    alone = tiny_study.record(finished, run)["last"]
    for split in ("val", "test"):
        for key in ("accuracy", "nll", "ece", "entropy", "confidence"):
            assert actual["last"][split][key] == pytest.approx(alone[split][key])


def test_members_with_other_images_are_not_averaged(finished):
    other = tiny_study.planned(data={"split_seed": 1})
    stranger = next(iter(other.runs.values()))
    do(stranger, finished)
    spec = build_ensemble_spec([(r.digest, 2) for r in (runs()[0], stranger)], seed=0)
    with pytest.raises(StoreError, match="different images"):
        eval_ensemble(spec, finished)


def test_an_ensemble_with_a_diverged_member_is_skipped(finished):
    run = runs()[0]
    record = tiny_study.record(finished, run)
    record.pop("sha256")
    records.publish_record(finished.run(run.name), record | {"status": "diverged", "reason": "nan"})
    spec = build_ensemble_spec([(r.digest, 2) for r in runs()[:2]], seed=0)
    assert "skipped" in eval_ensemble(spec, finished)
