"""Torch is asked in a process of its own, and only where a GPU is listed."""

import subprocess
import sys

import machines
import pytest
import torch

from kdpipe.devices import compiling, decided, usable
from kdpipe.errors import KdpipeError

LISTED = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)\n"
SAID = {"torch": "2.14.1+cu130", "cuda": "13.0", "error": "The driver is too old (found 11040)."}


@pytest.fixture
def listed(monkeypatch, tmp_path):
    machines.nvidia_smi(monkeypatch, tmp_path, LISTED)
    usable._refused.cache_clear()
    yield
    usable._refused.cache_clear()


def test_torch_is_not_asked_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(usable, "_asked", lambda: 1 / 0)
    assert usable.refused() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_real_torch_says_that_a_pretended_gpu_is_none(listed, capsys):
    said = usable.refused()
    assert said and torch.__version__ in said
    assert decided.decide("auto", False, None) == decided.here("auto") == "cpu"
    assert "there are GPUs here, but torch" in capsys.readouterr().err
    with pytest.raises(KdpipeError, match="torch cannot use the GPUs here"):
        decided.decide("cuda", False, None)
    with pytest.raises(KdpipeError, match="trained on a GPU, but torch cannot use"):
        decided.decide("auto", False, "cuda")
    assert decided.decide("auto", False, "cpu") == "cpu"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"error": None}, None),
        ({"error": "CUDA out of memory. Tried to allocate 2 MiB"}, None),  # others fill it
        ({}, "wants driver 580 or newer, and this is driver 470.82.01"),
        ({"cuda": "12.6"}, "wants driver 525 or newer"),
        ({"cuda": "11.8"}, "with driver 470.82.01 says: The driver is too old"),
        ({"cuda": None}, "is one without CUDA"),
    ],
)
def test_what_torch_wants(listed, monkeypatch, said, expected):
    monkeypatch.setattr(usable, "_asked", lambda: SAID | said)
    found = usable.refused()
    assert found == expected if expected is None else expected in str(found)


def test_a_torch_that_is_not_there_is_an_error_of_its_own(listed, monkeypatch):
    monkeypatch.setattr(usable, "_QUESTION", "import no_such_torch")
    assert "no_such_torch" in str(usable.refused())


def test_the_plans_side_stays_free_of_torch():
    code = "import sys, kdpipe.devices.decided, kdpipe.devices.leases, kdpipe.devices.exact\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_torch_compile_needs(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no no-such-compiler here" in str(compiling.missing())
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda _: str(tmp_path))
    assert f"{tmp_path}/Python.h" in str(compiling.missing())
    (tmp_path / "Python.h").touch()
    assert compiling.missing() is None
