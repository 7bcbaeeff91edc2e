"""Fingerprint of a custom network: its logits for fixed images, with fixed weights.

Changed code gives different logits, in eval mode or after a training step; or the same logits and
different stage outputs, which some loss terms use alone. The numbers are in the network's card and
in the specs of its runs, and a job compares them before it uses the network, so two computations
never share a name.

Random draws of a custom network are replaced by numbers that are the same on every machine.

Generators differ between kinds of processors. Here draws are spread evenly over their range
instead, each starting where the last one ended, so that a training step with dropout can be
compared with the same step on another machine: a different probability, or dropout in a different
place, gives a different step. The numbers of that step are part of the names of runs.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdpipe.models.memory_format import torch_memory_format
from kdpipe.user_code import get_rng_states

EvenDraw = Callable[[Tensor], Tensor]
GOLDEN_RATIO = 0.6180339887498949  # the fractions of its multiples lie evenly in [0, 1)
MAX_DRAWS = 10_000  # code that draws until a condition holds may never stop here


class DeterministicRng(TorchDispatchMode):
    """Replace torch's random operations where a replacement is known, as a context manager.

    Operations without one still draw from torch's generator. Raises RuntimeError after `MAX_DRAWS`
    draws.
    """

    def __init__(self):
        super().__init__()
        self.n_draws = self.n_drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
        """Call an operation of torch, or its deterministic replacement if it draws at random."""
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
        """Return the next numbers in [0, 1), in a given shape."""
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
    """Return the replacement of an operation that draws in the shape of its first argument."""

    def replacement(draw: EvenDraw, func: Any, args: Any, kwargs: dict) -> Tensor:
        x = torch.empty_like(args[0], **kwargs)
        return x.copy_(transform(draw(x)))

    return replacement


def _sized(transform: Callable[[Tensor], Tensor]) -> Any:
    """Return the replacement of an operation whose arguments begin with the size to draw."""

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


N_IMAGES = 2
MAX_LOGITS = 12
TOLERANCE = 1e-3  # relative to the largest number: machines round differently
INPUT_NOISE = 1e-6  # of a pixel: ten times the rounding error of float32

StepOutputs = tuple[tuple[float, ...], tuple[float, ...]]  # logits and stage numbers, see below


class Fingerprint(NamedTuple):
    """Numbers that identify a computation; empty where they are not finite or not available.

    Attributes
    ----------
    eval_logits : tuple of float
        The first logits in eval mode.
    trained : tuple of float
        The same after a training step. Random draws differ between kinds of processors, so a
        network that draws takes the step with `DeterministicRng`, and the dropout probabilities of
        its modules follow the logits. Where rounding affects that step, or an operation without a
        replacement draws, the step is taken in eval mode.
    of_groups : tuple of float
        Two numbers for each stage, in eval mode and then after the step: the mean magnitude of its
        outputs, and their sum with fixed signs, divided by the square root of their number.
    draws : bool
        Whether the network draws random numbers in training mode.
    other : StepOutputs or None
        `trained` and `of_groups` of the other kind of step: a machine that rounds differently may
        have these, or the card of an earlier version, which always took the step in eval mode if
        the network draws.
    """

    eval_logits: tuple[float, ...]
    trained: tuple[float, ...]
    of_groups: tuple[float, ...] = ()
    draws: bool = False
    other: StepOutputs | None = None

    @property
    def logits(self) -> list[float]:
        """Return the logits of both modes."""
        return [*self.eval_logits, *self.trained]


def make_images(shape: Sequence[int]) -> Tensor:
    """Return the fixed images, (`N_IMAGES`, *shape)."""
    return torch.randn(N_IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def compute_fingerprint(
    factory: Callable[[], nn.Module], shape: Sequence[int], layout: str
) -> Fingerprint:
    """Compute the fingerprint of a network.

    Parameters
    ----------
    factory : callable
        Builds the network, initialized from torch's global generator.
    shape : sequence of int
        Channels, height and width of its images.
    layout : str
        Memory format that it runs in (`memory_format.MEMORY_FORMATS`).
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = factory().to(memory_format=torch_memory_format(layout))
        perturb_weights(model)
        x = make_images(shape).contiguous(memory_format=torch_memory_format(layout))
        eval_logits, eval_stages = _compute_logits(model, x), _summarize_stages(model, x)
        draws = _is_random(model, x)
        # A deep copy keeps the versions of the layers that the state dict has.
        state = copy.deepcopy(model.state_dict())
        rates = list_dropout_rates(model) if draws else ()

        def run_step(take: Callable[[nn.Module, Tensor], bool], x: Tensor) -> StepOutputs | None:
            """Return the outputs after one step from the initial state; None if it fails."""
            model.load_state_dict(state)
            model.zero_grad()
            if not take(model, x):
                return None
            logits = (*_compute_logits(model, x), *rates)
            return logits, (*eval_stages, *_summarize_stages(model, x))

        take_train_step = _step_with_even_draws if draws else _step_in_training_mode
        signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1
        trained = run_step(take_train_step, x)
        perturbed = run_step(take_train_step, x * (1 + INPUT_NOISE * signs))
        eval_step = run_step(_step_in_eval_mode, x)
        is_reproducible = (
            trained is not None
            and perturbed is not None
            and _is_reproducible(trained, perturbed, len(rates))
        )
        if eval_step is None or is_reproducible:
            return Fingerprint(eval_logits, *(trained or ((), eval_stages)), draws, eval_step)
        return Fingerprint(eval_logits, *eval_step, draws, trained)


