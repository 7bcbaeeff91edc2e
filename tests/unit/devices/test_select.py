"""Who decides on a device, and who does what was decided."""

import pytest
from helpers import tiny_study

from kdpipe.devices import gpus
from kdpipe.errors import KdpipeError
from kdpipe.workflow.load import load_rule_context
from kdpipe.workflow.rule_context import RuleContext


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs that torch can use."""
    monkeypatch.setattr(gpus, "_find_reasons", dict.fromkeys)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


@pytest.mark.parametrize(
    ("wish", "here", "remote", "begun", "expected"),
    [
        ("auto", True, False, None, "cuda"),
        ("auto", False, False, None, "cpu"),
        ("auto", True, True, None, "cpu"),  # the GPUs here are not those of the cluster
        ("auto", True, False, "cpu", "cpu"),  # as it was begun
        ("auto", False, True, "cuda", "cuda"),
        ("cpu", True, False, "cuda", "cpu"),
        ("cuda", True, False, "cpu", "cuda"),
        ("cuda", False, True, None, "cuda"),  # the jobs will see
    ],
)
def test_who_decides(monkeypatch, capsys, wish, here, remote, begun, expected):
    monkeypatch.setattr(gpus, "list_gpus", lambda: ["0"] if here else [])
    monkeypatch.setattr(gpus, "_find_reasons", dict.fromkeys)  # all are usable
    assert gpus.select_device(wish, remote, begun) == expected
    is_evident = not here and not remote and begun is None
    is_said = f"auto is {expected}" in capsys.readouterr().err
    assert is_said == (wish == "auto" and not is_evident)


@pytest.mark.parametrize(("wish", "begun"), [("cuda", None), ("auto", "cuda")])
def test_no_gpu_where_one_is_needed_is_an_error(monkeypatch, wish, begun):
    monkeypatch.setattr(gpus, "list_gpus", lambda: [])
    with pytest.raises(KdpipeError, match="write device: cpu"):
        gpus.select_device(wish, False, begun)


def test_a_job_does_what_the_head_decided(monkeypatch, tmp_path, two_gpus):
    """The node of a job may have other GPUs than the machine that decided."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(gpus.DEVICE_VARIABLE, "nothing yet")
    study = tiny_study.study()

    def load(head: bool) -> RuleContext:
        return load_rule_context(study, [], default_file=tmp_path, is_head=head)

    assert load(head=True).device == "cuda"
    assert load(head=True).gpu_slots == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert load(head=False).device == "cuda"
    assert load(head=True).device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert load(head=False).device == "cpu"


def test_a_job_that_cannot_know_says_so(monkeypatch):
    monkeypatch.delenv(gpus.DEVICE_VARIABLE, raising=False)
    assert gpus.get_job_device("cpu") == "cpu"
    with pytest.raises(KdpipeError, match=gpus.DEVICE_VARIABLE):
        gpus.get_job_device("auto")


def test_the_device_is_in_no_name():
    names = [
        list(tiny_study.planned(device=device, runs_per_gpu=share, kernels=kernels).runs)
        for device, share, kernels in [
            ("auto", 1, "deterministic"),
            ("cpu", 1, "any"),
            ("cuda", 4, "any"),
        ]
    ]
    assert names[0] == names[1] == names[2]


def test_nonsense_in_place_of_a_device_is_ignored(monkeypatch, capsys):
    monkeypatch.setenv(gpus.DEVICE_VARIABLE, "gpu; rm")
    assert gpus.get_job_device("cpu") == "cpu"
    assert "KDPIPE_DEVICE='gpu; rm' is not a device and is ignored" in capsys.readouterr().err
    with pytest.raises(KdpipeError, match=gpus.DEVICE_VARIABLE):
        gpus.get_job_device("auto")
