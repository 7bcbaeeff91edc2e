"""The plan in numbers: what a study will cost before a core is spent on it.

Multiply-adds are those of convolutions and linear layers; training counts three forwards for
each image and epoch. Disk counts float32 weights of final and kept checkpoints. Time is priced by
runs of the study that have finished: no rate of a machine is guessed.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kdpipe.plan.items import Plan, Probe, Run
from kdpipe.plan.status import STATES
from kdpipe.specs.made import view_count

BYTES = 4  # of a float32

# Seconds from the end of a run to the start of the next one in its place: Snakemake's part, Python
# and torch. 2.1 in the 140 records of reports/published/digits, two runs at a time on two cores that had
# nothing else to do; 3 to 4 on a busy machine.
STARTING = 3.0


def disk(plan: Plan, run: Run) -> int:
    """Bytes that a finished run keeps: weights, checkpoints, outputs on val and test."""
    snapshots = 1 + len(plan.keep.get(run.name, ()))
    images = plan.study.data.validation + plan.card.test
    return BYTES * snapshots * (run.cost.parameters + images * plan.card.classes)


def probe_disk(probe: Probe) -> int:
    """Bytes that a probe keeps: its outputs on the val and test images of the other set."""
    return BYTES * (probe.spec["data"]["validation"] + probe.card.test) * probe.card.classes


def as_json(plan: Plan, states: dict[str, str]) -> dict:
    """Everything of the plan, run by run."""
    return {
        "study": plan.study.study,
        "data": {"name": plan.card.name, "sha256": plan.card.sha256},
        "runs": [
            {
                "name": run.name,
                "digest": run.digest,
                "roles": sorted(plan.roles.get(run.name, ())),
                "blocks": sorted(blocks),
                "parents": [parent.name for parent in run.parents],
                "state": states[run.name],
                "epochs": run.epochs,
                "keep": sorted(plan.keep.get(run.name, ())),
                "parameters": run.cost.parameters,
                "multiply_adds": run.train_multiply_adds + run.teacher_multiply_adds,
                "bytes": disk(plan, run),
            }
            for run, blocks in _with_blocks(plan)
        ],
        "ensembles": [
            {
                "name": ensemble.name,
                "members": [run.name for run, _ in ensemble.members],
                "state": states[ensemble.name],
            }
            for ensemble in plan.ensembles.values()
        ],
        "probes": [
            {
                "name": probe.name,
                "digest": probe.digest,
                "run": probe.run.name,
                "epoch": probe.spec["epoch"],
                "data": probe.card.name,
                "state": states[probe.name],
                "multiply_adds": probe.multiply_adds,
                "bytes": probe_disk(probe),
            }
            for probe in plan.probes.values()
        ],
    }


def as_text(plan: Plan, states: dict[str, str]) -> str:
    """The plan on one screen: by role, by block, and in all."""
    runs = list(plan.runs.values())
    lines = [f"study {plan.study.study} on {plan.card.name}: {len(runs):,} runs", ""]
    by_role: dict[str, list[Run]] = {}
    for run in runs:
        for role in sorted(plan.roles.get(run.name, ())):
            by_role.setdefault(role, []).append(run)
    lines.append(_head("kind"))
    for role in ("teacher", "scratch", "student", "member", "scratch_long"):
        if role in by_role:
            lines.append(_line(plan, role, by_role[role], states))
    lines += ["", _head("experiment")]
    by_block: dict[str, list[Run]] = {}
    for run, blocks in _with_blocks(plan):
        for block in blocks:
            by_block.setdefault(block, []).append(run)
    for block in plan.study.experiments:
        lines.append(_line(plan, block.name, by_block[block.name], states))
    lines += ["", _head(""), _line(plan, "all runs, each once", runs, states)]
    lines += _teaching(plan)
    if plan.ensembles:
        text = _states(plan.ensembles, states)
        lines.append(f"{len(plan.ensembles):,} ensembles to score from stored outputs: {text}")
    if plan.probes:
        probes = plan.probes.values()
        names = ", ".join(dict.fromkeys(probe.card.name for probe in probes))
        lines.append(
            f"{len(probes):,} probes on {names}, {sum(p.multiply_adds for p in probes):.2e} "
            f"mult-adds for their features: {_states(plan.probes, states)}"
        )
    return "\n".join(lines)


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
        if record and record["status"] == "done":
            for key in (run.network, ""):
                seen[key] += _price(run)
                seconds[key] += record["seconds"]["total"]
    if not seen[""]:
        return None
    left = 0.0
    for run in waiting:
        key = run.network if seen[run.network] else ""
        share = 1 - min(epochs.get(run.name, 0), run.epochs) / run.epochs
        left += STARTING + share * _price(run) * seconds[key] / seen[key]
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


def _teaching(plan: Plan) -> list[str]:
    """What the teachers' outputs cost in either way of getting them; the study chooses."""
    taught = [run for run in plan.runs.values() if run.spec["teacher"]]
    if not taught:
        return []
    views = view_count(taught[0].spec["data"]["views"])
    live = sum(run.teacher_multiply_adds for run in taught)
    if not views:
        return [f"teacher outputs: {live:.2e} mult-adds live (views without end make no table)"]
    images = taught[0].spec["data"]["train_size"]
    members = {(m["run"], m["epoch"]) for run in taught for m in run.spec["teacher"]["members"]}
    costs = {run.digest: run.cost.multiply_adds for run in plan.runs.values()}
    table = sum(costs[digest] * images * views for digest, _ in members)
    size = as_size(len(members) * images * views * plan.card.classes * 2)
    return [
        f"teacher outputs: {table:.2e} mult-adds and at most {size} at a time as {len(members):,} "
        f"tables of {views} views; {live:.2e} mult-adds live (the study says "
        f"{plan.study.outputs})"
    ]


def _with_blocks(plan: Plan) -> list[tuple[Run, set[str]]]:
    """Every run with the experiments that need it; a shared run stands in several."""
    blocks: dict[str, set[str]] = {name: set() for name in plan.runs}
    for cell in plan.cells:
        blocks[cell.run.name].add(cell.block)
        blocks[plan.scratch[cell.student, cell.seed].name].add(cell.block)
        for run, _ in cell.teacher.members:
            blocks[run.name].add(cell.block)
    for block, run, _ in plan.scratch_long:
        blocks[run.name].add(block)
    return [(run, blocks[name]) for name, run in plan.runs.items()]


def _head(title: str) -> str:
    return f"{title:<24}{'runs':>7}{'epochs':>10}{'mult-adds':>12}{'disk':>10}  state"


def _states(names: Iterable[str], states: dict[str, str]) -> str:
    count = Counter(states[name] for name in names)
    return ", ".join(f"{count[state]:,} {state}" for state in STATES if count[state])


def _line(plan: Plan, title: str, runs: list[Run], states: dict[str, str]) -> str:
    state = _states((run.name for run in runs), states)
    operations = sum(run.train_multiply_adds + run.teacher_multiply_adds for run in runs)
    size = sum(disk(plan, run) for run in runs)
    epochs = sum(run.epochs for run in runs)
    return f"{title:<24}{len(runs):>7,}{epochs:>10,}{operations:>12.2e}{as_size(size):>10}  {state}"


def _price(run: Run) -> int:
    return run.train_multiply_adds + run.teacher_multiply_adds


def as_duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"


def as_size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
