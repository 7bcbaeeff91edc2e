"""Weights of strangers: one message for what is no state dict of real, dense tensors."""

import hashlib
import io
import json
import os
import pickle
import signal
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.models.pretrained import hub, weights


@pytest.fixture(autouse=True)
def no_hang():
    """End a test that hangs."""
    signal.alarm(60)
    yield
    signal.alarm(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))


def state(**changes):
    return {**Net().state_dict(), **{key.replace("_", "."): v for key, v in changes.items()}}


def loaded(path):
    """The state of a file, if it fits the network."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    result = weights.read_weights(path, digest, "net")
    with torch.device("meta"):
        expected = Net().state_dict()
    weights.check_state_dict(expected, result, "it does not fit")
    return result


def refused(path) -> str:
    with pytest.raises(KdpipeError) as error:
        loaded(path)
    assert all(line.isprintable() for line in str(error.value).split("\n"))
    return str(error.value)


BIAS = torch.zeros(3)
BAD = {
    "sparse": (BIAS.to_sparse(), "linear.bias is sparse or nested"),
    "csr": (torch.eye(3).to_sparse_csr(), "linear.bias is sparse or nested"),
    "large": (
        torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,)),
        "linear.bias is sparse or nested",
    ),
    "nested": (torch.nested.nested_tensor([BIAS, BIAS[:1]]), "linear.bias is sparse or nested"),
    "quantized": (
        torch.quantize_per_tensor(BIAS, 0.1, 0, torch.qint8),
        "linear.bias is quantized (qint8)",
    ),
    "meta": (torch.empty(10**12, device="meta"), "linear.bias has no values (device meta)"),
    "float8": (BIAS.to(torch.float8_e4m3fn), "type float8_e4m3fn, which is not real"),
    "complex": (BIAS.to(torch.complex64), "type complex64, which is not real"),
    "expanded": (torch.ones(1).expand(10**12), "it has 1,000,000,000,000 elements"),
    "repeated": (torch.ones(1).expand(3), "linear.bias is expanded"),
    "bool": (BIAS > 0, "linear.bias has the type bool, expected float32"),
    "int8": (BIAS.to(torch.int8), "linear.bias has the type int8, expected float32"),
    "int64": (BIAS.long(), "linear.bias has the type int64, expected float32"),
    "shape": (torch.zeros(4), "linear.bias has shape (4,), not (3,)"),
    "infinite": (BIAS + torch.inf, "linear.bias is not finite"),
    "number": (3.0, "linear.bias is not a tensor (float)"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_real_and_dense_tensor_is_refused(tmp_path, case):
    value, message = BAD[case]
    torch.save(state(linear_bias=value), tmp_path / "w.pt")
    assert message in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_real_types_are_taken(tmp_path, dtype):
    torch.save(state(linear_bias=BIAS.to(dtype)), tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt")["linear.bias"].dtype == dtype


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("norm.num_batches_tracked", torch.tensor(1, dtype=torch.int32), None),
        ("norm.num_batches_tracked", torch.tensor(1.0), "type float32, expected int64"),
        ("mask", torch.ones(3), "mask has the type float32, expected bool"),
        ("mask", torch.ones(3, dtype=torch.int64), "mask has the type int64, expected bool"),
    ],
)
def test_integers_and_masks_are_those_of_the_network(tmp_path, key, value, message):
    torch.save(state() | {key: value}, tmp_path / "w.pt")
    if message is None:
        assert torch.equal(loaded(tmp_path / "w.pt")[key], value)
    else:
        assert message in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e5m2, torch.complex64, torch.bool])
def test_types_of_safetensors_too(tmp_path, dtype):
    try:
        save_file(state(linear_bias=BIAS.to(dtype)), tmp_path / "w.safetensors")
    except KeyError:
        pytest.skip(f"this version of safetensors cannot write {dtype}")
    assert "linear.bias has the type" in refused(tmp_path / "w.safetensors")


@pytest.mark.parametrize("key", [7, None, (1, 2), b"linear.bias", 2.5])
def test_keys_are_text(tmp_path, key):
    torch.save(state() | {key: BIAS}, tmp_path / "w.pt")
    assert f"{key!r} is not the name of a parameter" in refused(tmp_path / "w.pt")


def test_keys_cannot_control_the_terminal(tmp_path):
    torch.save(state() | {"\x1b[2J\nno error": BIAS}, tmp_path / "w.pt")
    assert r"\x1b[2J\nno error is not one of its parameters" in refused(tmp_path / "w.pt")


class Odd:
    def __reduce__(self):
        return os.mkdir, ("was-executed",)


@pytest.mark.parametrize(
    ("content", "name"),
    [(Odd(), "posix.mkdir"), (np.float64(1), "multiarray.scalar"), (Net(), "Net")],
    ids=["call", "numpy", "module"],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_other_objects_are_named_in_our_own_words(tmp_path, monkeypatch, content, name, is_zip):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    torch.save({"a": BIAS, "x": content}, path, _use_new_zipfile_serialization=is_zip)
    message = refused(path)
    assert "it has other objects than tensors" in message and name in message
    assert "save only model.state_dict()" in message and "still be loaded" not in message
    assert not (tmp_path / "was-executed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80", pickle.dumps(Odd()), b"PK\x03\x04" * 9, bytes(1000)], ids=range(5)
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_of_something_else_is_one_message(tmp_path, monkeypatch, content, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    message = refused(path)
    assert "cannot be read" in message and "weights_only" not in message
    assert not (tmp_path / "was-executed").exists()


def test_an_archive_that_unpacks_to_more_than_it_is_is_not_unpacked(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(10**6)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "w.pt", "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "w.pt").stat().st_size < 10**5
    assert "is compressed to less than its 4,00" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir])
def test_weights_are_a_regular_file(tmp_path, make):
    make(tmp_path / "w.pt")
    with pytest.raises(KdpipeError, match=r"w.pt cannot be read: it is not a regular file"):
        weights.read_weights(tmp_path / "w.pt", "0" * 64, "net")


# --- the config of timm

CONFIG = {
    "num_classes": 3,
    "pretrained_cfg": {
        **{"num_classes": 3, "input_size": [3, 64, 64]},
        **{"mean": [0.5] * 3, "std": [0.2] * 3},
    },
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": [0.2, 0, 0.2]}, "std .*: must be above 0"),
        ({"std": [-1] * 3}, "std .*: must be above 0"),
        ({"std": [1e999] * 3}, "are not numbers"),
        ({"mean": ["nan"] * 3}, "are not numbers"),
        ({"crop_pct": 0}, "crop_pct 0: must be from 0.05 to 1.25"),
        ({"crop_pct": -0.9}, "crop_pct -0.9: must be"),
        ({"crop_pct": 1.5}, "crop_pct 1.5: must be"),
        ({"crop_pct": 1e-9}, "crop_pct 1e-09: must be"),
        ({"crop_pct": "nan"}, "crop_pct nan: must be"),
        ({"input_size": [3, 5000, 5000]}, "images of 5000 x 5000: at most 4,096 pixels"),
        ({"input_size": [3, 64]}, "ValueError"),
        ({"input_size": [3, 64.0, 64.0]}, "are not counts"),
        ({"interpolation": ["bicubic"]}, "interpolation .*: must be a name"),
    ],
)
def test_nonsense_of_a_config_is_refused(tmp_path, change, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert hub.parse_config(path)["size"] == (64, 64)
    path.write_text(json.dumps(CONFIG | {"pretrained_cfg": CONFIG["pretrained_cfg"] | change}))
    with pytest.raises(KdpipeError, match=f"does not specify the input .*{message}"):
        hub.parse_config(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_config_is_a_regular_file(tmp_path, make):
    make(tmp_path / "config.json")
    assert not hub.is_timm_folder(tmp_path)
    with pytest.raises(KdpipeError, match="it is not a regular file"):
        hub.parse_config(tmp_path / "config.json")


def test_a_large_config_is_not_read(tmp_path):
    (tmp_path / "config.json").touch()
    os.truncate(tmp_path / "config.json", 2**40)
    assert not hub.is_timm_folder(tmp_path)
    with pytest.raises(KdpipeError, match="it has more than"):
        hub.parse_config(tmp_path / "config.json")
