"""Custom code of a study: networks, loss terms, tables and figures that its users write.

A dotted path of the study (`my_networks.tiny`) names an object in a module. The study's `code`
folder is put in front of Python's path, as Python does with the folder of a script; what goes
wrong in a user's code becomes one line with its file and line number. What an object reaches below
that folder is known by digests (`code_digest`), so that a card can be compared with the code that
it describes without importing any of it.
"""

import ast
import contextlib
import difflib
import functools
import importlib
import importlib.util
import os
import random
import re
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import kdpipe
from kdpipe.code_digest import INSTALL_DIRS, REACHED, hash_reached_code, join_digests
from kdpipe.errors import KdpipeError
from kdpipe.text import join_names

PACKAGE_DIR = str(Path(kdpipe.__file__).parent)
# Top-level modules that are no user's, wherever they are: a virtual environment may be in `code`.
FOREIGN_MODULES = {*sys.stdlib_module_names, "kdpipe", "__main__"}
# Packages of kdpipe that users' code imported before they were renamed.
RENAMED_PACKAGES = {
    "kdpipe.evidence": "kdpipe.analysis (evidence.selections is analysis.dataframe)",
    "kdpipe.report.rows": "kdpipe.report.table",
    "kdpipe.learning": "kdpipe.losses (learning.term is losses.base)",
    "kdpipe.networks": "kdpipe.models",
    "kdpipe.section": "kdpipe.pydantic_base",
}
ADDED_DIGESTS = "it had no digest of the code it reaches, which agrees with it, and has one now"
# Digests of the objects of imported modules by dotted path, as their files were when they were
# imported: somebody may edit them while a job runs.
_DIGESTS: "weakref.WeakKeyDictionary[ModuleType, dict[str, str]]" = weakref.WeakKeyDictionary()


def import_object(config_key: str, path: str, code: Path | None) -> Any:
    """Import the object that a dotted path names.

    Parameters
    ----------
    config_key : str
        Key of the study that holds the path, with which messages begin.
    path : str
        Dotted path, `module.object`.
    code : Path or None
        The study's `code` folder, which is put in front of `sys.path`.

    Raises
    ------
    KdpipeError
        If the module or the object does not exist, or the import fails or exits.
    """
    name, _, attribute = path.rpartition(".")
    first = name.partition(".")[0]
    if first in sys.stdlib_module_names:
        raise KdpipeError(f"{config_key}: {first} is a standard library module: rename yours")
    if code is not None and os.path.abspath(code) not in sys.path:
        sys.path.insert(0, os.path.abspath(code))
    location = f"in {code}" if code is not None else "(no folder was given: --code)"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise KdpipeError(
                f"{config_key}: there is no module {error.name} {location}, and none is installed"
            ) from None
        new_name = RENAMED_PACKAGES.get(error.name or "")
        hint = f"; it is {new_name} now" if new_name else ""
        raise KdpipeError(
            f"{config_key}: importing {name} failed: {format_user_error(error)}{hint}"
        ) from None
    except (Exception, SystemExit) as error:
        raise KdpipeError(
            f"{config_key}: importing {name} failed: {format_user_error(error)}"
        ) from None
    _keep_digest(code, path, module)
    if not hasattr(module, attribute):
        matches = difflib.get_close_matches(attribute, dir(module), n=1)
        guess = f"; did you mean {matches[0]}?" if matches else ""
        file = getattr(module, "__file__", None) or name
        raise KdpipeError(f"{config_key}: {file} has no {attribute}{guess}")
    return getattr(module, attribute)


