"""Forward passes that return logits, and the features that loss terms compare."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe.devices import host
from kdpipe.errors import KdpipeError
from kdpipe.losses.base import ModelOutput, to_float32
from kdpipe.models.layers import InputHook
from kdpipe.models.pretrained.adapter import unwrap
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import ModelSpec
from kdpipe.text import did_you_mean


class FeatureExtractor:
    """A network that returns its logits, and the features that loss terms need.

    Parameters
    ----------
    model : nn.Module
    network : dict
        The `network` of its run's spec.
    needs : set of str
        What terms use in addition to logits: groups, embedding.
    modules : sequence of str
        Paths of modules whose outputs are the groups; empty: the groups of the network.

    Raises
    ------
    KdpipeError
        If the embedding is needed and the network has no linear classifier, or if there is no
        module at a path.
    """

    def __init__(
        self, model: nn.Module, network: ModelSpec, needs: Set[str], modules: Sequence[str] = ()
    ):
        self.model: Any = model
        self.needs = needs
        self.input_hook = None
        self.module_hooks = None
        if "embedding" in needs:
            self.input_hook = InputHook(model, network.classes, network.name)
        if "groups" in needs and modules:
            self.module_hooks = ModuleHooks(model, network.name, modules)

    def __call__(self, x: Tensor) -> ModelOutput:
        """Return the outputs for images (B, C, H, W).

        Raises
        ------
        KdpipeError
            If the embedding is needed and the network does not end in its classifier, or if a
            module did not run exactly once.
        """
        if self.module_hooks is not None:
            logits, groups = self.module_hooks.run(x)
        elif "groups" in self.needs:
            logits, groups = self.model.features(x)
        else:
            logits, groups = self.model(x), []
        embedding = self.input_hook.get_input(logits) if self.input_hook else None
        return ModelOutput(logits, groups, embedding)

    def close(self) -> None:
        """Remove the hooks from the network."""
        for hooks in (self.input_hook, self.module_hooks):
            if hooks is not None:
                hooks.close()


class ModuleHooks:
    """Forward hooks on modules of a network, named by their paths in `named_modules`."""

    def __init__(self, model: nn.Module, name: str, paths: Sequence[str]):
        self.model = model
        self.name = name
        self.paths = list(paths)
        self.outputs: dict[str, list[Any]] | None = None  # while `run` is executed
        network = unwrap(model)
        self.handles = [
            self._find_module(network, path).register_forward_hook(
                functools.partial(self._record, path)
            )
            for path in dict.fromkeys(self.paths)
        ]

    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits of images, and the output (B, ...) of each module, in order."""
        self.outputs = {path: [] for path in self.paths}
        logits = self.model(x)
        outputs, self.outputs = self.outputs, None
        return logits, [self._check_output(path, outputs[path], len(x)) for path in self.paths]

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()

    def _find_module(self, network: nn.Module, path: str) -> nn.Module:
        """Return the module at a path."""
        try:
            return network.get_submodule(path)
        except AttributeError:
            guess = did_you_mean(path, [known for known, _ in network.named_modules() if known])
            raise KdpipeError(
                f"methods: {self.name} has no module {path!r}{guess} (student_modules and "
                "teacher_modules are paths in torch's named_modules)"
            ) from None

    def _record(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        """Copy an output, since a later operation may change it in place."""
        if self.outputs is not None:
            self.outputs[path].append(output.clone() if isinstance(output, Tensor) else output)

    def _check_output(self, path: str, outputs: list[Any], images: int) -> Tensor:
        """Return the single output of a module; raise KdpipeError unless it fits the batch."""
        if len(outputs) != 1:
            raise KdpipeError(
                f"methods: the module {path} of {self.name} runs {len(outputs)} times in a forward "
                "pass, but terms compare one output: choose another module"
            )
        (output,) = outputs
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != images:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise KdpipeError(
                f"methods: the module {path} of {self.name} returns {shape}, but terms compare "
                f"features of {images} images: choose another module"
            )
        return output


def make_train_forward(extractor: FeatureExtractor, recipe: Recipe) -> Callable:
    """Return the training forward pass: a function of (x, weights of terms), with float32 logits.

    Features are computed only if terms may need them. Autocast and compilation apply to the student
    in training only, not to teachers or evaluation.

    Parameters
    ----------
    extractor : FeatureExtractor
        That of the student.
    recipe : dict
        The recipe of a run's spec.

    Raises
    ------
    KdpipeError
        If torch.compile has no compiler.
    """

    def run_plain(x: Tensor, with_features: bool) -> ModelOutput:
        return extractor(x) if with_features else ModelOutput(extractor.model(x), [])

    run = run_plain
    if recipe.compile:
        device = next(extractor.model.parameters()).device.type
        host.require_toolchain(device)
        # Each batch size is compiled separately: their order must not change the bytes.
        run = torch.compile(run_plain, dynamic=False)
    use_autocast = recipe.autocast is not None

    def forward(x: Tensor, terms: Mapping[str, float]) -> ModelOutput:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=use_autocast):
            output = run(x, bool(extractor.needs and terms))
        return output._replace(logits=output.logits.float())

    return forward


# The average of an ensemble's members as one set of logits, which any loss can soften.


def ensemble_logits(member_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the logits of an ensemble that averages its members' probabilities.

    softmax(result / T) is the mean of softmax(member / T). With T = 1, the default, the result is
    the logarithm of the mean probability, which the loss softens afterwards. This is neither the
    mean of the members' logits nor, for T > 1, the mean of their softened probabilities.

    Parameters
    ----------
    member_logits : Tensor of shape (M, B, C)
    temperature : float
        Temperature T at which the probabilities are averaged.

    Returns
    -------
    Tensor of shape (B, C)
    """
    log_p = F.log_softmax(to_float32(member_logits) / temperature, dim=-1)
    return temperature * (torch.logsumexp(log_p, dim=0) - math.log(len(log_p)))
