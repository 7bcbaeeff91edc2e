"""What a network of one's own keeps outside of its state_dict, where an interruption loses it.

Attributes of its modules and of their classes, what functions close over, buffers that are not
kept, modules that it has not registered, and variables of the files that it comes from and of those
that they import from. Two equal steps leave them equal, unless something counts: and what is
counted may act only late in a training.
"""

import functools
import random
import re
import sys
import types
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

KEPT = {"_parameters", "_buffers", "_modules", "training"}  # in its state, or set by its user
PLAIN = (int, float, complex, str, bytes, type(None), list, tuple, dict, set, deque, np.ndarray)
DEPTH = 12  # what lies deeper is not looked at


def of(model: nn.Module, made: Any) -> dict[str, Any]:
    """What is kept, by its name; `made` is the callable that built the network."""
    seen: dict[int, Any] = {id(module): module for module in model.modules()}
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in _attributes(module).items():
            found[f"{name}.{key}".lstrip(".")] = _said(value, seen, 0)
    kinds = {type(module) for module in model.modules()}
    files = _files({kind.__module__ for kind in kinds} | {getattr(made, "__module__", None) or ""})
    classes = {base for each in kinds for base in each.__mro__ if _is_theirs(base.__module__)}
    for file in files:
        classes |= {each for each in vars(file).values() if _is_of(each, file)}
    for kind in sorted(classes, key=lambda kind: (kind.__module__, kind.__qualname__)):
        for key, value in _variables(kind, kind.__module__).items():
            found[f"{key} of {kind.__name__}"] = _said(value, seen, 0)
    for file in files:
        for key, value in _variables(file, file.__name__).items():
            found[f"{key} of {file.__name__}"] = _said(value, seen, 0)
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


def _is_written(name: str) -> bool:
    """Whether a module is theirs and was not installed: one of these may keep what it likes."""
    if not _is_theirs(name):
        return False
    parts = Path(getattr(sys.modules[name], "__file__", None) or "").parts
    return not {"site-packages", "dist-packages"} & set(parts)


def _files(names: set[str]) -> list[types.ModuleType]:
    """The modules of those names that are theirs, with those of their own that they import from."""
    found: dict[str, types.ModuleType] = {}
    waiting = {name for name in names if _is_theirs(name)}
    while waiting:
        name = waiting.pop()
        found[name] = sys.modules[name]
        if _is_written(name):
            others = {_comes_from(value) for value in vars(found[name]).values()}
            waiting |= {other for other in others - found.keys() if _is_written(other)}
    return [found[name] for name in sorted(found)]


def _comes_from(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return str(getattr(value, "__module__", ""))


def _is_of(value: Any, file: types.ModuleType) -> bool:
    """Whether a variable of a file is a class that stands in it."""
    return isinstance(value, type) and value.__module__ == file.__name__


def _variables(place: Any, name: str) -> dict[str, Any]:
    """What a class or a module keeps; of what was installed, only what is plainly a value."""
    plain = None if _is_written(name) else (*PLAIN, torch.Tensor)
    return {
        key: value
        for key, value in vars(place).items()
        if not key.startswith("__")
        and not isinstance(value, (type, types.ModuleType))
        and (plain is None or isinstance(value, plain))
    }


def _said(value: Any, seen: dict[int, Any], depth: int) -> Any:
    """A value as something that can be compared, whatever it is; each thing is said once.

    seen: things by their id, so that they live as long as it is known.
    """
    if isinstance(value, (int, float, complex, str, bytes, type(None))):
        return repr(value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = value.detach() if isinstance(value, torch.Tensor) else value
        return str(value.dtype), str(value.tolist())
    if isinstance(value, (type, types.ModuleType)) or depth > DEPTH or id(value) in seen:
        return type(value).__name__
    seen[id(value)] = value
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
        given = [("given", value.__defaults__), ("by name", value.__kwdefaults__)]
        return [*enumerate(cells), *given, *vars(value).items()]
    if isinstance(value, random.Random):
        return [("at", value.getstate())]
    if isinstance(value, torch.Generator):
        return [("at", value.get_state())]
    if isinstance(value, np.random.Generator):
        return [("at", value.bit_generator.state)]
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        return [("at", _reduced(value))]
    return [*getattr(value, "__dict__", {}).items(), *_slots(value)]


def _slots(value: Any) -> list[tuple[str, Any]]:
    """What a thing keeps in the `__slots__` of its classes."""
    named = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for each in named for name in ([each] if isinstance(each, str) else each)]
    return [(name, getattr(value, name)) for name in names if _has(value, name)]


def _has(value: Any, name: str) -> bool:
    try:
        return name not in ("__dict__", "__weakref__") and hasattr(value, name)
    except Exception:  # of somebody's own
        return False


def _reduced(value: Iterator) -> Any:
    """Where an iterator stands, as pickle would note it."""
    try:
        return value.__reduce__()
    except TypeError:
        return None


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
