"""Teacher tables against live teachers, on every view."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_study
from scipy.special import softmax

from kdpipe import hashing
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.jobs.cache_logits import cache_logits, release_caches
from kdpipe.jobs.train import train_run
from kdpipe.jobs.validate import read_spec
from kdpipe.runs import store
from kdpipe.runs.files import read_arrays, write_arrays
from kdpipe.runs.spec import LogitCacheSpec, build_logit_cache_spec
from kdpipe.training.teachers import cached as teacher_tables
from kdpipe.training.teachers import online

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def taught(tmp_path_factory, shared):
    """Two trained teachers: (results folder, runs)."""
    store = tiny_study.results(tmp_path_factory.mktemp("taught"), shared)
    plan = tiny_study.planned(main={"teachers": ["wrn10-1", "wrn10-0.5"]})
    runs = [run for run in plan.runs.values() if run.spec.teacher is None]
    for run in runs:
        train_run(run.spec, [], store)
    return store, runs


def _spec(run, precision: str, **views) -> LogitCacheSpec:
    spec = build_logit_cache_spec(run.spec, run.digest, run.epochs, precision)
    return replace(spec, data=replace(spec.data, views={**spec.data.views, **views}))


def _live(spec: LogitCacheSpec, store) -> np.ndarray:
    """(N, V, C): one forward for each view, images cropped by hand."""
    split = splits.load_split(spec.data, store)
    views = Views.from_spec(spec.data.views)
    images = ImageBatches(split.train.images, views, split.mean, split.std)
    teacher = teacher_tables._load_cache_teacher(spec, store)
    every = torch.arange(len(images))
    actual = [
        teacher.forward(images.batch(every, torch.full_like(every, view)))
        for view in range(views.count)
    ]
    if views.drawn:  # and the image itself
        actual.append(torch.cat([teacher.forward(x) for x in images.unaugmented_batches(64)]))
    return torch.stack(actual, 1).numpy()


@pytest.mark.parametrize(
    "views",
    [
        {"pad": 1},
        {"pad": 2, "padding": "reflect", "flip": True},
        {"pad": 2, "flip": True, "drawn": 3, "drawn_seed": 5},
        {"augment": {"policy": "rand"}, "drawn": 2, "drawn_seed": 7},
    ],
)
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_every_view_says_what_a_live_teacher_says(taught, views, precision):
    store, runs = taught
    for run in runs:
        spec = _spec(run, precision, **views)
        folder = teacher_tables.build_logit_cache(spec, store)
        table = np.load(folder / "table.npy")
        live = _live(spec, store)
        assert table.dtype == precision and table.shape == live.shape
        for temperature in (1, 4, 20):
            actual = softmax(table.astype(np.float64) / temperature, axis=2)
            reference = softmax(live.astype(np.float64) / temperature, axis=2)
            # rounding z to 11 bits moves a probability by at most |z| 2^-11 / T at half slope
            bound = 1e-5 if precision == "float32" else 4e-3 / temperature
            assert np.abs(actual - reference).max() < bound
        assert np.abs(table.astype(np.float64).mean(2)).max() < 1e-2, "rows are centred"
        shutil.rmtree(folder)


def test_an_ensemble_of_tables_is_the_live_ensemble(taught):
    store, runs = taught
    for temperature in (1.0, 4.0):  # where the probabilities are averaged
        specs = [_spec(run, "float32") for run in runs]
        for spec in specs:
            teacher_tables.build_logit_cache(spec, store)
        tables = teacher_tables.CachedTeacher(specs, temperature, store)
        message = online.OnlineTeacher(
            [teacher_tables._load_cache_teacher(spec, store).members[0] for spec in specs],
            temperature,
        )
        split = splits.load_split(specs[0].data, store)
        images = ImageBatches(split.train.images, tables.views, split.mean, split.std)
        index = torch.arange(20)
        view = index % images.views.count
        x = images.batch(index, view)
        actual = torch.softmax(tables.logits(x, index, view) / 4, 1)
        assert torch.allclose(actual, torch.softmax(message.forward(x) / 4, 1), atol=1e-5)
        plain = ImageBatches(split.val.images, IDENTITY_VIEWS, split.mean, split.std)
        actual, reference = tables.predict_split("val", plain), message.predict_split("val", plain)
        np.testing.assert_allclose(softmax(actual, 1), softmax(reference, 1), atol=1e-5)


@pytest.mark.parametrize("data", [{}, {"augment": {"policy": "rand"}, "views": 3}])
def test_a_student_from_a_table_learns_what_one_from_a_live_teacher_learns(tmp_path, shared, data):
    store = tiny_study.results(tmp_path, shared)
    outputs = {}
    for way in ("live", "table"):
        plan = tiny_study.planned(teacher_outputs=way, data=data)
        for table in plan.logit_caches.values():
            teacher_tables.build_logit_cache(table.spec, store)
        for run in plan.runs.values():
            train_run(run.spec, [], store)
        record = tiny_study.record(store, plan.cells[-1].run)
        outputs[way] = record["last"]["test"]
    for key in ("nll", "kl", "entropy"):
        assert outputs["live"][key] == pytest.approx(outputs["table"][key], rel=1e-2)


def test_an_interrupted_table_goes_on_and_ends_in_the_same_bytes(taught, monkeypatch):
    store, runs = taught
    spec = _spec(runs[0], "float16", padding="reflect")
    whole = (teacher_tables.build_logit_cache(spec, store) / "table.npy").read_bytes()
    real, requests = teacher_tables._compute_view, []

    def of_view(teacher, images, view, spec):
        requests.append(view)
        if len(requests) == 4:
            raise KeyboardInterrupt
        return real(teacher, images, view, spec)

    monkeypatch.setattr(teacher_tables, "_compute_view", of_view)
    with pytest.raises(KeyboardInterrupt):
        teacher_tables.build_logit_cache(spec, store)
    again = teacher_tables.build_logit_cache(spec, store)
    assert requests == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8], "9 views of pad 1; the fourth was lost"
    assert (again / "table.npy").read_bytes() == whole
    left = {path.name for path in again.parent.glob(".*/*")}
    assert left <= {".lock"}, "nothing but locks is left beside it"


def test_an_altered_part_of_a_table_is_made_again(taught, monkeypatch):
    """Cut off, altered, of another table, of other weights: its whole table comes out the same."""
    store, runs = taught
    spec = _spec(runs[0], "float16", padding="reflect")
    whole = (teacher_tables.build_logit_cache(spec, store) / "table.npy").read_bytes()
    work = teacher_tables.cache_build_dir(store.logit_cache(spec.name))
    with monkeypatch.context() as patch:
        patch.setattr(np, "stack", lambda *_, **__: 1 / 0)  # all parts are there, and no table
        with pytest.raises(ZeroDivisionError):
            teacher_tables.build_logit_cache(spec, store)
    parts = sorted(work.glob("*-?.safetensors"))
    assert len(parts) == 9
    arrays, about = read_arrays(parts[0])
    other = {"part": 2 * arrays["part"]}
    altered = bytearray(parts[1].read_bytes())
    altered[-4] ^= 8
    parts[1].write_bytes(altered)
    parts[2].write_bytes(b"")
    write_arrays(parts[3], other, about)
    write_arrays(parts[4], other, about | {"view": 4, "weights": "ab"})
    requests = []
    real = teacher_tables._compute_view
    monkeypatch.setattr(
        teacher_tables, "_compute_view", lambda *of: requests.append(of[2]) or real(*of)
    )
    again = teacher_tables.build_logit_cache(spec, store)
    assert requests == [1, 2, 3, 4]
    assert (again / "table.npy").read_bytes() == whole


def test_a_table_of_other_weights_is_made_again(taught):
    store, runs = taught
    spec = _spec(runs[0], "float16")
    cache_logits(spec, store)
    name = spec.name
    assert cache_logits(spec, store) == f"{name}: finished before"
    about = store.logit_cache(name) / "about.json"
    of_others = json.loads(about.read_text()) | {"weights": "ab" * 32}
    about.write_text(json.dumps(of_others))
    with pytest.raises(StoreError, match=r"was computed from other weights.*recompute it"):
        teacher_tables.CachedTeacher([spec], 1.0, store)
    assert cache_logits(spec, store) == f"{name}: made"
    teacher_tables.CachedTeacher([spec], 1.0, store)
    shutil.rmtree(store.logit_cache(name))


def test_a_second_job_takes_over_what_the_first_has_made(taught):
    """With a real process that waits for the lock while the table is made."""
    results_store, runs = taught
    spec = _spec(runs[0], "float32", padding="reflect")
    name = spec.name
    command = [sys.executable, "-m", "kdpipe", "tabulate", "--results", str(results_store.root)]
    with store.lock_run_folder(results_store.logit_cache(f".{name}")):
        twin = subprocess.Popen(
            [*command, "--spec", hashing.canonical_json(spec)], stdout=subprocess.PIPE, text=True
        )
        assert twin.stdout and "another process works on it" in twin.stdout.readline()
        result = teacher_tables.build_logit_cache(spec, results_store)
        before = (result / "table.npy").stat()
    assert "finished before" in twin.communicate()[0] and twin.returncode == 0
    after = (result / "table.npy").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "change",
    [{"threads": "x"}, {"threads": 0}, {"precision": "int8"}, {"revision": 99}, {"run": "../x"}],
)
def test_a_spec_of_no_table_is_refused(taught, change):
    store, runs = taught
    for content in ({}, _spec(runs[0], "float16").to_dict() | change):
        with pytest.raises(KdpipeError):
            cache_logits(read_spec("table", content), store)


def test_a_table_that_cannot_be_made_says_why_in_its_folder(taught, monkeypatch):
    store, runs = taught
    real = online.OnlineTeacher.forward
    monkeypatch.setattr(online.OnlineTeacher, "forward", lambda self, x, *_: 1e6 * real(self, x))
    with pytest.raises(StoreError, match="overflow float16"):
        cache_logits(_spec(runs[0], "float16"), store)
    (failure,) = (store.root / "tables").glob(".*/failure.json")
    assert "overflow float16" in json.loads(failure.read_text())["reason"]


def test_damage_is_found_before_use(taught):
    store, runs = taught
    spec = _spec(runs[0], "float16")
    folder = teacher_tables.build_logit_cache(spec, store)
    table = folder / "table.npy"
    whole = table.read_bytes()
    headers = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, 128, 5)]
    headers.append(whole.replace(b"(64, 9, 10)", b"(64, 90, 1)"))
    headers += [whole.replace(b"<f2", kind) for kind in (b">f2", b"<S2", b"<i2", b"<u2")]
    headers.append(whole.replace(b"'fortran_order': False", b"'fortran_order': True "))
    zeroed = bytes(len(whole))
    for broken in (
        whole[:-1], whole[:200], b"", zeroed, whole[:-9] + b"\xff" + whole[-8:], *headers,
    ):  # fmt: skip
        if np.array_equal(_loaded(broken), _loaded(whole)):
            continue  # a space of the header
        table.write_bytes(broken)
        with pytest.raises(StoreError, match=r"logit cache.*recompute it"):
            teacher_tables.CachedTeacher([spec], 1.0, store)
    table.write_bytes(whole)
    teacher_tables.CachedTeacher([spec], 1.0, store)


def _loaded(data: bytes):
    try:
        return np.load(io.BytesIO(data))
    except Exception:
        return None


def test_a_table_of_other_pixels_is_found_by_asking_the_teacher(taught):
    store, runs = taught
    spec, other = _spec(runs[0], "float16"), _spec(runs[0], "float16", padding="reflect")
    folder = teacher_tables.build_logit_cache(spec, store)
    array = np.load(teacher_tables.build_logit_cache(other, store) / "table.npy")
    np.save(folder / "table.npy", array)
    about = json.loads((folder / "about.json").read_text())
    about["sha256"] = teacher_tables._digest_array(array)
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(StoreError, match="differs from its teacher's outputs"):
        teacher_tables.CachedTeacher([spec], 1.0, store)


def test_the_last_student_takes_a_table_away_whoever_started_it(taught, monkeypatch):
    """Two Snakemakes name their students; one was killed when its record was written."""
    results_store, runs = taught
    spec = _spec(runs[0], "float16", padding="reflect")
    table = results_store.logit_cache(spec.name)
    assert cache_logits(spec, results_store, students=["one", "killed"])
    assert cache_logits(spec, results_store, students=["two", "one"]).endswith("finished before")
    known = set()
    monkeypatch.setattr(store.Store, "has_record", lambda self, kind, name: name in known)
    for student in ("stranger", "one", "killed"):
        release_caches(student, results_store)
        known.add(student)
        assert table.exists()
    known.remove("killed")
    cache_logits(spec, results_store, students=["killed"])
    release_caches("two", results_store)
    assert table.exists()
    cache_logits(spec, results_store, students=["two"])
    known.add("killed")
    release_caches("two", results_store)
    assert not table.exists()
    assert {path.name for path in table.parent.glob(f".{table.name}/*")} == {".lock"}


def test_outputs_that_do_not_fit_are_refused(taught, monkeypatch):
    store, runs = taught
    real = online.OnlineTeacher.forward
    monkeypatch.setattr(online.OnlineTeacher, "forward", lambda self, x, *_: 1e6 * real(self, x))
    with pytest.raises(StoreError, match=r"overflow float16.*live"):
        teacher_tables.build_logit_cache(_spec(runs[0], "float16"), store)


def test_tables_are_shared_and_cold_students_get_single_precision():
    plan = tiny_study.planned(
        teacher_outputs="table",
        methods={"kd": {}, "hot": {"temperature": 20.0}, "cold": {"temperature": 1.0}},
        main={"methods": ["kd", "hot", "cold"], "students": ["wrn10-0.5", "wrn16-0.5"]},
    )
    assert len(plan.logit_caches) == 2, (
        "one in half precision for kd and hot, one in single for cold"
    )
    entries = 64 * 9  # images x views of pad 1
    sizes = {table.spec.precision: table.bytes for table in plan.logit_caches.values()}
    assert sizes == {"float16": entries * 10 * 2, "float32": entries * 10 * 4}


@pytest.mark.slow
def test_a_student_more_costs_one_table_and_one_student(tmp_path, shared):
    """With the real snakemake: the finished students of a removed table are not made again."""
    tiny_study.results(tmp_path, shared)
    study = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(teacher_outputs="table"))
    _snakemake(tmp_path, study, "--cores", "2")
    assert not list((tmp_path / "results/tables").glob("[!.]*")), "the last student has removed it"
    more = tiny_study.study(teacher_outputs="table", main={"students": ["wrn10-0.5", "wrn16-0.5"]})
    counts = _snakemake(tmp_path, tiny_study.write(study, more), "--dry-run", "--cores", "1")
    jobs_of = {line.split()[0]: line.split()[1] for line in counts.splitlines() if line.split()[1:]}
    assert jobs_of["table"] == "1" and jobs_of["train"] == "2", "the student and its scratch run"


def _snakemake(folder, study, *options) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(study), *options]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr
