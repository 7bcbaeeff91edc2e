"""Who decides on a device, and who does what was decided."""

import pytest
import tiny

from kdpipe.devices import decided, usable
from kdpipe.errors import KdpipeError
from kdpipe.workflow.dag import Dag
from kdpipe.workflow.load import load as load_dag


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs that torch can use."""
    monkeypatch.setattr(usable, "_reasons", dict.fromkeys)
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
    monkeypatch.setattr(decided, "gpus", lambda: ["0"] if here else [])
    assert decided.decide(wish, remote, begun) == expected
    assert (f"auto is {expected}" in capsys.readouterr().err) == (wish == "auto")


@pytest.mark.parametrize(("wish", "begun"), [("cuda", None), ("auto", "cuda")])
def test_no_gpu_where_one_is_needed_is_an_error(monkeypatch, wish, begun):
    monkeypatch.setattr(decided, "gpus", lambda: [])
    with pytest.raises(KdpipeError, match="write device: cpu"):
        decided.decide(wish, False, begun)


def test_a_job_does_what_the_head_decided(monkeypatch, tmp_path, gpus):
    """The node of a job may have other GPUs than the machine that decided."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(decided.DECIDED, "nothing yet")
    study = tiny.study()

    def load(head: bool) -> Dag:
        return load_dag(study, [], default=tmp_path, head=head)

    assert load(head=True).device == "cuda"
    assert load(head=True).runs_on_gpus == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert load(head=False).device == "cuda"
    assert load(head=True).device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert load(head=False).device == "cpu"


def test_a_job_that_cannot_know_says_so(monkeypatch):
    monkeypatch.delenv(decided.DECIDED, raising=False)
    assert decided.of_job("cpu") == "cpu"
    with pytest.raises(KdpipeError, match=decided.DECIDED):
        decided.of_job("auto")


def test_the_device_is_in_no_name():
    names = [
        list(tiny.planned(device=device, runs_per_gpu=share, kernels=kernels).runs)
        for device, share, kernels in [
            ("auto", 1, "deterministic"),
            ("cpu", 1, "any"),
            ("cuda", 4, "any"),
        ]
    ]
    assert names[0] == names[1] == names[2]
