"""Folders that are listed: one file, one thing, and no list beside them.

Each file of such a folder defines one object under a name that all its neighbours use: `TERM` in
`learning/methods`, `TABLE` in `report/tables`. What there is, is what lies there; a file that
lacks its object stops everything. Listing imports nothing, so a name can be checked without the
libraries behind it.
"""

import functools
import importlib
import pkgutil
from importlib.util import find_spec
from typing import Any, TypeVar

from kdpipe.errors import KdpipeError

Thing = TypeVar("Thing")


@functools.cache
def names(package: str) -> tuple[str, ...]:
    """The names of the files in a listed folder, in alphabetical order; none is imported."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return tuple(sorted(module.name for module in pkgutil.iter_modules(places or [])))


def one(package: str, name: str, attribute: str, kind: type[Thing]) -> Thing:
    """What the file of that name defines. Raises KdpipeError if it defines no such thing."""
    module = importlib.import_module(f"{package}.{name}")
    made: Any = getattr(module, attribute, None)
    if not isinstance(made, kind):
        raise KdpipeError(
            f"{module.__file__}: every file in {package.rpartition('.')[2]}/ defines {attribute}, "
            f"a {kind.__name__}; this one does not: define it, or move the file elsewhere"
        )
    return made


@functools.cache
def every(package: str, attribute: str, kind: type[Thing]) -> dict[str, Thing]:
    """What each file of a listed folder defines, by the name of the file."""
    return {name: one(package, name, attribute, kind) for name in names(package)}
