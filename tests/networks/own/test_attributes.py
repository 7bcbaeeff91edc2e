"""What a network keeps outside of its state is seen, wherever it keeps it."""

import importlib
import sys

import pytest
import torch

from kdpipe.networks.own import attributes

CODE = """
import itertools, random
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn

import helping
{outside}


class Net(nn.Module):
    {of_class}

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        {of_it}

    def forward(self, x):
        {counts}
        return self.linear(x)
"""
SLOTS = """
class Counter:
    __slots__ = ("step", "never")
"""
DATA = """
@dataclass
class Counter:
    step: int = 0

COUNT = Counter()
"""
KEPT = {  # where it is made, what counts, and its name
    "a plain number": ({"outside": "STEP = [0]"}, "STEP[0] += 1", "STEP of kept"),
    "a namespace": ({"outside": "CFG = SimpleNamespace(step=0)"}, "CFG.step += 1", "CFG of kept"),
    "a data class": ({"outside": DATA}, "COUNT.step += 1", "COUNT of kept"),
    "an iterator": ({"outside": "COUNT = itertools.count()"}, "next(COUNT)", "COUNT of kept"),
    "where one stands": ({"of_it": "self.it = iter(range(99))"}, "next(self.it)", "it"),
    "in a list": ({"of_it": "self.it = iter([1] * 99)"}, "next(self.it)", "it"),
    "a map": ({"of_it": "self.it = map(int, range(99))"}, "next(self.it)", "it"),
    "a generator": ({"outside": "RNG = random.Random(0)"}, "RNG.random()", "RNG of kept"),
    "torch's": ({"outside": "RNG = torch.Generator()"}, "torch.rand(1, generator=RNG)", "RNG of"),
    "a function": (
        {"outside": "def count(): count.step += 1\ncount.step = 0"}, "count()", "count of kept",
    ),
    "what it is given": (
        {"outside": "def count(calls=[]): calls.append(1)"}, "count()", "count of kept",
    ),
    "a class": ({"outside": "class State:\n    step = 0"}, "State.step += 1", "step of State"),
    "of its class": ({"of_class": "cfg = SimpleNamespace(step=0)"}, "self.cfg.step += 1", "cfg of"),
    "slots": (
        {"outside": SLOTS, "of_it": "self.count = Counter(); self.count.step = 0"},
        "self.count.step += 1",
        "count",
    ),
    "another file": ({}, "helping.STEP += 1", "STEP of helping"),
    "another file's thing": ({"outside": "from helping import count"}, "count()", "STEP of"),
    "a layer that is not registered": (
        {"of_it": "self.more = [nn.BatchNorm1d(3)]"}, "self.more[0](x)", "more",
    ),
}  # fmt: skip


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(counts: str = "pass", **code: str):
        parts = {"outside": "", "of_class": "pass", "of_it": "pass", "counts": counts} | code
        (tmp_path / "kept.py").write_text(CODE.format(**parts))
        (tmp_path / "helping.py").write_text(
            "STEP = 0\n\ndef count():\n    global STEP\n    STEP += 1\n"
        )
        forget()
        importlib.invalidate_caches()
        return importlib.import_module("kept").Net

    yield of
    forget()


def forget() -> None:
    for name in ("kept", "helping"):
        sys.modules.pop(name, None)


def differences(made) -> list[str]:
    """What a second equal step changes."""
    model, x = made(), torch.ones(4, 3)
    model(x)
    before = attributes.of(model, made)
    model(x)
    return attributes.differences(before, attributes.of(model, made))


@pytest.mark.parametrize("case", KEPT)
def test_what_counts_is_named(case, built):
    code, counts, name = KEPT[case]
    found = differences(built(counts, **code))
    assert len(found) == 1 and found[0].startswith(name)


@pytest.mark.parametrize("case", KEPT)
def test_what_is_there_and_does_not_count_is_left_alone(case, built):
    assert differences(built(**KEPT[case][0])) == []


def test_things_that_know_each_other_and_are_many_are_looked_at_once(built):
    lines = ["A = [SimpleNamespace() for _ in range(300)]"]
    lines += ["for one in A: one.others = A"]
    assert differences(built(outside="\n".join(lines))) == []
    counts = "A[7].step = getattr(A[7], 'step', 0) + 1"
    assert differences(built(counts, outside="\n".join(lines))) == ["A of kept"]
