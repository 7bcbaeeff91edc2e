"""The job that evaluates the export of one run: its accuracy and latency in float32 and int8.

Both graphs are made as in an export and are compared with the stored outputs of the run; their
accuracy and latency go into the record, and the outputs of the int8 graph next to it. The graphs
themselves are not kept: `kdpipe export` recreates them from the weights.
"""

import dataclasses
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdpipe.data import cache, splits
from kdpipe.data.splits import Split
from kdpipe.export import onnx_graph, verify
from kdpipe.jobs import post_hoc
from kdpipe.jobs.run_record import build_manifest, describe_device
from kdpipe.models import factory
from kdpipe.runs import metrics, run_folder, upstream
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import write_arrays
from kdpipe.runs.spec import ExportEvalSpec
from kdpipe.runs.store import Store
from kdpipe.training.checkpoint import to_tensors
from kdpipe.training.teachers import online


def evaluate_export(
    spec: ExportEvalSpec, store: Store, options: ExecutionOptions = CPU_OPTIONS
) -> str:
    """Evaluate the export of a finished run.

    Parameters
    ----------
    spec : dict
        The spec of the job.
    store : Store
        The results folder.
    options : ExecutionOptions
        Device, workers and code path.

    Returns
    -------
    str
        One line on the outcome.
    """

    def measure(record: dict, folder: Path) -> dict:
        """Return the record with the measurements."""
        measurements = _measure_graphs(spec, record["digest"], folder, store, options)
        versions = {package: metadata.version(package) for package in ("torch", "onnxruntime")}
        return record | measurements | {"versions": record["versions"] | versions}

    def describe_size() -> str:
        return f"network {spec.network.name}"

    return post_hoc.run_post_hoc(spec, store, describe_size, measure, options.code)


def _measure_graphs(
    spec: ExportEvalSpec, digest: str, folder: Path, store: Store, options: ExecutionOptions
) -> dict:
    """Return the measurements, and write the outputs of the int8 graph into the folder."""
    onnx_graph.require_onnx()
    start_time = time.monotonic()
    threads, name = spec.threads, spec.network.name
    torch.set_num_threads(threads)
    split = splits.load_split(spec.data, store)
    shape = cache.load_card_for_spec(spec.data, store).resize_to(spec.data.resize).shape
    network, outputs, epoch = _load_network(spec, store, options.code)
    float_graph = onnx_graph.to_onnx(name, network, split.mean, split.std, shape)
    graphs = {
        "float32": float_graph,
        "int8": onnx_graph.quantize(
            float_graph, verify.iterate_calibration_batches(split, options.workers)
        ),
    }
    onnx_predictors = {
        kind: verify.create_onnx_predictor(content, threads) for kind, content in graphs.items()
    }
    predictors = {
        "torch": verify.create_torch_predictor(spec.network, network, split),
        **onnx_predictors,
    }
    logits_by_part = {
        part: verify.predict_all(predictors, images, shape, options.workers)
        for part, images in (("val", split.val), ("test", split.test))
        if len(images)
    }
    test = logits_by_part["test"]
    verify.check_stored(
        upstream.load_parent_record(spec.members[0], store),
        outputs,
        test["torch"],
        split.test.labels,
    )
    verify.check_agreement(name, test["float32"], test["torch"])
    times = verify.measure_latency(onnx_predictors, shape)
    stored_metrics = _store_outputs(
        spec,
        digest,
        folder,
        split,
        {part: part_logits["int8"] for part, part_logits in logits_by_part.items()},
    )
    agreement = test["int8"].argmax(1) == test["float32"].argmax(1)
    return {
        "status": "done",
        "device": describe_device("cpu", threads),
        "seconds": {"total": round(time.monotonic() - start_time, 3)},
        "last": {"epoch": epoch, "train": None, **stored_metrics},
        "graphs": {
            kind: {
                "bytes": len(content),
                "latency": {str(n): dataclasses.asdict(t) for n, t in times[kind].items()},
            }
            for kind, content in graphs.items()
        },
        "agreement": float(agreement.mean()),
        "files": build_manifest(folder),
    }


def _load_network(
    spec: ExportEvalSpec, store: Store, code: Path | None
) -> tuple[nn.Module, dict, int]:
    """Return the network in eval mode, the stored outputs of its run, and its epoch."""
    (member,) = spec.members
    _, network = online.load_member(member, spec.network, store, code)
    if spec.reading == "last":
        return network, upstream.load_outputs(member, store), spec.epoch
    epoch, weights, outputs = upstream.load_best_checkpoint(member, store)
    factory.load_state(network, to_tensors(weights))
    return network, outputs, epoch


def _store_outputs(
    spec: ExportEvalSpec,
    digest: str,
    folder: Path,
    split: Split,
    logits_by_part: dict[str, np.ndarray],
) -> dict[str, dict | None]:
    """Write logits (N, C) by split, with their labels, to a file, and return their metrics."""
    labels = {part: np.array(getattr(split, part).labels) for part in logits_by_part}
    arrays = {}
    for part, logits in logits_by_part.items():
        arrays |= {f"{part}_logits": logits, f"{part}_labels": labels[part]}
    write_arrays(run_folder.outputs_path(folder), arrays, {"run": digest, "epoch": spec.epoch})
    return {
        part: metrics.compute_metrics(logits_by_part[part], labels[part])
        if part in logits_by_part
        else None
        for part in ("val", "test")
    }
