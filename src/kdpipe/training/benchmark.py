"""Benchmark of training on this machine: the real loop, for a few steps on random images.

Two training runs differ only in their number of steps, which separates the time of a step from that
of an epoch without its steps (validation, the saved state), and both from the startup of a job. The
network is trained on labels: the terms of a teacher take little time in comparison. Time in which
the thread waited for a core is not counted, so other work on the machine does not affect a stored
time.
"""

import resource
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from kdpipe.data import splits, streaming
from kdpipe.data.arrays import ARRAY_NAMES, hash_arrays
from kdpipe.data.batches import choose_eval_batch_size
from kdpipe.data.cards import DatasetCard
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import determinism
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import forward_in_chunks, unwrap
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import write_json, write_npy
from kdpipe.runs.spec import DataSpec, RunSpec
from kdpipe.runs.store import Store
from kdpipe.training import loop
from kdpipe.training.teachers import bfloat16

MAX_PIXELS = 2**26  # of all images together
N_EPOCHS = 3  # of the run with few steps
OPS_PER_SECOND = 1e10  # multiply-adds per second: an initial guess


def benchmark_training(
    spec: RunSpec,
    shape: tuple[int, int, int],
    operations: int,
    seconds: float,
    options: ExecutionOptions = CPU_OPTIONS,
    with_bfloat16: bool = False,
) -> dict:
    """Measure the network and recipe of a run on this machine.

    Parameters
    ----------
    spec : RunSpec
    shape : tuple of int
        (channels, height, width) of its images.
    operations : int
        Multiply-adds of one forward pass.
    seconds : float
        Approximate duration of the measurement.
    options : ExecutionOptions
    with_bfloat16 : bool
        Whether the network is also measured as a teacher that answers in bfloat16.

    Returns
    -------
    dict
        Seconds of a training `step`, of an `epoch` without its steps, of classifying an `image`, of
        the `setup` of a job and, if requested, of a `bfloat16_image`; and the peak memory of the
        process in `megabytes`.
    """
    network, recipe = spec.network, spec.recipe
    batch = recipe.batch_size
    # Where one step would take too long, it has fewer images and its time is scaled.
    max_images = int(seconds / 20 * OPS_PER_SECOND / max(1, 3 * operations))
    n_images = min(batch, max(8, max_images))
    pixels_per_image = int(np.prod(shape))
    steps = max(2, min(20, MAX_PIXELS // (n_images * pixels_per_image)))
    with tempfile.TemporaryDirectory(prefix="kdpipe-speed-") as folder:
        store = Store(Path(folder))
        data = _write_noise_data(store, shape, network.classes, (steps + 1) * n_images)
        # Streamed images are augmented where they are read, not on the training device.
        streamed = spec.data.stream_revision is not None
        no_views = dict.fromkeys(("crop", "augment") if streamed else ())
        if network.start:
            options = replace(options, weights=_write_init_weights(store.root, spec, options.code))
            start = replace(network.start, sha256="", unused=[])
            network = replace(network, start=start)
        changes = {"batch_size": n_images, "epochs": 100_000, "drop_epochs": []}
        measured_spec = replace(
            spec,
            network=network,
            data=replace(data, validation=n_images, views={**spec.data.views, **no_views}),
            recipe=recipe.model_copy(update=changes),
            teacher=None,
            method=None,
            pretrained=None,
        )

        def train(count: int, epochs: int) -> tuple[float, float]:
            """Return the seconds of the epochs, with `count` steps each, and of everything else."""
            data = replace(measured_spec.data, train_size=count * n_images)
            run_spec = replace(measured_spec, data=data)
            run = store.run(f"{count}-{epochs}")
            start_time, wait_before = time.monotonic(), read_cpu_wait()
            result = loop.train(run_spec, run_spec.digest, run, [], epochs, store, options)
            wall = time.monotonic() - start_time
            cpu_share = (
                1 - (read_cpu_wait() - wait_before) / wall
            )  # only the seconds in which it had a core
            return result.training_seconds * cpu_share, (wall - result.training_seconds) * cpu_share

        first_seconds, _ = train(1, 1)  # one-time work of a process is not part of a step
        few_seconds, setup = train(1, N_EPOCHS)
        n_epochs = max(1, min(30, int(seconds / 3 / max(few_seconds / N_EPOCHS * steps, 1e-6))))
        many_seconds, _ = (
            train(steps, n_epochs)
            if first_seconds < seconds
            else (few_seconds * steps / N_EPOCHS, 0.0)
        )
        step = max(0.0, many_seconds / n_epochs - few_seconds / N_EPOCHS) / (steps - 1)
        image = _time_image(measured_spec, store, options, seconds / 6)
        half: dict[str, float] = {}
        if with_bfloat16:
            half["bfloat16_image"] = _time_image(measured_spec, store, options, seconds / 6, True)
    # A step with fewer images counts its fixed part several times, so this is too high.
    return {
        "step": step * batch / n_images,
        "epoch": max(0.0, few_seconds / N_EPOCHS - step - n_images * image),
        "image": image,
        "setup": setup,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        **half,
    }


def read_cpu_wait() -> float:
    """Return the seconds that this thread has waited for a core, from Linux's counters."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("utf-8").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # another kernel
        return 0.0


def _write_init_weights(folder: Path, spec: RunSpec, code: Path | None) -> Path:
    """Write initial weights for the network of a spec, since frozen parts take less time."""
    path = folder / "start.safetensors"
    model = unwrap(factory.create_model(spec, code))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def _time_image(
    spec: RunSpec,
    store: Store,
    options: ExecutionOptions,
    seconds: float,
    is_half: bool = False,
) -> float:
    """Return the seconds of classifying one image, as in logit caches and evaluation.

    With `is_half` the network answers in bfloat16, as a teacher may.
    """
    device = determinism.prepare_torch_device(options.device, options.kernels)
    split = splits.load_split(replace(spec.data, train_size=0), store)
    images = streaming.create_batches(split.train, IDENTITY_VIEWS, split, device)
    model = factory.create_model(spec, options.code).to(device).eval()
    if is_half:
        bfloat16.convert_model(model)
    layout, n_seen = factory.get_memory_format(spec.network), 0
    start_time, wait_before = time.monotonic(), read_cpu_wait()
    half = torch.autocast(device.type, torch.bfloat16, enabled=is_half)
    with torch.inference_mode(), half:
        while not n_seen or time.monotonic() - start_time < seconds:
            for x in images.unaugmented_batches(images.eval_batch_size):
                float(
                    forward_in_chunks(
                        model, x.contiguous(memory_format=layout), choose_eval_batch_size
                    )[0, 0]
                )
                n_seen += len(x)
                if time.monotonic() - start_time > seconds:
                    break
    return (time.monotonic() - start_time - (read_cpu_wait() - wait_before)) / n_seen


def _write_noise_data(
    store: Store, shape: tuple[int, int, int], classes: int, images: int
) -> DataSpec:
    """Write a prepared data set of random images, and return the `data` of its specs."""
    rng = np.random.RandomState(0)
    count = max(images, classes)
    labels = np.arange(count, dtype=np.int64) % classes
    arrays = {
        "train_images": rng.randint(0, 256, (count, *shape), np.uint8),
        "train_labels": labels,
        "test_images": rng.randint(0, 256, (1, *shape), np.uint8),
        "test_labels": labels[:1],
    }
    card = DatasetCard("noise", "", "", shape, classes, count, 1, hash_arrays(arrays))
    folder = store.data(card.folder)
    for name in ARRAY_NAMES:
        write_npy(folder / f"{name}.npy", arrays[name])
    write_json(folder / "card.json", asdict(card))
    return DataSpec(
        name=card.name,
        card=card.sha256,
        revision=0,  # arbitrary, like that of its split: no result is named by it
        train_size=0,
        validation=0,
        label_noise=0.0,
        split_seed=0,
        split_revision=0,
        views={},
    )
