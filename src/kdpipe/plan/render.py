"""The plan as text or JSON: every run, its cost and its state.

Multiply-adds are those of convolutions and linear layers; training counts three forwards for each
image and epoch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from kdpipe.data.data_spec import count_views
from kdpipe.losses import method as methods
from kdpipe.plan.estimate import CostModel
from kdpipe.plan.nodes import Plan, Run
from kdpipe.plan.resources import (
    BYTES_PER_LOGIT,
    FORWARDS_PER_STEP,
    count_export_eval_bytes,
    count_probe_bytes,
    count_run_bytes,
    format_size,
)
from kdpipe.plan.status import STATES
from kdpipe.plan.teacher_outputs import WORTHWHILE_SHARE, group_students, list_caches
from kdpipe.runs import recipe
from kdpipe.text import format_count, join_names


def render_plan_json(plan: Plan, states: dict[str, str]) -> dict[str, Any]:
    """Return the whole plan in plain values, run by run.

    Parameters
    ----------
    plan : Plan
        The plan.
    states : dict of str to str
        State of each node, by name.

    Returns
    -------
    dict
        Keys `study`, `data`, `runs`, `ensembles`, `probes` and `gauges`.
    """
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
                "keep": sorted(plan.checkpoints_to_keep.get(run.name, ())),
                "parameters": run.cost.parameters,
                "multiply_adds": run.multiply_adds,
                "bytes": count_run_bytes(plan, run),
            }
            for run, blocks in _pair_runs_with_blocks(plan)
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
                "epoch": probe.spec.epoch,
                "data": probe.card.name,
                "state": states[probe.name],
                "multiply_adds": probe.multiply_adds,
                "bytes": count_probe_bytes(probe),
            }
            for probe in plan.probes.values()
        ],
        "gauges": [
            {
                "name": export_eval.name,
                "digest": export_eval.digest,
                "run": export_eval.run.name,
                "epoch": export_eval.spec.epoch,
                "reading": export_eval.spec.reading,
                "state": states[export_eval.name],
                "bytes": count_export_eval_bytes(export_eval, plan),
            }
            for export_eval in plan.gauges.values()
        ],
    }


def render_plan_text(plan: Plan, states: dict[str, str], prices: str | None = None) -> str:
    """Return the plan on one screen: by role, by block, and in total.

    Parameters
    ----------
    plan : Plan
        The plan.
    states : dict of str to str
        State of each node, by name.
    prices : str, optional
        What `teacher_outputs.describe_prices` says of it.

    Returns
    -------
    str
        Lines of text.
    """
    runs = list(plan.runs.values())
    format_row = partial(
        _format_row, {run.name: count_run_bytes(plan, run) for run in runs}, states
    )
    lines = [f"study {plan.study.study} on {plan.card.name}: {format_run_count(plan)}", ""]
    by_role: dict[str, list[Run]] = {}
    for run in runs:
        for role in sorted(plan.roles.get(run.name, ())):
            by_role.setdefault(role, []).append(run)
    lines.append(_format_header("kind"))
    for role in ("teacher", "scratch", "student", "member", "scratch_long"):
        if role in by_role:
            lines.append(format_row(role, by_role[role]))
    lines += ["", _format_header("experiment")]
    by_block: dict[str, list[Run]] = {}
    for run, blocks in _pair_runs_with_blocks(plan):
        for block in blocks:
            by_block.setdefault(block, []).append(run)
    for block in plan.study.experiments:
        lines.append(format_row(block.name, by_block.get(block.name, [])))
        if block.variants > 1:
            for label, variant_runs in _group_by_variant(plan, block.name).items():
                lines.append(format_row(f"  {label}", variant_runs))
    lines += ["", _format_header(""), format_row("all runs, each once", runs)]
    lines += _format_teaching(plan, prices is not None)
    lines += [prices] if prices else []
    lines += _format_unlabelled(plan)
    lines += _format_probed(plan)
    if plan.ensembles:
        text = _format_states(plan.ensembles, states)
        lines.append(f"{len(plan.ensembles):,} ensembles, evaluated from stored outputs: {text}")
    if plan.probes:
        probes = plan.probes.values()
        names = ", ".join(dict.fromkeys(probe.card.name for probe in probes))
        lines.append(
            f"{len(probes):,} probes on {names}, {sum(p.multiply_adds for p in probes):.2e} "
            f"mult-adds for their features: {_format_states(plan.probes, states)}"
        )
    if plan.gauges:
        text = _format_states(plan.gauges, states)
        lines.append(f"{len(plan.gauges):,} exported networks to measure, float32 and int8: {text}")
    return "\n".join(lines)


def format_run_count(plan: Plan) -> str:
    """Format the number of runs, and of splits if there are several.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    str
        Such as `1,200 runs in 3 splits`.
    """
    splits = len(plan.study.splits)
    return format_count(len(plan.runs), "run") + (f" in {splits} splits" if splits > 1 else "")


def _format_teaching(plan: Plan, has_prices: bool) -> list[str]:
    """Describe what teacher outputs cost live and from logit caches; the study chooses.

    Loss terms that read more than logits leave no choice, nor do mixed images.
    """
    students = group_students(plan)
    feature_runs, mixed_runs = students.features, students.mixed
    lines = _format_output_choice(plan, students.logits, has_prices)
    if mixed_runs:
        live_macs = sum(run.teacher_multiply_adds for run in mixed_runs)
        ways = dict.fromkeys(
            key for run in mixed_runs for key in recipe.enabled_mixes(run.spec.recipe)
        )
        lines.append(
            f"teacher outputs of {len(mixed_runs):,} students: {live_macs:.2e} mult-adds, always "
            f"live, since mixed images cannot be cached ({', '.join(ways)})"
        )
    if feature_runs:
        live_macs = sum(run.teacher_multiply_adds for run in feature_runs)
        active_terms = [
            active_term
            for run in feature_runs
            for active_term in methods.active_terms(run.spec.method or {})
        ]
        titles = dict.fromkeys(
            active_term.term.title if active_term.term else active_term.name
            for active_term in active_terms
            if active_term.needs != "logits"
        )
        lines.append(
            f"teacher outputs of {len(feature_runs):,} students: {live_macs:.2e} mult-adds, always "
            f"live, since only logits are cached: {', '.join(titles)}"
        )
    return lines


def _format_unlabelled(plan: Plan) -> list[str]:
    """Describe how many unlabelled images there are, and what training on them costs."""
    n_shown = {run.name: run.spec.unlabelled_images_seen for run in plan.runs.values()}
    students = [run for run in plan.runs.values() if n_shown[run.name]]
    if not students:
        return []
    student_methods = [run.spec.method for run in students if run.spec.method]
    n_images = student_methods[0]["unlabelled_images"]
    sizes = sorted({method["unlabelled"] for method in student_methods})
    macs = sum(FORWARDS_PER_STEP * run.cost.multiply_adds * n_shown[run.name] for run in students)
    origin = f" of {plan.unlabelled.source}" if plan.unlabelled else ""
    return [
        f"unlabelled images: {n_images:,}{origin}, of which {join_names(map(str, sizes))} "
        f"are added to each batch of {len(students):,} students: "
        f"shown {sum(n_shown.values()):,} times, "
        f"{macs:.2e} mult-adds of those above"
    ]


def _format_probed(plan: Plan) -> list[str]:
    """Describe what the networks cost of which only the classifier is trained.

    The counts of all runs are of three forwards for each image, as they always were: the length
    of a baseline of equal cost, and so its name, depends on them.
    """
    runs: dict[str, list[Run]] = {}
    for run in plan.runs.values():
        if run.spec.network.start is not None and run.spec.network.start.freezes_backbone:
            runs.setdefault(run.network, []).append(run)
    lines: list[str] = []
    for network, probed in runs.items():
        macs = sum(run.train_multiply_adds for run in probed)
        lines.append(
            f"{network} trains its classifier alone (a probe): {format_count(len(probed), 'run')}, "
            "about "
            f"{macs / FORWARDS_PER_STEP:.2e} mult-adds (one forward for each image) of the "
            f"{macs:.2e} that are counted; times after --measure are those of a probe"
        )
    return lines


def _format_output_choice(plan: Plan, students: list[Run], has_prices: bool) -> list[str]:
    """Describe both costs for students that learn from logits alone.

    The cheaper one is named where nothing is known of prices in seconds.
    """
    if not students:
        return []
    views = count_views(students[0].spec.data)
    live_macs = sum(run.teacher_multiply_adds for run in students)
    if not views:
        return [
            (
                f"teacher outputs: {live_macs:.2e} mult-adds live (infinitely many views cannot be "
                "cached)"
            )
        ]
    n_caches, cache_macs, cache_bytes = _count_cache_cost(plan, students, views)
    cached = [run for run in students if run.logit_caches]
    chosen = plan.study.teacher_outputs
    if chosen == "auto" and len(students) > len(cached) > 0:
        chosen = (
            f"auto takes a table for {format_count(len(cached), 'student')}, and live teachers for "
            f"{len(students) - len(cached):,}"
        )
    elif chosen == "auto":
        chosen = f"auto takes {'tables' if cached else 'live teachers'}"
    else:
        chosen = f"the study takes {'live teachers' if chosen == 'live' else 'tables'}"
    peak_bytes = cache_bytes // n_caches
    if plan.logit_caches:  # as many as exist at a time, with two jobs at a time
        peak_bytes = CostModel(plan).estimate_total(plan.nodes_by_name, 2).schedule.cache_bytes
    line = (
        f"teacher outputs: {cache_macs:.2e} mult-adds and {format_size(peak_bytes)} "
        f"{'at a time' if plan.logit_caches else 'each'} as "
        f"{format_count(n_caches, 'table')} of {views} views; {live_macs:.2e} mult-adds live "
        f"({chosen})"
    )
    chosen_macs = sum(run.teacher_multiply_adds for run in students if not run.logit_caches)
    chosen_macs += (
        cache_macs if len(cached) == len(students) else _count_cache_cost(plan, cached, views)[1]
    )
    cheaper, cheaper_macs = ("table", cache_macs) if cache_macs < live_macs else ("live", live_macs)
    if not has_prices and cheaper_macs < WORTHWHILE_SHARE * chosen_macs:
        share = cheaper_macs / chosen_macs
        line += f"; teacher_outputs: {cheaper} would take {share:.0%} of these operations"
    return [line]


def _count_cache_cost(plan: Plan, students: list[Run], views: int) -> tuple[int, int, int]:
    """Count the logit caches of students, made or not; their mult-adds and bytes."""
    costs = {run.digest: run.cost.multiply_adds for run in (plan.whole or plan).runs.values()}
    caches = list_caches(students)
    macs = sum(costs[cache.run] * cache.images for cache in caches) * views
    size = sum(BYTES_PER_LOGIT[cache.precision] * cache.images for cache in caches) * views
    return len(caches), macs, size * plan.card.classes


def _pair_runs_with_blocks(plan: Plan) -> list[tuple[Run, set[str]]]:
    """Return every run with the experiments that need it."""
    blocks: dict[str, set[str]] = {name: set() for name in plan.runs}
    for cell in plan.cells:
        blocks[cell.run.name].add(cell.block)
        scratch = plan.find_scratch_run(cell, cell.student)
        if scratch is not None:  # a cell that a search only tries has none
            blocks[scratch.name].add(cell.block)
        for run, _ in cell.teacher.members:
            if run.name in blocks:  # in a share a teacher may be of another one
                blocks[run.name].add(cell.block)
    for block, run, _ in plan.scratch_long:
        blocks[run.name].add(block)
    return [(run, blocks[name]) for name, run in plan.runs.items()]


def _group_by_variant(plan: Plan, block: str) -> dict[str, list[Run]]:
    """Return the students and scratch runs of an experiment by their length and size."""
    runs: dict[str, dict[str, Run]] = {}
    for cell in plan.cells:
        if cell.block == block:
            axes = [f"{cell.length} epochs"] if cell.length else []
            axes += [f"{cell.train_size:,} images"] if cell.train_size else []
            scratch = plan.find_scratch_run(cell, cell.student)
            group = [cell.run] if scratch is None else [scratch, cell.run]
            runs.setdefault(", ".join(axes), {}).update({run.name: run for run in group})
    return {label: list(by_name.values()) for label, by_name in runs.items()}


def _format_header(title: str) -> str:
    """Format the header of a table of runs."""
    return f"{title:<24}{'runs':>7}{'epochs':>10}{'mult-adds':>12}{'disk':>10}  state"


def _format_states(names: Iterable[str], states: dict[str, str]) -> str:
    """Format how many nodes are in each state."""
    count = Counter(states[name] for name in names)
    return ", ".join(f"{count[state]:,} {state}" for state in STATES if count[state])


def _format_row(
    sizes: Mapping[str, int], states: dict[str, str], title: str, runs: list[Run]
) -> str:
    """Format the totals of some runs, whose bytes and states are given by name."""
    state = _format_states((run.name for run in runs), states)
    macs = sum(run.multiply_adds for run in runs)
    size = sum(sizes[run.name] for run in runs)
    epochs = sum(run.epochs for run in runs)
    return f"{title:<24}{len(runs):>7,}{epochs:>10,}{macs:>12.2e}{format_size(size):>10}  {state}"
