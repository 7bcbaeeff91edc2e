"""What a job leaves of what went wrong: an outcome in its record, or a failure with its reason."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers import tiny_study
from helpers.trained_runs import do, runs

from kdpipe.cli.main import main
from kdpipe.jobs.run_record import format_summary
from kdpipe.jobs.train import train_run
from kdpipe.runs import records
from kdpipe.runs.integrity.verify import verify_store


def test_a_diverged_run_says_where_and_its_students_are_skipped(store, tmp_path, warm):
    plan = tiny_study.planned(
        network_recipes={"wrn10-1": {"lr": 99.0, "epochs": 30, "drop_epochs": []}}
    )
    scratch, teacher, student = runs(plan)
    for run in (scratch, teacher):
        assert warm.run(*tiny_study.train(run, [0]), cwd=tmp_path).code == 0
    record = tiny_study.record(store, teacher)
    assert record["status"] == "diverged"
    assert "epoch" in record["reason"]
    script = (
        "import sys; from kdpipe.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, 'torch' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *tiny_study.train(student)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.stdout.splitlines()[-1] == "0 False", process.stderr
    skipped = tiny_study.record(store, student)
    assert skipped["status"] == "skipped"
    assert teacher.name in skipped["reason"] and record["reason"] in skipped["reason"]
    assert "finished before" in train_run(teacher.spec, [0], store)  # never retried


def test_a_loss_that_is_not_finite_names_epoch_step_and_last_loss(store, monkeypatch):
    from kdpipe.training.objective import Objective

    loss, calls = Objective.compute_terms, []

    def spoiled(*inputs):
        calls.append(1)
        parts = loss(*inputs)
        return (
            {key: value * float("nan") for key, value in parts.items()}
            if len(calls) == 7
            else parts
        )

    monkeypatch.setattr(Objective, "compute_terms", spoiled)
    do(runs()[0], store)
    record = tiny_study.record(store, runs()[0])
    assert record["status"] == "diverged"
    assert record["reason"].startswith("the loss is nan in epoch 2, step 3 (last finite loss: 2.")


def test_weights_that_are_not_finite_at_the_end_are_diverged(store, monkeypatch):
    """The last step's loss is finite, what it does to the weights is not."""
    from kdpipe.models import factory
    from kdpipe.training import evaluate

    note, calls = evaluate.log_batch, []

    def spoils_after(*inputs):
        note(*inputs)
        calls.append(1)
        if len(calls) == 8:
            built[-1].linear.weight.data.fill_(float("inf"))

    built, fresh = [], factory.create_model
    monkeypatch.setattr(
        factory, "create_model", lambda spec, code: built.append(fresh(spec)) or built[-1]
    )
    monkeypatch.setattr(evaluate, "log_batch", spoils_after)
    do(runs()[0], store)
    record = tiny_study.record(store, runs()[0])
    assert (record["status"], record["reason"]) == (
        "diverged",
        "the outputs on val are not finite after epoch 2",
    )


def test_a_skipped_student_is_trained_when_its_parent_has_come(finished):
    student = runs()[2]
    record = tiny_study.record(finished, student)
    shutil.rmtree(finished.run(student.name))
    record.pop("sha256")
    records.publish_record(
        finished.run(student.name), record | {"status": "skipped", "reason": "was"}
    )
    assert "validation error" in train_run(student.spec, [], finished)
    assert tiny_study.record(finished, student)["status"] == "done"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: tried 64 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_says_what_to_change(store, monkeypatch, error, capsys):
    from kdpipe.training import loop

    def fails(*_):
        raise error

    monkeypatch.setattr(loop, "train", fails)
    code = main(tiny_study.train(runs()[0], results=str(store.root)))
    message = capsys.readouterr().err
    assert code not in (0, 75)
    assert "out of memory" in message and "batch_size 16" in message and "Traceback" not in message
    failure = json.loads((store.run(runs()[0].name) / "failure.json").read_text())
    assert "out of memory" in failure["reason"] and "Traceback" in failure["traceback"]
    assert not (store.run(runs()[0].name) / "record.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "a hardware error"),
        ("put_ does not have a deterministic implementation, but you set", "kernels: any"),
    ],
)
def test_what_a_gpu_cannot_do_is_no_bug(store, monkeypatch, capsys, text, message):
    from kdpipe.training import loop

    def fails(*_):
        raise RuntimeError(text)

    monkeypatch.setattr(loop, "train", fails)
    run = runs()[0]
    assert main(tiny_study.train(run, results=str(store.root))) == 2
    heard = capsys.readouterr().err
    assert message in heard and heard.count("\n") == 1 and run.name in heard
    assert message in store.failure_reason("runs", run.name)


