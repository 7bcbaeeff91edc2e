"""What nvidia-smi lists and CUDA_VISIBLE_DEVICES leaves of it; its texts are NVIDIA's own form."""

import pytest
from helpers import fake_nvidia_smi

from kdpipe.devices import gpus

TWO = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)\nGPU 1: Tesla T4 (UUID: GPU-bb22)\n"
CUT = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)
  MIG 3g.20gb     Device  0: (UUID: MIG-cc33)
  MIG 1g.5gb      Device  1: (UUID: MIG-dd44)
GPU 1: Tesla T4 (UUID: GPU-bb22)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "1": ["GPU-bb22"],
        "GPU-bb22, 0": ["GPU-bb22", "GPU-aa11"],
        "GPU-b": ["GPU-bb22"],  # CUDA takes the beginning of a UUID
        "GPU-": [],  # of both
        "0,-1,1": ["GPU-aa11"],
        "0,7,1": ["GPU-aa11"],  # CUDA stops at what is none
        "7": [],
        "NoDevFiles": [],  # as SLURM has it for a job without a GPU
        "": [],
        "-1": [],
    }.items(),
)
def test_a_gpu_has_one_name_by_index_and_by_uuid(monkeypatch, tmp_path, text, expected):
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, TWO)
    assert gpus.list_gpus() == ["GPU-aa11", "GPU-bb22"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert gpus.list_gpus() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        None: ["MIG-cc33", "MIG-dd44", "GPU-bb22"],
        "MIG-dd44": ["MIG-dd44"],
        "0": ["MIG-cc33"],
        "1": ["GPU-bb22"],
    }.items(),
)
def test_what_a_gpu_is_cut_into_is_leased_in_its_place(monkeypatch, tmp_path, text, expected):
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, CUT)
    if text is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert gpus.list_gpus() == expected


def test_a_gpu_that_has_fallen_off_the_bus_does_not_hide_the_others(monkeypatch, tmp_path):
    lost = "Unable to determine the device handle for GPU0000:0A:00.0: Unknown Error\n"
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, f"{lost}\n{TWO.splitlines()[1]}\n", code=15)
    assert gpus.list_gpus() == ["GPU-bb22"]


def test_no_driver_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (
        gpus.list_gpus(),
        gpus.query_driver_version(),
        gpus.query_memory_usage(),
    ) == ([], None, {})


@pytest.mark.parametrize(
    ("text", "expected"), {"0, GPU-aa": ["0", "GPU-aa"], "NoDevFiles": [], "none": []}.items()
)
def test_without_nvidia_smi_a_name_is_known_by_its_form(monkeypatch, tmp_path, text, expected):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert gpus.list_gpus() == expected


def test_a_complaint_of_nvidia_smi_is_no_version(monkeypatch, tmp_path):
    fake_nvidia_smi.nvidia_smi(
        monkeypatch, tmp_path, TWO, driver="Unable to determine it\n580.65.06\n"
    )
    assert gpus.query_driver_version() == "580.65.06"


def test_how_full_a_gpu_is(monkeypatch, tmp_path):
    memory = "GPU-aa11, 30720, 40960\nGPU-bb22, [N/A], [N/A]\n"
    fake_nvidia_smi.nvidia_smi(monkeypatch, tmp_path, TWO, memory)
    assert gpus.query_memory_usage() == {"GPU-aa11": 0.75}
    assert gpus.query_driver_version() == "470.82.01"
