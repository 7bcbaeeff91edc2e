"""Torch is asked in a process of its own, and only where a GPU is listed."""

import os
import subprocess
import sys

import pytest
import torch
from helpers import fake_nvidia_smi

from kdpipe.devices import gpus, host
from kdpipe.errors import KdpipeError

LISTED = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)\n"
OLD = "The driver is too old (found 11040)."
SAID = {"torch": "2.14.1+cu130", "cuda": "13.0", "errors": [OLD]}
GONE = "CUDA error: invalid device ordinal"
TWO = LISTED + "GPU 1: Quadro K620 (UUID: GPU-bb22)\n"


@pytest.fixture
def listed(monkeypatch, tmp_path):
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, LISTED)
    monkeypatch.setattr(gpus, "_reason_cache", {})


def test_torch_is_not_asked_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(gpus, "_run_probe", lambda _: 1 / 0)
    assert gpus.find_unusable_reason() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_real_torch_says_that_a_pretended_gpu_is_none(listed, capsys):
    message = gpus.find_unusable_reason()
    assert message and torch.__version__ in message
    assert gpus.select_device("auto", False, None) == gpus.select_local_device("auto") == "cpu"
    assert "there are GPUs here, but torch" in capsys.readouterr().err
    with pytest.raises(KdpipeError, match="torch cannot use the GPUs here"):
        gpus.select_device("cuda", False, None)
    with pytest.raises(KdpipeError, match="trained on a GPU, but torch cannot use"):
        gpus.select_device("auto", False, "cuda")
    assert gpus.select_device("auto", False, "cpu") == "cpu"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"errors": [None]}, None),
        ({"errors": ["CUDA out of memory. Tried to allocate 2 MiB"]}, None),  # others fill it
        ({"errors": ["CUDA error: CUDA-capable device(s) is/are busy or unavailable"]}, None),
        ({}, "requires driver 580 or newer, but this is driver 470.82.01"),
        ({"cuda": "12.6"}, "requires driver 525 or newer"),
        ({"cuda": "11.8"}, "with driver 470.82.01 says: The driver is too old"),
        ({"cuda": None}, "is a build without CUDA"),
    ],
)
def test_what_torch_wants(listed, monkeypatch, message, expected):
    monkeypatch.setattr(gpus, "_run_probe", lambda _: SAID | message)
    actual = gpus.find_unusable_reason()
    assert actual == expected if expected is None else expected in str(actual)


def test_a_gpu_that_torch_cannot_use_is_left_out_for_all_jobs(
    listed, monkeypatch, tmp_path, capsys
):
    """And the others are used: a card for a screen keeps no study from the one beside it."""
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, TWO, driver="580.65.06\n")
    requests, errors = [], "CUDA error: no kernel image is available for execution on the device"

    def answer(gpus):
        requests.append(gpus)
        return SAID | {"errors": [errors if gpu == "GPU-bb22" else None for gpu in gpus]}

    monkeypatch.setattr(gpus, "_run_probe", answer)
    assert gpus.select_device("auto", False, None) == "cuda" == gpus.select_local_device("cuda")
    message = capsys.readouterr().err
    why = f"torch 2.14.1+cu130 with driver 580.65.06 says: {errors}"
    assert f"GPU GPU-bb22 is excluded: {why}" in message
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aa11" and "1 GPUs here" in message
    assert requests == [["GPU-aa11", "GPU-bb22"]]  # once
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(KdpipeError, match="no kernel image"):
        gpus.select_device("cuda", False, None)


def test_each_gpu_is_asked_by_its_own_name_and_one_instance_for_all(listed, monkeypatch, tmp_path):
    """In the order of the bus, as leases count: CUDA's own is the fastest first."""
    message = "import json, os\nprint(json.dumps({'errors': [os.environ[k] for k in KEYS]}))"
    keys = ["CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"]
    monkeypatch.setattr(gpus, "_PROBE_SOURCE", message.replace("KEYS", str(keys)))
    assert gpus._run_probe(["GPU-aa11", "GPU-bb22"])["errors"] == [
        "PCI_BUS_ID",
        "GPU-aa11,GPU-bb22",
    ]
    requests = []

    def answer(gpus):
        requests.append(gpus)
        return SAID | {"errors": [None] * len(gpus)}

    monkeypatch.setattr(gpus, "_run_probe", answer)
    names = ["GPU-aa11", "MIG-cc33", "MIG-dd44"]
    assert gpus._find_reasons(names) == dict.fromkeys(names)
    assert requests == [["GPU-aa11"], ["MIG-cc33"]]


def test_one_that_cuda_does_not_show_hides_no_other(listed, monkeypatch, tmp_path, capsys):
    """CUDA ends its list there: those behind it are asked once more, each alone."""
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, TWO, driver="580.65.06\n")

    def answer(gpus):
        displayed = gpus[: gpus.index("GPU-aa11")] if "GPU-aa11" in gpus else gpus
        return SAID | {"errors": [None if gpu in displayed else GONE for gpu in gpus]}

    monkeypatch.setattr(gpus, "_run_probe", answer)
    assert gpus.select_device("cuda", False, "cpu") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-bb22"
    assert f"GPU GPU-aa11 is excluded: torch 2.14.1+cu130 with driver 580.65.06 says: {GONE}" in (
        capsys.readouterr().err
    )


def test_a_torch_that_is_not_there_is_an_error_of_its_own(listed, monkeypatch):
    monkeypatch.setattr(gpus, "_PROBE_SOURCE", "import no_such_torch")
    assert "no_such_torch" in str(gpus.find_unusable_reason())


def test_the_plans_side_stays_free_of_torch():
    code = "import sys, kdpipe.devices.gpus, kdpipe.devices.leases, kdpipe.devices.determinism\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_torch_compile_needs(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no no-such-compiler here" in str(host.find_missing_toolchain("cpu"))
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(host.sysconfig, "get_path", lambda _: str(tmp_path))
    assert f"{tmp_path}/Python.h" in str(host.find_missing_toolchain("cpu"))
    (tmp_path / "Python.h").touch()
    assert host.find_missing_toolchain("cpu") is None


def test_on_a_gpu_it_is_another_compiler(monkeypatch, tmp_path):
    """Triton's is of C: $CC, or gcc, or clang."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(host.sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "a C compiler, and there is no gcc or clang here" in str(
        host.find_missing_toolchain("cuda")
    )
    (tmp_path / "clang").write_text("")
    (tmp_path / "clang").chmod(0o755)
    assert host.find_missing_toolchain("cuda") is None
    monkeypatch.setenv("CC", "icx")
    assert "no icx here" in str(host.find_missing_toolchain("cuda"))
