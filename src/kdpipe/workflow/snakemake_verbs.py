"""Options of Snakemake that only look at a study, and those that force jobs.

A finished run is in no graph of a start, so that nothing can make it again. Where the graph is only
shown (`--dag`, `--summary`, `--report`), finished runs are in it.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from kdpipe.errors import KdpipeError

LOOKING = ("--dag", "--rulegraph", "--filegraph", "--d3dag", "--summary", "--detailed-summary")
LOOKING += ("--report", "-S", "-D")
FORCING = ("--force", "--forceall", "--forcerun")
SHORT_FORCING = re.compile("-[a-zA-Z]*[fFR]")  # also in one word with others, as in -nR


def is_looking(arguments: Sequence[str]) -> bool:
    """Return whether Snakemake only shows the graph, with these arguments."""
    return any(argument.partition("=")[0] in LOOKING for argument in arguments)


def list_forcing(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that force jobs."""
    return [
        argument
        for argument in arguments
        if argument.partition("=")[0] in FORCING or SHORT_FORCING.fullmatch(argument)
    ]


def parse_targets(arguments: Sequence[str]) -> list[str]:
    """Return the targets of a command line of Snakemake, read by Snakemake's own parser.

    Its workflow knows them only after it has parsed the Snakefile.
    """
    from snakemake.cli import get_argument_parser  # loaded by Snakemake itself

    return [str(target) for target in get_argument_parser().parse_known_args(arguments)[0].targets]


def parse_whole(value: object, looks: bool) -> bool:
    """Return whether finished runs are in the graph, by `--config whole=...` and the verb.

    Raises
    ------
    KdpipeError
        If the value is not a boolean, or something would be made.
    """
    words = {"true": True, "false": False, "none": looks}
    if (whole := words.get(str(value).lower())) is None:
        raise KdpipeError(f"--config whole={value}: must be true or false")
    if whole and not looks:
        raise KdpipeError(
            "--config whole=true puts finished runs back into the graph for display only, and "
            f"runs nothing: give one of {', '.join(LOOKING[:-2])}, or leave it out"
        )
    return whole


def describe_forcing(forced: Sequence[str], folder: Path) -> str:
    """Return that a finished run is never made again, and how to have one made.

    Parameters
    ----------
    forced : sequence of str
        The arguments that force jobs.
    folder : Path
        The folder of a finished run.
    """
    return (
        f"{' '.join(forced)}: a finished run is never run again; to run one again, remove its "
        f"folder and start the study again: rm -r {shlex.quote(str(folder))}"
    )
