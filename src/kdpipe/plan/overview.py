"""The plan on one screen, or as JSON: every run, what it costs, and whether it is done.

Multiply-adds are those of convolutions and linear layers; training counts three forwards for each
image and epoch.
"""

from collections import Counter
from collections.abc import Iterable

from kdpipe.learning import method as methods
from kdpipe.learning import mixing
from kdpipe.plan.cost.price import Price
from kdpipe.plan.items import Plan, Run
from kdpipe.plan.prices import as_size, disk, gauge_disk, probe_disk
from kdpipe.plan.runs import FORWARDS_PER_STEP, PRECISIONS
from kdpipe.plan.status import STATES
from kdpipe.specs.made import unlabelled_shown, view_count
from kdpipe.wording import listed

CHEAPER = 0.9  # of the operations: what saves less is not worth a word


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
                "multiply_adds": run.multiply_adds,
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
        "gauges": [
            {
                "name": gauge.name,
                "digest": gauge.digest,
                "run": gauge.run.name,
                "epoch": gauge.spec["epoch"],
                "reading": gauge.spec["reading"],
                "state": states[gauge.name],
                "bytes": gauge_disk(gauge, plan),
            }
            for gauge in plan.gauges.values()
        ],
    }


def as_text(plan: Plan, states: dict[str, str]) -> str:
    """The plan on one screen: by role, by block, and in all."""
    runs = list(plan.runs.values())
    lines = [f"study {plan.study.study} on {plan.card.name}: {counted(plan)}", ""]
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
        lines.append(_line(plan, block.name, by_block.get(block.name, []), states))
    lines += ["", _head(""), _line(plan, "all runs, each once", runs, states)]
    lines += _teaching(plan)
    lines += _unlabelled(plan)
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
    if plan.gauges:
        text = _states(plan.gauges, states)
        lines.append(f"{len(plan.gauges):,} networks to measure as files, float32 and int8: {text}")
    return "\n".join(lines)


def counted(plan: Plan) -> str:
    """How many runs there are, and of how many splits where there are several."""
    splits = len(plan.study.splits)
    return f"{len(plan.runs):,} runs" + (f" in {splits} splits" if splits > 1 else "")


def _teaching(plan: Plan) -> list[str]:
    """What the teachers' outputs cost in either way of getting them; the study chooses.

    Terms that look at more than logits leave no choice, nor do mixed images.
    """
    logits, beside, mixed = [], [], []
    for run in (run for run in plan.runs.values() if run.spec["teacher"]):
        live = run.spec["teacher"]["outputs"] == "live"
        at_more = live and methods.needs(run.spec["method"])
        alike = mixed if mixing.asked(run.spec["recipe"]) else logits
        (beside if at_more else alike).append(run)
    lines = _choice(plan, logits)
    if mixed:
        live = sum(run.teacher_multiply_adds for run in mixed)
        ways = dict.fromkeys(key for run in mixed for key in mixing.asked(run.spec["recipe"]))
        lines.append(
            f"teacher outputs of {len(mixed):,} students: {live:.2e} mult-adds live in any case; "
            f"no table has mixed images ({', '.join(ways)})"
        )
    if beside:
        live = sum(run.teacher_multiply_adds for run in beside)
        at_work = [one for run in beside for one in methods.active(run.spec["method"])]
        titles = dict.fromkeys(
            one.term.title if one.term else one.name for one in at_work if one.needs != "logits"
        )
        lines.append(
            f"teacher outputs of {len(beside):,} students: {live:.2e} mult-adds live in any case; "
            f"no table has what these compare: {', '.join(titles)}"
        )
    return lines


