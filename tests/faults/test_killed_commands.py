"""Every verb that writes, killed before and after each call that makes a file final or removes one.

Typed again it ends in the same bytes as if it had not been killed, with nothing left over, and at
no moment are there fewer records than before. Which calls a verb makes is counted (`killing`).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import every_file, tiny_study
from helpers.every_file import World, commands
from helpers.forkserver import Child
from helpers.killing import AT, GRAPHS, PRETEND, TO

from kdpipe.config import load
from kdpipe.errors import StoreError
from kdpipe.plan import estimate, planner
from kdpipe.plan.nodes import ExportEval
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import compute_file_info, read_arrays, write_arrays
from kdpipe.runs.records import RECORD_KINDS

SAMPLE = 1  # moments of a verb; KDPIPE_FAULTS=all tries every one


def nothing(world: World) -> None:
    pass


def without(*patterns: str) -> Callable[[World], None]:
    def remove(world: World) -> None:
        for pattern in patterns:
            actual = list(world.folder.glob(pattern))
            assert actual, pattern
            for path in actual:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def first(verb: str, number: int = 0) -> Callable[[World], list[str]]:
    return lambda world: commands(world.plan())[verb][number]


def get_message(*words: str) -> Callable[[World], list[str]]:
    return lambda world: [*words]


def with_less_to_keep(world: World) -> None:
    """A study without the checkpoint, the ensemble and the probes; a table that nobody awaits."""
    content = every_file.STUDY | {"ensembles": {}, "transfers": {}, "tables": {}}
    content["experiments"] = [every_file.STUDY["experiments"][0] | {"stops": ["full"]}]
    tiny_study.write(world.folder / "less.yaml", content)
    (next(world.store.root.glob("runs/*")) / ".weights.safetensors.x.tmp").write_text("half")


def with_results_elsewhere(world: World) -> None:
    """As those of another machine, with an archive beside them."""
    shutil.move(world.store.root, world.folder / "other" / "results")
    archive = world.folder / "published" / records.ARCHIVE_FILE
    shutil.move(archive, world.folder / "other" / "results")


def with_an_older_archive(world: World) -> None:
    path = world.folder / "published" / records.ARCHIVE_FILE
    older = [entry for entry in records.read_archive(path).values() if entry.kind == "runs"]
    records.write_archive(path, older)


def with_a_damaged_record(world: World) -> None:
    next(world.store.root.glob("runs/*/record.json")).write_text("")


def with_damaged_records(world: World) -> None:
    """Of one run the first of its two, of another the second."""
    one, other, *_ = sorted(world.store.root.glob("runs/*"))
    (one / run_folder.RECORD_FILE).write_text("")
    (other / run_folder.RECORD_COPY_FILE).write_text("")


def with_a_teacher_made_again(world: World) -> None:
    """As on another machine: the same run, and other bytes."""
    (folder,) = world.folder.glob(TEACHER)
    path = run_folder.weights_path(folder)
    arrays, about = read_arrays(path)
    write_arrays(path, {name: array * 1.001 for name, array in arrays.items()}, about)
    record = records.read_record(folder, None)
    assert record is not None
    files = record["files"] | {path.name: compute_file_info(path)}
    records.publish_record(folder, record | {"files": files})


def measured_as_a_file(world: World) -> ExportEval:
    """A student from scratch, in a study that asks for files."""
    path = tiny_study.write(world.folder / "files.yaml", every_file.STUDY | {"export": True})
    (actual, *_) = planner.build_plan(load.load_study(path)).gauges.values()
    return actual


def with_graphs(world: World) -> None:
    """What the gauge is made of without torch's exporter, which takes seconds each time."""
    from kdpipe.data import splits
    from kdpipe.export import evaluate, onnx_graph, verify

    spec = measured_as_a_file(world).spec
    split = splits.load_split(spec.data, world.store)
    network, *_ = evaluate._load_network(spec, world.store, None)
    shape = split.train.images.shape[1:]
    result = onnx_graph.to_onnx(spec.network.name, network, split.mean, split.std, shape)
    folder = world.folder / GRAPHS
    folder.mkdir()
    (folder / "float32.onnx").write_bytes(result)
    (folder / "int8.onnx").write_bytes(
        onnx_graph.quantize(result, verify.iterate_calibration_batches(split))
    )


def gauge(world: World) -> list[str]:
    return ["gauge", *every_file.spec(measured_as_a_file(world))]


def one_checkpoint_more(world: World) -> list[str]:
    return [*commands(world.plan())["train"][0][:3], "--keep=0,1"]


