"""`kdpipe export STUDY [RUN | --best]`: write a network in a form that can be deployed."""

from __future__ import annotations

import argparse
from pathlib import Path

from kdpipe.cli.command import Command, add_results, open_store, parse_positive

UNITS_OF_TIME = {"ms": 1.0, "us": 1e-3, "s": 1e3}  # in milliseconds
MAX_LICENSE_LENGTH = 100
MAX_FLOAT_LAYERS = 100
UNITS_OF_SIZE = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe export`."""
    add = parser.add_argument
    add("study", help="a study file")
    group = parser.add_mutually_exclusive_group()
    help = "name of a run; default: the study's recommendation, selected on validation"
    group.add_argument("name", nargs="?", metavar="RUN", help=help)
    group.add_argument("--best", action="store_true", help="the same as giving no RUN")
    help = "maximum latency for one image on this machine, e.g. 2ms"
    add("--within", type=_make_unit_parser(UNITS_OF_TIME), metavar="TIME", help=help)
    help = "maximum size of the file, e.g. 100kB"
    add("--at-most", type=_make_unit_parser(UNITS_OF_SIZE), metavar="SIZE", help=help)
    group = parser.add_mutually_exclusive_group()
    help = "ship the {} file of the network; default: the fastest that is not shown to be worse"
    for rule in ("fastest", "smallest", "most accurate"):
        name = f"--{rule.replace(' ', '-')}"
        group.add_argument(
            name, dest="rule", action="store_const", const=rule, help=help.format(rule)
        )
    help = (
        "calibrate probabilities by a temperature fitted on validation; predicted classes stay the "
        "same"
    )
    add("--calibrate", action="store_true", help=help)
    help = "keep the N layers of the int8 graph in float32 that 8-bit integers harm most"
    add("--keep-float", type=_parse_layer_count, default=0, metavar="N", help=help)
    help = (
        "license of the export, for its card and config: an identifier of SPDX or of the Hugging "
        "Face Hub, or a name; default: not stated, since none is guessed"
    )
    add("--license", type=_parse_license, metavar="LICENSE", help=help)
    add(
        "--to",
        type=Path,
        metavar="DIR",
        help="output folder, which must not exist; default: exports/RUN",
    )
    add(
        "--trained",
        type=Path,
        metavar="DIR",
        help="results folder with the weights, where --results has records alone (as a published "
        "report has)",
    )
    add_results(parser)


def _parse_layer_count(text: str) -> int:
    """Parse a number of layers."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_FLOAT_LAYERS):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r}: write a whole number from 1 to {MAX_FLOAT_LAYERS}"
        )
    return int(text)


def _parse_license(text: str) -> str:
    """Parse the name of a license."""
    if not text.strip() or not text.isprintable() or len(text) > MAX_LICENSE_LENGTH:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: write a name such as mit or apache-2.0")
    return text.strip()


def _make_unit_parser(units: dict[str, float] | dict[str, int]):
    """Return a parser of a number with a unit."""

    def parse_amount(text: str) -> float:
        """Parse a number with a unit."""
        unit = next((unit for unit in units if text.endswith(unit)), None)
        if unit is None:
            raise argparse.ArgumentTypeError(f"{text} has no unit: {', '.join(units)}")
        try:
            return parse_positive(text.removesuffix(unit)) * units[unit]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a number of {unit}") from None

    return parse_amount


def run(options) -> None:
    """Export a network of a study."""
    from kdpipe.analysis.search import rounds
    from kdpipe.config import load
    from kdpipe.export import measured_files, select
    from kdpipe.runs.store import Store

    store = open_store(options)
    plan = rounds.plan_due_runs(load.load_study(options.study), store)
    at_most = None if options.at_most is None else int(options.at_most)
    budget = select.ExportBudget(options.within, at_most)
    if options.calibrate:
        select.require_validation(plan, "--calibrate", "the temperature is fitted")
    if options.rule == "most accurate":
        select.require_validation(
            plan, "--most-accurate", "the files are compared: choose --fastest or --smallest"
        )
    candidates = select.find_candidates(plan, store, options.name, budget)
    if options.trained is not None:
        store, records_store = Store(options.trained), store
        candidates = select.take_trained_records(candidates, store, records_store, options.study)
    select.require_weights(candidates, store, options.study)
    measured_files.require_fit(candidates, plan, store, budget, options.keep_float)

    from kdpipe.export.exporter import export_network  # it imports torch
    from kdpipe.export.provenance import ExportRequest

    request = ExportRequest(
        Path(options.study), options.license, _list_options(options), options.keep_float
    )
    messages = export_network(
        plan, store, candidates, request, budget, options.to, options.calibrate, options.rule
    )
    print("\n".join(messages))


def _list_options(options) -> tuple[str, ...]:
    """Return the options that determine which file of a run ships, and how, as they are typed."""
    typed = [f"--{options.rule.replace(' ', '-')}"] if options.rule else []
    typed += ["--calibrate"] if options.calibrate else []
    typed += ["--keep-float", str(options.keep_float)] if options.keep_float else []
    return tuple(typed)


COMMAND = Command(
    order=37,
    help="export a network: weights, ONNX graphs (float32, int8) and model card",
    add_arguments=add_arguments,
    run=run,
)
