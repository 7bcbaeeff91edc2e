"""Checks before anything is started: of the study, its files, the machine and the folders."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import yaml

from kdpipe.analysis.search import search_space
from kdpipe.config import load, paths
from kdpipe.devices import host
from kdpipe.errors import KdpipeError, raise_study_errors
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan, Run, Share
from kdpipe.runs.integrity import data_drift
from kdpipe.runs.store import HEAD_LOCK_FILE as LOCK_FILE
from kdpipe.runs.store import Store
from kdpipe.text import escape_lines, join_names

EXPORT_PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # build graphs and run them
REPORT_RULES = ("report", "render")  # of the workflow
SLURM_PROGRAMS = ("sacct", "sbatch", "squeue")
SNAKEMAKE_LOCKS = Path(".snakemake") / "locks"


def run_preflight(path: Path | str) -> tuple[Plan, list[str]]:
    """Check a study file with all files and code that it refers to.

    Torch is imported only for custom code or weights.

    Parameters
    ----------
    path : Path or str
        The study file.

    Returns
    -------
    plan : Plan
        Its plan.
    notes : list of str
        How networks match the weights that they are initialized from, and what cards of custom
        code lack.

    Raises
    ------
    KdpipeError
        For all errors that would otherwise occur in its jobs.
    """
    plan = planner.build_plan(load.load_study(path))
    search_space.check_search(plan)
    notes = data_drift.check_study_inputs(plan, str(path))
    if paths.select_custom([*plan.study.tables, *plan.study.figures]):
        from kdpipe.report import plugins

        raise_study_errors(str(path), plugins.find_plugin_errors(plan))
    return plan, notes


def check_files(arguments: list[str]) -> None:
    """Check the files of `--configfile` before Snakemake reads them.

    Snakemake would execute a template, and fail with a traceback for a file that is not text.
    Errors are printed, with exit code 2. profiles/default calls this.

    Parameters
    ----------
    arguments : list of str
        Snakemake's command line.
    """
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*")  # else an abbreviation of the other
    try:
        for path in parser.parse_known_args(arguments)[0].configfile:
            load.read_yaml(path)
    except ArgumentError:
        return  # Snakemake reports errors in its arguments
    except KdpipeError as error:
        exit_with_error(error)


def exit_with_error(error: KdpipeError) -> NoReturn:
    """Print an error and end the process with exit code 2."""
    print(f"kdpipe: {escape_lines(error)}", file=sys.stderr)
    sys.exit(2)


def require_export_packages() -> None:
    """Raise KdpipeError if the study exports networks and a package for this is missing.

    The packages are located but not imported, which would take seconds.
    """
    missing = [name for name in EXPORT_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise KdpipeError(
            f"export: true requires {join_names(missing)}, not installed here: pip install "
            "'kdpipe[export]', in a clone pip install -c requirements.lock -e '.[export]'"
        )


def refuse_report(targets: Iterable[str], share: Share, report_folder: Path) -> None:
    """Raise KdpipeError if a share of a study is to render the report of the study.

    It would show test errors of a part of the runs, which a registration may seal.

    Parameters
    ----------
    targets : iterable of str
        The targets of Snakemake's command line: rules or files.
    share : Share
        The share.
    report_folder : Path
        The folder of the report.
    """
    for target in targets:
        is_file = Path(os.path.normpath(target)).is_relative_to(report_folder)
        if target in REPORT_RULES or is_file:
            raise KdpipeError(
                f"share {share}: {target}: a share renders no report: merge the results of all "
                "shares into one folder (kdpipe merge), and run the study there without --share"
            )


def require_slurm(arguments: list[str]) -> None:
    """Raise KdpipeError if jobs would be sent to SLURM, and this machine has none.

    Snakemake names its executor only after it has read the Snakefile, so its command line and the
    profiles on it are read here.

    Parameters
    ----------
    arguments : list of str
        Snakemake's command line.
    """
    parser = ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--executor", "-e")
    parser.add_argument("--profile", nargs="+", action="extend", default=[])
    try:
        options = parser.parse_known_args(arguments)[0]
    except ArgumentError:
        return  # Snakemake reports errors in its arguments
    executor = options.executor or next(filter(None, map(_read_executor, options.profile)), None)
    if executor != "slurm" or shutil.which("sbatch") is not None:
        return
    missing = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
    raise KdpipeError(
        f"no SLURM on this machine: {join_names(missing)} not found: start where jobs are "
        "submitted (a login node of the cluster), or without its profile to run here"
    )


def _read_executor(profile: str) -> str | None:
    """Return the executor that a profile names, if it can be read."""
    for name in ("profile.yaml", "config.yaml"):
        with contextlib.suppress(OSError, yaml.YAMLError):
            content = yaml.safe_load((Path(profile) / name).read_bytes())
            return content.get("executor") if isinstance(content, dict) else None
    return None


def require_compiler(runs: Iterable[Run], device: str) -> None:
    """Raise KdpipeError if a run of this machine is compiled and a compiler is missing."""
    if any(run.spec.recipe.compile for run in runs):
        host.require_toolchain(device)


def check_workdir(checkout: Path) -> None:
    """Raise KdpipeError for folders in which Snakemake would fail, in some cases silently.

    Parameters
    ----------
    checkout : Path
        Folder of the Snakefile.
    """
    if set("{}") & set(str(checkout.absolute())):
        raise KdpipeError(
            f"{checkout.absolute()}: Snakemake would interpret braces in the path of its Snakefile "
            "as wildcards: move this checkout, or rename the folder"
        )
    for name in (".snakemake", "logs", "reports", "results"):
        if os.path.islink(name) and not os.path.exists(name):
            raise KdpipeError(
                f"{name} is a link to {os.readlink(name)}, which does not exist: create that "
                "folder (is its disk mounted?), or remove the link"
            )
        _require_writable(Path(name) if os.path.exists(name) else Path())


def check_job_limit(limit: int | None) -> None:
    """Raise KdpipeError for a number of cores or jobs with which no job would ever start."""
    if limit is not None and limit < 1:
        raise KdpipeError(f"{limit} cores or jobs at a time: must be 1 or more (--cores, --jobs)")


def check_output_dirs(kinds: Iterable[str], store: Store, report: Path) -> None:
    """Raise KdpipeError if an output folder is not writable.

    Parameters
    ----------
    kinds : iterable of str
        Folders below the results and the logs.
    store : Store
        The results folder.
    report : Path
        Folder of the report.
    """
    folders = [base / kind for kind in kinds for base in (store.root, Path("logs"))]
    for folder in (*folders, Path("logs/reports"), report):
        if folder.exists():
            _require_writable(folder)


def _require_writable(folder: Path) -> None:
    """Raise KdpipeError if a folder is not writable."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise KdpipeError(
            f"{folder.absolute()} is not writable: results, logs and reports are written to the "
            "folder in which snakemake is started, or to that of --directory"
        )


def acquire_lock() -> int | None:
    """Hold a lock of the working folder until the process ends.

    Snakemake locks a folder by files, which remain when it is killed. Each invocation also holds a
    kernel lock, which does not: an invocation that acquires it exclusively is the only one in the
    folder, and removes the lock files of a killed one.

    Returns
    -------
    int or None
        Number of files of a killed Snakemake that were removed. None if another invocation is
        running, or if the file system has no locks: then Snakemake's own locks decide.
    """
    with contextlib.suppress(OSError):
        LOCK_FILE.parent.mkdir(exist_ok=True)
        # Never closed, and not inherited by child processes.
        lock_fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale = list(SNAKEMAKE_LOCKS.glob("*.lock"))
            for path in stale:
                path.unlink()
            return len(stale)
        except BlockingIOError:
            return None
        finally:
            # Shared: two studies without common files may run at the same time.
            fcntl.flock(lock_fd, fcntl.LOCK_SH)
    return None
