"""What a study will cost on disk before a core is spent on it.

Counted are float32 weights of the last, the best and kept epochs, and outputs. (Time: `cost`.)
"""

import shutil
from pathlib import Path

from kdpipe.plan.items import Plan, Probe, Run

BYTES = 4  # of a float32


def disk(plan: Plan, run: Run) -> int:
    """Bytes that a finished run keeps: weights, checkpoints, outputs on val and test.

    The best epoch on validation is counted beside the last one, though it may be the same.
    """
    validation = plan.card.validated(plan.study.data.validation)
    best = validation > 0 and run.epochs > 0
    snapshots = 1 + best + len(plan.keep.get(run.name, ()))
    images = validation + plan.card.test
    return BYTES * snapshots * (run.cost.parameters + images * plan.card.classes)


def probe_disk(probe: Probe) -> int:
    """Bytes that a probe keeps: its outputs on the val and test images of the other set."""
    return BYTES * (probe.spec["data"]["validation"] + probe.card.test) * probe.card.classes


def disk_warning(needed: int, folder: Path) -> str | None:
    """What to say when bytes that are to be written will not fit on the disk of a folder."""
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return f"warning: the runs to do write {as_size(needed)}, {folder} has {as_size(free)} free"


def as_duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"


def as_size(count: float) -> str:
    """Bytes in three digits and the unit that suits them."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
