"""Code that would fail on a GPU for what it makes on the CPU, told from code that would not."""

import pytest
import torch
from helpers import custom_networks
from helpers.custom_networks import CODE, Folder
from torch import nn

from kdpipe import meta_device_check
from kdpipe.errors import KdpipeError
from kdpipe.losses.base import LossTerm
from kdpipe.losses.custom.validate import TermValidator
from kdpipe.models.custom import validate
from kdpipe.pydantic_base import StrictModel

X = torch.randn(2, 3, 4, 4)


class Net(nn.Module):
    """Whatever is done with the features of a linear classifier."""

    def __init__(self, do):
        super().__init__()
        self.linear = nn.Linear(48, 5)
        self.norm = nn.BatchNorm1d(5)
        self.attribute = torch.ones(5)
        self.register_buffer("kept", torch.ones(5))
        self.do = do

    def forward(self, x):
        return self.do(self, self.norm(self.linear(x.flatten(1))), x)


class Doubled(torch.autograd.Function):
    """Whose gradient is made on the CPU."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.full((5,), 2.0)


WRONG = {
    "a factory": lambda net, y, x: y + torch.arange(5),
    "an attribute": lambda net, y, x: y * net.attribute,
    "a constant": lambda net, y, x: y @ torch.eye(5),
    "random numbers": lambda net, y, x: y + torch.rand(len(y), 5),
    "a mask": lambda net, y, x: torch.where(torch.ones(5) > 0, y, 0.0),
    "values in place": lambda net, y, x: y.clone().index_put_((torch.tensor([0]),), torch.ones(5)),
    "joined": lambda net, y, x: torch.cat([y, torch.zeros(2, 1)], 1)[:, :5],
    "caught": lambda net, y, x: caught(y),
    "filled in": lambda net, y, x: y + filled(y),
    "copied in": lambda net, y, x: y * torch.zeros(len(y), 5).copy_(y),
    "from the CPU": lambda net, y, x: y + y.cpu(),
    "a number in a list": lambda net, y, x: y * torch.stack([y.sum(), torch.tensor(2.0)]).mean(),
    "through numpy": lambda net, y, x: y + torch.from_numpy(y.detach().cpu().numpy() + 1),
    "in training alone": lambda net, y, x: y + torch.zeros(5) if net.training else y,
    "backwards": lambda net, y, x: Doubled.apply(y),
}
RIGHT = {
    "where it is": lambda net, y, x: y + torch.arange(5, device=x.device),
    "moved": lambda net, y, x: y + torch.arange(5).to(x.device),
    "as another": lambda net, y, x: y + torch.arange(5).type_as(y),
    "a buffer": lambda net, y, x: y * net.kept,
    "one number": lambda net, y, x: y * torch.tensor(2.0),
    "places": lambda net, y, x: y[:, torch.tensor([4, 3, 2, 1, 0])],
    "alike": lambda net, y, x: y + torch.zeros_like(y) + y.new_zeros(5),
    "numbers that are looked at": lambda net, y, x: y + 1 if float(y.sum()) > 0 else y,
    "dropped": lambda net, y, x: nn.functional.dropout(y, 0.5, net.training),
    "on the CPU for a while": lambda net, y, x: (y.cpu() + torch.zeros(5)).to(y.device),
    "through numpy and back": lambda net, y, x: y + torch.tensor(y.detach().cpu().numpy()).to(y),
    "as copied numbers say": lambda net, y, x: y if y.cpu().any() else torch.zeros(len(y), 5),
    "as copied places say": lambda net, y, x: y if len(y.cpu().nonzero()) else torch.zeros(2, 5),
    "as another kind": lambda net, y, x: y.half().float(),
}


def filled(y):
    padded = torch.zeros(len(y), 5)
    padded[:] = y
    return padded


def caught(y):
    try:
        return y + torch.zeros(5)
    except RuntimeError:
        return y


@pytest.mark.parametrize("name", WRONG)
def test_what_would_fail_on_a_gpu_is_found(name):
    message = validate.find_gpu_problem(Net(WRONG[name]), X)
    assert message is not None and "device=x.device" in message and __file__ in message


@pytest.mark.parametrize("name", RIGHT)
def test_what_works_everywhere_passes(name):
    assert validate.find_gpu_problem(Net(RIGHT[name]), X) is None


def test_an_array_of_numpy_is_said_to_be_one():
    net = Net(lambda net, y, x: torch.from_numpy(y.detach().numpy()))
    message = validate.find_gpu_problem(net, X)
    assert message is not None and "numpy cannot read" in message and __file__ in message


@pytest.mark.parametrize("do", [lambda net, y, x: filled(y), lambda net, y, x: y.cpu()])
def test_an_answer_that_stays_on_the_cpu_is_found(do):
    assert "its output is on the CPU" in validate.find_gpu_problem(Net(do), X)


def test_the_operation_is_named_with_its_line():
    def use():
        torch.ones(2, device=meta_device_check.META).mul(torch.ones(2))

    line = use.__code__.co_firstlineno + 1
    assert (
        f"(mul of tensors on cpu and meta ({__file__}, line {line}))"
        in meta_device_check.find_device_problem(use)
    )


def test_a_study_that_may_run_on_gpus_is_told_and_one_for_the_cpu_is_not(tmp_path, capsys):
    errors = CODE.replace(
        "self.linear(second.mean((2, 3)))", "self.linear(second.mean((2, 3)) + ZEROS)"
    )
    assert errors != CODE
    folder = Folder(tmp_path, code=errors + "\n\nZEROS = torch.zeros(64)\n")
    assert folder.kdpipe("network") == 2
    message = capsys.readouterr().err
    assert "networks.grouped.build: mine.Grouped: it would fail on a GPU" in message
    assert "networks.small" not in message and "mine.py, line" in message
    content = custom_networks.study(device="cpu")
    folder.write(content)
    assert folder.kdpipe("network") == folder.kdpipe("check") == 0
    folder.write(content | {"device": "auto"})
    assert folder.kdpipe("check") == 0  # it may be trained on the CPU, as it was before
    folder.write(content | {"device": "cuda"})
    assert folder.kdpipe("check") == 2


def loss(student, teacher, labels, keys):
    return (
        student.logits.float() * torch.linspace(0, 1, 5)
    ).mean() + 0 * teacher.logits.detach().mean()


def test_a_term_of_ones_own_too():
    term = LossTerm(title="t", short_title="T", part="tt", revision=1, keys=StrictModel, loss=loss)
    with pytest.raises(KdpipeError, match=f"fail on a GPU.*mul.*{__file__}"):
        TermValidator("here", "mine.TERM", term, on_gpus=True).card()
    assert TermValidator("here", "mine.TERM", term).card().part == "tt"
