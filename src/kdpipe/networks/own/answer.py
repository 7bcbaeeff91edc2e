"""What a network of one's own computes: its logits for made images, with made weights.

Code that was changed says something else, in eval mode or after a step of training; so may the
outputs of its groups, with the same logits, and there are terms that learn from these alone. The
answer stands in the network's card and in the specs of its runs, and a job compares it before it
uses the network: two computations never come under one name.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.networks.layouts import memory_format
from kdpipe.networks.own.attributes import generators
from kdpipe.networks.own.unchanging import Unchanging

IMAGES = 2
HELD = 12  # logits
TOLERANCE = 1e-3  # of the largest: machines round differently
ROUNDING = 1e-6  # of a pixel: ten times what float32 rounds it by


Step = tuple[tuple[float, ...], tuple[float, ...]]  # logits and groups after one, see below


class Answer(NamedTuple):
    """What a network said, as numbers; each empty where it is not finite or not asked for."""

    in_eval: tuple[float, ...]  # the first logits in eval mode
    # The same after a step of training. What is drawn at random differs from one kind of processor
    # to the next: a network that draws takes the step with even numbers (`Unchanging`), and the
    # chances with which its modules draw (`chances`) stand behind the logits. One in which rounding
    # shows then, or that draws what is not known, takes it in eval mode.
    trained: tuple[float, ...]
    # Two numbers for each group, in eval mode and after the step: how large its outputs are (the
    # mean of their sizes), and their sum with made signs by the root of their number.
    of_groups: tuple[float, ...] = ()
    draws: bool = False  # whether it draws random numbers in training
    # `trained` and `of_groups` the other way: as a machine that rounds otherwise may have them, or
    # a card of an earlier version, to which a network that draws took its step in eval mode.
    other: Step | None = None

    @property
    def logits(self) -> list[float]:
        return [*self.in_eval, *self.trained]


def images(shape: Sequence[int]) -> Tensor:
    """Made images, always the same."""
    return torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def of(make: Callable[[], nn.Module], shape: Sequence[int], layout: str) -> Answer:
    """What a network answers. `make` builds it from torch's global generator."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = make().to(memory_format=memory_format(layout))
        move(model)
        x = images(shape).contiguous(memory_format=memory_format(layout))
        first, groups = _held(model, x), _of_groups(model, x)
        draws = _draws(model, x)
        state, drawn_by = copy.deepcopy(model.state_dict()), chances(model) if draws else ()

        def step(learn: Callable[[nn.Module, Tensor], bool], x: Tensor) -> Step | None:
            """What it says after a step; None where it takes none."""
            model.load_state_dict(state)
            model.zero_grad()
            if not learn(model, x):
                return None
            return (*_held(model, x), *drawn_by), (*groups, *_of_groups(model, x))

        way = _learn_evenly if draws else _learn_training
        signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1
        trained, again = step(way, x), step(way, x * (1 + ROUNDING * signs))
        steady = step(_learn_steadily, x)
        if steady is None or (trained and again and _sound(trained, again, len(drawn_by))):
            return Answer(first, *(trained or ((), groups)), draws, steady)
        return Answer(first, *steady, draws, trained)


def _sound(one: Step, other: Step, drawn_by: int) -> bool:
    """Whether two steps say the same, and anything: where rounding shows, which differs between
    machines, nothing can be compared.
    """
    is_finite = len(one[0]) > drawn_by
    return is_finite and agree(one[0], other[0]) and groups_agree(one[1], other[1])


def _learn_training(model: nn.Module, x: Tensor) -> bool:
    _learn(model.train(), x)
    return True


def _learn_evenly(model: nn.Module, x: Tensor) -> bool:
    """With even numbers in place of what is drawn; False where it draws what is not known."""
    before = generators()
    with Unchanging():
        learned = _learns(model.train(), x)
    return learned and generators() == before


def _learn_steadily(model: nn.Module, x: Tensor) -> bool:
    """In eval mode: nothing is drawn, nothing normalised by the batch."""
    return _learns(model.eval(), x)


