"""What is looked at before anything is started: a study, the files it is in, and the folders."""

import importlib.util
import os
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from kdpipe.devices import compiling
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.plan.items import Plan, Run
from kdpipe.results.store import Store
from kdpipe.search import candidates
from kdpipe.study import asked, checking, yaml_file
from kdpipe.upkeep import comparing
from kdpipe.wording import listed, printable_lines

GRAPHS = ("onnx", "onnxscript", "onnxruntime")  # what makes graphs and runs them


def checked(path: Path | str) -> tuple[Plan, list[str]]:
    """The plan of a study file, and what is to be said of the files that it names.

    Raises KdpipeError for whatever would go wrong in its jobs. What a study names is looked at
    itself, which needs torch where there is code or weights.
    """
    made = planner.make(checking.load(path))
    candidates.refuse(made)
    said = comparing.refuse_others(made, str(path))
    if asked.own([*made.study.tables, *made.study.figures]):
        from kdpipe.report import own

        comparing.refuse(str(path), own.mistakes(made))
    return made, said


def refuse_without_graphs() -> None:
    """Raise KdpipeError where networks are to be measured as files and what makes them is missing.

    They are looked for and not imported, which takes seconds.
    """
    missing = [name for name in GRAPHS if importlib.util.find_spec(name) is None]
    if missing:
        raise KdpipeError(
            f"export: true needs {listed(missing)}, which are not installed here: pip install "
            "'kdpipe[export]', in a clone pip install -c requirements.lock -e '.[export]'"
        )


def refuse_without_compiler(runs: Iterable[Run], device: str) -> None:
    """Raise KdpipeError where a run of this machine is compiled and what that needs is missing."""
    wanted = any(run.spec["recipe"].get("compile") for run in runs)
    if wanted and (what := compiling.missing(device)):
        raise KdpipeError(
            f"recipe.compile needs {what}: install it, or write compile: false (which makes other "
            "runs)"
        )


def check_files(arguments: list[str]) -> None:
    """Check the files that `--configfile` names, before Snakemake reads them.

    It would run what stands in them as a template, and has a traceback for one that is no text.
    profiles/default calls this. Mistakes are printed and end the process with exit code 2.
    """
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*")  # no abbreviation of the other
    try:
        for path in parser.parse_known_args(arguments)[0].configfile:
            yaml_file.read(path)
    except ArgumentError:
        return  # Snakemake says what is wrong with its arguments
    except KdpipeError as error:
        leave(error)


def leave(error: KdpipeError) -> NoReturn:
    """Print a mistake and end the process with exit code 2."""
    print(f"kdpipe: {printable_lines(error)}", file=sys.stderr)
    sys.exit(2)


def refuse_folders(checkout: Path) -> None:
    """Raise KdpipeError for folders that Snakemake would fail in, some of them silently."""
    if set("{}") & set(str(checkout.absolute())):
        raise KdpipeError(
            f"{checkout.absolute()}: Snakemake takes braces in the path of its Snakefile for "
            "wildcards: move this checkout, or rename the folder"
        )
    for name in (".snakemake", "logs", "reports", "results"):
        _refuse_read_only(Path(name) if os.path.exists(name) else Path())


def refuse_rooms(kinds: Iterable[str], place: Store, report: Path) -> None:
    """The same of the folders in which what is to do will lie, which may be somebody else's.

    kinds: as the folders below results are called, and those of their logs.
    """
    folders = [base / kind for kind in kinds for base in (place.root, Path("logs"))]
    for folder in (*folders, Path("logs/reports"), report):
        if folder.exists():
            _refuse_read_only(folder)


def _refuse_read_only(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise KdpipeError(
            f"{folder.absolute()} cannot be written in: results, logs and reports lie in the "
            "folder that snakemake is started in, or in that of --directory"
        )
