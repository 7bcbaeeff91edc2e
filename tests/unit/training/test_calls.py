"""What one step of training asks of a device: how many kernels, and that it reads nothing back.

Counted is what reaches torch's dispatcher between two notes of the loss, on the CPU: on a GPU each
call that is no view and makes no empty tensor is a kernel at least.
"""

import contextlib
from collections import Counter

import pytest
import torch
from helpers import tiny_study
from torch.utils._python_dispatch import TorchDispatchMode

from kdpipe import meta_device_check
from kdpipe.devices import determinism
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.train import train_run
from kdpipe.training import evaluate, loop
from kdpipe.training.teachers import cached, online

# What only looks at a tensor in another way, or makes room for one.
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach"}
EMPTY |= {"promote_types"}
CEILING = 144  # kernels of a step of WRN16-1 that learns from a table


class Calls(TorchDispatchMode):
    """Names of the operations since the last note."""

    def __init__(self):
        super().__init__()
        self.now = Counter()
        self.steps = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.now[name] += not func.is_view and name not in EMPTY
        return func(*args, **(kwargs or {}))

    def note(self):
        self.steps.append(+self.now)
        self.now = Counter()


def steps(store, monkeypatch, **changes):
    """The calls of each step of a student's second epoch."""
    plan = tiny_study.planned(**{"teacher_outputs": "table", "data": {"pad": 4}} | changes)
    student = next(run for run in plan.runs.values() if run.parents)
    epoch = student.spec.teacher.members[0].epoch
    train_run(student.parents[0].spec, [epoch], store)
    for table in student.logit_caches:
        cache_logits(table.spec, store)
    calls, note = Calls(), evaluate.log_batch

    def noted(*inputs):
        note(*inputs)
        calls.note()

    monkeypatch.setattr(evaluate, "log_batch", noted)
    with calls:
        train_run(student.spec, [], store)
    a_epoch = len(calls.steps) // 2
    return calls.steps[a_epoch + 1 :]  # the first has validation before it


def test_kernels_of_a_step_stay_below_a_ceiling(store, monkeypatch):
    actual = steps(store, monkeypatch, main={"students": ["wrn16-1"]})
    assert len(actual) == 3 and all(step == actual[0] for step in actual)
    assert actual[0].total() <= CEILING, actual[0].most_common()
    # 15 convolutions, 13 normalisations and activations, forward and backward: nothing for counts.
    assert actual[0]["convolution"] == 15 and actual[0]["native_batch_norm_backward"] == 13
    assert actual[0]["add_"] == 0 and actual[0]["copy_"] == 1
    assert "_local_scalar_dense" not in actual[0] and "nonzero" not in actual[0]


class Fused(TorchDispatchMode):
    """The steps of an optimiser, which have no form without numbers. And what is copied to the
    device from here while `steps` go on, such that the host waits: its calls.
    """

    def __init__(self):
        super().__init__()
        self.steps, self.waits = False, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name.startswith("_fused_"):
            return None
        if self.steps and name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            there = args[0].device if name == "copy_" else kwargs.get("device") or source.device
            waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            if source.device.type == "cpu" and there.type == "meta" and waits:
                self.waits.append(f"{name} of {tuple(source.shape)}")
        return func(*args, **kwargs)


class Blind:
    """An examination that looks at nothing."""

    images = None

    def __init__(self, *_):
        pass

    def evaluate_epoch(self, *_):
        return None


CASES = {
    "labels": {"teacher": False},
    "a table": {"teacher_outputs": "table"},
    "live": {"teacher_outputs": "live", "methods": {"kd": {"stop_epoch": 1}}},
    "groups": {"methods": {"kd": {"attention_weight": 10.0}}, "teacher_outputs": "live"},
    "what a term learns": {"methods": {"kd": {"fitnet_weight": 1.0}}, "teacher_outputs": "live"},
    "AdamW, clipped": {
        "recipe": {"optimiser": "adamw", "lr": 0.001, "momentum": 0.9, "clip_norm": 1.0}
    },
    "an average": {"recipe": {"ema": 0.9}},
    "mixed images": {"recipe": {"mixup": 0.2, "cutmix": 1.0}, "teacher_outputs": "live"},
    "erased images": {"data": {"erase": {"probability": 0.5}}, "teacher_outputs": "live"},
    "smoothed": {"recipe": {"label_smoothing": 0.1}},
}


@pytest.mark.parametrize("case", CASES)
def test_no_step_reads_a_value_back(store, monkeypatch, case):
    """The real loop on `meta`, a device without numbers: whatever reads one fails there, and so
    does what is on two devices at once. What is read at the end of an epoch is left out.
    """
    changes = dict(CASES[case])
    taught = changes.pop("teacher", True)
    recipe = {"epochs": 2, **changes.pop("recipe", {})}
    plan = tiny_study.planned(**{"teacher_outputs": "table"} | changes, recipe=recipe)
    run = next(run for run in plan.runs.values() if bool(run.parents) == taught)
    if taught:
        epoch = run.spec.teacher.members[0].epoch
        train_run(run.parents[0].spec, [epoch], store)
    for table in run.logit_caches:
        cache_logits(table.spec, store)
    noted, note = [], evaluate.log_batch
    monkeypatch.setattr(determinism, "prepare_torch_device", lambda *_: torch.device("meta"))
    monkeypatch.setattr(cached, "_check_against_teacher", lambda *_: None)
    monkeypatch.setattr(online.OnlineTeacher, "digest", lambda _: "")
    monkeypatch.setattr(evaluate, "Evaluator", Blind)
    for name in ("finalize_run", "eval_raw_weights"):
        monkeypatch.setattr(evaluate, name, lambda *_: (None, None))
    monkeypatch.setattr(loop, "save_state", lambda *_: None)
    # There is none for `meta`.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    fused = Fused()

    def step_is_over(*inputs):
        noted.append(note(*inputs))
        fused.steps = True

    def epoch_is_over(*_):
        fused.steps = False

    monkeypatch.setattr(evaluate, "log_batch", step_is_over)
    monkeypatch.setattr(evaluate, "raise_if_nonfinite", epoch_is_over)
    monkeypatch.setattr(evaluate, "compute_epoch_means", lambda *_: {})
    with meta_device_check._DeviceWatch(), fused:
        loop.train(run.spec, run.digest, store.run(run.name), [], 2, store)
    assert len(noted) == 8
    assert not fused.waits