def matches_fingerprint(expected: Sequence[float], fingerprint: Fingerprint) -> bool:
    """Return whether the `answer` of a spec equals a fingerprint, up to rounding.

    It ends with the numbers of the stages, unless an earlier version of kdpipe wrote the card; for
    a network that draws, such a card may have a step in eval mode, or none.
    """
    if fingerprint.other is not None:
        other = Fingerprint(fingerprint.eval_logits, *fingerprint.other, fingerprint.draws)
        if matches_fingerprint(expected, other):
            return True
    count = len(fingerprint.logits)
    if logits_match(expected[:count], fingerprint.logits):
        return len(expected) == count or stages_match(expected[count:], fingerprint.of_groups)
    count = len(fingerprint.eval_logits)
    eval_stages = fingerprint.of_groups[: len(fingerprint.of_groups) // 2]
    return (
        fingerprint.draws
        and logits_match(expected[:count], fingerprint.eval_logits)
        and (len(expected) == count or stages_match(expected[count:], eval_stages))
    )


def logits_match(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether logits are equal up to rounding."""
    scale = max([1e-3, *map(abs, a)])
    return len(a) == len(b) and all(
        abs(x - y) <= TOLERANCE * scale for x, y in zip(a, b, strict=True)
    )


def stages_match(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether numbers of stages are equal up to rounding, which grows with each stage."""
    scales = [max(1e-3, size) for size in a[::2] for _ in range(2)]
    return len(a) == len(b) and all(
        abs(x - y) <= TOLERANCE * scale for x, y, scale in zip(a, b, scales, strict=True)
    )


def list_dropout_rates(model: nn.Module) -> tuple[float, ...]:
    """Return the `p` of each module that has one, as dropout and stochastic depth do."""
    values = (getattr(module, "p", None) for module in model.modules())
    return tuple(float(p) for p in values if isinstance(p, float | int))


def perturb_weights(model: nn.Module) -> None:
    """Add fixed noise to the initial weights, since some may be zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            inputs = parameter.numel() / len(parameter) if parameter.dim() > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.1 * noise / max(1, inputs) ** 0.5


def get_stage_outputs(model: nn.Module, x: Tensor) -> tuple[Tensor, Sequence[Tensor]] | None:
    """Return logits and stage outputs; None for the latter without a method `features`.

    Any other attribute of that name, a module or a method with another result, is ignored.
    """
    features = getattr(model, "features", None)
    if isinstance(features, nn.Module) or not callable(features):
        return None
    outputs: Any = features(x)
    is_pair = (
        isinstance(outputs, tuple) and len(outputs) == 2 and isinstance(outputs[1], list | tuple)
    )
    return outputs if is_pair else None


def _compute_logits(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    with torch.no_grad():
        logits = model.eval()(x.clone())
    if not bool(logits.isfinite().all()):
        return ()
    return _round_values(logits.flatten()[:MAX_LOGITS].tolist())


def _summarize_stages(model: nn.Module, x: Tensor) -> tuple[float, ...]:
    """Return the two numbers of each stage; empty where the network has no stages."""
    with torch.no_grad():
        outputs = get_stage_outputs(model.eval(), x.clone())
    if outputs is None:
        return ()
    numbers, generator = [], torch.Generator().manual_seed(2)
    for stage in outputs[1]:
        signs = torch.randint(0, 2, stage.shape, generator=generator) * 2 - 1
        numbers += [float(stage.abs().mean()), float((stage * signs).sum()) / stage.numel() ** 0.5]
    return _round_values(numbers) if all(map(math.isfinite, numbers)) else ()


def _round_values(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _is_random(model: nn.Module, x: Tensor) -> bool:
    """Return whether a network draws random numbers in training mode; its state is restored."""
    state = copy.deepcopy(model.state_dict())
    states_before = get_rng_states()
    with torch.no_grad():
        model.train()(x.clone())
    model.load_state_dict(state)
    return states_before != get_rng_states()


def _is_reproducible(a: StepOutputs, b: StepOutputs, n_rates: int) -> bool:
    """Return whether two steps give the same finite numbers.

    Where rounding, which differs between machines, is visible, nothing could be compared.
    """
    is_finite = len(a[0]) > n_rates
    return is_finite and logits_match(a[0], b[0]) and stages_match(a[1], b[1])


def _step_in_training_mode(model: nn.Module, x: Tensor) -> bool:
    _take_step(model.train(), x)
    return True


def _step_with_even_draws(model: nn.Module, x: Tensor) -> bool:
    """Take a training step without random numbers; return False if some are still drawn."""
    states_before = get_rng_states()
    with DeterministicRng():
        succeeded = _try_step(model.train(), x)
    return succeeded and get_rng_states() == states_before


def _step_in_eval_mode(model: nn.Module, x: Tensor) -> bool:
    """Take a step without random draws and batch statistics."""
    return _try_step(model.eval(), x)


def _try_step(model: nn.Module, x: Tensor) -> bool:
    """Return whether a step succeeds in a mode that the network may not support.

    Running out of memory does not answer that, and is raised.
    """
    try:
        _take_step(model, x)
    except (RuntimeError, TypeError) as error:
        if "memory" in str(error):
            raise
        return False
    return True


def _take_step(model: nn.Module, x: Tensor) -> None:
    """Train the network for one step, in the mode that it is in."""
    logits = model(x.clone())
    F.cross_entropy(logits, torch.arange(len(x)) % logits.shape[1]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
