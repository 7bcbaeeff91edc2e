"""A price in words: hours with their width, core-hours, memory and disk."""

import math

from kdpipe.plan.cost.price import Price, Total
from kdpipe.plan.items import Plan
from kdpipe.plan.prices import BYTES, as_size, disk, gauge_disk, probe_disk

UNITS = ((48 * 3600, 86400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))


def as_range(seconds: float, width: float) -> str:
    """Seconds give or take a share of them, in the unit that suits them: `6 to 10 minutes`."""
    size, unit = next(((size, u) for least, size, u in UNITS if seconds >= least), (1, "seconds"))
    low, high = (seconds * (1 + sign * width) / size for sign in (-1, 1))
    digits = int(high < 10 and size > 1)
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{'about' if first == last else f'{first} to'} {last} {unit}"


def as_seconds(seconds: float) -> str:
    """Seconds that have gone by: `4.2 s`, `5:36`, `1:05:36`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def abreast(count: int) -> str:
    return "one job at a time" if count == 1 else f"{count} jobs at a time"


def time_left(total: Total) -> str:
    """The hours of what is still to do."""
    if not total.schedule.abreast:
        return "seconds, for the report"
    if total.seconds is None:
        return "unknown until a run has finished (kdpipe plan --measure tries the networks here)"
    return f"{as_range(total.seconds, total.width)}, {abreast(total.schedule.abreast)}"


def price(
    found: Price, total: Total, states: dict[str, str], plainly: Total | None = None
) -> str | None:
    """Two lines on what is to do, as `kdpipe plan` ends; None if nothing is.

    plainly: by Snakemake alone, where that is another price.
    """
    plan = found.plan
    if not any(state == "to do" for state in states.values()):
        return None
    lines = [f"time: {time_left(total)}"]
    if total.seconds is not None:
        hours = total.schedule.core_seconds / 3600
        digits = 0 if hours >= 10 else 1 if hours >= 1 else 2
        lines[0] += f"; {hours:.{digits}f} core-hours"
        if plainly is not None and plainly.seconds is not None:
            lines[0] += f" (plain snakemake: {as_range(plainly.seconds, plainly.width)})"
    most, tables = peak_disk(plan, total, states), total.schedule.table_bytes
    line = f"disk: {as_size(most)} at the most"
    line += f", {as_size(tables)} of it teacher tables that are removed again" if tables else ""
    if held := [speed.megabytes for speed in found.speeds.values()]:
        memory = total.schedule.abreast * (1e6 * max(held) + _images(plan) + _largest(plan))
        line += f"; memory: about {as_size(memory)}"
    return "\n".join([*lines, line])


def peak_disk(plan: Plan, total: Total, states: dict[str, str]) -> int:
    """Bytes that what is to do writes, with as many tables and states as stand at a time.

    Before anything is done, with the images as they are prepared.
    """
    to_do = [run for run in plan.runs.values() if states[run.name] == "to do"]
    runs = sum(disk(plan, run) for run in to_do)
    probes = sum(probe_disk(p) for p in plan.probes.values() if states[p.name] == "to do")
    probes += sum(gauge_disk(g, plan) for g in plan.gauges.values() if states[g.name] == "to do")
    # Of each run at work: weights, their momentum, the best weights until then, and an average.
    kept = [(3 + bool(run.spec["recipe"].get("ema"))) * run.cost.parameters for run in to_do]
    at_work = total.schedule.abreast * BYTES * max(kept, default=0)
    prepared = 0 if "done" in states.values() else _pixels(plan)
    return runs + probes + total.schedule.table_bytes + at_work + prepared


def _images(plan: Plan) -> int:
    """Bytes of a job's images: as they are prepared, and once more with their margin."""
    return 2 * _pixels(plan)


def _pixels(plan: Plan) -> int:
    """Bytes of all images in their arrays; none where they stream."""
    if plan.card.streamed:
        return 0
    return (plan.card.train + plan.card.validation + plan.card.test) * math.prod(plan.card.shape)


def _largest(plan: Plan) -> int:
    """Bytes of the tables that one run learns from, which it maps."""
    runs = plan.runs.values()
    return max((sum(table.bytes for table in run.tables) for run in runs), default=0)
