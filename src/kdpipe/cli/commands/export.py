"""`kdpipe export STUDY [RUN | --best]`: a folder that is all one needs to ship a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from kdpipe.cli.arguments import add_results, positive, store
from kdpipe.cli.command import Command

UNITS_OF_TIME = {"ms": 1.0, "us": 1e-3, "s": 1e3}  # in milliseconds
UNITS_OF_SIZE = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}


def arguments(parser) -> None:
    add = parser.add_argument
    add("study", help="a study file")
    which = parser.add_mutually_exclusive_group()
    help = "the name of a run; without one: what the study's answer chose on validation"
    which.add_argument("name", nargs="?", metavar="RUN", help=help)
    which.add_argument("--best", action="store_true", help="the same as no RUN")
    help = "the most that one image may take here, as 2ms"
    add("--within", type=_of(UNITS_OF_TIME), metavar="TIME", help=help)
    help = "the most that the file may have, as 100kB"
    add("--at-most", type=_of(UNITS_OF_SIZE), metavar="SIZE", help=help)
    help = "scale probabilities by a temperature that is fitted on validation; classes stay"
    add("--calibrate", action="store_true", help=help)
    add("--to", type=Path, metavar="DIR", help="a new folder; default: exports/RUN")
    add_results(parser)


def _of(units: dict[str, float] | dict[str, int]):
    """A number with its unit, in the smallest of them that counts."""

    def amount(text: str) -> float:
        unit = next((unit for unit in units if text.endswith(unit)), None)
        if unit is None:
            raise argparse.ArgumentTypeError(f"{text} has no unit: {', '.join(units)}")
        try:
            return positive(text.removesuffix(unit)) * units[unit]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is no number of {unit}") from None

    return amount


def run(options) -> None:
    from kdpipe.search import due
    from kdpipe.shipping.choice import Budget
    from kdpipe.shipping.export import export
    from kdpipe.study import checking

    place = store(options)
    made = due.plan(checking.load(options.study), place)
    at_most = None if options.at_most is None else int(options.at_most)
    budget = Budget(options.within, at_most)
    said = export(made, place, options.name, budget, options.to, options.calibrate)
    print("\n".join(said))


COMMAND = Command(
    order=37,
    help="write weights, ONNX graphs (float32, int8) and card of what is to ship",
    arguments=arguments,
    run=run,
)