def compares(wanted: Sequence[float], found: Answer) -> bool:
    """Whether the answer in a spec is this one, but for rounding.

    That of a network with groups ends with what these say, unless its card is of an earlier
    version of kdpipe; to such a one a network that draws at random took its step in eval mode, or
    none.
    """
    if found.other is not None:
        found, other = found._replace(other=None), Answer(found.in_eval, *found.other, found.draws)
        if compares(wanted, other):
            return True
    count = len(found.logits)
    if agree(wanted[:count], found.logits):
        return len(wanted) == count or groups_agree(wanted[count:], found.of_groups)
    count, of_groups = len(found.in_eval), found.of_groups[: len(found.of_groups) // 2]
    return (
        found.draws
        and agree(wanted[:count], found.in_eval)
        and (len(wanted) == count or groups_agree(wanted[count:], of_groups))
    )


def chances(model: nn.Module) -> tuple[float, ...]:
    """The `p` of each module that has one, as dropout and stochastic depth do, in their order."""
    found = (getattr(module, "p", None) for module in model.modules())
    return tuple(float(p) for p in found if isinstance(p, float | int))


def groups_agree(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether two `of_groups` are the same but for rounding, which goes with a group's size."""
    sizes = [max(1e-3, size) for size in old[::2] for _ in range(2)]
    return len(old) == len(new) and all(
        abs(one - other) <= TOLERANCE * size
        for one, other, size in zip(old, new, sizes, strict=True)
    )


def agree(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether two answers are the same but for rounding."""
    scale = max([1e-3, *map(abs, old)])
    return len(old) == len(new) and all(
        abs(one - other) <= TOLERANCE * scale for one, other in zip(old, new, strict=True)
    )


def move(model: nn.Module) -> None:
    """Move the weights off their start, where a layer may be zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            inputs = parameter.numel() / len(parameter) if parameter.dim() > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.1 * noise / max(1, inputs) ** 0.5


def _held(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    with torch.no_grad():
        logits = model.eval()(x.clone())
    if not bool(logits.isfinite().all()):
        return ()
    return _rounded(logits.flatten()[:HELD].tolist())


def _of_groups(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    """The two numbers of each group; none of a network that has no groups (`groups_of`)."""
    with torch.no_grad():
        said = groups_of(model.eval(), x.clone())
    if said is None:
        return ()
    found, generator = [], torch.Generator().manual_seed(2)
    for group in said[1]:
        signs = torch.randint(0, 2, group.shape, generator=generator) * 2 - 1
        found += [float(group.abs().mean()), float((group * signs).sum()) / group.numel() ** 0.5]
    return _rounded(found) if all(map(math.isfinite, found)) else ()


def groups_of(model: nn.Module, x: Tensor) -> tuple[Tensor, Sequence[Tensor]] | None:
    """Logits and group outputs, of a network that has a method `features` for them.

    Something else under that name, a module or a method that gives something else, is the
    network's own affair.
    """
    features = getattr(model, "features", None)
    if isinstance(features, nn.Module) or not callable(features):
        return None
    said: Any = features(x)
    is_pair = isinstance(said, tuple) and len(said) == 2 and isinstance(said[1], list | tuple)
    return said if is_pair else None


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _draws(model: nn.Module, x: Tensor) -> bool:
    """Whether it draws random numbers in training; its buffers are left as they were."""
    state = copy.deepcopy(model.state_dict())  # with the versions that layers state
    before = generators()
    with torch.no_grad():
        model.train()(x.clone())
    model.load_state_dict(state)
    return before != generators()


def _learns(model: nn.Module, x: Tensor) -> bool:
    """Whether it can take a step in a way that it was not made for; no memory is no answer."""
    try:
        _learn(model, x)
    except (RuntimeError, TypeError) as error:
        if "memory" in str(error):
            raise
        return False
    return True


def _learn(model: nn.Module, x: Tensor) -> None:
    """Train it for one step, in the mode that it is in."""
    logits = model(x.clone())
    F.cross_entropy(logits, torch.arange(len(x)) % logits.shape[1]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
