"""Batches that are cut into parts: against a slow twin, and the same bytes in any processes."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from helpers import failing_process, tiny_study
from torch import nn
from torch.nn import functional as F

from kdpipe.data import splits
from kdpipe.data.views import Views
from kdpipe.errors import DataError, InterruptedRun, KdpipeError, StudyError
from kdpipe.jobs import validate
from kdpipe.jobs.train import train_run
from kdpipe.models import factory
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import read_arrays
from kdpipe.runs.recipe import Recipe
from kdpipe.training import loop, process_group, shards
from kdpipe.training.process_group import open_process_group
from kdpipe.training.shards import Part, ShardedGradients, cut_batch, select_parts
from kdpipe.training.teachers import online

SHARDS = {"shards": 4}
CPU = torch.device("cpu")


def train_all(plan, store, processes=1):
    """Train the runs of a plan, and return the last one with the checksums of its files."""
    for run in plan.runs.values():
        for table in run.logit_caches:
            if not store.logit_cache(table.name).exists():
                from kdpipe.jobs.cache_logits import cache_logits

                cache_logits(table.spec, store, CPU_OPTIONS, [run.name])
        train_run(run.spec, [1], store, ExecutionOptions(processes=processes))
    return run, tiny_study.exact(store.run(run.name))


# --- how a batch is cut


@pytest.mark.parametrize(
    ("images", "n_shards", "minimum", "sizes"),
    [
        (16, 4, 2, [4, 4, 4, 4]),
        (10, 4, 2, [3, 3, 2, 2]),
        (7, 4, 2, [3, 2, 2]),
        (5, 4, 3, [5]),
        (1, 4, 2, [1]),
        (9, 1, 2, [9]),
    ],
)
def test_a_batch_is_cut_evenly_and_no_part_is_too_small(images, n_shards, minimum, sizes):
    parts = cut_batch(slice(20, 20 + images), slice(40, 46), n_shards, minimum)
    assert [part.rows.stop - part.rows.start for part in parts] == sizes
    assert [part.rows.start for part in parts[1:]] == [part.rows.stop for part in parts[:-1]]
    assert (parts[0].rows.start, parts[-1].rows.stop) == (20, 20 + images)
    assert (parts[0].extra_rows.start, parts[-1].extra_rows.stop) == (40, 46)
    if n_shards > 1:
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert parts[0].share == pytest.approx(sizes[0] / images)
        extra = -(-6 // len(sizes))
        assert parts[0].extra_share == pytest.approx((sizes[0] + extra) / (images + 6))


@pytest.mark.parametrize(
    ("n_shards", "limit", "processes"), [(4, 1, 1), (4, 2, 2), (4, 3, 2), (4, 9, 4), (5, 4, 3)]
)
def test_each_part_has_one_process_and_none_is_idle(n_shards, limit, processes):
    recipe = Recipe(epochs=1, lr=0.1, batch_size=16, shards=n_shards)
    assert recipe.count_processes(limit) == processes
    parts = cut_batch(slice(0, 16), slice(0, 0), n_shards, 2)
    own = [select_parts(parts, n_shards, rank, processes) for rank in range(processes)]
    assert [part for each in own for part in each] == parts
    short = parts[:1]  # of a last batch: the others repeat it
    assert all(select_parts(short, n_shards, rank, processes) == short for rank in range(processes))


# --- a slow plain twin


def train_plain(spec, store) -> nn.Module:
    """A student of two epochs: each part through a copy of the network, one image at a time."""
    split = splits.load_split(spec.data, store)
    model = factory.create_model(spec).to(memory_format=torch.contiguous_format)
    teacher = online.load_online_teacher(spec, store).members[0][1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    mean, std = split.mean[:, None, None], split.std[:, None, None]
    n_images, size = spec.data.train_size, spec.recipe.batch_size
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = [0.05, 0.01][epoch]
        order, view = loop._draw_order_and_views(
            spec, epoch, n_images, Views.from_spec(spec.data.views)
        )
        for start in range(0, n_images, size):
            rows = list(range(start, min(start + size, n_images)))
            parts = np.array_split(rows, min(spec.recipe.shards, len(rows) // 2))
            optimizer.zero_grad()
            total = [torch.zeros_like(each) for each in model.parameters()]
            statistics = []
            for part in parts:
                pixels = []
                for row in part:
                    y, x = divmod(int(view[row]), 3)
                    padded = np.pad(split.train.images[int(order[row])], [(0, 0), (1, 1), (1, 1)])
                    pixels.append((padded[:, y : y + 8, x : x + 8] / 255 - mean) / std)
                images = torch.tensor(np.array(pixels), dtype=torch.float32)
                labels = torch.from_numpy(split.train.labels[order[part].numpy()])
                twin = copy.deepcopy(model).train()
                logits = twin(images)
                p = F.softmax(teacher(images).detach() / 4, 1)
                kl = (p * (p.log() - F.log_softmax(logits / 4, 1))).sum(1).mean()
                loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * kl
                gradients = torch.autograd.grad(loss, list(twin.parameters()))
                weight = len(part) / len(rows)
                total = [a + weight * b for a, b in zip(total, gradients, strict=True)]
                statistics.append(twin.state_dict())
            for parameter, gradient in zip(model.parameters(), total, strict=True):
                parameter.grad = gradient
            optimizer.step()
            for name, buffer in model.named_buffers():
                values = [each[name] for each in statistics]
                is_float = buffer.is_floating_point()
                buffer.copy_(torch.stack(values).mean(0) if is_float else values[0])
    return model


def test_weights_are_those_of_a_plain_loop(store):
    """Of 3 shards the last batch, of 4 images, has two parts."""
    plan = tiny_study.planned(data={"train_size": 52}, recipe={"shards": 3})
    run, _ = train_all(plan, store)
    twin = train_plain(run.spec, store)
    weights = read_arrays(store.run(run.name) / "weights.safetensors")[0]
    for key, value in twin.state_dict().items():
        np.testing.assert_allclose(
            weights[key], value.detach().numpy(), rtol=2e-3, atol=2e-4, err_msg=key
        )


def test_more_shards_compute_something_else_and_one_is_a_plain_run():
    names = [set(tiny_study.planned(recipe={"shards": n}).runs) for n in (1, 2, 4)]
    assert names[0] == set(tiny_study.planned().runs)
    assert not names[0] & names[1] and not names[1] & names[2]
    assert names[1] == set(tiny_study.planned(recipe={"shards": 2}, processes_per_run=2).runs)


def test_a_spec_with_shards_goes_to_the_job_and_back_and_is_checked():
    plan = tiny_study.planned(
        recipe=SHARDS, data={"unlabelled": "rest"}, methods={"kd": {"unlabelled": 4}}
    )
    spec = list(plan.runs.values())[-1].spec
    content = json.loads(spec.canonical_json)
    job_spec = validate.read_spec("run", content)
    assert job_spec.digest == spec.digest and job_spec.recipe.shards == 4
    validate.validate_spec(job_spec)
    del content["revision"]["sharded"]
    with pytest.raises(KdpipeError, match="sharded"):
        validate.validate_spec(validate.read_spec("run", content))
    content = json.loads(spec.canonical_json)
    content["method"]["unlabelled"] = 3
    with pytest.raises(KdpipeError, match="fewer unlabelled images in a batch than shards"):
        validate.validate_spec(validate.read_spec("run", content))


# --- any number of processes


STUDIES = {
    "ema, clipping, AdamW": {
        "recipe": SHARDS | {"optimiser": "adamw", "clip_norm": 0.5, "ema": 0.9, "lr": 0.01}
    },
    "table": {"teacher_outputs": "table", "data": {"train_size": 52}},
    "unlabelled": {
        "data": {"unlabelled": "rest"},
        "methods": {"kd": {"unlabelled": 6, "stop_epoch": 1, "ce_weight_after_stop": 0.5}},
    },
    "mixed pairs": {"recipe": SHARDS | {"mixup": 0.4, "cutmix": 1.0}},
    "learnt": {"methods": {"kd": {"fitnet_weight": 1.0}}},
    "compared in a batch": {"methods": {"kd": {"dist_weight": 1.0}}},
    "bfloat16, two threads": {"recipe": SHARDS | {"autocast": "bfloat16", "threads": 2}},
}


def test_two_processes_end_in_the_same_bytes(store, tmp_path, shared):
    plan = tiny_study.planned(recipe=SHARDS, data={"train_size": 52})
    _, expected = train_all(plan, store)
    assert len(expected) > 4
    other = tiny_study.results(tmp_path / "other", shared)
    assert train_all(plan, other, processes=2)[1] == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
def test_any_number_of_processes_ends_in_the_same_bytes(kind, tmp_path, shared):
    plan = tiny_study.planned(**{"recipe": SHARDS} | STUDIES[kind])
    checksums = [
        train_all(plan, tiny_study.results(tmp_path / str(n), shared), n)[1] for n in (1, 2, 4)
    ]
    assert checksums[0] == checksums[1] == checksums[2]
    whole = tiny_study.planned(
        **STUDIES[kind] | {"recipe": STUDIES[kind].get("recipe", {}) | {"shards": 1}}
    )
    run, _ = train_all(whole, tiny_study.results(tmp_path / "whole", shared))
    assert run.name not in plan.runs


# --- signals


PLAN = tiny_study.planned(recipe=SHARDS | {"epochs": 6, "drop_epochs": [2]})
SCRATCH = next(iter(PLAN.runs.values()))


@pytest.fixture
def expected(tmp_path, shared):
    store = tiny_study.results(tmp_path / "whole", shared)
    train_run(SCRATCH.spec, [1], store)
    return tiny_study.exact(store.run(SCRATCH.name))


def list_workers(pid: int) -> list[psutil.Process]:
    """The processes of a run but the job, which its fork server starts."""
    children = psutil.Process(pid).children(recursive=True)
    return [each for each in children if len(each.parents()) > 1 and _is_worker(each, children)]


def _is_worker(process, children) -> bool:
    parent = process.parent()
    return parent in children and "forkserver" in " ".join(parent.cmdline())


def act_at_step(monkeypatch, step: int, action) -> None:
    """Do something in this process after so many steps."""
    seen, whole = [0], shards.ShardedGradients.compute

    def compute(self, *arguments):
        seen[0] += 1
        if seen[0] == step:
            action()
        return whole(self, *arguments)

    monkeypatch.setattr(shards.ShardedGradients, "compute", compute)


def send(number: int) -> None:
    for worker in list_workers(os.getpid()):
        worker.send_signal(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_stopped_ends_the_run_which_then_resumes(
    number, store, expected, monkeypatch
):
    monkeypatch.setenv("KDPIPE_SAVE_SECONDS", "0")
    monkeypatch.setattr(process_group, "STOPPED_SECONDS", 1.0)
    with monkeypatch.context() as patch:
        act_at_step(patch, 7, lambda: send(number))
        start = time.monotonic()
        with pytest.raises(KdpipeError, match=r"process 2 of 2 .*ended by SIGKILL"):
            train_run(SCRATCH.spec, [1], store, ExecutionOptions(processes=2))
        assert time.monotonic() - start < 30
    assert not list_workers(os.getpid())
    train_run(SCRATCH.spec, [1], store, ExecutionOptions(processes=4))
    assert tiny_study.exact(store.run(SCRATCH.name)) == expected


@pytest.mark.slow
def test_sigterm_saves_the_state_within_an_epoch(store, expected, monkeypatch):
    """Sent to all processes, as a cluster does; any number of processes goes on."""

    def end() -> None:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        act_at_step(patch, 7, end)
        with pytest.raises(InterruptedRun):
            train_run(SCRATCH.spec, [1], store, ExecutionOptions(processes=4))
    train_run(SCRATCH.spec, [1], store, ExecutionOptions(processes=2))
    assert tiny_study.exact(store.run(SCRATCH.name)) == expected


@pytest.mark.slow
def test_when_the_job_is_killed_so_are_the_others(store, tmp_path, expected):
    command = tiny_study.train(
        next(iter(tiny_study.planned(recipe=SHARDS | {"epochs": 999}).runs.values()))
    )
    arguments = [sys.executable, "-m", "kdpipe", *command, "--processes", "2"]
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen(arguments, cwd=tmp_path, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not (workers := list_workers(job.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers, Path(tmp_path / "log").read_text()
    job.kill()
    job.wait()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert not alive


# --- errors of other processes


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("before", KdpipeError, "process 2 of 2 .*ended with code 7"),
        ("known", DataError, "^ant.png was indexed"),
        ("memory", torch.OutOfMemoryError, "out of memory"),
        ("bug", RuntimeError, "a bug"),
    ],
)
def test_the_error_of_another_process_is_that_of_the_run(kind, error, message):
    with (
        pytest.raises(error, match=message),
        open_process_group(2, CPU, failing_process.fail, (kind,)) as group,
    ):
        group.gather(torch.zeros(3))


def test_one_that_ends_while_all_connect_ends_the_job(monkeypatch, capfd):
    """As on GPUs, where its end would be waited for: the job says so and ends."""
    ended = threading.Event()
    monkeypatch.setattr(process_group.os, "_exit", lambda code: ended.set())
    monkeypatch.setattr(process_group, "STUCK_SECONDS", 0.5)

    class Ended:
        pid, exitcode = 12345678, -9

        def kill(self):
            pass

    receiver, _ = process_group.streaming.get_worker_context().Pipe(duplex=False)
    watch = process_group._Watch([process_group._Worker(1, 2, Ended(), receiver)])
    watch.start()
    assert ended.wait(10)
    watch.is_over.set()
    watch.join()
    assert (
        "process 2 of 2 of this run (pid 12345678) was ended by SIGKILL" in capfd.readouterr().err
    )


class Twice(nn.Module):
    """Two layers, of which one may be left out."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)


