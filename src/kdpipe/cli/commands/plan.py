"""`kdpipe plan STUDY`: what would run, what it costs and what is done, before a core is spent."""

import json
import sys
from pathlib import Path
from typing import Any

from kdpipe.cli.arguments import add_results, device, on_gpus, positive, store
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    parser.add_argument("--json", action="store_true", help="the whole plan, run by run, as JSON")
    help = "first time the networks of the study on this machine, a minute at the most"
    parser.add_argument("--measure", action="store_true", help=help)
    help = "the chance of each verdict, if this is the true effect; default: smallest_effect"
    parser.add_argument("--effect", type=positive, metavar="POINTS", help=help)
    help = "standard deviation over seeds of a paired difference, for --effect"
    parser.add_argument("--sd", type=positive, metavar="POINTS", help=help)
    help = "standard error of the difference that is of the test images alone, beside --sd"
    parser.add_argument("--images-se", type=positive, metavar="POINTS", help=help)
    help = "or the study, by its name, from whose records both are taken"
    parser.add_argument("--pilot", metavar="STUDY", help=help)
    add_results(parser)


def run(options) -> None:
    from kdpipe.jobs import leash
    from kdpipe.plan import overview, prices
    from kdpipe.plan.cost import said
    from kdpipe.search import due, outlook
    from kdpipe.study import checking
    from kdpipe.upkeep import comparing, measuring, pricing

    place = store(options)
    made, searched = due.look(checking.load(options.study), place)
    comparing.refuse(options.study, comparing.of_images(made.study, options.study))
    on = device(made.study)
    if options.measure:
        with leash.to_me():
            measuring.complete(made, made.runs, on)
    states, found, total, plainly = pricing.of(made, on, place, on_gpus(made.study))
    if options.json:
        print(json.dumps(overview.as_json(made, states)))
        return
    lines = [overview.as_text(made, states), said.price(found, total, states, plainly)]
    lines += [*(outlook.lines(searched) if searched else []), *comparing.gone(made, place)]
    lines += _chances(options, made, found, place)
    print("\n".join([*filter(None, lines), *checking.notes(made.study)]))
    needed = said.peak_disk(made, total, states)
    if warning := prices.disk_warning(needed, options.results):
        print(warning, file=sys.stderr)


def _chances(options, made, found, place) -> list[str]:
    """What the study can find, where that was asked for; and if it can find nothing at all."""
    study = made.study
    for what, levels in (("seeds", study.seeds), ("splits", study.splits)):
        if len(levels) < 3 and (what == "seeds" or len(levels) > 1):
            return [f"this study can tell nothing: of fewer than 3 {what} there is no interval"]
    asked = (options.effect, options.sd, options.images_se, options.pilot)
    if all(one is None for one in asked):
        return []
    if (options.sd is None) == (options.pilot is None):
        raise KdpipeError(
            "plan: how far differences lie apart is said by --sd POINTS, or by --pilot STUDY: give "
            "one of the two"
        )
    if options.pilot is not None and options.images_se is not None:
        raise KdpipeError("plan: --images-se is beside --sd; --pilot STUDY has it from its records")
    from kdpipe.beforehand import chances
    from kdpipe.plan import prices
    from kdpipe.plan.cost import schedule
    from kdpipe.statistics.chance import Spread

    effect = study.smallest_effect if options.effect is None else options.effect
    if options.pilot is None:
        spread: Any = Spread(options.sd**2, images=(options.images_se or 0.0) ** 2)
        source = f"sd {options.sd:g} over seeds"
        source += f", {options.images_se:g} of the images" if options.images_se else ""
    else:
        spread = chances.of_pilot(options.pilot, Path(options.study).parent, place, study)
        source = f"sd over seeds of the records of {options.pilot}"
    source += chances.lacks(study, spread)
    everything = [name for items in made.recorded.values() for name in items]
    seconds = found.total(everything, schedule.cores()).seconds
    operations = sum(run.multiply_adds for run in made.runs.values())

    def cost(seeds: int) -> str:
        share = seeds / len(study.due_seeds)
        if seconds is None:
            return f"{share * operations:.2e} mult-adds"
        return prices.as_duration(share * seconds)

    return chances.text(study, effect, chances.of(study, effect, spread), cost, source)


COMMAND = Command(
    order=20,
    help="print the runs of a study, what they cost and what is done",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
