"""A finished run as it ships: its network, with the weights of the reading of its study."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.evidence.lookup import error_of
from kdpipe.networks import models
from kdpipe.plan.items import Run
from kdpipe.results import readings, records, run_folder
from kdpipe.results.files import read_arrays, read_bytes
from kdpipe.results.readings import Reading
from kdpipe.results.store import Store


@dataclass(frozen=True)
class Trained:
    """A run, its record, and what it computes in a reading, after an epoch.

    `weights` are the bytes of their file, `averaged` is the decay of their average if they are one;
    `outputs` is the file of what the run has stored of what they say, if it lists one; `error` is
    that on validation; `folder` is where the run lies.
    """

    run: Run
    record: dict
    folder: Path
    reading: Reading
    epoch: int
    averaged: float | None
    error: float | None
    outputs: Path | None
    weights: bytes
    network: nn.Module


def load(
    run: Run, record: dict, place: Store, reading: Reading, code: Path | None = None
) -> Trained:
    """The network of a finished run, on the CPU, in eval mode.

    code: the folder of the modules of networks of one's own. Raises KdpipeError where the run is
    not done or the reading is not there, StoreError for weights that cannot be trusted.
    """
    if record["status"] != "done":
        raise KdpipeError(
            f"run {run.name} {record['status']} ({record['reason']}): only a run that is done can "
            "be exported"
        )
    if not run.epochs:  # it brought its weights, and has them alone
        reading = "last"
    folder = place.run(run.name)
    epoch, path = readings.epoch(record, reading), readings.weights(folder, record, reading)
    if epoch is None or path is None:
        raise KdpipeError(
            f"run {run.name} has no weights of its {reading} reading, and the study reads there: "
            f"write reading: {readings.other(reading)} into the study, or train the run again "
            "(remove its folder)"
        )
    decay = run.spec["recipe"].get("ema") if run.epochs else None
    error = error_of((record[reading] or {}).get("val"))
    outputs = readings.outputs(folder, record, reading)
    weights, network = _of(run, record, path, epoch, code)
    return Trained(run, record, folder, reading, epoch, decay, error, outputs, weights, network)


def unaveraged(one: Trained, code: Path | None = None) -> Trained | None:
    """What a run whose weights are an average computes after its last epoch without averaging.

    None where they are none, or where the run has not kept it. Raises StoreError as `load` does.
    """
    found = one.record.get(records.UNAVERAGED)
    if one.averaged is None or not found:
        return None
    outputs = run_folder.unaveraged_outputs(one.folder)
    path = run_folder.unaveraged_weights(one.folder)
    weights, network = _of(one.run, one.record, path, found["epoch"], code)
    return replace(
        one,
        reading="last",
        epoch=found["epoch"],
        averaged=None,
        error=error_of(found.get("val")),
        outputs=outputs if records.facts(one.record, one.folder, outputs) else None,
        weights=weights,
        network=network,
    )


def _of(
    run: Run, record: dict, path: Path, epoch: int, code: Path | None
) -> tuple[bytes, nn.Module]:
    """The bytes of a file of weights that the record of a run lists, and the network with them."""
    folder = path.parent
    facts = records.facts(record, folder, path)
    if facts is None:
        raise StoreError(
            f"the record of {run.name} lists no {path.name}: remove the folder {folder}"
        )
    try:
        weights = read_bytes(path, facts)
    except FileNotFoundError:
        raise KdpipeError(
            f"{path} is not here, only the record of its run: export it where the study was run, "
            "or run the study again with the archive moved away"
        ) from None
    arrays, about = read_arrays(path, facts)
    if about != {"run": run.digest, "epoch": epoch}:
        raise StoreError(f"{path} is of another run or epoch: remove the folder {folder}")
    network = models.of(run.spec["network"], code)
    models.put(network, {key: torch.from_numpy(value) for key, value in arrays.items()})
    return weights, network.eval().requires_grad_(False)
