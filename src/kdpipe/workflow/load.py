"""The study that a start of Snakemake means, and what of it is to do."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from kdpipe.beforehand import registered
from kdpipe.devices import decided
from kdpipe.errors import KdpipeError
from kdpipe.jobs import leash, tabulate
from kdpipe.plan import planner, status
from kdpipe.plan.items import Plan
from kdpipe.report import leftovers, source
from kdpipe.results.marks import CARD
from kdpipe.results.records import finished, keep_twice
from kdpipe.results.run_folder import RECORD
from kdpipe.results.store import Store
from kdpipe.search import decisions, due
from kdpipe.study import checking, yaml_file
from kdpipe.upkeep import comparing
from kdpipe.workflow import lock, telling
from kdpipe.workflow.before import (
    leave,
    refuse_folders,
    refuse_rooms,
    refuse_without_compiler,
    refuse_without_graphs,
)
from kdpipe.workflow.dag import (
    Dag,
    again_mark_of,
    mark_of,
    prepared_mark_of,
    report_folder_of,
)

# Keys that say how a study is run; `--config device=cuda` alone still means the default study.
EXECUTION = {"device", "runs_per_gpu", "kernels", "workers", "look"}
KILLED = "the start before this one was killed: its lock of this folder is taken away"
QUEUED = "; jobs that it sent to the queue are still there (squeue --me), and are waited for"
REPORTED = ("index.html", "index.md", "results.csv", "claims.json")  # what `render` promises


def load(
    config: dict,
    files: list,
    default: Path,
    head: bool,
    dry: bool = False,
    remote: bool = False,
    longest_job: int | None = None,
    targets: Callable[[], Iterable[str]] = tuple,
    gpu_gres: str = "",
) -> Dag:
    """The DAG of the study in Snakemake's `config`, or in the default file.

    `files` are what --configfile named; `head` says whether this is the head process, `dry` whether
    nothing is to be run (no table is taken away then), `remote` whether its jobs run on other
    machines, which give a job `longest_job` minutes, and a GPU as `gpu_gres` where that is not by
    number; `targets` gives what was typed. Mistakes are printed and end the process with exit code
    2.
    """
    if shutil.which("kdpipe") is None:  # snakemake was started by its path alone
        os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    try:
        if head:
            refuse_folders(Path(default).parent)
        for path in files:
            yaml_file.read(path)  # stricter than Snakemake's own reading
        if set(config) - EXECUTION:
            folder = Path(files[-1]).parent if files else Path()
            source = ", ".join(map(str, files)) or "--config"
            study = checking.validate(dict(config), source, folder)
        else:
            content = yaml_file.read(default)
            content = content | config if isinstance(content, dict) else content
            source = str(default)
            study = checking.validate(content, source, Path(default).parent)
        store = Store()
        asked, searched = due.look(study, store)
        # A job finds itself in any case: its machine may not see yet what a search decided by.
        made = asked if head else planner.make(study)
        if head:
            wrong = comparing.of_images(study, source) + comparing.of_prepared(asked, store)
            comparing.refuse(source, wrong)
        states = status.of(made, store) if head else {}
        names = [name for items in asked.recorded.values() for name in items]
        to_do = [name for name in names if states.get(name, "to do") == "to do"]
        again = _again(made, to_do, store) if head else {}
        ready = frozenset(
            name for name in made.data_sets if not head or (store.data(name) / CARD).exists()
        )
        if head:
            comparing.refuse(source, comparing.gone(made, store) if to_do else [])
            refuse_rooms(_kinds(made, to_do, ready), store, Path(report_folder_of(study)))
            if made.gauges.keys() & set(to_do):
                refuse_without_graphs()
            begun = _begun_on(made, to_do, store)
            os.environ[decided.DECIDED] = decided.decide(study.device, remote, begun)
            if not remote:
                runs = (made.runs[name] for name in to_do if name in made.runs)
                refuse_without_compiler(runs, os.environ[decided.DECIDED])
        device = decided.of_job(study.device)
        said = _source(made, store) if head and not to_do else None
        if head and not dry:
            if lock.hold():
                print(KILLED + (QUEUED if remote else ""), file=sys.stderr)
            if searched is not None:
                decisions.keep(searched, store)
            if to_do:
                registered.keep(study, store)
            with contextlib.suppress(OSError):  # of somebody else, and none of this study's affair
                tabulate.release_all(store)
                for path in leftovers.of_one(Path(report_folder_of(study))):
                    path.unlink(missing_ok=True)
            _clear_marks(made, store)
            for folder in again.values():
                keep_twice(folder)
        dag = Dag(
            study,
            made,
            frozenset(to_do),
            ready,
            frozenset(again),
            device,
            longest_job,
            store,
            said,
            remote,
            targets,
            gpu_gres,
        )
        if head:  # whoever starts it for each round of a search; jobs end with this process
            leash.hold(leash.end_of(os.environ.pop(leash.HEAD, None)))
        if head and not remote:
            os.environ[leash.HEAD] = str(os.getpid())
        if head:
            telling.tell_of(dag, _shown(files[-1] if files else default))
        return dag
    except KdpipeError as error:
        leave(error)


def _shown(path: Path | str) -> str:
    """The file of the study as somebody would type it here."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _kinds(made: Plan, to_do: Collection[str], ready: Collection[str]) -> Iterator[str]:
    """Of what something is to do, as the folders below results are called."""
    yield from (kind for kind, items in made.recorded.items() if items.keys() & set(to_do))
    if any(made.runs[name].tables for name in to_do if name in made.runs):
        yield "tables"
    if made.data_sets.keys() - set(ready):
        yield "data"


def _source(made: Plan, store: Store) -> str | None:
    """The digest of what a report is to be rendered from; None if that which is there is so.

    Snakemake may have been killed between the last run and the report, or the report be that of
    another study with the same name, or a file of it have been altered. One that is not there is
    missed by Snakemake itself.
    """
    folder = Path(report_folder_of(made.study))
    if not all((folder / name).exists() for name in REPORTED):
        return None
    digest = source.digest(made, store)
    return None if digest == source.of(folder) and source.is_whole(folder) else digest


def _again(made: Plan, to_do: Collection[str], store: Store) -> dict[str, Path]:
    """Of what is to do the folders of what has a record, by name.

    Without a memory of how it was made, Snakemake takes a record that is there for up to date.
    """
    folders = {
        name: store.root / kind / name
        for kind, items in made.recorded.items()
        for name in items.keys() & set(to_do)
    }
    return {name: folder for name, folder in folders.items() if (folder / RECORD).exists()}


def _begun_on(made: Plan, to_do: list[str], store: Store) -> str | None:
    """The device of a finished run of the plan, if there is one."""
    for name in made.runs.keys() - set(to_do):
        record = finished(store.run(name), made.runs[name].digest)
        if record is not None and record["status"] == "done":
            return record["device"]["type"]
    return None


def _clear_marks(made: Plan, store: Store) -> None:
    """Remove marks that have done their work, or were left by a start that was killed."""
    for name in (name for items in made.recorded.values() for name in items):
        Path(again_mark_of(name)).unlink(missing_ok=True)
    for mark in Path("logs/reports").glob(f"{made.study.study}.{'[0-9a-f]' * 12}"):
        mark.unlink(missing_ok=True)
    for table in made.tables:
        if not store.table(table).exists():
            Path(mark_of(table)).unlink(missing_ok=True)
    for folder in made.data_sets:
        if not (store.data(folder) / CARD).exists():
            Path(prepared_mark_of(folder)).unlink(missing_ok=True)
