"""Arguments that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe.errors import KdpipeError

if TYPE_CHECKING:
    from kdpipe.results.store import Store
    from kdpipe.specs.equipment import Means
    from kdpipe.study.grammar import Study


def add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="default: reports"
    )


def store(options: argparse.Namespace) -> Store:
    """The results folder; it need not be there yet, but nothing else may be in its place."""
    from kdpipe.results.store import Store

    there = next(path for path in (options.results, *options.results.parents) if path.exists())
    if not there.is_dir():
        raise KdpipeError(
            f"--results {options.results}: {there} is a file; give the folder that has runs/ in it"
        )
    return Store(options.results)


def add_means(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    help = "jobs that share a GPU; default: 1"
    add("--runs-per-gpu", type=_at_least(1), default=1, metavar="N", help=help)
    help = "what is asked of a GPU (any: other bytes each time); default: deterministic"
    add("--kernels", choices=("deterministic", "any"), default="deterministic", help=help)
    add("--code", type=Path, help="the folder of the modules of networks and terms of one's own")
    help = "processes that read images, where these stream from their files; default: 0"
    add("--workers", type=_at_least(0), default=0, metavar="N", help=help)


def means(options: argparse.Namespace) -> Means:
    """What the job works with."""
    from kdpipe.specs.equipment import Means

    weights = getattr(options, "weights", None)  # of a run only
    way = options.device, options.runs_per_gpu, options.kernels
    return Means(*way, weights, options.code, options.workers)


def device(study: Study) -> str:
    """cpu or cuda: on which of them a study would run on this machine."""
    from kdpipe.devices import decided

    return decided.here(study.device)


def on_gpus(study: Study) -> int | None:
    """How many jobs of a study the GPUs of this machine hold at a time; None without a GPU."""
    from kdpipe.devices import listed

    return len(listed.gpus()) * study.runs_per_gpu if device(study) == "cuda" else None


def spec(text: str) -> dict:
    """The JSON object of `--spec`; what it says is judged by the job."""
    try:
        spec = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise KdpipeError(f"--spec is not JSON ({error})") from None
    if not isinstance(spec, dict):
        raise KdpipeError("--spec is not a JSON object")
    return spec


def _no_number(text: str):
    raise ValueError(f"{text} is not a number")


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number


def _at_least(least: int):
    def count(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return count
