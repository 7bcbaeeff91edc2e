"""Each term of the loss, and its gradient, on the GPU beside the CPU."""

from typing import Any

from kdpipe.devices import exact, leases
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome

BOUND = 1e-4


def look(bench: Bench) -> Outcome:
    from kdpipe.learning import method
    from kdpipe.selfcheck.compared import distance

    numbers, wrong = {}, []
    with leases.held("cuda", 1):
        where = exact.torch_device("cuda")
        for name in method.terms():
            ours, theirs = _asked(name, where), _asked(name, "cpu")
            numbers[name] = max(distance(*pair) for pair in zip(ours, theirs, strict=True))
            if not numbers[name] <= BOUND:
                wrong.append(f"{name} is off by {numbers[name]:.1e}")
    said = f"{len(numbers)} terms are off by {max(numbers.values()):.0e} at most"
    return Outcome(not wrong, "; ".join(wrong) or said, numbers)


def _asked(name: str, where) -> tuple[list, list]:
    """The loss of one term, of made answers, and its gradients."""
    import torch

    from kdpipe.learning import method
    from kdpipe.learning.keys import Method
    from kdpipe.learning.own.trial import made
    from kdpipe.learning.term import Said

    asked: Any = Method.model_validate({"kd_weight": 0.0, f"{name}_weight": 1.0})
    spec = method.spec(asked, 4)
    (one,) = (each for each in method.active(spec) if each.name == name)
    term: Any = one.term
    student, teacher, labels = made()
    grown = ()
    if term.learnt is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            grown = (term.learnt(student, teacher, one.keys).to(where),)

    def moved(said: Said) -> Said:
        def leaf(x):
            return x.detach().to(where).requires_grad_()

        return Said(leaf(said.logits), [leaf(x) for x in said.groups], leaf(said.embedding))

    student, teacher = moved(student), moved(teacher)
    given = labels.to(where) if term.labelled else None
    loss = term.loss(student, teacher, given, one.keys, *grown)
    loss.backward()
    leaves: Any = (student.logits, *student.groups, student.embedding)
    return [loss], [x.grad for x in leaves if x.grad is not None]


CHECK = Check(
    order=60,
    title="Each term of the loss beside the CPU's",
    look=look,
    meanwhile="leave the method with that term out on this GPU",
)
