"""What a network of one's own keeps outside of its state_dict, where an interruption loses it.

Attributes of its modules and of their classes, what functions close over, buffers that are not
kept, and variables of the files that it comes from. Two equal steps leave them equal, unless
something counts: and what is counted may act only late in a training.
"""

import functools
import random
import re
import sys
import types
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import nn

KEPT = {"_parameters", "_buffers", "_modules", "training"}  # in its state, or set by its user
PLAIN = (int, float, complex, str, bytes, type(None), list, tuple, dict, set, deque, np.ndarray)
DEPTH = 12  # what lies deeper is not looked at


def of(model: nn.Module, made: Any) -> dict[str, Any]:
    """What is kept, by its name; `made` is the callable that built the network."""
    seen = {id(module) for module in model.modules()}
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in _attributes(module).items():
            found[f"{name}.{key}".lstrip(".")] = _said(value, seen, 0)
    kinds = {type(module) for module in model.modules()}
    for kind in {base for each in kinds for base in each.__mro__ if _is_theirs(base.__module__)}:
        for key, value in _plain(vars(kind)).items():
            found[f"{key} of {kind.__name__}"] = _said(value, seen, 0)
    files = {kind.__module__ for kind in kinds} | {getattr(made, "__module__", None) or ""}
    for name in filter(_is_theirs, files):
        for key, value in _plain(vars(sys.modules[name])).items():
            found[f"{key} of {name}"] = _said(value, seen, 0)
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what is kept and is not the same any more."""
    return [
        name
        for name in sorted(before.keys() | after.keys())
        if before.get(name, "not there") != after.get(name, "not there")
    ]


def generators() -> tuple:
    """Where the random generators stand that a network could draw from."""
    numbers: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), str(numbers[2:]), list(numbers[1])


def _attributes(module: nn.Module) -> dict[str, Any]:
    unkept = {key: module._buffers.get(key) for key in module._non_persistent_buffers_set}
    return {key: value for key, value in vars(module).items() if key not in KEPT} | unkept


def _is_theirs(name: str) -> bool:
    """Whether a module is neither Python's nor one of the libraries that networks are made of."""
    first = name.partition(".")[0]
    known = first in sys.stdlib_module_names or first in ("torch", "torchvision", "numpy", "kdpipe")
    return not known and name in sys.modules


def _plain(variables: Any) -> dict[str, Any]:
    kinds = (*PLAIN, torch.Tensor)
    return {
        key: value
        for key, value in variables.items()
        if isinstance(value, kinds) and not key.startswith("__")
    }


def _said(value: Any, seen: set[int], depth: int) -> Any:
    """A value as something that can be compared, whatever it is."""
    if isinstance(value, (int, float, complex, str, bytes, type(None))):
        return repr(value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = value.detach() if isinstance(value, torch.Tensor) else value
        return str(value.dtype), str(value.tolist())
    if isinstance(value, (type, types.ModuleType)) or depth > DEPTH or id(value) in seen:
        return type(value).__name__
    seen = seen | {id(value)}
    parts = [(key, _said(each, seen, depth + 1)) for key, each in _parts(value)]
    return type(value).__name__, parts or re.sub("0x[0-9a-f]+", "", _shown(value))


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """What a thing consists of, by name or number."""
    if isinstance(value, dict):
        return [(repr(key), each) for key, each in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return list(enumerate(value))
    if isinstance(value, (set, frozenset)):
        return list(enumerate(sorted(map(repr, value))))
    if isinstance(value, functools.partial):
        return [("", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("", value.__func__), ("self", value.__self__)]
    if isinstance(value, types.BuiltinMethodType):
        return [("self", value.__self__)]
    if isinstance(value, types.GeneratorType):
        return [("at", value.gi_frame and value.gi_frame.f_lasti)]
    if isinstance(value, types.FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return [*enumerate(cells), *vars(value).items()]
    if isinstance(value, nn.Module):
        return list(_attributes(value).items())
    return list(getattr(value, "__dict__", {}).items())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # of somebody's own
        return ""
