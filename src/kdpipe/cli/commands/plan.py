"""`kdpipe plan STUDY`: what would run, what it costs and what is done, before a core is spent."""

import json
import sys

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study")
    parser.add_argument("--json", action="store_true", help="the whole plan, run by run, as JSON")
    add_results(parser)


def run(options) -> None:
    from kdpipe.plan import overview, planner, prices, status
    from kdpipe.study import checking

    made = planner.make(checking.load(options.study))
    place = store(options)
    states = status.of(made, place)
    if options.json:
        print(json.dumps(overview.as_json(made, states)))
    else:
        lines = [overview.as_text(made, states), prices.time(made, states, place.records("runs"))]
        print("\n".join([*filter(None, lines), *checking.notes(made.study)]))
    if warning := prices.disk_warning(made, states, options.results):
        print(warning, file=sys.stderr)


COMMAND = Command(
    order=20,
    help="print the runs of a study, what they cost and what is done",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
