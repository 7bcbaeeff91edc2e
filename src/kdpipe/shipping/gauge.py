"""The job that measures one network as a file that ships: in float32, and in 8-bit integers.

Both graphs are made as an export makes them and are held to what the run has stored; what they say
and how long they take goes into the record, and the outputs of the 8-bit one beside it. The graphs
themselves are not kept: `kdpipe export` makes them of the weights again.
"""

import dataclasses
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdpipe.data import prepared, splits
from kdpipe.data.splits import Split
from kdpipe.jobs import asked
from kdpipe.jobs.record import facts_of_device, facts_of_files
from kdpipe.networks import models
from kdpipe.results import metrics, parents, run_folder
from kdpipe.results.files import write_arrays
from kdpipe.results.store import Store
from kdpipe.shipping import checked, graph, latency
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training.progress import as_tensors
from kdpipe.training.teachers import live


def gauge(spec: dict, place: Store, means: Means = CPU) -> str:
    """Measure a finished network as a file that ships; returns a line."""

    def ask(record: dict, folder: Path) -> dict:
        found = _measured(spec, record["digest"], folder, place, means)
        versions = {one: metadata.version(one) for one in ("torch", "onnxruntime")}
        return record | found | {"versions": record["versions"] | versions}

    return asked.once("gauge", spec, place, lambda: f"network {spec['network']['name']}", ask)


def _measured(spec: dict, digest: str, folder: Path, place: Store, means: Means) -> dict:
    """What the record of a gauge says; what the 8-bit graph says is written into the folder."""
    graph.refuse_without()
    began = time.monotonic()
    threads, name = spec["threads"], spec["network"]["name"]
    torch.set_num_threads(threads)
    split = splits.load(spec["data"], place)
    shape = prepared.card_of(spec["data"], place).resized(spec["data"].get("resize")).shape
    network, outputs, epoch = _network(spec, place, means.code)
    of_float = graph.of(name, network, split.mean, split.std, shape)
    graphs = {
        "float32": of_float,
        "int8": graph.quantised(of_float, checked.calibration(split, means.workers)),
    }
    ask = {kind: checked.of_graph(content, threads) for kind, content in graphs.items()}
    who = {"torch": checked.answers(spec["network"], network, split), **ask}
    said = {
        part: checked.asked(who, images, shape, means.workers)
        for part, images in (("val", split.val), ("test", split.test))
        if len(images)
    }
    test = said["test"]
    checked.refuse_other(parents.record(spec, place), outputs, test["torch"], split.test.labels)
    checked.refuse_apart(name, test["float32"], test["torch"])
    times = latency.measure(ask, shape)
    last = _stored(spec, digest, folder, split, {part: each["int8"] for part, each in said.items()})
    same = test["int8"].argmax(1) == test["float32"].argmax(1)
    return {
        "status": "done",
        "device": facts_of_device("cpu", threads),
        "seconds": {"total": round(time.monotonic() - began, 3)},
        "last": {"epoch": epoch, "train": None, **last},
        "graphs": {
            kind: {
                "bytes": len(content),
                "latency": {str(n): dataclasses.asdict(t) for n, t in times[kind].items()},
            }
            for kind, content in graphs.items()
        },
        "agreement": float(same.mean()),
        "files": facts_of_files(folder),
    }


def _network(spec: dict, place: Store, code: Path | None) -> tuple[nn.Module, dict, int]:
    """The network in eval mode, what it has stored of what it says, and after which epoch it is."""
    member = {"run": spec["run"], "epoch": spec["epoch"]}
    _, network = live.member(member, spec["network"], place, code)
    if spec["reading"] == "last":
        return network, parents.outputs(member, place), spec["epoch"]
    epoch, weights, outputs = parents.at_best(member, place)
    models.put(network, as_tensors(weights))
    return network, outputs, epoch


def _stored(
    spec: dict, digest: str, folder: Path, split: Split, said: dict[str, np.ndarray]
) -> dict[str, dict | None]:
    """Logits (N, C) by part, with their labels, into a file; their metrics."""
    labels = {part: np.array(getattr(split, part).labels) for part in said}
    arrays = {}
    for part, logits in said.items():
        arrays |= {f"{part}_logits": logits, f"{part}_labels": labels[part]}
    write_arrays(run_folder.outputs(folder), arrays, {"run": digest, "epoch": spec["epoch"]})
    return {
        part: metrics.of(said[part], labels[part]) if part in said else None
        for part in ("val", "test")
    }
