"""A finished run as it ships: its network, with the weights of the reading of its study."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.networks import models
from kdpipe.plan.items import Run
from kdpipe.results import readings, records
from kdpipe.results.files import read_arrays, read_bytes
from kdpipe.results.readings import Reading
from kdpipe.results.store import Store


@dataclass(frozen=True)
class Trained:
    """A run, its record, and what it computes in a reading, after an epoch.

    `weights` are the bytes of their file; `folder` is where the run lies.
    """

    run: Run
    record: dict
    folder: Path
    reading: Reading
    epoch: int
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
    facts = records.facts(record, folder, path)
    assert facts is not None
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
    network.eval().requires_grad_(False)
    return Trained(run, record, folder, reading, epoch, weights, network)
