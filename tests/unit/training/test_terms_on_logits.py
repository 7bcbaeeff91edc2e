"""Runs that learn by the terms on logits: from a table, warmed up, standardised, examined."""

import json

import pytest
import torch
from helpers import tiny_study

from kdpipe.analysis import dataframe, selection
from kdpipe.analysis.claim import UntestableClaim
from kdpipe.jobs.train import train_run
from kdpipe.losses import method
from kdpipe.losses.dist import dist
from kdpipe.losses.dkd import dkd
from kdpipe.losses.kd import kd
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store
from kdpipe.training.teachers import cached

WEIGHTS = {"kd": 0.5, "dist": 2, "dkd": 1, "nkd": 1, "rld": 1, "ttm": 45, "wsl": 2.25, "wttm": 9}
EVERY = {f"{name}_weight": weight for name, weight in WEIGHTS.items()}
EVERY |= {"dkd_warmup": 0.5, "rld_warmup": 3, "stop_epoch": 3}
METHODS = {"every": EVERY, "lskd": {"standardise": True, "dkd_weight": 2, "kd_weight": 9}}


def planned(**methods):
    # 257 images are looked at in batches of 16, as in training: the last has one.
    return tiny_study.planned(
        methods=methods,
        main={"methods": list(methods)},
        data={"validation": 257},
        recipe={"epochs": 4},
        teacher_outputs="table",
    )


@pytest.fixture(scope="module")
def finished_runs(shared):
    """Both students, taught from one table; (plan, place)."""
    plan = planned(**METHODS)

    def build(folder):
        store = tiny_study.results(folder, shared)
        for run in plan.runs.values():
            if run.parents:
                for table in run.logit_caches:
                    cached.build_logit_cache(table.spec, store)
            train_run(run.spec, [], store)

    return plan, Store(tiny_study.once(shared / "terms-on-logits", build) / "results")


def student(finished_runs, name):
    """Of a method's run: spec, curve, record, and (student, teacher, labels) of a split."""
    plan, store = finished_runs
    (run,) = {cell.run for cell in plan.cells if cell.method == name}
    curve = [json.loads(line) for line in (store.run(run.name) / "curve.jsonl").open()]

    def outputs(split):
        own_value, reference = (
            read_arrays(store.run(one.name) / "outputs.safetensors")[0]
            for one in (run, run.parents[0])
        )
        actual = (
            own_value[f"{split}_logits"],
            reference[f"{split}_logits"],
            own_value[f"{split}_labels"],
        )
        return [torch.from_numpy(one) for one in actual]

    return run.spec, curve, tiny_study.record(store, run), outputs


def test_the_loss_is_the_sum_of_all_terms_each_warmed_up_as_it_asks(finished_runs):
    spec, curve, _, _ = student(finished_runs, "every")
    assert spec.teacher.outputs == "float32"
    assert (spec.method["dkd_warmup"], spec.method["rld_warmup"]) == (2, 3)
    warmth = {"dkd": [0.5, 1, 1], "rld": [1 / 3, 2 / 3, 1]}
    for epoch, line in enumerate(curve[:3]):
        parts = line["train"]
        assert parts.keys() == {"loss", "ce", "accuracy", *WEIGHTS}
        expected = parts["ce"] + sum(
            weight * warmth.get(name, [1] * 3)[epoch] * parts[name]
            for name, weight in WEIGHTS.items()
        )
        assert parts["loss"] == pytest.approx(expected, rel=1e-5)
    assert curve[3]["train"].keys() == {"loss", "ce", "accuracy"}  # stopped
    assert all(line["val"].keys() > set(WEIGHTS) for line in curve)


def test_an_image_left_alone_is_not_compared_with_itself(finished_runs):
    _, _, record, outputs = student(finished_runs, "every")
    assert record["last"]["val"]["n"] == 257
    batches = zip(*(one[:256].split(16) for one in outputs("val")), strict=True)
    parts = [dist(*batch[:2], beta=1.0, gamma=1.0, temperature=4.0).item() for batch in batches]
    assert len(parts) == 16
    expected = sum(parts) / 16
    assert record["last"]["val"]["dist"] == pytest.approx(expected, rel=1e-4)
    expected = dkd(*outputs("val"), alpha=1.0, beta=8.0, temperature=4.0).item()
    assert record["last"]["val"]["dkd"] == pytest.approx(expected, rel=1e-4)


def test_standardised_terms_are_looked_at_standardised_and_metrics_are_not(finished_runs):
    spec, curve, record, outputs = student(finished_runs, "lskd")
    assert spec.teacher.outputs == "float16" and spec.method["standardise"] is True
    own_value, reference, labels = outputs("val")
    z = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (own_value, reference)]
    actual = record["last"]["val"]
    assert actual["kd"] == pytest.approx(kd(*z, temperature=4.0).item(), rel=1e-4)
    parts = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0}
    assert actual["dkd"] == pytest.approx(dkd(*z, labels, **parts).item(), rel=1e-4)
    assert actual["kl"] == pytest.approx(kd(own_value, reference, temperature=4.0).item(), rel=1e-4)
    assert curve[-1]["val"]["kd"] == pytest.approx(actual["kd"], rel=1e-6)
    for line in curve:
        parts = line["train"]
        expected = parts["ce"] + 9 * parts["kd"] + 2 * parts["dkd"]
        assert parts["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_report_tells_them_from_the_papers_kd(finished_runs):
    frame = dataframe.build_results_frame(*finished_runs)
    kinds = dict(frame.loc[frame.kind == "student", ["method", "method_kind"]].to_numpy())
    assert kinds["lskd"] == "dkd+kd, standardised"
    assert kinds["every"] == "dist+dkd+kd+nkd+rld+ttm+wsl+wttm, stopped"
    assert not any(map(method.is_plain_kd, kinds.values()))


def test_kd_on_standardised_logits_is_never_taken_for_the_papers(tmp_path):
    paper = {"temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1}
    frame = dataframe.build_results_frame(
        planned(lskd=paper | {"standardise": True}, plain={"temperature": 20.0}), Store(tmp_path)
    )
    assert selection.find_main_method(frame, "kd") == "plain"
    assert set(frame.loc[frame.method == "lskd"].terms) == {"standardised logits"}
    with pytest.raises(UntestableClaim, match="no student of this study is trained by full KD"):
        selection.find_main_method(frame.loc[frame.method != "plain"], "kd")
