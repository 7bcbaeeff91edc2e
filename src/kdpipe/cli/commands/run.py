"""`kdpipe run [STUDY] [OPTION...]`: run a study with Snakemake.

Results, logs and reports are written to the current folder. Options are passed to Snakemake, which
validates them. A search starts Snakemake once per round.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from kdpipe.cli.command import Command, resolve_device
from kdpipe.errors import KdpipeError
from kdpipe.text import escape_lines, format_count

if TYPE_CHECKING:
    from kdpipe.plan.nodes import Plan
    from kdpipe.runs.store import Store

EXAMPLES = """a study file (without one: the digits study), then any options of Snakemake, as
--cores 2, -n, --profile profiles/slurm, --config device=cuda; --verbose shows Snakemake's output;
--share K/N runs one of N disjoint shares of the study, --whole with the parents of its runs"""


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe run`."""
    parser.add_argument("typed", nargs="*", metavar="STUDY [OPTION...]", help=EXAMPLES)


def run(options) -> int | None:
    """Run a study with Snakemake."""
    from kdpipe.analysis.search import rounds
    from kdpipe.plan import share
    from kdpipe.runs.store import Store
    from kdpipe.workflow import preflight, run_snakemake

    start_time = time.monotonic()
    requested_share, typed = run_snakemake.split_share(options.typed)
    study = typed.pop(0) if typed and not typed[0].startswith("-") else None
    folder = run_snakemake.find_workflow_dir()
    command_line = run_snakemake.build_command(
        folder, study, run_snakemake.add_share(typed, requested_share)
    )
    plan, notes = preflight.run_preflight(study or folder / "config.yaml")
    for note in notes:
        print(f"kdpipe: {note}", file=sys.stderr)
    store = Store(run_snakemake.find_workdir(typed) / "results")
    if requested_share is not None:
        plan = share.select_share(plan, requested_share)
        print("\n".join(share.describe_share(plan, store)), file=sys.stderr, flush=True)
    if run_snakemake.is_local(typed):
        try:
            due = plan if plan.share else rounds.plan_due_runs(plan.study, store)
            _measure_and_preload(due, store, typed)
        except (KdpipeError, OSError) as error:  # the study runs without it
            print(f"kdpipe: {escape_lines(error)}", file=sys.stderr)
    os.environ |= {
        run_snakemake.INVOCATION_ENV: run_snakemake.format_invocation(options.typed),
        run_snakemake.START_TIME_ENV: repr(start_time),
    }
    sys.stdout.flush()
    if plan.study.search is None or run_snakemake.is_one_shot(typed):
        os.execv(
            command_line[0], command_line
        )  # so that there is one process to stop, as when snakemake is called directly
    return run_snakemake.run_rounds(
        command_line, lambda: rounds.get_search_state(plan.study, store)
    )


def _measure_and_preload(plan: Plan, store: Store, targets: list[str]) -> None:
    """Benchmark the networks of the pending runs, and start the fork server for short jobs.

    Where records are targets, these are the runs that they need.
    """
    from kdpipe.jobs import forkserver, parent_watchdog
    from kdpipe.plan import estimate, nodes, status
    from kdpipe.workflow import machine_benchmark, rule_context

    device = resolve_device(plan.study)
    states = status.get_plan_status(plan, store)
    to_do = [run for name, run in plan.runs.items() if states[name] == "to do"]
    if records := rule_context.find_recorded_nodes(plan, targets):
        needed = nodes.collect_with_ancestors(records.values())
        to_do = [run for run in to_do if run.name in needed]
    if to_do:  # now, since Snakemake takes seconds to start
        counts = format_count(len(to_do), "run")
        print(f"study {plan.study.study}: {counts} to do", file=sys.stderr, flush=True)
    with parent_watchdog.tie_children():
        machine_benchmark.measure_missing(plan, {run.name for run in to_do}, device)
    if estimate.uses_forkserver(to_do, device):
        os.environ |= forkserver.start_forkserver()


COMMAND = Command(
    order=15,
    help="run a study: train, distill, evaluate, report",
    add_arguments=add_arguments,
    run=run,
    passes_through=True,
)
