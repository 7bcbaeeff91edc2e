"""Find code that would fail on a GPU for what it makes on the CPU, without a GPU.

The code is run on torch's device `meta`, whose tensors have shapes and no numbers, as it would be
run on a GPU. What it makes on the CPU (`torch.zeros(3)`, an attribute that is no buffer) and
combines with its inputs fails on a GPU, and is seen here. Copies to the CPU hold zeros. Code that
looks at a number on the GPU (`float(x.sum())`) cannot be followed, and nothing is reported of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdpipe.user_code import format_user_error

META = torch.device("meta")
COPY_OPS = ("copy_", "_to_copy", "set_", "lift_fresh", "lift_fresh_copy")
CONTROL_FLOW_OPS = ("_local_scalar_dense", "nonzero")  # their results may steer the code
JOIN_OPS = ("cat", "stack")
INDEX_OPS = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_")
MIXED_DEVICES_HINT = (
    "it would fail on a GPU, where it combines its inputs with tensors that it creates on the CPU "
    "({}): create tensors with device=x.device, and store them with register_buffer; or write "
    "device: cpu in the study"
)
CPU_OUTPUT_HINT = (
    "it would fail on a GPU: its output is on the CPU for any input: move it with .to(x.device), "
    "or compute it there; or write device: cpu in the study"
)
NUMPY_HINT = (
    "it would fail on a GPU, whose tensors numpy cannot read ({}): compute with torch, or call "
    "x.detach().cpu() first and move the result back to x.device; or write device: cpu in the study"
)


class _MixedDevicesError(RuntimeError):
    """An operation on tensors of two devices."""


class _CpuOutputError(RuntimeError):
    """A result on the CPU for inputs that are not."""


class _DeviceWatch(TorchDispatchMode):
    """Context that raises _MixedDevicesError where an operation would fail on a GPU.

    The first error is kept, even if the code catches it.
    """

    first_error: _MixedDevicesError | None = None
    has_copied = False  # to the CPU, where the numbers are zeros now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name in CONTROL_FLOW_OPS and self.has_copied:
            raise NotImplementedError("a number that was made up decides nothing")
        if name == "copy_" and args[0].device != META and args[1].device == META:
            self.has_copied = True
            return args[0]
        if name == "_to_copy" and args[0].device == META and kwargs.get("device", META) != META:
            self.has_copied = True
            copy_options = {key: value for key, value in kwargs.items() if key != "non_blocking"}
            return torch.zeros_like(args[0], **copy_options)
        if name not in COPY_OPS and self.first_error is None:
            # Indices may be on the CPU.
            operands = (args[0], args[2:]) if name in INDEX_OPS else (args, kwargs)
            devices = {
                leaf.device.type
                for leaf in tree_leaves(operands)
                # A scalar is moved to any device, except where tensors are joined.
                if isinstance(leaf, Tensor) and (leaf.dim() or name in JOIN_OPS)
            }
            if len(devices) > 1:
                self.first_error = _MixedDevicesError(
                    f"{name} of tensors on {' and '.join(sorted(devices))}"
                )
                raise self.first_error
        return func(*args, **kwargs)


def require_meta(output: Any) -> None:
    """Make `find_device_problem` report a result that is a tensor on another device."""
    if isinstance(output, Tensor) and output.device != META:
        raise _CpuOutputError


def find_device_problem(run: Callable[[], Any]) -> str | None:
    """Return why code would fail on a GPU, and what to do about it.

    Parameters
    ----------
    run : callable
        Runs the code with tensors on `META`.

    Returns
    -------
    str or None
        None if nothing was seen, or if the code cannot be followed.
    """
    watch = _DeviceWatch()
    try:
        with watch:
            run()
    except _CpuOutputError:
        return CPU_OUTPUT_HINT
    except TypeError as error:
        if watch.first_error is None and "convert meta device type tensor to numpy" in str(error):
            return NUMPY_HINT.format(format_user_error(error).partition(": ")[2])
    except Exception:  # of code that cannot be followed on this device, or that caught our error
        pass
    if watch.first_error is None:
        return None
    return MIXED_DEVICES_HINT.format(format_user_error(watch.first_error).partition(": ")[2])
