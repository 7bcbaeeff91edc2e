"""Random draws of a custom network replaced by numbers that are the same on every machine.

Generators differ from one kind of processor to the next. Here draws are spread evenly over their
range instead, each beginning where the last one ended, so that a training step with dropout can be
compared with the same step elsewhere: another probability, or dropout in another place, gives
another step. The numbers of that step are in the names of runs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

EvenDraw = Callable[[Tensor], Tensor]
GOLDEN_RATIO = 0.6180339887498949  # the fractions of its multiples lie evenly in [0, 1)
MAX_DRAWS = 10_000  # code that draws until some condition holds may never see it hold here


class DeterministicRng(TorchDispatchMode):
    """Context in which torch's random operations are replaced where a replacement is known.

    Operations without one draw from torch's generator as ever. Raises RuntimeError after
    `MAX_DRAWS` draws.
    """

    def __init__(self):
        super().__init__()
        self.n_draws = self.n_drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        replacement = _REPLACEMENTS.get(func.overloadpacket.__name__)
        if replacement is None:
            return func(*args, **kwargs)
        options = {key: value for key, value in kwargs.items() if key != "generator"}
        self.n_draws += 1
        if self.n_draws > MAX_DRAWS:
            raise RuntimeError(f"it draws more than {MAX_DRAWS:,} times")
        return replacement(self._draw_evenly, func, args, options)

    def _draw_evenly(self, like: Tensor) -> Tensor:
        """Return the next numbers in [0, 1), in the shape of a tensor."""
        start, self.n_drawn = self.n_drawn, self.n_drawn + like.numel()
        positions = torch.arange(start + 1, self.n_drawn + 1, dtype=torch.float64) * GOLDEN_RATIO
        return (positions % 1).to(like.device, torch.float32).view(like.shape)


def _bernoulli_(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, probability, *_ = *args, kwargs.get("p", 0.5)
    return x.copy_(draw(x) < probability)


def _bernoulli(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, probability, *_ = *args, kwargs.get("p", args[0])
    return torch.empty_like(x).copy_(draw(x) < probability)


def _uniform_(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, (low, high) = args[0], (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
    low, high = kwargs.get("from", low), kwargs.get("to", high)
    return x.copy_(low + (high - low) * draw(x))


def _normal_(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, (mean, std) = args[0], (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
    mean, std = kwargs.get("mean", mean), kwargs.get("std", std)
    return x.copy_(mean + std * _normal_quantile(draw(x)))


def _normal_quantile(probabilities: Tensor) -> Tensor:
    """Return quantiles of the standard normal distribution."""
    return torch.erfinv((2 * probabilities - 1).clamp(-0.999, 0.999)) * 2**0.5


def _like(transform: Callable[[Tensor], Tensor]) -> Any:
    """Return the replacement of an operation that is given a tensor of the shape to draw."""

    def replacement(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
        x = torch.empty_like(args[0], **kwargs)
        return x.copy_(transform(draw(x)))

    return replacement


def _sized(transform: Callable[[Tensor], Tensor]) -> Any:
    """Return the replacement of an operation that is given the size to draw."""

    def replacement(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
        x = torch.empty(args[0], **kwargs)
        return x.copy_(transform(draw(x)))

    return replacement


def _randint(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    *ends, size = args
    low, high = (0, *ends)[-2:]
    x = torch.empty(size, **{"dtype": torch.int64, **kwargs})
    return x.copy_(low + (draw(x) * (high - low)).floor())


def _randperm(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
    x = torch.empty(args[0], **{"dtype": torch.int64, **kwargs})
    return x.copy_(draw(x).argsort())


def _native_dropout(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> tuple[Tensor, Tensor]:
    x, probability, train = args
    if train is False:
        return func(*args, **kwargs)
    mask = draw(x) >= probability
    return x * mask / max(1 - probability, 1e-6), mask


def _identity(numbers: Tensor) -> Tensor:
    return numbers


_REPLACEMENTS = {
    "bernoulli_": _bernoulli_,
    "bernoulli": _bernoulli,
    "uniform_": _uniform_,
    "normal_": _normal_,
    "rand": _sized(_identity),
    "rand_like": _like(_identity),
    "randn": _sized(_normal_quantile),
    "randn_like": _like(_normal_quantile),
    "randint": _randint,
    "randperm": _randperm,
    "native_dropout": _native_dropout,
}