@pytest.mark.parametrize("uneven", [False, True])
def test_parts_that_train_different_parameters_are_refused(uneven):
    model = Twice()
    sharded = ShardedGradients([model], 2)

    def compute(part: Part) -> torch.Tensor:
        x = model.one(torch.ones(1, 2))
        if part.number or not uneven:
            x = model.two(x)
        x.sum().backward()
        return torch.zeros(3)

    parts = cut_batch(slice(0, 4), slice(0, 0), 2, 2)
    assert len(sharded.compute(parts, 2, compute)) == 3
    if uneven:
        with pytest.raises(KdpipeError, match="leaves out layers at random"):
            sharded.raise_if_uneven()
    else:
        sharded.raise_if_uneven()


# --- what a study may ask for


FEW = {"unlabelled": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"shards": 9}}, "shards: 9 parts of a batch of 16 .*at most 8 shards"),
        ({"recipe": {"shards": 65}}, "shards"),
        (
            {
                "recipe": SHARDS,
                "data": {"unlabelled": "rest"},
                "methods": {"kd": {"unlabelled": 3}},
            },
            "methods.kd.unlabelled: 3 per batch, .*shards: 4",
        ),
        ({"processes_per_run": 0}, "processes_per_run"),
    ],
)
def test_shards_that_cannot_be_are_refused(changes, message):
    with pytest.raises(StudyError, match=message):
        tiny_study.planned(**changes)
