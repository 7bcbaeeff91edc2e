"""Try a custom network before anything is trained, once, as a run uses it.

It is built from a seed and given two fixed images, in eval mode and in one training step. Anything
that would make its runs wrong, or impossible to resume, is reported under the key of the study; its
cost is counted by torch. Where torch's channels_last convolutions may crash it stays contiguous.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdpipe import meta_device_check
from kdpipe.code_digest import hash_reached_code
from kdpipe.errors import KdpipeError
from kdpipe.models import layers
from kdpipe.models.config import CustomModelConfig
from kdpipe.models.custom import builder, fingerprint
from kdpipe.models.custom.builder import call_factory, import_factory
from kdpipe.models.custom.card import ModelInfo
from kdpipe.models.custom.fingerprint import N_IMAGES, get_stage_outputs, make_images
from kdpipe.models.memory_format import (
    MAX_SAFE_SIDE,
    MIN_SAFE_CHANNELS,
    SAFE_SHORTCUT_CHANNELS,
    torch_memory_format,
)
from kdpipe.user_code import (
    find_libraries,
    forbid_exit,
    format_user_error,
    get_rng_states,
)


def validate_model(
    name: str,
    network: CustomModelConfig,
    shape: tuple[int, int, int],
    classes: int,
    code: Path | None,
) -> ModelInfo:
    """Try a network and return its card.

    Parameters
    ----------
    name : str
        Name of the network in the study.
    network : CustomModelConfig
        Its callable and revision.
    shape : tuple of int
        Channels, height and width of its images.
    classes : int
        Number of its classes.
    code : Path or None
        Folder of the user's code.

    Raises
    ------
    KdpipeError
        If no run can use it.
    """
    with forbid_exit(), torch.random.fork_rng(devices=[]):
        return _ModelValidator(name, network, shape, classes, code).build_card()


def check_gpu(card: ModelInfo, code: Path | None) -> None:
    """Raise KdpipeError if the network of a card would detectably fail on a GPU."""
    key = f"networks.{card.name}.build"
    with torch.random.fork_rng(devices=[]):
        factory = import_factory(key, card.build, code)
        model = call_factory(key, card.build, factory, card.classes, card.shape[0])
        problem = find_gpu_problem(model, make_images(card.shape))
    if problem:
        raise KdpipeError(f"{key}: {card.build}: {problem}")


def find_gpu_problem(model: nn.Module, images: Tensor) -> str | None:
    """Return why a network would fail on a GPU and what to do; None if no reason is found.

    The model is moved to the device `meta`, and cannot be used afterwards.
    """

    def run_on_meta() -> None:
        meta_model, x = model.to(meta_device_check.META), images.to(meta_device_check.META)
        with torch.no_grad():
            meta_device_check.require_meta(meta_model.eval()(x))
            get_stage_outputs(meta_model, x)
        labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        F.cross_entropy(meta_model.train()(x), labels).backward()

    return meta_device_check.find_device_problem(run_on_meta)


class _ModelValidator:
    """A trial of one network on fixed images."""

    def __init__(
        self,
        name: str,
        network: CustomModelConfig,
        shape: tuple[int, int, int],
        classes: int,
        code: Path | None,
    ):
        self.name, self.network, self.shape, self.classes = name, network, shape, classes
        self.key, self.code = f"networks.{name}.build", code
        self.factory = import_factory(self.key, network.build, code)
        self.images = make_images(shape)
        self.layout = "contiguous"  # the memory format of the trial

    def build_card(self) -> ModelInfo:
        """Run all checks of the network and return its card."""
        raw = self.build_raw(0)
        state = builder.describe_state(self.key, raw)
        self.check_seed(raw)
        is_safe = not _has_narrow_conv(raw, self.shape[0]) and not self.may_crash()
        self.layout = "channels_last" if is_safe else "contiguous"
        try:
            is_random = self.check_use()
        except KdpipeError:
            if self.layout == "contiguous":
                raise
            self.layout = "contiguous"  # `view` refuses channels_last, which is only faster
            is_random = self.check_use()
        self.check_batch_independence()
        cost = builder.measure_cost(self.build_formatted(0), self.shape, self.layout)
        stage_shapes = self.find_stage_shapes()
        actual = fingerprint.compute_fingerprint(lambda: self.build_raw(0), self.shape, self.layout)
        digests = hash_reached_code(self.code, self.network.build) if self.code else None
        return ModelInfo(
            name=self.name,
            build=self.network.build,
            revision=self.network.revision,
            shape=self.shape,
            classes=self.classes,
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            layout=self.layout,
            random=is_random,
            linear=self.has_linear_head(),
            groups=stage_shapes,
            state=state,
            answer=actual.eval_logits,
            trained=actual.trained,
            fewest=self.find_min_batch(),
            of_groups=actual.of_groups if stage_shapes else (),
            other=actual.other and (actual.other[0], actual.other[1] if stage_shapes else ()),
            code=digests,
            libraries=find_libraries(digests, self.code, self.network.build),
        )

    def build_raw(self, seed: int) -> nn.Module:
        """Build the network by its callable, with the weights of a seed."""
        torch.manual_seed(seed)
        build = self.network.build
        return call_factory(self.key, build, self.factory, self.classes, self.shape[0])

    def build_formatted(self, seed: int) -> nn.Module:
        """Build the network in the memory format of the trial."""
        return self.build_raw(seed).to(memory_format=torch_memory_format(self.layout))

    def format_images(self, images: Tensor | None = None) -> Tensor:
        """Return a copy of the images, or of those given, in that format."""
        images = self.images if images is None else images
        return images.clone().contiguous(memory_format=torch_memory_format(self.layout))

    def may_crash(self) -> bool:
        """Return whether a forward pass includes a convolution whose backward pass may crash."""
        model = self.build_raw(0).eval()
        with torch.no_grad(), _ConvWatch() as watch:
            self.forward(model, "eval mode")
        return watch.may_crash

    def check_use(self) -> bool:
        """Use the network as a run does; return whether its training mode draws random numbers."""
        model = self.build_formatted(0)
        self.check_eval(model)
        is_random = self.check_training(model)
        self.check_state_dict(model)
        return is_random

    def check_seed(self, model: nn.Module) -> None:
        """Reject initial weights not drawn from torch's generator, and networks without any."""
        second_state = self.build_raw(0).state_dict()
        for name, value in model.state_dict().items():
            if name not in second_state or not torch.equal(value, second_state[name]):
                self.fail(
                    f"{name} differs each time it is built: initial weights must depend only on "
                    "torch's generator (torch.manual_seed)"
                )
        if not any(p.requires_grad for p in model.parameters()):
            self.fail("it has no trainable parameters")

    def check_eval(self, model: nn.Module) -> Tensor:
        """Return the logits in eval mode, which must be repeatable."""
        model.eval()
        rng_states = get_rng_states()
        with torch.no_grad():
            first = self.forward(model, "eval mode")
            second = self.forward(model, "eval mode")
        if not torch.equal(first, second) or rng_states != get_rng_states():
            self.fail(
                "in eval mode it gives different outputs for the same images, or draws random "
                "numbers: a teacher must be deterministic"
            )
        return first

    def check_training(self, model: nn.Module) -> bool:
        """Take a training step; return whether it draws random numbers.

        Its logits must be repeatable. A run seeds torch's generator before each step, and so does
        this.
        """
        model.train()
        state = copy.deepcopy(model.state_dict())  # with the versions that layers have
        torch.manual_seed(0)
        torch_before, *others_before = get_rng_states()
        first = self.forward(model, "training mode")
        torch_after, *others_after = get_rng_states()
        if others_before != others_after:
            self.fail(
                "in training mode it draws random numbers from Python's or NumPy's generator, "
                "which an interruption would lose: draw from torch's (torch.rand, nn.Dropout), "
                "which is seeded before each step"
            )
        self.check_gradients(model, first)
        model.load_state_dict(state)
        torch.manual_seed(0)
        if not torch.equal(first, self.forward(model, "training mode")):
            self.fail(
                "in training mode it gives different outputs for the same images a second time: it "
                "has state outside its state_dict, which an interruption would lose"
            )
        return torch_before != torch_after

    def check_gradients(self, model: nn.Module, logits: Tensor) -> None:
        """Reject gradients that cannot be computed, or are not finite."""
        model.zero_grad()
        try:
            F.cross_entropy(logits, torch.arange(N_IMAGES) % self.classes).backward()
        except Exception as error:
            self.fail(
                f"in training mode its gradient cannot be computed: {format_user_error(error)}"
            )
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                self.fail(f"the gradient of {name} is not finite at its initial weights")

    def check_state_dict(self, model: nn.Module) -> None:
        """Reject state that a checkpoint would not hold."""
        other = self.build_formatted(1)
        try:
            other.load_state_dict(model.state_dict())
        except RuntimeError as error:
            self.fail(f"it cannot load its own state_dict: {format_user_error(error)}")
        logits, other_logits = self.check_eval(model), self.check_eval(other)
        if not torch.allclose(logits, other_logits, rtol=1e-4, atol=1e-5):
            self.fail(
                "its outputs depend on more than its state_dict: put layers in nn.ModuleList or "
                "nn.Sequential, and tensors in nn.Parameter or register_buffer"
            )

    def check_batch_independence(self) -> None:
        """Reject logits of an image that depend on the other images of its batch."""
        fingerprint.perturb_weights(model := self.build_formatted(0).eval())
        images = torch.cat([self.images, 2 * self.images, self.images / 2])
        with torch.no_grad():
            batched = self.forward(model, "eval mode", images)
            separate = [self.forward(model, "eval mode", image) for image in images.split(1)]
        if not fingerprint.logits_match(
            batched.flatten().tolist(), torch.cat(separate).flatten().tolist()
        ):
            self.fail(
                "in eval mode its output for an image depends on the other images of the batch: it "
                "must not use batch statistics (track_running_stats=False, means over the images)"
            )

    def forward(self, model: nn.Module, mode: str, images: Tensor | None = None) -> Tensor:
        """Return the logits of the images, or of those given; reject any other result."""
        images = self.images if images is None else images
        x, size = self.format_images(images), " x ".join(map(str, images.shape))
        try:
            logits = model(x)
        except (Exception, SystemExit) as error:
            self.fail(f"in {mode} it failed on images of {size}: {format_user_error(error)}")
        if not isinstance(logits, Tensor):
            self.fail(
                f"in {mode} it returns {type(logits).__name__}, expected a tensor of logits: wrap "
                "it in a module that returns them (docs/how-to/network.md)"
            )
        expected = (len(images), self.classes)
        if tuple(logits.shape) != expected or logits.dtype != torch.float32:
            self.fail(
                f"in {mode} it returns {logits.dtype} of shape {tuple(logits.shape)} for images of "
                f"{size}; expected logits of shape {expected} in torch.float32"
            )
        if not bool(logits.isfinite().all()):
            self.fail(f"in {mode} its logits are not finite at its initial weights")
        total = logits.sum(1)
        if bool((logits >= 0).all()) and torch.allclose(total, torch.ones_like(total), atol=1e-4):
            self.fail(
                f"in {mode} it returns probabilities: remove the final softmax to return logits"
            )
        if not torch.equal(x, images):
            self.fail(f"in {mode} it modifies its input in place, which other networks still need")
        return logits

    def find_min_batch(self) -> int:
        """Return the smallest training batch: 1, or the number of images of the trial."""
        model = self.build_formatted(0).train()
        try:
            model(self.format_images(self.images[:1]))
        except (Exception, SystemExit):
            return N_IMAGES
        return 1

    def has_linear_head(self) -> bool:
        """Return whether it has features for a probe."""
        model = self.build_formatted(0)
        try:
            with layers.record_head_input(model, self.classes, self.name) as features:
                features(self.format_images())
        except KdpipeError:
            return False
        return True

    def find_stage_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Return the shapes of its stage outputs; empty without a method `features`."""
        model = self.build_formatted(0).eval()
        with torch.no_grad():
            logits = self.forward(model, "eval mode")
            try:
                outputs = get_stage_outputs(model, self.format_images())
            except (Exception, SystemExit) as error:
                self.fail(f"its features(x) failed: {format_user_error(error)}")
        if outputs is None:
            return ()
        if not isinstance(outputs[0], Tensor) or not torch.allclose(outputs[0], logits, atol=1e-5):
            self.fail("its features(x) and forward(x) give different logits")
        for stage in outputs[1]:
            if not isinstance(stage, Tensor) or stage.dim() != 4 or len(stage) != N_IMAGES:
                self.fail("the group outputs of its features(x) must be (B, C, H, W) each")
        return tuple((s.shape[1], s.shape[2], s.shape[3]) for s in outputs[1])

    def fail(self, reason: str) -> NoReturn:
        """Raise KdpipeError with a reason."""
        raise KdpipeError(f"{self.key}: {self.network.build}: {reason}")


# --- Convolutions that may crash in channels_last -------------------------------------------------
#
# torch 2.14.1 writes beyond its buffers in their backward pass (`memory_format`): the process is
# often killed by a signal without a message, and sometimes nothing is visible. So they are detected
# without running it. Families avoid them; custom code cannot, and stays contiguous. The format is
# part of the names of runs.


def _has_narrow_conv(model: nn.Module, channels: int) -> bool:
    """Return whether a convolution has too few channels, apart from those of the images."""
    kernels = [p.shape[:2] for p in model.parameters() if p.dim() == 4]
    image_channels = (1, channels)
    return any(
        o < MIN_SAFE_CHANNELS or (i < MIN_SAFE_CHANNELS and i not in image_channels)
        for o, i in kernels
    )


class _ConvWatch(TorchDispatchMode):
    """Record every convolution, of modules and of functions, as a context manager."""

    may_crash = False

    def __torch_dispatch__(
        self, func: Callable, types: Sequence, args: tuple = (), kwargs: dict | None = None
    ):
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, *_, groups = args
            is_1x1 = x.dim() == 4 and set(weight.shape[2:]) == {1} and groups == 1
            if is_1x1 and not any(padding):
                is_narrow = x.shape[1] < SAFE_SHORTCUT_CHANNELS
                self.may_crash |= is_narrow and _skips_last_pixels(x.shape[2:], stride)
        return func(*args, **(kwargs or {}))


def _skips_last_pixels(sides: Sequence[int], stride: Sequence[int]) -> bool:
    """Return whether a stride skips the last pixels of a large image."""
    skips_pixels = any((side - 1) % step for side, step in zip(sides, stride, strict=True))
    return skips_pixels and max(sides) > MAX_SAFE_SIDE
