"""Operations and bytes of runs: what a study costs before a core is spent on it.

Bytes are those of float32 weights of the last, the best and kept epochs, and of outputs. Seconds
are in `estimate`.
"""

import math
import shutil
from pathlib import Path

from kdpipe.plan.nodes import ExportEval, Plan, Probe, Run

FLOAT_BYTES = 4  # of a float32
BYTES_PER_LOGIT = {"float16": 2, "float32": 4}  # of a logit cache
FORWARDS_PER_STEP = 3  # forward and backward cost three forwards; the usual count

# No network is trained on labels for more than this many times its epochs for an equal cost.
MAX_EPOCHS_MULTIPLIER = 10
Lineage = dict[str, float]  # multiply-adds of training, by the name of the run


def compute_epochs_multiplier(
    label_macs: float, other_macs: float, maximum: float = math.inf
) -> float:
    """Return how many times its epochs a network is trained for an equal cost.

    Parameters
    ----------
    label_macs : float
        Multiply-adds of its own epochs on labels.
    other_macs : float
        Multiply-adds spent on teachers, which it is to spend on epochs.
    maximum : float
        Upper bound.

    Returns
    -------
    float
        Factor of its epochs.
    """
    return min(maximum, 1 + other_macs / label_macs)


def count_ancestor_macs(run: Run, cache: dict[tuple[str, int], Lineage] | None = None) -> float:
    """Count the multiply-adds of training all that a run learned from, each ancestor once.

    Parameters
    ----------
    run : Run
        The student.
    cache : dict, optional
        Lineages of earlier calls, for callers with many runs.

    Returns
    -------
    float
        Multiply-adds.
    """
    return sum(
        _trace_lineage(run, run.epochs, {} if cache is None else cache, include_self=False).values()
    )


def _trace_lineage(
    run: Run, epoch: int, cache: dict[tuple[str, int], Lineage], include_self: bool = True
) -> Lineage:
    """Return what training a run until an epoch, and each of its ancestors, cost."""
    key = (run.name, epoch if include_self else -1)
    if key not in cache:
        lineage: Lineage = {}
        parents = {parent.digest: parent for parent in run.parents}
        for member in run.spec.members:
            parent = parents[member.run]
            for name, macs in _trace_lineage(parent, member.epoch, cache).items():
                lineage[name] = max(macs, lineage.get(name, 0))
        if include_self:
            share = epoch / run.epochs if run.epochs else 0.0  # 0 epochs: pretrained weights
            lineage[run.name] = share * run.multiply_adds
        cache[key] = lineage
    return cache[key]


def count_run_bytes(plan: Plan, run: Run) -> int:
    """Count the bytes that a finished run keeps: weights, checkpoints, outputs.

    The best epoch on validation is counted in addition to the last one, though it may be the same;
    if weights are averaged, those that are not are counted too.

    Parameters
    ----------
    plan : Plan
        Plan of the run.
    run : Run
        The run.

    Returns
    -------
    int
        Bytes.
    """
    validation = plan.card.count_validation(plan.study.data.validation)
    best = validation > 0 and run.epochs > 0
    snapshots = 1 + best + uses_ema(run) + len(plan.checkpoints_to_keep.get(run.name, ()))
    images = validation + plan.card.test
    return FLOAT_BYTES * snapshots * (run.cost.parameters + images * plan.card.classes)


def uses_ema(run: Run) -> bool:
    """Return whether the evaluated weights of a run are an average.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    bool
        False for a run of no epochs.
    """
    return run.epochs > 0 and run.spec.recipe.ema is not None


def count_probe_bytes(probe: Probe) -> int:
    """Count the bytes that a probe keeps: its outputs on validation and test.

    Parameters
    ----------
    probe : Probe
        The probe.

    Returns
    -------
    int
        Bytes.
    """
    return FLOAT_BYTES * (probe.spec.data.validation + probe.card.test) * probe.card.classes


def count_export_eval_bytes(export_eval: ExportEval, plan: Plan) -> int:
    """Count the bytes that an export evaluation keeps: outputs of the 8-bit graph.

    Parameters
    ----------
    export_eval : ExportEval
        The export evaluation.
    plan : Plan
        Its plan.

    Returns
    -------
    int
        Bytes.
    """
    images = export_eval.spec.data.validation + plan.card.test
    return FLOAT_BYTES * images * plan.card.classes


def warn_disk_space(needed: int, folder: Path) -> str | None:
    """Return a warning if bytes to be written do not fit on the disk of a folder.

    Parameters
    ----------
    needed : int
        Bytes to be written.
    folder : Path
        Folder on the disk; it need not exist.

    Returns
    -------
    str or None
        The warning; None if there is enough space.
    """
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f"warning: the runs to do write {format_size(needed)}, "
        f"{folder} has {format_size(free)} free"
    )


def format_duration(seconds: float) -> str:
    """Format seconds in the unit that suits them.

    Parameters
    ----------
    seconds : float
        Duration.

    Returns
    -------
    str
        Such as `4.2 hours`.
    """
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"


def format_size(count: float) -> str:
    """Format bytes in three digits and the unit that suits them.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        Such as `12.3 MB`.
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
