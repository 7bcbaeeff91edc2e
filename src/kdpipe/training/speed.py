"""How fast this machine trains a network: the real loop, for a few steps on made images.

Two trainings differ in the number of their steps alone; so what a step takes comes apart from what
an epoch takes beside its steps (validation, the saved state), and both from the start of a job.
Labels are learnt here: a teacher's terms of the loss are small beside the network. Seconds are
those in which the thread did not wait for a core: what else the machine does at the moment is no
part of a price that is kept.
"""

import resource
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from kdpipe import identity
from kdpipe.data import splits, streams
from kdpipe.data.arrays import ARRAYS, digest
from kdpipe.data.cards import Card
from kdpipe.data.images import forward_size
from kdpipe.data.views import PLAIN
from kdpipe.devices import exact
from kdpipe.networks import models
from kdpipe.networks.brought.adapted import in_parts
from kdpipe.results.files import write_json, write_npy
from kdpipe.results.store import Store
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import loop

PIXELS = 2**26  # of all made images together
EPOCHS = 3  # of the training with few steps
RATE = 1e10  # multiply-adds a second: a guess, to begin with


def measure(
    spec: dict, shape: tuple[int, int, int], operations: int, seconds: float, means: Means = CPU
) -> dict:
    """What the network and recipe of a run's spec take here, in about so many seconds.

    shape: (channels, height, width) of its images; operations: multiply-adds of one forward.
    Gives seconds of a training `step`, of an `epoch` beside its steps, of classifying an `image`,
    of the `setup` of a job; and the `megabytes` that the process has held so far.
    """
    network, recipe = spec["network"], spec["recipe"]
    batch = recipe["batch_size"]
    # Of a network for which one step would take too long, with fewer images, and scaled.
    most = int(seconds / 20 * RATE / max(1, 3 * operations))
    taken = min(batch, max(8, most))
    one = int(np.prod(shape))
    steps = max(2, min(20, PIXELS // (taken * one)))
    with tempfile.TemporaryDirectory(prefix="kdpipe-speed-") as folder:
        place = Store(Path(folder))
        data = _made(place, shape, network["classes"], (steps + 1) * taken)
        views = spec["data"]["views"]
        # Images that stream are changed where they are read, not where they are trained on.
        streamed = spec["data"].get("stream_revision") is not None
        elsewhere = dict.fromkeys(("crop", "augment") if streamed else ())
        if "start" in network:
            means = replace(means, weights=_begun(place.root, spec, means.code))
            start = network["start"] | {"sha256": "", "unused": []}
            network = {**network, "start": start}
        made = {
            **spec,
            "network": network,
            "data": data | {"validation": taken, "views": views | elsewhere},
            "recipe": {**recipe, "batch_size": taken, "epochs": 100_000, "drop_epochs": []},
            **dict.fromkeys(("teacher", "method", "pretrained")),
        }

        def train(count: int, epochs: int) -> tuple[float, float]:
            """Seconds of the epochs, and of all else, with `count` steps in each."""
            asked = {**made, "data": {**made["data"], "train_size": count * taken}}
            name = identity.digest(asked)
            run = place.run(f"{count}-{epochs}")
            began, before = time.monotonic(), waited()
            result = loop.train(asked, name, run, [], epochs, place, means)
            wall = time.monotonic() - began
            own = 1 - (waited() - before) / wall  # of its seconds, those that it had a core for
            return result.training_seconds * own, (wall - result.training_seconds) * own

        first, _ = train(1, 1)  # what is done once in a process is no part of a step
        few, setup = train(1, EPOCHS)
        often = max(1, min(30, int(seconds / 3 / max(few / EPOCHS * steps, 1e-6))))
        many, _ = train(steps, often) if first < seconds else (few * steps / EPOCHS, 0.0)
        step = max(0.0, many / often - few / EPOCHS) / (steps - 1)
        image = _image(made, place, means, seconds / 6)
    # One that was taken with fewer images has its fixed part counted several times: too high.
    return {
        "step": step * batch / taken,
        "epoch": max(0.0, few / EPOCHS - step - taken * image),
        "image": image,
        "setup": setup,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
    }


def waited() -> float:
    """Seconds that this thread has been ready to run and had no core, as Linux counts them."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # another kernel: nothing is known of it
        return 0.0


def _begun(folder: Path, spec: dict, code: Path | None) -> Path:
    """A file that the network of a spec can begin from: what it freezes has a price."""
    path = folder / "start.safetensors"
    state = {
        key: value.contiguous() for key, value in models.fresh(spec, code).state_dict().items()
    }
    save_file(state, path)
    return path


def _image(spec: dict, place: Store, means: Means, seconds: float) -> float:
    """Seconds of classifying one image, as tables and evaluation do it."""
    where = exact.torch_device(means.device, means.kernels)
    split = splits.load({**spec["data"], "train_size": None}, place)
    images = streams.images(split.train, PLAIN, split, where)
    model = models.fresh(spec, means.code).to(where).eval()
    layout, seen = models.layout(spec["network"]), 0
    began, before = time.monotonic(), waited()
    with torch.inference_mode():
        while not seen or time.monotonic() - began < seconds:
            for x in images.centres(images.forward_size):
                float(in_parts(model, x.contiguous(memory_format=layout), forward_size)[0, 0])
                seen += len(x)
                if time.monotonic() - began > seconds:
                    break
    return (time.monotonic() - began - (waited() - before)) / seen


def _made(place: Store, shape: tuple[int, int, int], classes: int, images: int) -> dict:
    """A prepared data set of noise; the `data` of a spec that means it."""
    rng = np.random.RandomState(0)
    count = max(images, classes)
    labels = np.arange(count, dtype=np.int64) % classes
    arrays = {
        "train_images": rng.randint(0, 256, (count, *shape), np.uint8),
        "train_labels": labels,
        "test_images": rng.randint(0, 256, (1, *shape), np.uint8),
        "test_labels": labels[:1],
    }
    card = Card("noise", "", "", shape, classes, count, 1, digest(arrays))
    folder = place.data(card.folder)
    for name in ARRAYS:
        write_npy(folder / f"{name}.npy", arrays[name])
    write_json(folder / "card.json", asdict(card))
    return {
        "name": card.name,
        "card": card.sha256,
        "train_size": None,
        "validation": 0,
        "label_noise": 0.0,
        "split_seed": 0,
        "resize": None,
        "mean": None,
        "std": None,
        "stream_revision": None,
    }
