"""Starting Snakemake for `kdpipe run`: its Snakefile, its command line, and the rounds of a search.

The Snakefile is next to src/ in a clone, with its rules, profiles, environment and studies. A wheel
has all of these inside the package (pyproject.toml), so that `pip install` alone is enough.
"""

import argparse
import contextlib
import hashlib
import inspect
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kdpipe
from kdpipe.analysis.search.state import SearchState
from kdpipe.errors import KdpipeError
from kdpipe.jobs import parent_watchdog
from kdpipe.plan.nodes import Share
from kdpipe.plan.share import parse_share
from kdpipe.text import format_value

BUNDLED_DIR = "carried"  # folder of the package that a wheel has in place of a clone
ENTRY_MODULE = "kdpipe.workflow.snakemake_entry"
# Environment of a head that `kdpipe run` has started: its process id and command line
# (`format_invocation`), and the time (monotonic clock).
INVOCATION_ENV = "KDPIPE_TYPED"
START_TIME_ENV = "KDPIPE_BEGAN"
STUDY_FILE_ENV = "KDPIPE_STUDY_FILE"  # environment of jobs: the study file, for commands on a page
# Each of these limits how much runs at a time, or names a profile that does.
PARALLELISM_OPTIONS = ("--cores", "-c", "--jobs", "-j", "--profile", "--executor", "-e")
# Their forms that take a number, and the word that is allowed in its place.
COUNT_OPTIONS = {("--cores", "-c"): "all", ("--jobs", "-j"): "unlimited"}
# With these, networks are trained on other machines; with NO_RUN_OPTIONS, not at all.
PROFILE_OPTIONS = ("--profile", "--workflow-profile")
REMOTE_OPTIONS = ("--profile", "--executor", "-e")
NO_RUN_OPTIONS = (
    *("-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--touch", "--archive", "--report"),
    *("--list-rules", "--list", "-l", "--summary", "-S", "--detailed-summary", "-D", "-t"),
    *("--dag", "--rulegraph", "--filegraph", "--list-changes", "--cleanup-metadata"),
    *("--version", "-v", "--generate-unit-tests"),
)
# Jobs per second and span in seconds to which Snakemake limits every start by itself.
DEFAULT_RATE = (100, 1)
# Of the methods of its scheduler that start a timer after each pass while there is a limit.
TIMER_METHODS = ("schedule", "_schedule_reevalutation", "job_selector")
TIMER_DIGEST = "8306fdb34babdd9026c683f7e03419af0f0b2fa1f947942af23e803a056e2c5f"


def format_invocation(words: Sequence[str]) -> str:
    """Return the value of INVOCATION_ENV: the id of this process, and the command line."""
    return f"{os.getpid()} {shlex.join(words)}"


def read_invocation() -> list[str] | None:
    """Return the arguments of the `kdpipe run` that is or has started this process.

    The variable is removed: it is not meant for jobs.

    Returns
    -------
    list of str or None
        None for Snakemake itself; a variable of another process is ignored with a warning.
    """
    variable = os.environ.pop(INVOCATION_ENV, None)
    if variable is None:
        return None
    pid, _, words = variable.partition(" ")
    with contextlib.suppress(ValueError):
        if int(pid) in (os.getpid(), os.getppid()):
            return shlex.split(words)
    print(
        f"kdpipe: {INVOCATION_ENV}={format_value(variable)} is of another start and is ignored: "
        f"unset {INVOCATION_ENV}",
        file=sys.stderr,
    )
    return None


def find_workflow_dir() -> Path:
    """Return the folder of the Snakefile; raise KdpipeError if the package has none."""
    package = Path(kdpipe.__file__).absolute().parent
    for candidate in (package / BUNDLED_DIR, package.parents[1]):
        if (candidate / "Snakefile").is_file() and (candidate / "workflow").is_dir():
            return candidate
    raise KdpipeError(f"{package} has no Snakefile: reinstall kdpipe, from a wheel or a clone")


def is_local(options: Sequence[str]) -> bool:
    """Return whether these options run the study on this machine."""
    return not any(
        _is_option(option, other)
        for option in options
        for other in (*REMOTE_OPTIONS, *NO_RUN_OPTIONS)
    )


def is_one_shot(options: Sequence[str]) -> bool:
    """Return whether these options do something else than run the study."""
    return any(_is_option(option, other) for option in options for other in NO_RUN_OPTIONS)


