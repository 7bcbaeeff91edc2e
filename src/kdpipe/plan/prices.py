"""What a study will cost on disk before a core is spent on it.

Counted are float32 weights of the last, the best and kept epochs, and outputs. (Time: `cost`.)
"""

import math
import shutil
from pathlib import Path

from kdpipe.plan.items import Gauge, Plan, Probe, Run

BYTES = 4  # of a float32


# No rival from scratch for the price of a path is trained for more than this many times its epochs.
LONGEST = 10

Lineage = dict[str, float]  # by the name of a run, what training it cost


def times_as_long(own: float, beside: float, most: float = math.inf) -> float:
    """How many times its epochs a network is trained on labels for `own + beside` operations.

    own: those of its epochs; beside: what is spent besides, on teachers. At most `most` times.
    """
    return min(most, 1 + beside / own)


def ancestors(run: Run, known: dict[tuple[str, int], Lineage] | None = None) -> float:
    """Multiply-adds spent to train all that a run learned from, each ancestor once.

    known: what was found before, for a caller who asks of many runs.
    """
    return sum(_lineage(run, run.epochs, {} if known is None else known, itself=False).values())


def _lineage(
    run: Run, epoch: int, known: dict[tuple[str, int], Lineage], itself: bool = True
) -> Lineage:
    """What training a run until an epoch and each of its ancestors cost."""
    key = (run.name, epoch if itself else -1)
    if key not in known:
        found: Lineage = {}
        members = run.spec["teacher"]["members"] if run.spec["teacher"] else []
        parents = {parent.digest: parent for parent in run.parents}
        for member in members:
            parent = parents[member["run"]]
            for name, price in _lineage(parent, member["epoch"], known).items():
                found[name] = max(price, found.get(name, 0))
        if itself:
            share = epoch / run.epochs if run.epochs else 0.0  # 0 epochs: weights it brought
            found[run.name] = share * run.multiply_adds
        known[key] = found
    return known[key]


def disk(plan: Plan, run: Run) -> int:
    """Bytes that a finished run keeps: weights, checkpoints, outputs on val and test.

    The best epoch on validation is counted beside the last one, though it may be the same; where
    weights are averaged, those that are not stand beside them.
    """
    validation = plan.card.validated(plan.study.data.validation)
    best = validation > 0 and run.epochs > 0
    snapshots = 1 + best + averages(run) + len(plan.keep.get(run.name, ()))
    images = validation + plan.card.test
    return BYTES * snapshots * (run.cost.parameters + images * plan.card.classes)


def averages(run: Run) -> bool:
    """Whether what is judged of a run is an average of its weights."""
    return run.epochs > 0 and run.spec["recipe"].get("ema") is not None


def probe_disk(probe: Probe) -> int:
    """Bytes that a probe keeps: its outputs on the val and test images of the other set."""
    return BYTES * (probe.spec["data"]["validation"] + probe.card.test) * probe.card.classes


def gauge_disk(gauge: Gauge, plan: Plan) -> int:
    """Bytes that a gauge keeps: what the 8-bit graph says of validation and test."""
    images = gauge.spec["data"]["validation"] + plan.card.test
    return BYTES * images * plan.card.classes


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
