"""What is true of every term, whichever lies in the folder: tried as a run uses it."""

import importlib
import inspect
import math
import re
from dataclasses import replace

import pytest
import torch
from helpers import job_specs

from kdpipe.losses import method
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.config import Method
from kdpipe.losses.custom.validate import make_sample_inputs
from kdpipe.runs.recipe import Recipe
from kdpipe.training.objective import Objective
from kdpipe.training.optim import Optimizer

NAMES = list(method.load_terms())
SYNCHRONISING = ("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__float__", "__int__")


def build_objective(name, **keys):
    """A run's loss with one term of weight 1."""
    weights = {"kd_weight": 0.0, f"{name}_weight": 1.0} | keys
    method_spec = method.build_method_spec(Method(**weights), epochs=4)
    return Objective(job_specs.run_spec({"epochs": 4}, method_spec))


def made_outputs(device="cpu"):
    """Outputs of student and teacher for a batch, as leaves, and its labels."""
    student, teacher, labels = make_sample_inputs()

    def to_leaves(output: ModelOutput) -> ModelOutput:
        logits, *groups, embedding = (
            x.detach().to(device).requires_grad_()
            for x in (output.logits, *output.groups, output.embedding)
        )
        return ModelOutput(logits, groups, embedding)

    return to_leaves(student), to_leaves(teacher), labels.to(device)


def step(name, objective, device="cpu"):
    """Loss, gradient and step of a student whose outputs are its parameters."""
    student, teacher, labels = made_outputs(device)
    term_parameters = dict(objective.modules.to(device).named_parameters())
    leaves = {str(i): x for i, x in enumerate((student.logits, *student.groups, student.embedding))}
    optimizer = Optimizer(leaves | term_parameters, Recipe(epochs=4, lr=0.1))
    parts = objective.compute_terms(student, teacher, labels, objective.weights(3))
    parts["loss"].backward()
    grads = [x.grad for x in (teacher.logits, *teacher.groups, teacher.embedding)]
    assert grads == [None] * len(grads), "a gradient reaches the teacher"
    if device != "meta":  # where there is no fused step
        optimizer.step(0.1)
    return parts


CASES = [(name, {}) for name in NAMES] + [("kd", {"standardise": True})]


@pytest.mark.parametrize(("name", "keys"), CASES)
def test_a_step_waits_for_no_device(name, keys, monkeypatch):
    """Nothing is read back: not by these methods, nor where a tensor has no numbers to read."""
    objective = build_objective(name, **keys)
    objective.init_term_modules(*made_outputs()[:2])

    def waits(*_, **__):
        raise AssertionError("the host waits for the device")

    with monkeypatch.context() as patched:
        for each in SYNCHRONISING:
            patched.setattr(torch.Tensor, each, waits)
        parts = step(name, objective)
    part = method.load_terms()[name].part
    assert math.isfinite(parts[part].item()) and parts[part].dtype == torch.float32
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(name, objective, "cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert step(name, objective, "meta")[part].device.type == "meta"


@pytest.mark.parametrize("name", NAMES)
def test_it_moves_what_it_looks_at_and_nothing_else(name):
    objective = build_objective(name)
    student, teacher, labels = made_outputs()
    objective.init_term_modules(student, teacher)
    term = method.load_terms()[name]
    objective.compute_term(term.part, student, teacher, labels).backward()
    moved = {
        "logits": student.logits.grad is not None,
        "groups": any(group.grad is not None for group in student.groups),
        "embedding": student.embedding.grad is not None,
    }
    assert {what for what, is_moved in moved.items() if is_moved} == set(term.needs.split(", "))
    half = [
        ModelOutput(
            *(
                x.bfloat16() if isinstance(x, torch.Tensor) else [y.bfloat16() for y in x]
                for x in one
            )
        )
        for one in (student, teacher)
    ]
    exact = objective.compute_term(term.part, student, teacher, labels)
    rounded = objective.compute_term(term.part, *half, labels)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_at_labels_if_and_only_if_it_says_so(name):
    """One that does not is given none, and is the same; one that does tells others apart."""
    objective = build_objective(name)
    student, teacher, labels = made_outputs()
    objective.init_term_modules(student, teacher)
    term, _, keys = objective.terms[method.load_terms()[name].part]
    modules = tuple(objective.modules.values())
    with_labels = term.compute(student, teacher, labels, keys, *modules)
    if term.labelled:
        assert not torch.equal(
            with_labels, term.compute(student, teacher, labels.flip(0), keys, *modules)
        )
    else:
        assert torch.equal(with_labels, term.compute(student, teacher, None, keys, *modules))
    seen = []

    def loss(student, teacher, labels, keys, *modules):
        seen.append(labels)

    objective.terms[term.part] = (replace(term, loss=loss), 1.0, keys)
    objective.compute_term(term.part, student, teacher, labels)
    assert [labels is None for labels in seen] == [not term.labelled]


@pytest.mark.parametrize("name", NAMES)
def test_its_functions_declare_what_they_use(name):
    """The term is called by what it declares: no argument is there for the sake of others."""
    module = importlib.import_module(f"kdpipe.losses.{name}")
    functions = [f for f in vars(module).values() if inspect.isfunction(f)]
    for function in functions:
        if function.__module__ == module.__name__ and function.__name__ in (name, "_loss"):
            code = inspect.getsource(function).partition(":\n")[2]
            for parameter in inspect.signature(function).parameters:
                assert re.search(rf"\b{parameter}\b", code), f"{function.__name__}: {parameter}"


def test_a_term_with_all_arguments_is_given_all_whatever_their_names():
    """As custom terms have them; fewer are given by name."""
    term = method.load_terms()["kd"]
    arguments = ("student", "teacher", "labels", {})
    for loss, expected in (
        (lambda a, b, c, d: (a, b, c, d), arguments),
        (lambda teacher, student, keys, labels: (teacher, student, keys, labels), arguments),
        (lambda *anything: anything, arguments),
        (lambda a, b, c, d, eps=1e-6: (a, b, c, d), arguments),
        (lambda labels, student: (labels, student), ("labels", "student")),
        (lambda: (), ()),
    ):
        assert replace(term, loss=loss).compute(*arguments) == expected
    learnt = replace(term, learnt=lambda *_: None, loss=lambda teacher, module: (teacher, module))
    assert learnt.compute(*arguments, "module") == ("teacher", "module")
    learnt = replace(term, learnt=lambda *_: None, loss=lambda a, b, c, d, e: (a, b, c, d, e))
    assert learnt.compute(*arguments, "module") == (*arguments, "module")
