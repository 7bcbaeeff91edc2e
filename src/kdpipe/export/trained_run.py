"""Finished runs with the network and weights at the evaluation point of their study."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from kdpipe.analysis.dataframe import compute_top1_error
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.models import factory
from kdpipe.plan.nodes import Run
from kdpipe.runs import records, run_folder
from kdpipe.runs.class_metrics import compute_decision_metric
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.files import read_arrays, read_bytes
from kdpipe.runs.records import EvalPoint
from kdpipe.runs.store import Store


@dataclass(frozen=True)
class TrainedRun:
    """A finished run at an evaluation point.

    Attributes
    ----------
    run : Run
        The run.
    record : dict
        Its record.
    folder : Path
        Its folder.
    reading : str
        The evaluation point, `last` or `best`.
    epoch : int
        The epoch of the weights.
    ema_decay : float or None
        The decay of the average, if the weights are averaged.
    error : float or None
        On validation, in percentage points.
    outputs : Path or None
        The file of the stored outputs with these weights, if there is one.
    weights : bytes
        The content of the weights file.
    network : Module
        The network, on the CPU, in eval mode.
    """

    run: Run
    record: dict
    folder: Path
    reading: EvalPoint
    epoch: int
    ema_decay: float | None
    error: float | None
    outputs: Path | None
    weights: bytes
    network: nn.Module


def load_trained_run(
    run: Run,
    record: dict,
    store: Store,
    reading: EvalPoint,
    code: Path | None = None,
    metric: DecisionMetric = "top1",
) -> TrainedRun:
    """Load the network of a finished run at an evaluation point.

    Parameters
    ----------
    run : Run
        The run.
    record : dict
        Its record.
    store : Store
        The results folder.
    reading : str
        The evaluation point, `last` or `best`.
    code : Path or None
        The folder of the modules of custom networks.
    metric : str
        The metric of the study, by which its validation error is.

    Raises
    ------
    KdpipeError
        If the run is not done, or has no weights at the evaluation point.
    StoreError
        If the weights are damaged.
    """
    if record["status"] != "done":
        raise KdpipeError(
            f"run {run.name} {record['status']} ({record['reason']}): only a finished run can be "
            "exported"
        )
    if not run.epochs:  # a pretrained network has only one set of weights
        reading = "last"
    folder = store.run(run.name)
    epoch, path = (
        records.get_eval_epoch(record, reading),
        records.find_weights_path(folder, record, reading),
    )
    if epoch is None or path is None:
        raise KdpipeError(
            f"run {run.name} has no weights at the evaluation point {reading} of the study: set "
            f"reading: {records.other_eval_point(reading)} in the study, or train the run again "
            "(remove its folder)"
        )
    decay = run.spec.recipe.ema if run.epochs else None
    outputs = records.find_outputs_path(folder, record, reading)
    error = _compute_error((record[reading] or {}).get("val"), record, folder, outputs, metric)
    weights, network = _load_weights(run, record, path, epoch, code)
    return TrainedRun(run, record, folder, reading, epoch, decay, error, outputs, weights, network)


def load_raw_weights(
    averaged_run: TrainedRun, code: Path | None = None, metric: DecisionMetric = "top1"
) -> TrainedRun | None:
    """Load a run whose weights are averaged with the unaveraged weights of its last epoch.

    Parameters
    ----------
    averaged_run : TrainedRun
        The run with averaged weights.
    code : Path or None
        The folder of the modules of custom networks.
    metric : str
        The metric of the study, by which its validation error is.

    Returns
    -------
    TrainedRun or None
        None if the weights are not averaged, or the run did not keep the unaveraged ones.

    Raises
    ------
    StoreError
        If the weights are damaged.
    """
    raw_record = averaged_run.record.get(records.UNAVERAGED_KEY)
    if averaged_run.ema_decay is None or not raw_record:
        return None
    outputs = run_folder.unaveraged_outputs_path(averaged_run.folder)
    path = run_folder.unaveraged_weights_path(averaged_run.folder)
    weights, network = _load_weights(
        averaged_run.run, averaged_run.record, path, raw_record["epoch"], code
    )
    record, folder = averaged_run.record, averaged_run.folder
    listed_outputs = outputs if records.find_file_info(record, folder, outputs) else None
    return replace(
        averaged_run,
        reading="last",
        epoch=raw_record["epoch"],
        ema_decay=None,
        error=_compute_error(raw_record.get("val"), record, folder, listed_outputs, metric),
        outputs=listed_outputs,
        weights=weights,
        network=network,
    )


def _compute_error(
    recorded: dict | None, record: dict, folder: Path, outputs: Path | None, metric: DecisionMetric
) -> float | None:
    """Return the validation error by a metric: top-1 as recorded, others from stored outputs."""
    if metric == "top1" or not recorded:
        return compute_top1_error(recorded)
    if outputs is None:
        return None
    arrays, _ = read_arrays(outputs, records.find_file_info(record, folder, outputs))
    predicted = arrays["val_logits"].argmax(axis=1)
    return 100 * (1 - compute_decision_metric(predicted, arrays["val_labels"], metric))


def _load_weights(
    run: Run, record: dict, path: Path, epoch: int, code: Path | None
) -> tuple[bytes, nn.Module]:
    """Return the content of a weights file in the record, and the network with these weights."""
    folder = path.parent
    file_info = records.find_file_info(record, folder, path)
    if file_info is None:
        raise StoreError(
            f"the record of {run.name} does not list {path.name}: remove the folder {folder}"
        )
    try:
        weights = read_bytes(path, file_info)
    except FileNotFoundError:
        raise KdpipeError(
            f"{path} does not exist, only the record of its run: export it on the machine where "
            "the study was run, or move the archive away and run the study again"
        ) from None
    arrays, header = read_arrays(path, file_info)
    if header != {"run": run.digest, "epoch": epoch}:
        raise StoreError(f"{path} belongs to another run or epoch: remove the folder {folder}")
    network = factory.build_model(run.spec.network, code)
    factory.load_state(network, {key: torch.from_numpy(value) for key, value in arrays.items()})
    return weights, network.eval().requires_grad_(False)
