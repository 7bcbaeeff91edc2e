"""What a study will cost before a core is spent on it: bytes on disk, and time.

Disk counts float32 weights of the last, the best and kept epochs, and outputs. Time is priced by
runs of the study that have finished: no rate of a machine is guessed.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kdpipe.plan.items import Plan, Probe, Run

BYTES = 4  # of a float32

# Seconds from the end of a run to the start of the next one in its place: Snakemake's part, Python
# and torch. 2.1 in the 140 records of reports/published/digits, two runs at a time on two cores
# that had nothing else to do; 3 to 4 on a busy machine.
STARTING = 3.0


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


def seconds_left(
    plan: Plan, records: dict[str, dict], waiting: Iterable[Run], epochs: dict[str, int]
) -> float | None:
    """Seconds for the runs that wait, one at a time; None before any has finished.

    Priced by the seconds that finished runs took for each multiply-add, and `STARTING` for each.
    Those of the same network where there are any: small networks do fewer of them a second.
    epochs: how many a run has behind it, by name.
    """
    seen: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for name, run in plan.runs.items():
        record = records.get(name)
        if (
            record and record["status"] == "done" and run.multiply_adds
        ):  # weights are brought in none
            for key in (run.network, ""):
                seen[key] += run.multiply_adds
                seconds[key] += record["seconds"]["total"]
    if not seen[""]:
        return None
    left = 0.0
    for run in waiting:
        key = run.network if seen[run.network] else ""
        share = 1 - min(epochs.get(run.name, 0), run.epochs) / max(1, run.epochs)
        left += STARTING + share * run.multiply_adds * seconds[key] / seen[key]
    return left


def time(plan: Plan, states: dict[str, str], records: dict[str, dict]) -> str | None:
    """A line on how long the runs to do will take; None if there are none."""
    waiting = [run for run in plan.runs.values() if states[run.name] == "to do"]
    if not waiting:
        return None
    left = seconds_left(plan, records, waiting, {})
    if left is None:
        return "time: unknown until a run has finished on this machine"
    return f"time: about {as_duration(left)} on this machine for the runs to do, one run at a time"


def disk_warning(plan: Plan, states: dict[str, str], folder: Path) -> str | None:
    """What to say when the runs to do will not fit on the disk of the results folder."""
    while not folder.exists():
        folder = folder.absolute().parent
    needed = sum(disk(plan, run) for run in plan.runs.values() if states[run.name] == "to do")
    needed += sum(probe_disk(p) for p in plan.probes.values() if states[p.name] == "to do")
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
