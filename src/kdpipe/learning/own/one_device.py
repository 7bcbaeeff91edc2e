"""Whether code of one's own keeps to the device of what it is given, tried without a GPU.

It is run on torch's device `meta`, whose tensors have shapes and no numbers, as it would be run on
a GPU. What it makes on the CPU (`torch.zeros(3)`, an attribute that is no buffer) and puts together
with what it was given fails on a GPU, and is seen here. What it copies to the CPU has zeros there.
Code that looks at a number of the GPU (`float(x.sum())`) cannot be followed: nothing is said of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdpipe.learning.own.code import blamed

META = torch.device("meta")
COPIES = ("copy_", "_to_copy", "set_", "lift_fresh", "lift_fresh_copy")
CURE = (
    "it would fail on a GPU, where it puts together what it was given and what it makes on the CPU "
    "({}): make tensors with device=x.device, and keep them by register_buffer; "
    "or write device: cpu in the study"
)
ELSEWHERE = (
    "it would fail on a GPU: its answer is on the CPU whatever it is given: bring it back by "
    ".to(x.device), or compute it there; or write device: cpu in the study"
)
ARRAYS = (
    "it would fail on a GPU, whose tensors numpy cannot read ({}): compute with torch, or take "
    "x.detach().cpu() first and bring what comes out back to x.device; or write device: cpu in the "
    "study"
)
DECIDING = ("_local_scalar_dense", "nonzero")  # what may steer the code that follows
JOINED = ("cat", "stack")
INDEXED = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_")


class _Mixed(RuntimeError):
    """An operation on two devices."""


class _Elsewhere(RuntimeError):
    """An answer on the CPU to what is not."""


class _Watch(TorchDispatchMode):
    """Raises _Mixed where an operation would on a GPU; `first` stays, whoever catches it."""

    first: _Mixed | None = None
    copied = False  # something to the CPU, where it is zeros now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name in DECIDING and self.copied:
            raise NotImplementedError("a number that was made up decides nothing")
        if name == "copy_" and args[0].device != META and args[1].device == META:
            self.copied = True
            return args[0]
        if name == "_to_copy" and args[0].device == META and kwargs.get("device", META) != META:
            self.copied = True
            asked = {key: value for key, value in kwargs.items() if key != "non_blocking"}
            return torch.zeros_like(args[0], **asked)
        if name not in COPIES and self.first is None:
            # Places in a tensor may come from the CPU.
            seen = (args[0], args[2:]) if name in INDEXED else (args, kwargs)
            devices = {
                leaf.device.type
                for leaf in tree_leaves(seen)
                # A single number goes everywhere, but into what is joined.
                if isinstance(leaf, Tensor) and (leaf.dim() or name in JOINED)
            }
            if len(devices) > 1:
                self.first = _Mixed(f"{name} of tensors on {' and '.join(sorted(devices))}")
                raise self.first
        return func(*args, **kwargs)


def refuse_elsewhere(answer: Any) -> None:
    """Raise what `left` reports if an answer to tensors on `meta` is not there."""
    if isinstance(answer, Tensor) and answer.device != META:
        raise _Elsewhere


def left(run: Callable[[], Any]) -> str | None:
    """Why a function, which is given tensors on `meta`, would fail on a GPU; None of others."""
    watch = _Watch()
    try:
        with watch:
            run()
    except _Elsewhere:
        return ELSEWHERE
    except TypeError as error:
        if watch.first is None and "convert meta device type tensor to numpy" in str(error):
            return ARRAYS.format(blamed(error).partition(": ")[2])
    except Exception:  # of code that cannot be followed here, or what it made of ours
        pass
    return None if watch.first is None else CURE.format(blamed(watch.first).partition(": ")[2])
