"""What code draws at random, as numbers that are the same on every machine.

Generators differ from one kind of processor to the next. Here what is drawn is spread evenly over
its range instead, each draw where the last one ended, so that a step of training with dropout can
be compared with the same step elsewhere: another chance, or another place of a drop, gives another
step.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Even = Callable[[Tensor], Tensor]
GOLDEN = 0.6180339887498949  # its multiples without their whole part lie evenly in [0, 1)
MOST = 10_000  # draws: what draws until it finds something may never find it here


class Unchanging(TorchDispatchMode):
    """Inside, torch draws nothing where it is known here how; else it draws as ever.

    Raises RuntimeError of what draws without end.
    """

    def __init__(self):
        super().__init__()
        self.draws = self.drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        made = _MADE.get(func.overloadpacket.__name__)
        if made is None:
            return func(*args, **kwargs)
        # None is drawn from, whichever is given.
        given = {key: value for key, value in kwargs.items() if key != "generator"}
        self.draws += 1
        if self.draws > MOST:
            raise RuntimeError(f"it draws more than {MOST:,} times")
        return made(self._even, func, args, given)

    def _even(self, like: Tensor) -> Tensor:
        """The next numbers in [0, 1), in the shape of a tensor."""
        first, self.drawn = self.drawn, self.drawn + like.numel()
        places = torch.arange(first + 1, self.drawn + 1, dtype=torch.float64) * GOLDEN
        return (places % 1).to(like.device, torch.float32).view(like.shape)


def _bernoulli_(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, chance, *_ = *args, kwargs.get("p", 0.5)
    return x.copy_(even(x) < chance)


def _bernoulli(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, chance, *_ = *args, kwargs.get("p", args[0])
    return torch.empty_like(x).copy_(even(x) < chance)


def _uniform_(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, (low, high) = args[0], (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
    low, high = kwargs.get("from", low), kwargs.get("to", high)
    return x.copy_(low + (high - low) * even(x))


def _normal_(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    x, (mean, std) = args[0], (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
    mean, std = kwargs.get("mean", mean), kwargs.get("std", std)
    return x.copy_(mean + std * _normal(even(x)))


def _normal(numbers: Tensor) -> Tensor:
    """Of the standard normal distribution what lies where even numbers lie in theirs."""
    return torch.erfinv((2 * numbers - 1).clamp(-0.999, 0.999)) * 2**0.5


def _like(of: Any) -> Any:
    def made(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
        x = torch.empty_like(args[0], **kwargs)
        return x.copy_(of(even(x)))

    return made


def _sized(of: Any) -> Any:
    def made(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
        x = torch.empty(args[0], **kwargs)
        return x.copy_(of(even(x)))

    return made


def _randint(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    *ends, size = args
    low, high = (0, *ends)[-2:]
    x = torch.empty(size, **{"dtype": torch.int64, **kwargs})
    return x.copy_(low + (even(x) * (high - low)).floor())


def _randperm(even: Even, func: Any, args: Any, kwargs: dict) -> Tensor:
    x = torch.empty(args[0], **{"dtype": torch.int64, **kwargs})
    return x.copy_(even(x).argsort())


def _native_dropout(even: Even, func: Any, args: Any, kwargs: dict) -> tuple[Tensor, Tensor]:
    x, chance, train = args
    if train is False:
        return func(*args, **kwargs)
    mask = even(x) >= chance
    return x * mask / max(1 - chance, 1e-6), mask


_MADE = {
    "bernoulli_": _bernoulli_,
    "bernoulli": _bernoulli,
    "uniform_": _uniform_,
    "normal_": _normal_,
    "rand": _sized(lambda numbers: numbers),
    "rand_like": _like(lambda numbers: numbers),
    "randn": _sized(_normal),
    "randn_like": _like(_normal),
    "randint": _randint,
    "randperm": _randperm,
    "native_dropout": _native_dropout,
}
