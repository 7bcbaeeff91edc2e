"""Trying a network of one's own before anything is trained: what a run will do with it, once.

It is built from a seed and shown two made images, in eval and in training mode. What would make
its runs wrong, or impossible to resume, is said with the key of the study; what it costs is
counted.
"""

import copy
from pathlib import Path
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.learning.own.code import blamed, staying
from kdpipe.networks import last_layer
from kdpipe.networks.keys import OwnNetwork
from kdpipe.networks.layouts import memory_format
from kdpipe.networks.own import answer, attributes, building, crashing
from kdpipe.networks.own.answer import IMAGES
from kdpipe.networks.own.attributes import generators
from kdpipe.networks.own.building import called, found
from kdpipe.networks.own.card import NetworkCard


def tried(
    name: str, network: OwnNetwork, shape: tuple[int, int, int], classes: int, code: Path | None
) -> NetworkCard:
    """The card of a network that a run can use. Raises KdpipeError for one that none can."""
    with staying(), torch.random.fork_rng(devices=[]):
        return _Trial(name, network, shape, classes, code).card()


class _Trial:
    """One network, and the images that it is tried with."""

    def __init__(
        self,
        name: str,
        network: OwnNetwork,
        shape: tuple[int, int, int],
        classes: int,
        code: Path | None,
    ):
        self.name, self.network, self.shape, self.classes = name, network, shape, classes
        self.where = f"networks.{name}.build"
        self.callable = found(self.where, network.build, code)
        self.images = answer.images(shape)
        self.layout = "contiguous"  # the one that it is tried in

    def card(self) -> NetworkCard:
        raw = self.raw(0)
        state = building.state(self.where, raw)
        self.same_from_one_seed(raw)
        safe = not crashing.is_narrow(raw, self.shape[0]) and not self.may_crash()
        self.layout = "channels_last" if safe else "contiguous"
        try:
            is_random = self.used()
        except KdpipeError:
            if self.layout == "contiguous":
                raise
            self.layout = "contiguous"  # `view` refuses channels_last, which is only faster
            is_random = self.used()
        self.alone()
        cost = building.cost(self.built(0), self.shape, self.layout)
        groups = self.groups()
        said = answer.of(lambda: self.raw(0), self.shape, self.layout)
        return NetworkCard(
            name=self.name,
            build=self.network.build,
            revision=self.network.revision,
            shape=self.shape,
            classes=self.classes,
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            layout=self.layout,
            random=is_random,
            linear=self.is_linear(),
            groups=groups,
            state=state,
            answer=said.in_eval,
            trained=said.trained,
            fewest=self.fewest(),
            of_groups=said.of_groups if groups else (),
            other=said.other and (said.other[0], said.other[1] if groups else ()),
        )

    def raw(self, seed: int) -> nn.Module:
        """The network as its callable gives it, with the weights of that seed."""
        torch.manual_seed(seed)
        build = self.network.build
        return called(self.where, build, self.callable, self.classes, self.shape[0])

    def built(self, seed: int) -> nn.Module:
        """The same in the memory format that it is tried in."""
        return self.raw(seed).to(memory_format=memory_format(self.layout))

    def seen(self, images: Tensor | None = None) -> Tensor:
        """A copy of the images, or of these, in that format."""
        images = self.images if images is None else images
        return images.clone().contiguous(memory_format=memory_format(self.layout))

    def may_crash(self) -> bool:
        model = self.raw(0).eval()
        with torch.no_grad():
            return crashing.may_crash(lambda: self.forward(model, "eval mode"))

    def used(self) -> bool:
        """Use it as a run does; whether it draws random numbers in training."""
        model = self.built(0)
        self.evaluate(model)
        is_random = self.learn(model)
        self.kept_in_its_state(model)
        return is_random

    def same_from_one_seed(self, model: nn.Module) -> None:
        again = self.raw(0).state_dict()
        for name, value in model.state_dict().items():
            if name not in again or not torch.equal(value, again[name]):
                self.refuse(
                    f"{name} is another each time it is built: initial weights must come from "
                    "torch's generator alone (torch.manual_seed)"
                )
        if not any(p.requires_grad for p in model.parameters()):
            self.refuse("it has no parameters to learn")

    def evaluate(self, model: nn.Module) -> Tensor:
        """Logits in eval mode, twice the same."""
        model.eval()
        before = generators()
        with torch.no_grad():
            first = self.forward(model, "eval mode")
            kept = self.kept(model)
            second = self.forward(model, "eval mode")
        if not torch.equal(first, second) or before != generators():
            self.refuse(
                "in eval mode it answers the same images differently, or draws random numbers: a "
                "teacher must answer the same each time"
            )
        self.counts_nothing(kept, model)
        return first

    def learn(self, model: nn.Module) -> bool:
        """A step's forward and backward in training mode, twice; whether it drew random numbers.

        Before each step a run seeds torch's generator, and so is it done here.
        """
        model.train()
        state = copy.deepcopy(model.state_dict())  # with the versions that layers state
        torch.manual_seed(0)
        ours, *theirs = generators()
        first = self.forward(model, "training mode")
        now, *others = generators()
        if theirs != others:
            self.refuse(
                "in training mode it draws random numbers from Python's or NumPy's generator, "
                "which an interruption would lose: draw from torch's (torch.rand, nn.Dropout), "
                "which is seeded before each step"
            )
        self.backward(model, first)
        kept = self.kept(model)
        model.load_state_dict(state)
        torch.manual_seed(0)
        logits = self.forward(model, "training mode")
        if not torch.equal(first, logits):
            self.refuse(
                "in training mode it answers the same images differently a second time: it keeps "
                "something that is not in its state_dict, which an interruption would lose"
            )
        self.backward(model, logits)
        self.counts_nothing(kept, model)
        return ours != now

    def backward(self, model: nn.Module, logits: Tensor) -> None:
        model.zero_grad()
        try:
            F.cross_entropy(logits, torch.arange(IMAGES) % self.classes).backward()
        except Exception as error:
            self.refuse(f"in training mode its gradient cannot be computed: {blamed(error)}")
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                self.refuse(f"the gradient of {name} is not finite at its initial weights")

    def kept(self, model: nn.Module) -> dict:
        return attributes.of(model, self.callable)

    def counts_nothing(self, kept: dict, model: nn.Module) -> None:
        """What acts late in a training is found by what has changed over a second equal step."""
        if names := attributes.differences(kept, self.kept(model)):
            self.refuse(
                f"it keeps something that is not in its state_dict ({', '.join(names[:3])}), which "
                "an interruption would lose: what changes in training belongs in register_buffer"
            )

    def alone(self) -> None:
        """An image is answered as it is, whatever stands beside it in a batch."""
        answer.move(model := self.built(0).eval())
        images = torch.cat([self.images, 2 * self.images, self.images / 2])
        with torch.no_grad():
            together = self.forward(model, "eval mode", images)
            each = [self.forward(model, "eval mode", one) for one in images.split(1)]
        if not answer.agree(together.flatten().tolist(), torch.cat(each).flatten().tolist()):
            self.refuse(
                "in eval mode it answers an image otherwise beside others than alone: it must not "
                "use statistics of the batch (track_running_stats=False, means over the images)"
            )

    def forward(self, model: nn.Module, mode: str, images: Tensor | None = None) -> Tensor:
        """Its logits for the images, or for these, if that is what it gives."""
        images = self.images if images is None else images
        x, size = self.seen(images), " x ".join(map(str, images.shape))
        try:
            logits = model(x)
        except (Exception, SystemExit) as error:
            self.refuse(f"in {mode} it failed on images of {size}: {blamed(error)}")
        if not isinstance(logits, Tensor):
            self.refuse(
                f"in {mode} it gives {type(logits).__name__}, logits in a tensor are wanted: wrap "
                "it in a module that returns them (docs/how-to/network.md)"
            )
        wanted = (len(images), self.classes)
        if tuple(logits.shape) != wanted or logits.dtype != torch.float32:
            self.refuse(
                f"in {mode} it gives {logits.dtype} of shape {tuple(logits.shape)} for images of "
                f"{size}; logits of shape {wanted} in torch.float32 are wanted"
            )
        if not bool(logits.isfinite().all()):
            self.refuse(f"in {mode} its logits are not finite at its initial weights")
        total = logits.sum(1)
        if bool((logits >= 0).all()) and torch.allclose(total, torch.ones_like(total), atol=1e-4):
            self.refuse(
                f"in {mode} it gives probabilities: leave its last softmax out, logits are wanted"
            )
        if not torch.equal(x, images):
            self.refuse(
                f"in {mode} it changes the images that it is given (an operation in place on its "
                "input), which others still need"
            )
        return logits

    def kept_in_its_state(self, model: nn.Module) -> None:
        """Weights that a checkpoint does not hold would be lost."""
        other = self.built(1)
        try:
            other.load_state_dict(model.state_dict())
        except RuntimeError as error:
            self.refuse(f"it cannot take up its own state again: {blamed(error)}")
        ours, theirs = self.evaluate(model), self.evaluate(other)
        if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5):
            self.refuse(
                "what it computes is not all in its state_dict: layers belong in nn.ModuleList "
                "or nn.Sequential, tensors in nn.Parameter or register_buffer"
            )

    def fewest(self) -> int:
        """How few images it learns from at once: 1, or as many as it is tried with."""
        model = self.built(0).train()
        try:
            model(self.seen(self.images[:1]))
        except (Exception, SystemExit):
            return IMAGES
        return 1

    def is_linear(self) -> bool:
        """Whether a probe finds features in it."""
        model = self.built(0)
        try:
            with last_layer.heard(model, self.classes, self.name) as features:
                features(self.seen())
        except KdpipeError:
            return False
        return True

    def groups(self) -> tuple[tuple[int, int, int], ...]:
        """Shapes of the group outputs, if it has a method `features` (`answer.groups_of`)."""
        model = self.built(0).eval()
        with torch.no_grad():
            logits = self.forward(model, "eval mode")
            try:
                said = answer.groups_of(model, self.seen())
            except (Exception, SystemExit) as error:
                self.refuse(f"its features(x) failed: {blamed(error)}")
        if said is None:
            return ()
        if not isinstance(said[0], Tensor) or not torch.allclose(said[0], logits, atol=1e-5):
            self.refuse("its features(x) gives other logits than its forward(x)")
        for group in said[1]:
            if not isinstance(group, Tensor) or group.dim() != 4 or len(group) != IMAGES:
                self.refuse("the group outputs of its features(x) must be (B, C, H, W) each")
        return tuple((g.shape[1], g.shape[2], g.shape[3]) for g in said[1])

    def refuse(self, why: str) -> NoReturn:
        raise KdpipeError(f"{self.where}: {self.network.build}: {why}")
