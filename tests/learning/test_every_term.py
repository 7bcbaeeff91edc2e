"""What is true of every term, whichever lies in the folder: tried as a run uses it."""

import math
from dataclasses import replace

import pytest
import torch

from kdpipe.learning import method
from kdpipe.learning.keys import Method
from kdpipe.learning.own.trial import made
from kdpipe.learning.term import Said
from kdpipe.training.objective import Objective
from kdpipe.training.optimiser import Descent

NAMES = list(method.terms())
SYNCHRONISING = ("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__float__", "__int__")


def objective(name, **keys):
    """A run's loss with one term of weight 1."""
    weights = {"kd_weight": 0.0, f"{name}_weight": 1.0} | keys
    recipe = {"label_smoothing": 0.0, "epochs": 4}
    spec = {"recipe": recipe, "method": method.spec(Method(**weights), epochs=4)}
    return Objective(spec | {"seed": 0, "stage": 0, "member": 0, "network": {"name": "wrn10-1"}})


def said(device="cpu"):
    """What student and teacher say of a batch, as leaves, and its labels."""
    student, teacher, labels = made()

    def moved(one: Said) -> Said:
        logits, *groups, embedding = (
            x.detach().to(device).requires_grad_() for x in (one.logits, *one.groups, one.embedding)
        )
        return Said(logits, groups, embedding)

    return moved(student), moved(teacher), labels.to(device)


def step(name, learned, device="cpu"):
    """Loss, gradient and descent of a student that is what it says."""
    student, teacher, labels = said(device)
    own = dict(learned.learnt.to(device).named_parameters())
    leaves = {str(i): x for i, x in enumerate((student.logits, *student.groups, student.embedding))}
    optimiser = Descent(leaves | own, {"momentum": 0.9, "weight_decay": 5e-4})
    parts = learned.parts(student, teacher, labels, learned.weights(3))
    parts["loss"].backward()
    given = [x.grad for x in (teacher.logits, *teacher.groups, teacher.embedding)]
    assert given == [None] * len(given), "a gradient reaches the teacher"
    if device != "meta":  # where there is no fused step
        optimiser.step(0.1)
    return parts


CASES = [(name, {}) for name in NAMES] + [("kd", {"standardise": True})]


@pytest.mark.parametrize(("name", "keys"), CASES)
def test_a_step_waits_for_no_device(name, keys, monkeypatch):
    """Nothing is read back: not by these methods, nor where a tensor has no numbers to read."""
    learned = objective(name, **keys)
    learned.grow(*said()[:2])

    def waits(*_, **__):
        raise AssertionError("the host waits for the device")

    with monkeypatch.context() as patched:
        for each in SYNCHRONISING:
            patched.setattr(torch.Tensor, each, waits)
        parts = step(name, learned)
    part = method.terms()[name].part
    assert math.isfinite(parts[part].item()) and parts[part].dtype == torch.float32
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(name, learned, "cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert step(name, learned, "meta")[part].device.type == "meta"


@pytest.mark.parametrize("name", NAMES)
def test_it_moves_what_it_looks_at_and_nothing_else(name):
    learned = objective(name)
    student, teacher, labels = said()
    learned.grow(student, teacher)
    term = method.terms()[name]
    learned.part(term.part, student, teacher, labels).backward()
    moved = {
        "logits": student.logits.grad is not None,
        "groups": any(group.grad is not None for group in student.groups),
        "embedding": student.embedding.grad is not None,
    }
    assert {what for what, is_moved in moved.items() if is_moved} == set(term.needs.split(", "))
    half = [
        Said(
            *(
                x.bfloat16() if isinstance(x, torch.Tensor) else [y.bfloat16() for y in x]
                for x in one
            )
        )
        for one in (student, teacher)
    ]
    exact = learned.part(term.part, student, teacher, labels)
    rounded = learned.part(term.part, *half, labels)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_at_labels_if_and_only_if_it_says_so(name):
    """One that does not is given none, and is the same; one that does tells others apart."""
    learned = objective(name)
    student, teacher, labels = said()
    learned.grow(student, teacher)
    term, _, keys = learned.terms[method.terms()[name].part]
    own = tuple(learned.learnt.values())
    with_them = term.loss(student, teacher, labels, keys, *own)
    if term.labelled:
        assert not torch.equal(with_them, term.loss(student, teacher, labels.flip(0), keys, *own))
    else:
        assert torch.equal(with_them, term.loss(student, teacher, None, keys, *own))
    seen = []
    learned.terms[term.part] = (replace(term, loss=lambda *given: seen.append(given[2])), 1.0, keys)
    learned.part(term.part, student, teacher, labels)
    assert [one is None for one in seen] == [not term.labelled]