def explain_renamed(module: str, /, **renamed: str) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__` that tells users the new names of what was renamed.

    Parameters
    ----------
    module : str
        The module's name.
    **renamed : str
        New names by old name.
    """

    def getattr_of_module(name: str) -> NoReturn:
        if name in renamed:
            raise ImportError(f"{module}.{name} was renamed to {renamed[name]}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattr_of_module


@contextlib.contextmanager
def forbid_exit() -> Iterator[None]:
    """Make code that ends the process at once (`os._exit`) raise SystemExit, as `sys.exit` does.

    Otherwise a caller could take the silence of an ended process for success. A process that is
    forked within the context may end as it likes.
    """
    os_exit, pid = os._exit, os.getpid()

    def raise_exit(status: int) -> NoReturn:
        if os.getpid() != pid:
            os_exit(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = raise_exit
    try:
        yield
    finally:
        os._exit = os_exit


def format_user_error(error: BaseException, code: Path | None = None) -> str:
    """Format an exception in one line, with the last line of the user's code that it went through.

    Parameters
    ----------
    error : BaseException
        What the user's code raised.
    code : Path or None
        Folder of the user's code, where it is known: libraries that it calls are left out then.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, SyntaxError):
        return text  # its own text has the file and the line
    torch = importlib.util.find_spec("torch")
    library_dirs = tuple(filter(None, (PACKAGE_DIR, torch and os.path.dirname(torch.origin or ""))))
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [
        f for f in frames if not f.filename.startswith((*library_dirs, "<frozen importlib"))
    ]
    if code is not None:
        user_frames = [
            f for f in user_frames if f.filename.startswith(os.path.abspath(code))
        ] or user_frames
    if not user_frames:
        return text
    return f"{text} ({user_frames[-1].filename}, line {user_frames[-1].lineno})"


def get_rng_states() -> tuple[Any, ...]:
    """Return the states of torch's, Python's and NumPy's generators; that of torch comes first."""
    import numpy as np
    import torch

    numpy_state: Any = np.random.get_state()
    keys, *position = numpy_state[1:]
    return torch.get_rng_state().tolist(), random.getstate(), keys.tolist(), position


def hash_loaded_code(code: Path | None) -> dict[str, str]:
    """Return the digest of each object below the `code` folder that this process has imported.

    Each is of the code that the object reached when it was imported (`code_digest`).

    Parameters
    ----------
    code : Path or None
        The study's `code` folder.

    Returns
    -------
    dict of str to str
        Digests by dotted path.
    """
    digests: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        if code is not None and _path_below(name, module, os.path.abspath(code)) is not None:
            digests |= _DIGESTS.get(module, {})
    return dict(sorted(digests.items()))


def _keep_digest(code: Path | None, path: str, module: ModuleType) -> None:
    """Keep the digest of an object's code as it is now, before anybody edits it."""
    digests = _DIGESTS.setdefault(module, {})
    if code is not None and path not in digests and (files := hash_reached_code(code, path)):
        digests[path] = join_digests(files)


def forget_code(code: Path | None) -> None:
    """Let the modules of a code folder be imported again, as if by another process."""
    folder = os.path.abspath(code or "")
    for name, module in list(sys.modules.items()):
        if _path_below(name, module, folder) is not None:
            del sys.modules[name]


def is_code_unchanged(digests: Mapping[str, str] | None, code: Path, path: str) -> bool:
    """Return whether what an object reaches still has the digests of its card.

    False where the card has none, or those of whole files, which earlier versions wrote.
    """
    return bool(digests) and hash_reached_code(code, path) == digests


def are_of_reached_code(digests: Mapping[str, str] | None) -> bool:
    """Return whether the digests of a card are those of this version."""
    return bool(digests) and all(d.startswith(REACHED) for d in (digests or {}).values())


def require_unchanged_code(
    digests: Mapping[str, str] | None,
    code: Path,
    path: str,
    config_key: str,
    revision: str,
    same_command: str,
    write_command: str,
) -> None:
    """Refuse code that was changed, though it computes the same on the trial of its card.

    Parameters
    ----------
    digests : mapping of str to str, or None
        Those of the card; one without, or with digests of whole files, is not compared.
    code : Path
        The study's `code` folder.
    path : str
        Dotted path of the object.
    config_key, revision : str
        How the message names the object, and its revision.
    same_command, write_command : str
        What accepts the change, and what writes the card of another revision.

    Raises
    ------
    KdpipeError
        If what the object reaches was changed.
    """
    if not are_of_reached_code(digests):
        return
    old, new = digests or {}, hash_reached_code(code, path) or {}
    if files := sorted(file for file in {*old, *new} if old.get(file) != new.get(file)):
        raise KdpipeError(
            f"{config_key}: its code is not as in its card ({join_names(files)}), and it computes "
            "the same on the trial: if it computes the same everywhere, run: "
            f"{same_command} --same; else raise {revision} and run: {write_command}"
        )


def find_libraries(
    digests: Mapping[str, str] | None, code: Path | None, path: str
) -> dict[str, str]:
    """Return the versions of the installed packages that users' code names in its imports.

    Parameters
    ----------
    digests : mapping of str to str, or None
        The files of the code (`hash_reached_code`).
    code : Path or None
        Their folder.
    path : str
        Dotted path of the object that they build, whose package is one of them.
    """
    modules = {path.partition(".")[0]}
    for file in digests or {}:
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            modules |= set(_list_imports(ast.parse(Path(code or "", file).read_bytes())))
    distributions = _list_distributions()
    names = {name for module in modules - FOREIGN_MODULES for name in distributions.get(module, ())}
    return {name: metadata.version(name) for name in sorted(names)}


@functools.cache
def _list_distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def find_other_libraries(libraries: Mapping[str, str] | None) -> list[str]:
    """Return which packages of a card are installed in another version, as texts."""
    changes = []
    for name, version in (libraries or {}).items():
        try:
            current = metadata.version(name)
        except metadata.PackageNotFoundError:
            current = "not installed"
        if current != version:
            changes.append(f"{name} {version}, now {current}")
    return changes


def join_sessions(sessions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the digests of a run's code by object, over the sessions that it was trained in.

    Of code that was edited between them both are named, in order.
    """
    digests: dict[str, list[str]] = {}
    for session in sessions:
        for path, digest in session.items():
            if digests.setdefault(path, [])[-1:] != [digest]:
                digests[path].append(digest)
    return {path: ", then ".join(several) for path, several in sorted(digests.items())}


def are_code_digests(value: object) -> bool:
    """Return whether a value is what `hash_reached_code` returns, as a card holds it."""
    if value is None:
        return True
    return isinstance(value, dict) and all(
        isinstance(digest, str)
        and re.fullmatch(f"({REACHED})?[0-9a-f]{{64}}", digest)
        and not os.path.isabs(path)
        and ".." not in path.split("/")
        for path, digest in value.items()
    )


def are_versions(value: object) -> bool:
    """Return whether a value is what `find_libraries` returns, as a card holds it."""
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(name, str) and isinstance(value[name], str) for name in value)
    )


def _list_imports(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level modules that a file imports by an absolute name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def _path_below(name: str, module: ModuleType, folder: str) -> str | None:
    """Return the path of a user's module below a folder; None of all other modules."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or name.partition(".")[0] in FOREIGN_MODULES:
        return None
    try:
        path = Path(os.path.abspath(file)).relative_to(folder)
    except ValueError:
        return None
    return None if INSTALL_DIRS & set(path.parts) else path.as_posix()