def lift_rate_limit(scheduler: Any, limit: Any, is_kdpipe_run: bool) -> bool:
    """Lift Snakemake's own limit of jobs per second from what `kdpipe run` runs on this machine.

    While there is a limit, Snakemake 9.27.1 starts a timer after each pass of its scheduler, and
    each timer makes a pass: every job that ends leaves one more endless chain of passes
    (benchmarks/snakemake_timers.md). Without a limit, which is what its API does unless told
    otherwise, there are no timers. The Snakefile calls this once the scheduler exists.

    Parameters
    ----------
    scheduler : JobScheduler
        Snakemake's scheduler, before it has started a job.
    limit : MaxJobsPerTimespan or None
        The limit of its settings.
    is_kdpipe_run : bool
        Whether `kdpipe run` has started it.

    Returns
    -------
    bool
        Whether the limit was lifted: not where `snakemake` was called itself, where the user has
        set another limit, or where the code of Snakemake is another.
    """
    if not is_kdpipe_run or getattr(scheduler, "job_rate_limiter", None) is None:
        return False
    rate = (getattr(limit, "max_jobs", None), getattr(limit, "timespan", None))
    if rate != DEFAULT_RATE or _hash_timer_code(type(scheduler)) != TIMER_DIGEST:
        return False
    scheduler.job_rate_limiter = None
    return True


def _hash_timer_code(scheduler_class: type) -> str:
    """Return the SHA-256 of the code that starts timers; empty if it cannot be read."""
    try:
        sources = [inspect.getsource(getattr(scheduler_class, name)) for name in TIMER_METHODS]
    except (AttributeError, OSError, TypeError):
        return ""
    return hashlib.sha256("".join(sources).encode()).hexdigest()


def run_rounds(command_line: list[str], read_search: Callable[[], SearchState | None]) -> int:
    """Start Snakemake for each round of a search until the search has ended.

    Each Snakemake is a process group of its own: signals are forwarded to it, once each, and it
    ends with this process.

    Parameters
    ----------
    command_line : list of str
        Command line of Snakemake.
    read_search : callable
        Return the present state of the search; None where there is none.

    Returns
    -------
    int
        Exit code.
    """
    signals: list[int] = []
    heads: list[subprocess.Popen] = []

    def forward_signal(number: int, frame) -> None:
        signals.append(number)
        with contextlib.suppress(ProcessLookupError):
            if heads and number == signal.SIGTERM:
                heads[-1].send_signal(number)
            elif heads:  # as a terminal does
                os.killpg(heads[-1].pid, number)

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
            signal.signal(number, forward_signal)
    head = parent_watchdog.Head.of_this_process()
    last_round = _due_round(read_search())
    while not signals:
        env = os.environ | {parent_watchdog.HEAD_VARIABLE: str(head)}
        heads.append(subprocess.Popen(command_line, env=env, process_group=0))
        if signals:  # received before the process could get it
            heads[-1].send_signal(signals[-1])
        code = _wait_for(heads[-1])
        heads.clear()
        if code:
            return code if code > 0 else 128 - code
        next_round = _due_round(read_search())
        if next_round is None or next_round == last_round:
            return 0
        last_round = next_round
        os.environ.pop(START_TIME_ENV, None)
    return 128 + signals[-1]


def _wait_for(process: subprocess.Popen) -> int:
    """Wait for a child, and return its exit code; a handler of signals runs within a second.

    A signal that arrives just before a wait without limit begins is handled when the wait ends.
    """
    descriptor = os.pidfd_open(process.pid)
    try:
        while not select.select([descriptor], [], [], 1.0)[0]:
            pass
    finally:
        os.close(descriptor)
    return process.wait()


def _due_round(search_state: SearchState | None) -> int | None:
    """Return the number of the next round."""
    return (
        search_state.current_round.number
        if search_state is not None and search_state.current_round is not None
        else None
    )


