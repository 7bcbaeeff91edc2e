"""`kdpipe init PATH`: a card and a first study for a folder of images, or for a known data set."""

import shlex
import sys
from pathlib import Path

from kdpipe.cli.arguments import device, on_gpus
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    add = parser.add_argument
    add("what", metavar="PATH", help="a folder of classes, a .npz, or the name of a known data set")
    add("--study", type=Path, metavar="FILE", help="where to write it; default: NAME.yaml")
    help = "what the study may take on this machine; its sizes follow from it; default: 5"
    add("--minutes", type=float, default=5.0, metavar="M", help=help)
    help = "what PATH/val is, where there is no PATH/test"
    add("--val-is", choices=("validation", "test"), help=help)


def run(options) -> None:
    from kdpipe.errors import KdpipeError
    from kdpipe.jobs import leash
    from kdpipe.plan.cost import said
    from kdpipe.results.store import Store
    from kdpipe.sketch import written
    from kdpipe.upkeep import measuring, pricing

    if not 0 < options.minutes < 1e6:
        raise KdpipeError(f"--minutes {options.minutes:g}: more than 0")
    source = written.source_of(options.what)
    place, plan, lines = written.write(source, options.study, options.minutes, options.val_is)
    print("\n".join(lines), flush=True)
    on = device(plan.study)
    try:
        with leash.to_me():
            measuring.complete(plan, plan.runs, on)
    except (KdpipeError, OSError) as error:  # the study is there, without its price
        print(f"kdpipe: {error}", file=sys.stderr)
    states, found, total, _ = pricing.of(plan, on, Store(), on_gpus(plan.study))
    print(said.price(found, total, states) or "everything of it is done")
    quoted = shlex.quote(str(place))
    print(f"next: kdpipe run {quoted}    (before: kdpipe plan {quoted}, what will be run)")


COMMAND = Command(
    order=5,
    help="write a first study for a folder of images, with its card",
    arguments=arguments,
    run=run,
)
