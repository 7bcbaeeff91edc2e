"""Folders as registries: one file, one object, and no list of them anywhere.

Each file of such a folder defines one object under an attribute that all its neighbors use: `TERM`
in `losses/`, `TABLE` in `report/tables/`. A file that lacks its object stops every command. Listing
a folder imports nothing, so a name can be checked without the libraries behind it.
"""

import functools
import importlib
import pkgutil
from importlib.util import find_spec
from typing import Any, TypeVar

from kdpipe.errors import KdpipeError

T = TypeVar("T")
# Files of a registry that define what the others share, and no object of it.
SHARED_MODULES = {"base", "config", "method"}


@functools.cache
def list_names(package: str) -> tuple[str, ...]:
    """Return the names of the files in a registry, in alphabetical order, without importing any.

    Parameters
    ----------
    package : str
        The folder as a package, for instance `kdpipe.losses`.

    Returns
    -------
    tuple of str
    """
    spec = find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    modules = pkgutil.iter_modules(locations or [])
    return tuple(sorted(module.name for module in modules if _is_listed(module)))


def _is_listed(module: pkgutil.ModuleInfo) -> bool:
    """Return whether a module defines an object of its registry."""
    return not (module.ispkg or module.name.startswith("_") or module.name in SHARED_MODULES)


def load_object(package: str, name: str, attribute: str, kind: type[T]) -> T:
    """Load the object of one file.

    Parameters
    ----------
    package : str
        The folder as a package.
    name : str
        The file, without its suffix.
    attribute : str
        The attribute under which each file of the folder defines its object.
    kind : type
        The type of the object.

    Returns
    -------
    kind

    Raises
    ------
    KdpipeError
        If the file does not define such an object.
    """
    module = importlib.import_module(f"{package}.{name}")
    entry: Any = getattr(module, attribute, None)
    if not isinstance(entry, kind):
        raise KdpipeError(
            f"{module.__file__}: every file in {package.rpartition('.')[2]}/ defines {attribute}, "
            f"a {kind.__name__}; this one does not: define it, or move the file elsewhere"
        )
    return entry


@functools.cache
def load_all_objects(package: str, attribute: str, kind: type[T]) -> dict[str, T]:
    """Load the objects of all files, by the name of the file; see `load_object`."""
    return {name: load_object(package, name, attribute, kind) for name in list_names(package)}