def split_share(options: Sequence[str]) -> tuple[Share | None, list[str]]:
    """Return the share that `--share K/N` and `--whole` request, and the other arguments.

    Raises
    ------
    KdpipeError
        If it is no share, or if `--whole` is there alone.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--share")
    parser.add_argument("--whole", action="store_true")
    words, targets = list(options), list[str]()
    if "--" in words:  # targets follow
        position = words.index("--")
        words, targets = words[:position], words[position:]
    try:
        parsed, others = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise KdpipeError(f"kdpipe run {error}: give one, such as --share 2/5") from None
    if parsed.share is None:
        if parsed.whole:
            raise KdpipeError("--whole belongs to --share K/N, which is missing")
        return None, list(options)
    return parse_share(parsed.share, parsed.whole), [*others, *targets]


def add_share(options: Sequence[str], share: Share | None) -> list[str]:
    """Return the arguments for Snakemake with a share as part of its `--config`.

    Of several `--config` Snakemake takes the last alone, so the others are put together with it.
    """
    if share is None:
        return list(options)
    words, targets, settings = list[str](), list[str](), list[str]()
    is_config = False
    for number, word in enumerate(options):
        if word == "--":
            targets = list(options[number:])
            break
        if word.startswith(("--config=", "-C=")):
            settings.append(word.partition("=")[2])
        is_config = word in ("--config", "-C") or (is_config and not word.startswith("-"))
        if is_config and word not in ("--config", "-C"):
            settings.append(word)
        elif not is_config and not word.startswith(("--config=", "-C=")):
            words.append(word)
    settings += [f"share={share}", *(["share_whole=true"] if share.is_whole else [])]
    return [*words, "--config", *settings, *targets]


def find_workdir(options: Sequence[str]) -> Path:
    """Return the folder of results, logs and reports: the present one, or that of --directory."""
    for number, option in enumerate(options):
        if option in ("--directory", "-d"):
            return Path(*options[number + 1 : number + 2])
        if option.startswith("--directory="):
            return Path(option.partition("=")[2])
    return Path()


def build_command(workflow_dir: Path, study: str | None, options: Sequence[str]) -> list[str]:
    """Return the command line of Snakemake.

    All cores are used unless an option limits them. Profiles of the workflow, such as
    `profiles/slurm`, are found from any folder.

    Parameters
    ----------
    workflow_dir : Path
        Folder of the Snakefile.
    study : str or None
        Study file; None for the study of that folder.
    options : sequence of str
        Other arguments for Snakemake.

    Raises
    ------
    KdpipeError
        For options that `kdpipe run` sets itself, and for numbers of jobs below 1.
    """
    for reserved in ("--configfile", "--configfiles", "--snakefile", "-s"):
        if any(_is_option(option, reserved) for option in options):
            raise KdpipeError(
                f"kdpipe run {reserved}: not allowed: give the study first, as in `kdpipe run "
                "mine.yaml`; the Snakefile is that of kdpipe"
            )
    if any(_is_option(option, "--results") for option in options):
        raise KdpipeError(
            "kdpipe run --results: not allowed: results, logs and reports are written to the "
            "current folder, or to that of --directory"
        )
    _reject_studies(study, options)
    _check_parallelism(options)
    command_line = [sys.executable, "-P", "-m", ENTRY_MODULE]
    # First, since it would take a following target for one more file.
    command_line += ["--configfile", study] if study is not None else []
    command_line += ["--snakefile", str(workflow_dir / "Snakefile")]
    if not any(_is_option(option, "--workflow-profile") for option in options):
        command_line += ["--workflow-profile", str(workflow_dir / "profiles" / "default")]
    if not any(_is_option(option, limit) for option in options for limit in PARALLELISM_OPTIONS):
        command_line += ["--cores", "all"]
    folders = [workflow_dir] if study is None else [Path(study).parent, workflow_dir]
    return [*command_line, *_resolve_profiles(options, folders)]


def _reject_studies(study: str | None, options: Sequence[str]) -> None:
    """Raise KdpipeError for a study file among the options, which would be taken as a target."""
    for previous, word in zip(("", *options), options, strict=False):
        if previous.endswith("profile") or not word.endswith((".yaml", ".yml")):
            continue
        if Path(word).is_file():
            others = [option for option in options if option is not word]
            first = shlex.join(["kdpipe", "run", word, *others])
            advice = f"give the study first: `{first}`"
            if study is not None:
                advice = f"only one study can be run at a time ({study}): run the other separately"
            raise KdpipeError(f"kdpipe run: {word} is among the options; {advice}")


def _check_parallelism(options: Sequence[str]) -> None:
    """Raise KdpipeError for numbers of cores or jobs with which no job would ever start."""
    for names, word in COUNT_OPTIONS.items():
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument(*names, dest="value")
        try:
            value = parser.parse_known_args(list(options))[0].value
        except argparse.ArgumentError:  # without a value: Snakemake reports it
            continue
        if value not in (None, word) and not (value.isascii() and value.isdigit() and int(value)):
            raise KdpipeError(
                f"kdpipe run {names[0]} {value}: must be a whole number above 0, or `{word}`"
            )


def _is_option(option: str, name: str) -> bool:
    """Return whether an argument is this option, with its value attached or not."""
    short = len(name) == 2 and option.startswith(name) and not option.startswith("--")
    return option == name or option.startswith(f"{name}=") or short


def _resolve_profiles(options: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return arguments with the paths of profiles resolved, in the first folder that has them.

    Parameters
    ----------
    options : sequence of str
        The arguments.
    folders : sequence of Path
        Those of the study and of the workflow.
    """
    resolved, is_profile = [], False
    for option in options:
        head, equals, path = option.rpartition("=")
        name = head if equals else ""
        is_path = path.startswith("profiles/") or is_profile or name.endswith("profile")
        candidates = [folder / path for folder in folders if (folder / path).is_dir()]
        if is_path and path and not path.startswith("-") and not Path(path).exists() and candidates:
            option = f"{head}{equals}{candidates[0]}"
        # One option may be followed by several profiles.
        is_profile = option in PROFILE_OPTIONS or (is_profile and not option.startswith("-"))
        resolved.append(option)
    return resolved
