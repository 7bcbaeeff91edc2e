"""The interface of a command, and the arguments that several commands share.

A command is named after its file, with `-` for `_`. `kdpipe --help` imports every file, so heavy
libraries are imported inside `run`.
"""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.errors import KdpipeError


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes
    ----------
    order : int
        Its position in the help: below 200 for users' commands, above for those that rules call.
    help : str
        One line without a period.
    add_arguments : callable
        Adds the command's arguments to a parser.
    run : callable
        Runs the command and returns an exit code, or None for 0.
    never_imports : tuple of str
        Libraries that it must not import, since it runs on a head node or is called thousands of
        times; verified by a test.
    passes_through : bool
        Whether all arguments, options too, are passed to another program.
    """

    order: int
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    never_imports: tuple[str, ...] = ()
    passes_through: bool = False


# Shared arguments, and the objects that are built from them.

if TYPE_CHECKING:
    from kdpipe.config.schema import Study
    from kdpipe.plan.nodes import Plan
    from kdpipe.runs.execution_options import ExecutionOptions
    from kdpipe.runs.store import Store


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add `--results`, the results folder."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    """Add `--reports`, the folder of the reports."""
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="default: reports"
    )


def open_store(options: argparse.Namespace) -> Store:
    """Return the store at `--results`, which need not exist yet.

    Raises
    ------
    KdpipeError
        If a file is in its place.
    """
    from kdpipe.runs.store import Store

    existing_path = next(
        path for path in (options.results, *options.results.parents) if path.exists()
    )
    if not existing_path.is_dir():
        raise KdpipeError(
            f"--results {options.results}: {existing_path} is a file; give the folder that has "
            "runs/ in it"
        )
    return Store(options.results)


def add_share(parser: argparse.ArgumentParser) -> None:
    """Add `--share` and `--whole`, for a study that several machines run."""
    help = "only share K of N disjoint shares that together are the study"
    parser.add_argument("--share", metavar="K/N", help=help)
    help = "with --share: also what its runs descend from in other shares, rather than wait for it"
    parser.add_argument("--whole", action="store_true", help=help)


def select_share(plan: Plan, options: argparse.Namespace) -> Plan:
    """Return the plan, or the share of it that `--share` requests.

    Raises
    ------
    KdpipeError
        If it is no share, or if the study is a search.
    """
    from kdpipe.plan import share

    if options.share is None:
        if options.whole:
            raise KdpipeError("--whole belongs to --share K/N, which is missing")
        return plan
    return share.select_share(plan, share.parse_share(options.share, options.whole))


def add_execution_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a job's device, code and workers."""
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    help = "jobs that share a GPU; default: 1"
    add("--runs-per-gpu", type=_make_count_parser(1), default=1, metavar="N", help=help)
    help = "GPU kernels (any: results differ between repetitions); default: deterministic"
    add("--kernels", choices=("deterministic", "any"), default="deterministic", help=help)
    add("--code", type=Path, help="folder with the modules of custom networks and terms")
    help = "worker processes that read streamed images; default: 0"
    add("--workers", type=_make_count_parser(0), default=0, metavar="N", help=help)
    help = "processes that train one network whose batches are cut (recipe.shards); default: 1"
    add("--processes", type=_make_count_parser(1), default=1, metavar="N", help=help)


def parse_execution_options(options: argparse.Namespace) -> ExecutionOptions:
    """Return a job's execution options, from the arguments of `add_execution_options`."""
    from kdpipe.runs.execution_options import ExecutionOptions

    weights = getattr(options, "weights", None)  # only `kdpipe train` has it
    device_options = options.device, options.runs_per_gpu, options.kernels
    return ExecutionOptions(
        *device_options, weights, options.code, options.workers, options.processes
    )


def resolve_device(study: Study) -> str:
    """Return on which device a study would run on this machine: `cpu` or `cuda`."""
    from kdpipe.devices import gpus

    return gpus.select_local_device(study.device)


def count_gpu_slots(study: Study) -> int | None:
    """Return how many jobs of a study fit on this machine's GPUs; None if it runs on CPUs."""
    from kdpipe.devices import gpus

    return len(gpus.list_gpus()) * study.runs_per_gpu if resolve_device(study) == "cuda" else None


def parse_spec(kind: str, text: str) -> Any:
    """Read the spec of a job of this kind from the JSON of `--spec`; the job checks its values.

    Raises
    ------
    KdpipeError
        If it is not a JSON object, or lacks keys of such a spec.
    """
    from kdpipe.jobs.validate import read_spec

    try:
        content = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise KdpipeError(f"--spec is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise KdpipeError("--spec is not a JSON object")
    return read_spec(kind, content)


def parse_job(kind: str, options: argparse.Namespace) -> tuple[Any, Store, ExecutionOptions]:
    """Return what a job is given: its spec, the results folder, and how it is executed."""
    return parse_spec(kind, options.spec), open_store(options), parse_execution_options(options)


def _reject_constant(text: str):
    """Reject NaN and infinity, which Python's JSON parser accepts and the standard does not."""
    raise ValueError(f"{text} is not a number")


def parse_positive(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def parse_not_negative(text: str) -> float:
    """Parse a finite number, 0 or more."""
    if not 0 <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number, 0 or more")
    return number


def _make_count_parser(minimum: int):
    """Return a parser of integers with a lower bound."""

    def parse_count(text: str) -> int:
        if (number := int(text)) < minimum:
            raise argparse.ArgumentTypeError(f"{number} is less than {minimum}")
        return number

    return parse_count