TEACHER = "results/runs/wrn10-1-labels-*"
# By what is done: from which world, what is taken from it, and the command.
VERBS = {
    "data": ("finished", without("mine.card.json"), get_message("data", "mine")),
    "network": ("finished", without("small-*.network.json"), get_message("network", "study.yaml")),
    "term": ("finished", without("*.term.json"), get_message("term", "study.yaml")),
    "prepare": ("finished", without("results/data/mine-*"), first("prepare")),
    "train a teacher": ("finished", without(TEACHER), first("train", 1)),
    "train the last student": ("half_done", nothing, first("train", 2)),
    "train to a checkpoint": ("finished", nothing, one_checkpoint_more),
    "tabulate": (
        "half_done",
        without("results/tables/wrn*", "results/tables/.wrn*"),
        first("tabulate"),
    ),
    "tabulate the rest": ("half_done", nothing, first("tabulate", 2)),
    "score": ("finished", without("results/ensembles/*"), first("score")),
    "probe": ("finished", without("results/probes/*"), first("probe")),
    "gauge": ("finished", with_graphs, gauge),
    "report": ("finished", without("reports"), first("report")),
    "report again": ("half_done", nothing, first("report")),
    "archive": ("finished", without("published"), first("archive")),
    "archive more": ("finished", with_an_older_archive, first("archive")),
    "merge": ("finished", with_results_elsewhere, get_message("merge", "other/results")),
    "prune": ("half_done", with_less_to_keep, get_message("prune", "less.yaml", "--yes")),
    "prune outdated": (
        "finished",
        with_a_teacher_made_again,
        get_message("prune", "study.yaml", "--outdated", "--yes"),
    ),
    "status": ("finished", with_a_damaged_record, get_message("status", "study.yaml")),
    "verify": ("finished", with_damaged_records, get_message("verify")),
    "check": ("finished", without("mine.card.files.json"), get_message("check", "study.yaml")),
    "plan --measure": ("finished", nothing, get_message("plan", "study.yaml", "--measure")),
    "register": ("finished", without("results/[!d]*/*"), get_message("register", "study.yaml")),
    "init": (
        "finished",
        without("mine.card*"),
        get_message("init", "mine", "--study", "first.yaml", "--minutes", "1"),
    ),
    "archive and report": ("finished", nothing, get_message("archive", "study.yaml")),
}
# Where something was found, or is there already, a command ends with 2.
SAYS = {"verify": "restored from the copy", "init": "exists already and is not overwritten"}


@pytest.fixture(scope="session")
def worlds(shared):
    """By name a folder that is not to be changed."""

    def of(name: str) -> World:
        before = os.getcwd()
        try:
            return World(tiny_study.once(shared / name, getattr(every_file, name)))
        finally:
            os.chdir(before)

    return of


def plain(files: dict[str, bytes]) -> dict[str, object]:
    """Their content without what another minute makes otherwise."""
    actual: dict[str, Any] = dict(files)
    for path, data in files.items():
        if path.endswith("record.json"):
            actual[path] = json.loads(data)
            for key in ("started", "seconds", "images_per_second", "sha256"):
                actual[path].pop(key, None)
        elif path.endswith("registration.json") or "/registrations/" in path:
            actual[path] = json.loads(data)
            for key in ("registered", "sha256"):
                actual[path].pop(key)
        elif path.endswith(estimate.SPEEDS_FILE):
            actual[path] = json.loads(data)
            for speed in actual[path].values():  # another minute has other processes
                speed.pop("load", None)
    return actual


def is_well(child: Child, verb: str) -> bool:
    return child.code == 0 or (child.code == 2 and SAYS.get(verb, "\0") in child.output)


def records_of(world: World) -> set[str]:
    """Names of what has a whole record, under either of its names; nothing is put back."""
    folders = [path for kind in RECORD_KINDS for path in (world.store.root / kind).glob("*")]
    return {path.name for path in folders if finished(path) is not None}


def finished(folder: Path) -> dict | None:
    with contextlib.suppress(StoreError):
        return records.read_finished_record(folder, None)
    return None


def archived_of(world: World) -> set[str]:
    path = world.folder / "published" / records.ARCHIVE_FILE
    return {entry.name for entry in records.read_archive(path).values() if entry.record is not None}


@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_any_call_and_typed_again(verb, worlds, warm, tmp_path, tally):
    name, prepare, command_of = VERBS[verb]
    base = worlds(name).copied(tmp_path / "base")
    os.chdir(base.folder)
    command = command_of(base)
    prepare(base)
    before = records_of(base)

    whole = base.copied(tmp_path / "world")  # all in one place: paths are part of a report
    steady = {PRETEND: "1", estimate.CACHE_ENV: "cache"}
    process = warm.run(*command, cwd=whole.folder, **{TO: str(tmp_path / "calls")}, **steady)
    assert is_well(process, verb), process.output
    expected, remaining = plain(whole.files()), before & records_of(whole)
    published = archived_of(base)
    shutil.rmtree(whole.folder)
    calls = (tmp_path / "calls").read_text().splitlines()
    moments = [(number, when) for number in range(len(calls)) for when in ("before", "after")]
    assert moments, "it writes nothing"
    for number, when in tally.choose(moments, SAMPLE, verb):
        world = base.copied(tmp_path / "world")
        with tally.trying(f"{when} call {number}: {calls[number]}"):
            child = warm.run(*command, cwd=world.folder, **{AT: f"{number} {when}"}, **steady)
            assert child.code is None, child.output
            assert remaining <= records_of(world) and published <= archived_of(world), "lost"
            again = warm.run(*command, cwd=world.folder, **steady)
            assert is_well(again, verb), again.output
            actual = plain(world.files())
            left = actual.keys() ^ expected.keys()
            if again.code == 2 and verb == "init":  # the study was there; the next one tidies up
                left = {path for path in left if not path.startswith("cache/")}
            assert not left, f"left {left}"
            other = [path for path in actual if actual[path] != expected.get(path, actual[path])]
            assert not other, f"other bytes in {other}"
        shutil.rmtree(world.folder)
    tally.check()
