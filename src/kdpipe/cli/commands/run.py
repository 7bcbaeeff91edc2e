"""`kdpipe run [STUDY] [OPTION...]`: a study from its first run to its report, by Snakemake.

Works from any folder; results, logs and reports lie in the one that it is typed in. Options are
Snakemake's own, and it says what is wrong with them. A search is one start of Snakemake for each
of its rounds.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

from kdpipe.cli.arguments import device
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError
from kdpipe.wording import printable_lines

if TYPE_CHECKING:
    from kdpipe.plan.items import Plan
    from kdpipe.results.store import Store

EXAMPLES = """a study file (without one: the digits study), then any options of Snakemake, as
--cores 2, -n, --profile profiles/slurm, --config device=cuda; --verbose shows its own account"""


def arguments(parser) -> None:
    parser.add_argument("typed", nargs="*", metavar="STUDY [OPTION...]", help=EXAMPLES)


def run(options) -> int | None:
    from kdpipe.results.store import Store
    from kdpipe.search import due
    from kdpipe.workflow import before, home, start

    began, typed = time.monotonic(), list(options.typed)
    study = typed.pop(0) if typed and not typed[0].startswith("-") else None
    place = home.folder()
    line = start.command(place, study, typed)
    made, _ = before.checked(study or place / "config.yaml")
    results = Store(start.folder(typed) / "results")
    if start.trains_here(typed):
        try:
            _make_ready(due.plan(made.study, results), results)
        except (KdpipeError, OSError) as error:  # it runs without
            print(f"kdpipe: {printable_lines(error)}", file=sys.stderr)
    os.environ |= {start.TYPED: shlex.join(options.typed), start.BEGAN: repr(began)}
    sys.stdout.flush()
    if made.study.search is None or start.is_for_one_start(typed):
        os.execv(line[0], line)  # so that there is one process to stop, as if snakemake was typed
    return start.in_rounds(line, lambda: due.of(made.study, results))


def _make_ready(made: Plan, place: Store) -> None:
    """Time the networks of the runs to do, for a price, and preload what short jobs import."""
    from kdpipe.jobs import leash, preloaded
    from kdpipe.plan import status
    from kdpipe.plan.cost import price
    from kdpipe.upkeep import measuring

    on = device(made.study)
    states = status.of(made, place)
    to_do = [run for name, run in made.runs.items() if states[name] == "to do"]
    if to_do:  # at once, since Snakemake takes its time
        print(f"study {made.study.study}: {len(to_do):,} runs to do", file=sys.stderr, flush=True)
    with leash.to_me():
        measuring.complete(made, {run.name for run in to_do}, on)
    if price.forks(to_do, on):
        os.environ |= preloaded.start()


COMMAND = Command(
    order=15,
    help="run a study: train, distil, score, report",
    arguments=arguments,
    run=run,
    passes_on=True,
)