def _unlabelled(plan: Plan) -> list[str]:
    """How many images without labels there are, and what seeing them costs."""
    shown = {run.name: unlabelled_shown(run.spec) for run in plan.runs.values()}
    taught = [run for run in plan.runs.values() if shown[run.name]]
    if not taught:
        return []
    there = taught[0].spec["method"]["unlabelled_images"]
    sizes = sorted({run.spec["method"]["unlabelled"] for run in taught})
    operations = sum(FORWARDS_PER_STEP * run.cost.multiply_adds * shown[run.name] for run in taught)
    whose = f" of {plan.unlabelled.source}" if plan.unlabelled else ""
    return [
        f"unlabelled images: {there:,}{whose}, of which {listed(map(str, sizes))} stand beside "
        f"each batch of {len(taught):,} students: shown {sum(shown.values()):,} times, "
        f"{operations:.2e} mult-adds of those above"
    ]


def _choice(plan: Plan, taught: list[Run]) -> list[str]:
    """Both prices for students that learn from logits alone, and where the other is cheaper."""
    if not taught:
        return []
    views = view_count(taught[0].spec["data"]["views"])
    live = sum(run.teacher_multiply_adds for run in taught)
    if not views:
        return [f"teacher outputs: {live:.2e} mult-adds live (views without end make no table)"]
    count, table, size = _tables(plan, taught, views)
    asked = [run for run in taught if run.spec["teacher"]["outputs"] != "live"]
    chosen = plan.study.teacher_outputs
    if chosen == "auto" and len(taught) > len(asked) > 0:
        chosen = f"auto: {len(asked):,} students take tables, {len(taught) - len(asked):,} live"
    elif chosen == "auto":
        chosen = f"auto: {'tables' if asked else 'live'}"
    most = size // count
    if plan.tables:  # as many as stand at a time, were two made side by side
        everything = [name for items in plan.recorded.values() for name in items]
        most = Price(plan).total(everything, 2).schedule.table_bytes
    line = (
        f"teacher outputs: {table:.2e} mult-adds and {as_size(most)} "
        f"{'at a time' if plan.tables else 'each'} as "
        f"{count:,} tables of {views} views; {live:.2e} mult-adds live (the study says {chosen})"
    )
    taken = sum(run.teacher_multiply_adds for run in taught if run not in asked)
    taken += _tables(plan, asked, views)[1]
    other, least = ("table", table) if table < live else ("live", live)
    if least < CHEAPER * taken:
        line += f"; teacher_outputs: {other} would take {least / taken:.0%} of these operations"
    return [line]


def _tables(plan: Plan, taught: list[Run], views: int) -> tuple[int, int, int]:
    """How many tables there are for students, or would be; their mult-adds and bytes."""
    costs = {run.digest: run.cost.multiply_adds for run in plan.runs.values()}
    tables = {
        (member["run"], member["epoch"], methods.outputs(run.spec["method"], "table"), *of)
        for run in taught
        for member in run.spec["teacher"]["members"]
        for of in _images(run)
    }
    operations = sum(costs[digest] * images for digest, _, _, _, images in tables) * views
    size = sum(PRECISIONS[precision] * images for _, _, precision, _, images in tables) * views
    return len(tables), operations, size * plan.card.classes


def _images(run: Run) -> list[tuple[str, int]]:
    """How many images a student's teacher is asked of: with labels, and without."""
    found = [("labelled", run.spec["data"]["train_size"])]
    if more := run.spec["method"].get("unlabelled_images"):
        found.append(("unlabelled", more))
    return found


def _with_blocks(plan: Plan) -> list[tuple[Run, set[str]]]:
    """Every run with the experiments that need it; a shared run stands in several."""
    blocks: dict[str, set[str]] = {name: set() for name in plan.runs}
    for cell in plan.cells:
        blocks[cell.run.name].add(cell.block)
        scratch = plan.scratch.get((cell.student, cell.seed, cell.run.split))
        if scratch is not None:  # of a cell that is only tried there is none
            blocks[scratch.name].add(cell.block)
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
    operations = sum(run.multiply_adds for run in runs)
    size = sum(disk(plan, run) for run in runs)
    epochs = sum(run.epochs for run in runs)
    return f"{title:<24}{len(runs):>7,}{epochs:>10,}{operations:>12.2e}{as_size(size):>10}  {state}"
