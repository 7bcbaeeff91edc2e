"""The last words of a start: what came of it, where that lies, and what to type next."""

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.plan import hindrances, status
from kdpipe.plan.cost import said
from kdpipe.results.store import Store
from kdpipe.search import due
from kdpipe.wording import one_line
from kdpipe.workflow import start
from kdpipe.workflow.course import Course
from kdpipe.workflow.dag import HALF_WAY, Dag


@dataclass(frozen=True)
class Typed:
    """What was typed to start it, and in which folder."""

    words: tuple[str, ...]
    folder: Path

    @classmethod
    def now(cls) -> "Typed":
        """Of this process: by `kdpipe run`, which says it in the environment, or as Snakemake."""
        words = os.environ.get(start.TYPED)
        if words is None:
            return cls(("snakemake", *sys.argv[1:]), Path.cwd())
        return cls(("kdpipe", "run", *shlex.split(words)), Path.cwd())

    def again(self, *more: str) -> str:
        return shlex.join([*self.words, *more])

    def rest(self) -> str:
        """The same for everything, where it was for the way to a target, or for files by name."""
        words = [w for w in self.words if w not in HALF_WAY and not w.startswith("results/")]
        return shlex.join(words[:-1] if words[-1] == "--" else words)

    def shown(self, path: Path) -> Path:
        """A path as it is found from where this was typed, though Snakemake works elsewhere."""
        return path if Path.cwd() == self.folder else path.absolute()

    def of_study(self, word: str, study: str, *options: str) -> str:
        """Another command on the same study, as `kdpipe status`."""
        where = [] if Path.cwd() == self.folder else ["--results", str(Path("results").absolute())]
        return shlex.join(["kdpipe", word, study, *options, *where])


def lines(dag: Dag, study: str, course: Course | None, typed: Typed, stopped: bool) -> list[str]:
    """What is said at the end of a start; `study` is its file, `course` is None if nothing ran."""
    try:
        states = status.of(dag.plan, dag.store)
    except KdpipeError as error:
        return [str(error)]
    of_runs = Counter(states[name] for name in dag.plan.runs)
    waiting = "to do" in states.values()
    failed = course.failed if course else {}
    head = f"study {dag.plan.study.study}: "
    if not waiting:
        idle = course is None or not course.items
        head += "nothing to do, " if idle else ""
    head += _counted(of_runs)
    if stopped and (waiting or failed):
        return [f"{head}; it was stopped, `{typed.again()}` goes on where each run stood"]
    if failed:
        return _of_failures(head, failed, dag, study, typed, waiting)
    if waiting:
        return [f"{head}; `{typed.rest()}` does the rest"]
    if (following := _following(dag)) is not None:
        return [head, f"{following}: `{typed.again()}` goes on"]
    page = Path(dag.report_folder) / "index.html"
    return [head, *(_decision(dag, page, study, typed) if page.exists() else ())]


def began() -> float:
    """When this start was typed, by `time.monotonic`: now, or before `kdpipe run` has measured."""
    now = time.monotonic()
    try:
        return min(now, float(os.environ.pop(start.BEGAN, now)))
    except ValueError:
        return now


def took(core_seconds: float, seconds: float) -> str:
    return f"took {said.as_seconds(seconds)}, {core_seconds / 3600:.2f} core-hours"


def _following(dag: Dag) -> str | None:
    """The round of a search that is decided and not begun; None if there is none."""
    found = due.of(dag.study, dag.store)
    if found is None or found.due is None:
        return None
    return f"round {found.due.number} of the search is decided ({found.due})"


def _counted(of_runs: Mapping[str, int]) -> str:
    total, waiting = sum(of_runs.values()), of_runs["to do"]
    marred = [f"{of_runs[s]:,} {s}" for s in ("diverged", "skipped") if of_runs[s]]
    beside = f" ({', '.join(marred)})" if marred else ""
    if waiting:
        return f"{total - waiting:,} of {total:,} runs are done{beside}"
    return f"all {total:,} runs are done{beside}"


def _of_failures(
    head: str, failed: Mapping[str, str], dag: Dag, study: str, typed: Typed, waiting: bool
) -> list[str]:
    first, reason = next(iter(failed.items()))
    if not waiting:  # so it is the report that could not be rendered
        again = typed.of_study("report", study)
        return [f"{head}, its report failed: {one_line(reason)}", f"`{again}` renders it again"]
    why = typed.of_study("status", study)
    return [
        f"{head}, {len(failed):,} failed; the first, {first}: {one_line(reason)}",
        f"`{why}` says why each has failed; when it is mended, `{typed.again()}` goes on",
    ]


def _decision(dag: Dag, page: Path, study: str, typed: Typed) -> list[str]:
    """In words; pandas is needed for it, and only now."""
    from kdpipe.report.pages import decision

    page, place = typed.shown(page), Store(typed.shown(dag.store.root))
    place = hindrances.by_altered_files(dag.plan, place)
    altered = sorted(place.altered["runs"])
    if altered:
        runs = "1 run has" if len(altered) == 1 else f"{len(altered):,} runs have"
        why = one_line(place.altered["runs"][altered[0]])
        counted = (
            f"{runs} files that are altered, and count no more; the first, {altered[0]}: {why}"
        )
        return [f"page: {page}", counted]
    try:
        export = typed.of_study("export", study, "--best")
        return decision.lines(dag.plan, place, page, export)
    except KdpipeError as error:
        return [f"page: {page}", str(error)]
