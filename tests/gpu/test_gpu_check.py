"""`kdpipe gpu-check`, run to its end on a pretended GPU, and what it does with what goes wrong."""

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import fake_nvidia_smi, rounded_layers
from torch import nn

from kdpipe import registry as registry_module
from kdpipe.cli.main import main
from kdpipe.devices import determinism, gpus, leases
from kdpipe.gpu_check import compare, fixtures, runner
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.checks import agreement, families, terms
from kdpipe.models import registry

ROOT = Path(__file__).parents[2]
TIMED = {"epoch"}  # of this machine, and of what else it does


@pytest.mark.slow
def test_all_of_it_runs_to_its_end_on_a_pretended_gpu(tmp_path):
    """What it compares is the CPU with itself: all equal but what is in half precision."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": f"GPU-check-{os.getpid()}", "CXX": "none"}
    environment.pop("SLURM_JOB_ID", None)
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "helpers" / "fake_gpus.py", "gpu-check", "--quick"],
        cwd=tmp_path,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode in (0, 1), process.stderr
    content = json.loads((tmp_path / "gpu-check.json").read_text())
    assert os.listdir(tmp_path) == ["gpu-check.json"]
    assert content["gpu"]["name"] == "pretended" and content["quick"] is True
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
    actual = {check["name"]: check for check in content["checks"]}
    assert actual.keys() == set(registry_module.list_names("kdpipe.gpu_check.checks"))
    errors = {name: one["said"] for name, one in actual.items() if one["passed"] is False}
    assert errors.keys() <= TIMED, errors
    assert process.returncode == bool(errors)
    measured = {name for name, one in actual.items() if one["passed"] is None}
    assert measured == {"throughput", "concurrency"}, actual
    assert actual["agreement"]["numbers"]["float32_logits"] == 0.0
    assert actual["agreement"]["numbers"]["bfloat16_logits"] > 1e-3
    assert max(actual["terms"]["numbers"].values()) == actual["tables"]["numbers"]["off"] == 0.0
    assert "compile was not tried: a C++ compiler" in actual["options"]["said"]
    for one in content["checks"]:
        assert f"{one['title']:<44} {one['said']}" in process.stdout
    assert (
        f"{len(actual) - len(errors) - len(measured)} passed, {len(errors)} failed"
        in process.stdout
    )


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["gpu-check"]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, "GPU 0: Tesla T4 (UUID: GPU-aa)\n")
    monkeypatch.setattr(gpus, "find_unusable_reason", lambda: "it wants driver 580")
    assert main(["gpu-check"]) == 2
    assert "torch cannot use the GPU here: it wants driver 580" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["nvidia-smi"]


def test_it_does_not_wait_for_a_run_that_is_at_work(monkeypatch, capsys):
    name = f"GPU-busy-{os.getpid()}"
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
    monkeypatch.setattr(gpus, "_find_reasons", dict.fromkeys)
    with leases.lease_gpus():
        assert main(["gpu-check"]) == 2
    assert f"a run of kdpipe is using GPU {name}" in capsys.readouterr().err
    assert runner.select_gpu() == name


def raises(_):
    raise RuntimeError("CUDA error: an illegal memory access\nCUDA kernel errors might be")


def dies(_):
    faulthandler.disable()  # pytest's would say where
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(_):
    time.sleep(600)


def test_what_breaks_a_check_ends_there_and_is_a_failure(monkeypatch, capsys):
    def check(order, looks) -> Check:
        return Check(order, looks.__name__, looks, "device: cpu")

    passes = Check(9, "passes", lambda _: Outcome(True, "well", {"off": 0.0}), "nothing")
    result = {"raises": check(1, raises), "dies": check(2, dies), "passes": passes}
    monkeypatch.setattr(runner, "load_checks", lambda: result)
    report = list(runner.run_checks(True))
    actual = {one.name: one.outcome for one in report}
    assert actual["raises"] == Outcome(False, "RuntimeError: CUDA error: an illegal memory access")
    assert actual["dies"] == Outcome(False, "its process ended with signal 11")
    assert actual["passes"] == Outcome(True, "well", {"off": 0.0})
    assert [one.name for one in report] == list(result)
    assert runner.format_row(report[0]).splitlines()[1].split(maxsplit=1) == [
        "meanwhile",
        "device: cpu",
    ]
    assert runner.format_row(report[2]) == f"pass  {'passes':<44} well"
    last = runner.format_summary(report, Path("x.json"))
    assert last.startswith("1 passed, 2 failed, 0 measured") and "attach it to an issue" in last


def test_a_check_that_hangs_is_ended_with_the_time(tmp_path):
    began = time.monotonic()
    with pytest.raises(fixtures.SubprocessError, match="too long"):
        fixtures.run_parallel([lambda: hangs(None)], tmp_path / "log", began + 0.3)
    assert time.monotonic() - began < 60
    over = fixtures.CheckFixture(tmp_path, True, deadline=0.0)
    check = Check(1, "late", raises, "nothing")
    assert runner._run_check(check, over) == Outcome(None, "the limit of 10 minutes was reached")


def test_distance_by_hand():
    actual = [torch.tensor([3.0, 4.0]), torch.tensor([12.0])]
    assert compare.relative_error(actual, actual) == 0.0
    off = compare.relative_error(actual, [torch.tensor([3.0, 0.0]), torch.tensor([4.0])])
    assert off == pytest.approx(((16 + 64) / (9 + 16)) ** 0.5)


def test_files_that_differ():
    one = {"files": {"a": {"sha256": "1"}, "b": {"sha256": "2"}}}
    other = {"files": {"a": {"sha256": "1"}, "b": {"sha256": "3"}, "c": {"sha256": "4"}}}
    assert fixtures.diff_files(one, one) == []
    assert fixtures.diff_files(one, other) == ["b", "c"]


@pytest.fixture
def pretended(monkeypatch):
    """A GPU that computes as the CPU does, but for what a test changes."""
    monkeypatch.setattr(determinism, "prepare_torch_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "pretended")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-off-{os.getpid()}")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


QUICK, WHOLE = (
    fixtures.CheckFixture(Path("nowhere"), True),
    fixtures.CheckFixture(Path("nowhere"), False),
)


def every_other(monkeypatch, path, name, change):
    """Every second call, those of the pretended GPU, gives something else."""
    real, calls = getattr(path, name), []

    def called(*inputs, **more):
        calls.append(name)
        actual = real(*inputs, **more)
        return change(actual) if len(calls) % 2 == 0 else actual

    monkeypatch.setattr(path, name, called)


def test_a_gpu_that_computes_something_else_fails(pretended, monkeypatch):
    every_other(
        monkeypatch, compare, "run_training_step", lambda message: (message[0] * 1.0005, message[1])
    )
    outcome = agreement.run_check(QUICK)
    assert outcome.passed is False
    assert "logits in float32 differ by 5.0e-04, more than 0.0001" in outcome.message
    assert "TF32" not in outcome.message
    assert families.run_check(QUICK).passed is True, "within what a deep network may differ by"
    every_other(
        monkeypatch, compare, "run_training_step", lambda message: (message[0] * 1.02, message[1])
    )
    assert families.run_check(QUICK).passed is False


def test_a_gradient_that_is_another_or_none_fails(pretended, monkeypatch):
    every_other(
        monkeypatch,
        terms,
        "_compute_term",
        lambda message: (message[0], [g * 1.01 for g in message[1]]),
    )
    outcome = terms.run_check(QUICK)
    assert outcome.passed is False and "kd differs by 9.9e-03" in outcome.message
    every_other(
        monkeypatch,
        compare,
        "run_training_step",
        lambda message: (message[0], [g * float("nan") for g in message[1]]),
    )
    assert agreement.run_check(QUICK).passed is False


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "fails"), {21: [], 10: ["float32"], 7: ["float32"]}.items())
def test_a_right_gpu_passes_and_one_with_shorter_factors_does_not(
    pretended, monkeypatch, bits, fails
):
    """Its convolutions and products have factors of so many bits: 21 are off by what another order
    of sums is off by, 10 are those of TF32, 7 of bfloat16. Not the quick networks: the real ones.
    """
    calls, real = [], compare.run_training_step

    def step(*inputs, **more):
        calls.append(inputs)
        there = len(calls) % 2 == 0 and not more.get("is_half")  # autocast rounds by itself
        with rounded_layers.factors(bits) if there else contextlib.nullcontext():
            return real(*inputs, **more)

    monkeypatch.setattr(compare, "run_training_step", step)
    outcome = agreement.run_check(WHOLE)
    errors = {way for way in compare.TOLERANCE if f" in {way} " in outcome.message}
    assert errors == set(fails) and outcome.passed is not bool(fails), outcome
    assert "gradients in float32" in outcome.message or not fails
    assert families.run_check(WHOLE).passed is (bits == 21)


@pytest.mark.parametrize("kind", fixtures.STUDIES)
@pytest.mark.parametrize("outputs", ["table", "live"])
def test_its_studies_can_be_planned(kind, outputs):
    runs = fixtures._plan_runs(kind, outputs)
    assert runs.teacher.network != runs.student.network
    assert bool(runs.student.logit_caches) == (outputs == "table")


@pytest.mark.slow
def test_the_checks_that_take_time_run_with_what_they_really_show(pretended, monkeypatch, tmp_path):
    """Of the whole check but for its networks and most of its epochs."""
    small = {"networks": ("wrn10-1", "wrn10-0.5"), "network_recipes": {}}
    timed = fixtures.STUDIES["timed"]
    recipe = timed["recipe"] | {"epochs": 1, "drop_epochs": []}
    monkeypatch.setitem(fixtures.STUDIES, "timed", {**timed, **small, "recipe": recipe})
    fixtures._plan_runs.cache_clear()
    until = time.monotonic() + 300
    for name in ("throughput", "concurrency"):
        check = runner.load_checks()[name]
        (tmp_path / name).mkdir()
        outcome = runner._run_check(check, fixtures.CheckFixture(tmp_path / name, False, until))
        assert outcome.passed is None and all(value > 0 for value in outcome.numbers.values())
    fixtures._plan_runs.cache_clear()


def test_what_a_network_drops_is_left_out():
    """Two devices draw other numbers from one seed."""
    inputs = compare.make_batch((3, 64, 64), 2)
    one, other = (compare.build_network("squeezenet1_1", (3, 64, 64)) for _ in range(2))
    torch.rand(1)
    assert torch.equal(compare.run_training_step(one, *inputs)[0], other(inputs[0]))


def test_every_family_has_a_network_here():
    assert families.NETWORKS.keys() == registry.load_families().keys()
    for names, shape in families.NETWORKS.values():
        for name in names:
            registry.check_shape(name, shape)


def test_tf32_is_on_inside_alone():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with compare.allow_tf32(True):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


@pytest.mark.parametrize("name", registry_module.list_names("kdpipe.gpu_check.checks"))
def test_every_check_says_what_to_set_meanwhile(name):
    check = runner.load_checks()[name]
    assert check.title and check.meanwhile and len(check.title) <= 44
    orders = [one.order for one in runner.load_checks().values()]
    assert len(set(orders)) == len(orders)


def test_a_network_is_the_same_each_time():
    one, other = (compare.build_network("wrn10-0.5", (3, 32, 32)) for _ in range(2))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert isinstance(one, nn.Module) and all(torch.equal(*pair) for pair in pairs)
