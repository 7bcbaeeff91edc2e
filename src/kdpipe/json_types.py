"""Types of values that were read from JSON or YAML, and checks that narrow a value to one of them.

`isinstance(value, dict)` says nothing of keys and values, so a type checker does not know what is
read from such a mapping. Both formats have text as keys: a study file with others is refused when
it is read.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

JsonObject = dict[str, Any]  # a mapping whose content is arbitrary JSON


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Return whether a value is a dict, as JSON and YAML give a mapping."""
    return isinstance(value, dict)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a value is a mapping of any class."""
    return isinstance(value, Mapping)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Return whether a value is a tuple."""
    return isinstance(value, tuple)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a value is a list."""
    return isinstance(value, list)
