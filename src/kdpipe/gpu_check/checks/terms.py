"""Compares each loss term and its gradient on the GPU with the CPU."""

from typing import Any

from kdpipe.devices import determinism, leases
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture

MAX_ERROR = 1e-4


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    from kdpipe.gpu_check.compare import relative_error
    from kdpipe.losses import method

    numbers, errors = {}, []
    with leases.acquire_gpus("cuda", 1):
        device = determinism.prepare_torch_device("cuda")
        for name in method.load_terms():
            gpu_tensors, cpu_tensors = _compute_term(name, device), _compute_term(name, "cpu")
            numbers[name] = max(
                relative_error(*pair) for pair in zip(gpu_tensors, cpu_tensors, strict=True)
            )
            if not numbers[name] <= MAX_ERROR:
                errors.append(f"{name} differs by {numbers[name]:.1e}")
    message = f"{len(numbers)} terms differ by at most {max(numbers.values()):.0e}"
    return Outcome(not errors, "; ".join(errors) or message, numbers)


def _compute_term(name: str, device) -> tuple[list, list]:
    """Return the loss of a term for sample outputs, and its gradients."""
    import torch

    from kdpipe.losses import method
    from kdpipe.losses.base import ModelOutput
    from kdpipe.losses.config import Method
    from kdpipe.losses.custom.validate import make_sample_inputs

    method_config: Any = Method.model_validate({"kd_weight": 0.0, f"{name}_weight": 1.0})
    spec = method.build_method_spec(method_config, 4)
    (active_term,) = (
        candidate for candidate in method.active_terms(spec) if candidate.name == name
    )
    term: Any = active_term.term
    student, teacher, labels = make_sample_inputs()
    modules = ()
    if term.learnt is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            modules = (term.learnt(student, teacher, active_term.keys).to(device),)

    def move_outputs(outputs: ModelOutput) -> ModelOutput:
        def make_leaf(x):
            return x.detach().to(device).requires_grad_()

        return ModelOutput(
            make_leaf(outputs.logits),
            [make_leaf(x) for x in outputs.groups],
            make_leaf(outputs.embedding),
        )

    student, teacher = move_outputs(student), move_outputs(teacher)
    term_labels = labels.to(device) if term.labelled else None
    loss = term.compute(student, teacher, term_labels, active_term.keys, *modules)
    loss.backward()
    leaves: Any = (student.logits, *student.groups, student.embedding)
    return [loss], [x.grad for x in leaves if x.grad is not None]


CHECK = Check(
    order=60,
    title="Each loss term against the CPU",
    function=run_check,
    meanwhile="do not use methods with that term on this GPU",
)
