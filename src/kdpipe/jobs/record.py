"""What a job writes of itself: the record that it begins with, and what it adds at its end.

A job is told everything by its spec; it reads no config file and knows no study. Torch is imported
only by a run that really trains.
"""

import datetime
import platform
from importlib import metadata
from pathlib import Path

from kdpipe.data import prepared
from kdpipe.devices import exact, processor
from kdpipe.networks import naming
from kdpipe.networks.brought import fed
from kdpipe.networks.family import Cost
from kdpipe.results import run_folder
from kdpipe.results.files import file_facts
from kdpipe.results.store import Store
from kdpipe.version import git_revision


def blank(kind: str, name: str, digest: str, spec: dict) -> dict:
    """The record of a run, ensemble or probe of which nothing has come out yet."""
    return {
        "format": 1,
        "kind": kind,
        "name": name,
        "digest": digest,
        "status": None,
        "reason": None,
        "spec": spec,
        "versions": {
            "kdpipe": metadata.version("kdpipe"),
            "git": git_revision(),
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "last": None,
        "best": None,
        "checkpoints": {},
        "files": {},
    }


def summary(record: dict) -> str:
    """What came out, as the line that a job ends with.

    By validation alone: a job knows no study, and that of a registered one may not be looked into.
    """
    if record["status"] != "done":
        return f"{record['name']}: {record['status']}: {record['reason']}"
    validation = record["last"]["val"]
    time_taken = f", {record['seconds']['total']:.1f} s" if "seconds" in record else ""
    if validation is None:
        return f"{record['name']}: done{time_taken}"
    error = 100 * (1 - validation["accuracy"])
    return f"{record['name']}: validation error {error:.2f} %{time_taken}"


def facts_of_files(folder: Path) -> dict[str, dict]:
    """The manifest: size and SHA-256 of every file of the run."""
    return {str(path.relative_to(folder)): file_facts(path) for path in run_folder.listed(folder)}


def facts_of_device(device: str, threads: int) -> dict:
    """The processor, or the GPU with what its numbers may depend on."""
    if device == "cpu":
        return {"type": device, "name": processor.name(), "threads": threads}
    return {"type": device, **exact.facts(), "threads": threads}


def facts_of_images(spec: dict, place: Store, mean: list[float], std: list[float]) -> dict:
    """What the labels mean and how the pixels came to be, as whoever uses the weights must know.

    Empty names and `scaled` are those of a card that does not say them.
    """
    card, side = prepared.card_of(spec["data"], place), spec["data"].get("resize")
    scaled = f"scaled to {side} x {side} (bilinear, antialiased)" if side else ""
    return {
        "classes": list(card.class_names),
        "mean": [round(value, 6) for value in mean],
        "std": [round(value, 6) for value in std],
        "scaled": ", then ".join(filter(None, (card.scaled, scaled))),
    }


def cost_of(spec: dict, place: Store, code: Path | None) -> Cost:
    """What a network has and takes; one of one's own is built and counted, for it needs no card."""
    network = spec["network"]
    card = prepared.card_of(spec["data"], place).resized(spec["data"].get("resize"))
    if "build" in network:
        from kdpipe.networks import models
        from kdpipe.networks.own import building

        return building.cost(models.fresh(spec, code), card.shape, network["layout"])
    inner = fed.inner(network)
    wants = (inner["channels"], *network["input"]["size"]) if "input" in network else card.shape
    return naming.cost(inner["name"], wants, inner["classes"])


def tidy(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in run_folder.leftovers(folder):
        path.unlink(missing_ok=True)
