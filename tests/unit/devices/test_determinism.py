"""How torch is set for a GPU, on a machine that only pretends to have one."""

import os

import pytest
import torch

from kdpipe.devices import cuda_errors, determinism
from kdpipe.errors import KdpipeError
from kdpipe.training import loop


@pytest.fixture
def pretended(monkeypatch):
    """A torch that says there is a GPU; what is set is put back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "pretended")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    remaining = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark = matmul.allow_tf32 = True
    filling = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filling
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = remaining


def test_deterministic_kernels_and_float32_are_asked_of_a_gpu(pretended):
    path = determinism.prepare_torch_device("cuda")
    assert path.type == "cuda"
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    # Both of torch's ways to ask agree: it refuses to answer where they were mixed.
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision != "tf32"
    assert torch.get_float32_matmul_precision() == "highest"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    content = determinism.get_gpu_info()
    assert content.items() >= {"name": "pretended", "capability": "8.6", "tf32": False}.items()
    assert content["kernels"] == "deterministic" and content["cuda"] == str(torch.version.cuda)
    assert determinism.format_device_key(path) == "cuda"


def test_any_kernels_are_said(pretended):
    path = determinism.prepare_torch_device("cuda", "any")
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert (
        determinism.get_gpu_info()["kernels"] == "any"
        and determinism.get_gpu_info()["tf32"] is False
    )
    assert determinism.format_device_key(path) == "cuda, any kernels"


def test_a_state_of_other_kernels_is_not_gone_on_with(tmp_path):
    about = {"device": "cuda, any kernels", "epoch": 1}
    assert loop._is_resumable(about, tmp_path, "", [], "cuda, any kernels", [])
    assert not loop._is_resumable(about, tmp_path, "", [], "cuda", [])


def test_tensors_of_two_devices_are_said_to_be_of_ones_own_code():
    text = "Expected all tensors to be on the same device, but found at least two devices, cuda:0"
    assert "device=x.device" in str(cuda_errors.explain_gpu_error(RuntimeError(text)))


def test_nothing_is_set_for_a_cpu():
    before = torch.backends.cudnn.deterministic
    assert determinism.format_device_key(determinism.prepare_torch_device("cpu")) == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic == before


def test_cuda_that_torch_cannot_use_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KdpipeError, match="finds no GPU"):
        determinism.prepare_torch_device("cuda")


def test_an_operation_without_a_deterministic_kernel_is_named(pretended):
    """With torch's own error: `put_` has none on a CPU either."""
    determinism.set_deterministic("deterministic")
    with pytest.raises(RuntimeError) as actual:
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    assert cuda_errors.explain_gpu_error(actual.value).startswith(
        "put_ has no deterministic kernel"
    )
    assert "kernels: any" in cuda_errors.explain_gpu_error(actual.value)
    determinism.set_deterministic("any")
    torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "FIND was unable to find an engine to execute this computation",
    ],
)
def test_no_memory_in_the_words_of_the_libraries(text):
    assert cuda_errors.is_out_of_memory(RuntimeError(text))
    assert cuda_errors.explain_gpu_error(RuntimeError(text)) is None
    assert not cuda_errors.is_out_of_memory(ValueError(text))


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be", True),
        ("CUDA error: unknown error", True),
        ("No CUDA GPUs are available", True),
        ("CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error", True),
        ("CUDA error: device-side assert triggered", False),  # a bug
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(`", False),  # or so
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_gpu_that_has_failed_is_a_fault_of_the_machine(text, gone):
    message = cuda_errors.explain_gpu_error(RuntimeError(text))
    assert cuda_errors.is_gpu_lost(RuntimeError(text)) == gone == (message is not None)
    if message is not None:
        assert "CUDA kernel" not in message and "CUDA_VISIBLE_DEVICES" in message


def test_a_gpu_that_another_process_has_for_itself_has_not_failed():
    error = RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore")
    assert not cuda_errors.is_gpu_lost(error)
    assert "compute mode is exclusive" in cuda_errors.explain_gpu_error(error)
