"""`kdpipe init PATH`: create a card and a first study for a data set."""

import shlex
import sys
from pathlib import Path

from kdpipe.cli.command import Command, count_gpu_slots, resolve_device


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe init`."""
    add = parser.add_argument
    add(
        "what",
        metavar="PATH",
        help="a folder of classes, a .npz, or the name of a built-in data set",
    )
    add("--study", type=Path, metavar="FILE", help="study file to write; default: NAME.yaml")
    help = "time budget of the study on this machine, which determines its sizes; default: 5"
    add("--minutes", type=float, default=5.0, metavar="M", help=help)
    help = "role of PATH/val, if there is no PATH/test"
    add("--val-is", choices=("validation", "test"), help=help)
    help = "height and width to which images are scaled; default: what fits the time budget"
    add("--side", type=int, metavar="S", help=help)
    help = "weights for a second study, which begins from them: a file, a folder in timm's format, "
    help += "or an export of kdpipe; default: those on this machine"
    add("--weights", type=Path, metavar="FILE", help=help)
    help = "leave out images that cannot be decoded; the card has their number"
    add("--skip-damaged", action="store_true", help=help)


def run(options) -> None:
    """Write a first study with the card of its images, and print its estimated cost."""
    from kdpipe.cli import scaffold, scaffold_weights
    from kdpipe.errors import KdpipeError
    from kdpipe.jobs import parent_watchdog
    from kdpipe.models.pretrained import local_weights
    from kdpipe.plan import estimate, teacher_outputs
    from kdpipe.runs.store import Store
    from kdpipe.workflow import card_writer, machine_benchmark, run_state

    if not 0 < options.minutes < 1e6:
        raise KdpipeError(f"--minutes {options.minutes:g}: must be more than 0")
    source = scaffold.parse_source(options.what)
    if options.side is not None and not 8 <= options.side <= 1024:
        raise KdpipeError(f"--side {options.side}: must be from 8 to 1024 pixels")
    given = local_weights.recognize_weights(options.weights) if options.weights else None
    path, plan, card, lines = scaffold.init_study(
        source,
        options.study,
        options.minutes,
        options.val_is,
        options.skip_damaged,
        options.side,
    )
    print("\n".join(lines), flush=True)
    device = resolve_device(plan.study)
    try:
        with parent_watchdog.tie_children():
            machine_benchmark.measure_missing(plan, plan.runs, device)
    except (KdpipeError, OSError) as error:  # the study is written, without a cost estimate
        print(f"kdpipe: {error}", file=sys.stderr)
    states, cost_model, total, _ = run_state.price_plan(
        plan, device, Store(), count_gpu_slots(plan.study)
    )
    print(estimate.describe_estimate(cost_model, total, states) or "all of its runs are done")
    if prices := teacher_outputs.describe_prices(cost_model):
        print(prices)
    quoted = shlex.quote(str(path))
    proposal = scaffold_weights.propose_study(
        source, card, path, options.minutes, given, scaffold_weights.time_weights_step
    )
    print("\n".join(proposal.messages), end="\n" if proposal.messages else "")
    if proposal.path is not None:
        other = shlex.quote(str(proposal.path))
        for line in card_writer.write_cards(str(proposal.path), Store()):
            print(line, flush=True)
        print(f"next: kdpipe run {other}    (from weights: try this first)")
        print(f"or:   kdpipe run {quoted}    (from scratch; kdpipe plan shows the runs of either)")
        return
    print(f"next: kdpipe run {quoted}    (or first kdpipe plan {quoted}, to see the runs)")


COMMAND = Command(
    order=5,
    help="create a first study, and a data card, for a folder of images",
    add_arguments=add_arguments,
    run=run,
)