def test_a_bug_says_where_its_traceback_is_kept(store, monkeypatch):
    from kdpipe.training import loop

    run = runs()[0]
    monkeypatch.setattr(loop, "train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as actual:  # Python prints the traceback and the note
        main(tiny_study.train(run, results=str(store.root)))
    remaining = store.run(run.name) / "failure.json"
    assert actual.value.__notes__ == [
        f"This is a bug of kdpipe; the traceback is also in {remaining}"
    ]
    failure = json.loads(remaining.read_text())
    assert failure["reason"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in failure["traceback"]


@pytest.mark.parametrize("code", [0, 1, "no licence"])
def test_a_network_that_ends_the_process_is_a_failure_that_is_noted(store, monkeypatch, code):
    from kdpipe.training import loop

    run = runs()[0]
    monkeypatch.setattr(loop, "train", lambda *_: sys.exit(code))
    assert main(tiny_study.train(run, results=str(store.root))) == 2
    assert f"SystemExit: {code}" in store.failure_reason("runs", run.name)


def test_one_that_ends_it_at_once_too_and_a_child_may_end(store, monkeypatch):
    from kdpipe.training import loop

    def leave(*_):
        if (child := os.fork()) == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        os._exit(0)

    run, whole = runs()[0], os._exit
    monkeypatch.setattr(loop, "train", leave)
    assert main(tiny_study.train(run, results=str(store.root))) == 2
    assert "SystemExit: os._exit(0)" in store.failure_reason("runs", run.name)
    assert os._exit is whole


def test_a_failure_is_forgotten_once_the_run_succeeds(store):
    run = runs()[0]
    store.run(run.name).mkdir(parents=True)
    (store.run(run.name) / "failure.json").write_text("{}")
    do(run, store)
    assert not (store.run(run.name) / "failure.json").exists()


@pytest.fixture
def small_disk(tmp_path, shared):
    """A results folder on a disk of 3 MB with the data set on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("NOT TESTED: a full disk needs a mount of its own, which needs root")
    yield tiny_study.results(disk, shared)
    subprocess.check_call(["umount", "--lazy", disk])


def test_disk_full(small_disk, warm, capsys):
    disk = small_disk.root.parent
    scratch, teacher, student = runs()[:3]
    assert warm.run(*tiny_study.train(scratch), cwd=disk).code == 0
    before = tiny_study.exact(small_disk.run(scratch.name))
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for run in (scratch, teacher):
        child = warm.run(*tiny_study.train(run, [1]), cwd=disk)
        assert child.code not in (0, None, 75), child.output
        assert child.output.count("\n") == 1 and "Traceback" not in child.output, child.output
        assert os.strerror(errno.ENOSPC) in child.output or "bytes needed" in child.output
    assert tiny_study.exact(small_disk.run(scratch.name)) == before
    assert not list(disk.rglob("*.tmp"))
    filler.unlink()
    for run in (scratch, teacher, student):
        assert warm.run(*tiny_study.train(run, [1]), cwd=disk).code == 0
    assert not list(verify_store(small_disk))


def test_the_plan_warns_of_a_disk_that_is_too_small(tmp_path, monkeypatch, capsys):
    study = str(tiny_study.write(tmp_path / "study.yaml", tiny_study.study()))
    monkeypatch.chdir(tmp_path)
    assert main(["plan", study]) == 0
    assert "warning" not in capsys.readouterr().err
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main(["plan", study]) == 0
    captured = capsys.readouterr()
    assert "warning: the runs to do write" in captured.err and "1 kB free" in captured.err


def test_the_line_of_a_job_says_nothing_of_test(store):
    """A study may be registered, and a job knows no study."""
    run = runs()[0]
    train_run(run.spec, [], store)
    record = tiny_study.record(store, run)
    message = format_summary(record)
    error = 100 * (1 - record["last"]["val"]["accuracy"])
    assert f": top-1 validation error {error:.2f} %" in message
    record["last"]["test"]["accuracy"] = record["best"]["test"]["accuracy"] = 0.123456
    assert format_summary(record) == message
    record["last"]["val"] = None
    assert format_summary(record).startswith(f"{run.name}: done, ")
