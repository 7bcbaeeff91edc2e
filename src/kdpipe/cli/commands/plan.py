"""`kdpipe plan STUDY`: what would run, what it costs and what is done, before a core is spent."""

import json
import sys

from kdpipe.cli.arguments import add_results, device, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study")
    parser.add_argument("--json", action="store_true", help="the whole plan, run by run, as JSON")
    help = "first time the networks of the study on this machine, a minute at the most"
    parser.add_argument("--measure", action="store_true", help=help)
    add_results(parser)


def run(options) -> None:
    from kdpipe.plan import overview, planner, prices, status
    from kdpipe.plan.cost import price, said
    from kdpipe.study import checking
    from kdpipe.upkeep import measuring

    made = planner.make(checking.load(options.study))
    place, on = store(options), device(made.study)
    states = status.of(made, place)
    if options.measure and (runs := measuring.unmeasured(made, made.runs, on)):
        print(measuring.announced(runs), file=sys.stderr)
        measuring.measure(made, runs, on)
    if options.json:
        print(json.dumps(overview.as_json(made, states)))
        return
    to_do = [name for name in states if states[name] == "to do"]
    found = price.of(made, on, to_do, place.records("runs"))
    total = found.total(to_do, measuring.cores())
    lines = [overview.as_text(made, states), said.price(found, total, states)]
    print("\n".join([*filter(None, lines), *checking.notes(made.study)]))
    needed = said.peak_disk(made, total, states)
    if warning := prices.disk_warning(needed, options.results):
        print(warning, file=sys.stderr)


COMMAND = Command(
    order=20,
    help="print the runs of a study, what they cost and what is done",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
