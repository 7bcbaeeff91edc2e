"""What `kdpipe run` starts: Snakemake, with the study and whatever else was typed for it."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.jobs import leash
from kdpipe.search.searched import Searched

# In the environment of a head that `kdpipe run` has started: its words, and when they were typed.
TYPED = "KDPIPE_TYPED"
BEGAN = "KDPIPE_BEGAN"  # by the clock that all processes share since the machine was started
# Each of these says how much may run at a time, or names a profile that does.
LIMITED = ("--cores", "-c", "--jobs", "-j", "--profile", "--executor", "-e")
# With these networks are trained on other machines, and with the others none is.
REMOTE = ("--profile", "--executor", "-e")
NOTHING = ("-n", "--dry-run", "--dryrun", "--unlock", "--lint")
NOTHING += ("--list-rules", "--list", "-l", "--summary", "-S", "--detailed-summary", "-D", "-t")
NOTHING += ("--touch", "--dag", "--rulegraph", "--filegraph", "--report", "--archive")
NOTHING += ("--cleanup-metadata", "--list-changes", "--version", "-v", "--generate-unit-tests")


def trains_here(options: Sequence[str]) -> bool:
    """Whether the options leave it at that the study is run on this machine."""
    return not any(_is(option, other) for option in options for other in (*REMOTE, *NOTHING))


def is_for_one_start(options: Sequence[str]) -> bool:
    """Whether the options ask for something else than the study to its end."""
    return any(_is(option, other) for option in options for other in NOTHING)


def in_rounds(line: list[str], look: Callable[[], Searched | None]) -> int:
    """Start Snakemake for each round of a search until it has ended; returns the exit code.

    look: how far the search is. Each Snakemake is a process group of its own: what this process is
    told to end by is told to it once, and it ends with this process.
    """
    told: list[int] = []
    heads: list[subprocess.Popen] = []

    def tell(number: int, frame) -> None:
        told.append(number)
        with contextlib.suppress(ProcessLookupError):
            if heads and number == signal.SIGTERM:
                heads[-1].send_signal(number)
            elif heads:  # as a terminal does it
                os.killpg(heads[-1].pid, number)

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
            signal.signal(number, tell)
    before = _due(look())
    while not told:
        about = os.environ | {leash.HEAD: str(os.getpid())}
        heads.append(subprocess.Popen(line, env=about, process_group=0))
        if told:  # before it could be told
            heads[-1].send_signal(told[-1])
        code = heads[-1].wait()
        heads.clear()
        if code:
            return code if code > 0 else 128 - code
        now = _due(look())
        if now is None or now == before:
            return 0
        before = now
        os.environ.pop(BEGAN, None)
    return 128 + told[-1]


def _due(found: Searched | None) -> int | None:
    """The number of the round that is due."""
    return found.due.number if found is not None and found.due is not None else None


def folder(options: Sequence[str]) -> Path:
    """In which results, logs and reports lie: where it is typed, or --directory."""
    for number, option in enumerate(options):
        if option in ("--directory", "-d"):
            return Path(*options[number + 1 : number + 2])
        if option.startswith("--directory="):
            return Path(option.partition("=")[2])
    return Path()


def command(home: Path, study: str | None, options: Sequence[str]) -> list[str]:
    """The command line of Snakemake: a study file (None: the study of `home`), and its options.

    All cores are used unless the options say how many. A profile of the workflow is found from any
    folder, as `profiles/slurm`. Raises KdpipeError for what `kdpipe run` says itself.
    """
    for taken in ("--configfile", "--configfiles", "--snakefile", "-s"):
        if any(_is(option, taken) for option in options):
            raise KdpipeError(
                f"kdpipe run {taken}: the study stands first, as in `kdpipe run mine.yaml`; the "
                "Snakefile is kdpipe's own"
            )
    if any(_is(option, "--results") for option in options):
        raise KdpipeError(
            "kdpipe run --results: results, logs and reports lie in the folder that it is typed "
            "in, or in that of --directory"
        )
    _refuse_studies(study, options)
    line = [sys.executable, "-P", "-m", "snakemake"]
    # First, since it would take a target that follows for one more file.
    line += ["--configfile", study] if study is not None else []
    line += ["--snakefile", str(home / "Snakefile")]
    if not any(_is(option, "--workflow-profile") for option in options):
        line += ["--workflow-profile", str(home / "profiles" / "default")]
    if not any(_is(option, limit) for option in options for limit in LIMITED):
        line += ["--cores", "all"]
    return [*line, *(_found(option, home) for option in options)]


def _refuse_studies(study: str | None, options: Sequence[str]) -> None:
    """Raise KdpipeError for a study among the options: Snakemake would take it for a target."""
    for before, word in zip(("", *options), options, strict=False):
        if before.endswith("profile") or not word.endswith((".yaml", ".yml")):
            continue
        if Path(word).is_file():
            others = [option for option in options if option is not word]
            first = shlex.join(["kdpipe", "run", word, *others])
            what = f"the study stands first: `{first}`"
            if study is not None:
                what = f"one study at a time, and {study} is the one: start the other by itself"
            raise KdpipeError(f"kdpipe run: {word} stands among the options; {what}")


def _is(option: str, name: str) -> bool:
    """Whether an argument is this option, with its value joined to it or not."""
    short = len(name) == 2 and option.startswith(name) and not option.startswith("--")
    return option == name or option.startswith(f"{name}=") or short


def _found(option: str, home: Path) -> str:
    """A path to one of the workflow's own profiles, wherever it was typed."""
    head, equals, path = option.rpartition("=")
    if path.startswith("profiles/") and not Path(path).exists() and (home / path).exists():
        return f"{head}{equals}{home / path}"
    return option
