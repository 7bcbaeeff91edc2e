"""Teachers that answer in bfloat16: batch norm folded into convolutions, weights cast.

A convolution whose output is read by one batch normalization alone becomes one convolution, where
torch.fx can trace the network; elsewhere nothing is folded. Convolutions and linear layers then
hold weights in bfloat16, and the forward pass runs under autocast, which leaves the rest as it is:
normalization, sums that need it, the resizing of images. Logits and features are returned in
float32.
"""

from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdpipe.losses.base import ModelOutput, to_float32
from kdpipe.models.pretrained.adapter import unwrap


def convert_model(model: nn.Module, fold: bool = True) -> None:
    """Convert a network in eval mode, in place, to one that is fast in bfloat16.

    Parameters
    ----------
    model : nn.Module
        The network, without gradients.
    fold : bool
        Whether batch norm may be folded; not if the outputs of single modules are compared, since
        that of a convolution would change.
    """
    network = unwrap(model)
    if fold:
        for conv_path, norm_path in _find_foldable(network):
            conv, norm = network.get_submodule(conv_path), network.get_submodule(norm_path)
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            _set_submodule(network, conv_path, fuse_conv_bn_eval(conv, norm))
            _set_submodule(network, norm_path, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(torch.bfloat16)
    model.requires_grad_(False)


def autocast(x: Tensor, enabled: bool) -> torch.autocast:
    """Return the context in which a converted network runs on images."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=enabled)


def to_float32_output(output: ModelOutput) -> ModelOutput:
    """Return logits and features in float32."""
    embedding = None if output.embedding is None else to_float32(output.embedding)
    groups = [to_float32(group) for group in output.groups]
    return ModelOutput(to_float32(output.logits), groups, embedding)


class _LayerTracer(fx.Tracer):
    """Traces a network down to its layers, those that derive from torch's too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is a node of the graph."""
        return not any(m.children()) or super().is_leaf_module(m, module_qualified_name)


def _find_foldable(network: nn.Module) -> list[tuple[str, str]]:
    """Return the paths of convolutions with those of the batch norms that alone read them."""
    try:
        graph = _LayerTracer().trace(network)
    except Exception:  # torch.fx cannot trace every network, and says so in many ways
        return []
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    # Layers whose weights are also read by themselves, as where they are shared.
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    pairs: list[tuple[str, str]] = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        paths = str(source.target), str(node.target)
        conv, norm = (modules[path] for path in paths)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            is_plain = norm.running_mean is not None and not {*paths} & read
            # A parametrization or a hook would be lost, or see other outputs.
            is_plain &= not any(conv.children()) and not _has_hooks(conv, norm)
            if is_plain and all(calls[path] == 1 for path in paths):
                pairs.append(paths)
    return pairs


def _has_hooks(*layers: nn.Module) -> bool:
    """Return whether one of some layers has a hook."""
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


def _set_submodule(network: nn.Module, path: str, layer: nn.Module) -> None:
    """Replace the layer at a path."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, layer)
