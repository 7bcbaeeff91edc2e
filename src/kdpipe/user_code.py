"""Custom code of a study: networks, loss terms, tables and figures that its users write.

A dotted path of the study (`my_networks.tiny`) names an object in a module. The study's `code`
folder is put in front of Python's path, as Python does with the folder of a script; what goes
wrong in a user's code becomes one line with its file and line number. Files below that folder are
known by a digest of their syntax tree, so that a card can be compared with the code that it
describes without importing any of it.
"""

import ast
import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import os
import random
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import kdpipe
from kdpipe.errors import KdpipeError

PACKAGE_DIR = str(Path(kdpipe.__file__).parent)
INSTALL_DIRS = {"site-packages", "dist-packages"}
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
# Fields of syntax nodes that change nothing of what code does, or differ between Python versions.
IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


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


def hash_code(source: str | bytes) -> str:
    """Return the SHA-256 of Python source as a syntax tree, equal on all versions of Python.

    Comments, docstrings, layout and the spelling of literals change nothing. `ast.dump` would not
    do: the fields of its nodes, and the parts of f-strings, differ between Python 3.11 and 3.13.

    Raises
    ------
    SyntaxError, ValueError
        If it cannot be parsed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes and such: importing the file shows them
        tree = ast.parse(source)
    digest = hashlib.sha256()
    for token in _list_tokens(tree):
        digest.update(f"{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _list_tokens(tree: ast.AST) -> Iterator[str]:
    """Yield the normal form of a syntax tree; without recursion, since sums may be long."""
    pending: list[tuple[str, Any]] = [("", tree)]
    while pending:
        prefix, value = pending.pop()
        children: list[tuple[str, Any]] = []
        if isinstance(value, ast.AST):
            fields = ((name, _normalize_field(value, name)) for name in sorted(value._fields))
            children = [
                (f"{name}=", field)
                for name, field in fields
                if name not in IGNORED_FIELDS and field is not None and field != []
            ]
            yield f"{prefix}{type(value).__name__}("
        elif isinstance(value, list):
            children = [("", item) for item in value]
            yield f"{prefix}["
        else:
            yield f"{prefix}{type(value).__name__}:{value!r}"
            continue
        pending.append((")", ""))
        pending.extend(reversed(children))


def _normalize_field(node: ast.AST, name: str) -> Any:
    """Return a field of a node, without docstrings and with joined parts of f-strings."""
    value: Any = getattr(node, name, None)
    if isinstance(node, ast.Constant) and value is None:
        return ast.Name("None")
    if name == "body" and isinstance(value, list):
        return [statement for statement in value if not _is_docstring(statement)]
    if isinstance(node, ast.JoinedStr) and name == "values":
        return _join_texts(value)
    if isinstance(node, ast.FormattedValue) and name == "format_spec" and value is not None:
        return value if _join_texts(value.values) else None
    return value


def _is_docstring(statement: ast.AST) -> bool:
    """Return whether a statement is a bare string, which does nothing."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _join_texts(parts: list[ast.expr]) -> list[ast.expr]:
    """Join texts of an f-string that follow each other; versions of Python split them otherwise."""
    joined: list[ast.expr] = []
    for part in parts:
        if not (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            joined.append(part)
        elif joined and isinstance(joined[-1], ast.Constant):
            joined[-1] = ast.Constant(f"{joined[-1].value}{part.value}")
        elif part.value:
            joined.append(part)
    return joined


def hash_loaded_code(code: Path | None) -> dict[str, str] | None:
    """Return the digest of each file below the `code` folder that this process has imported.

    Installed packages, Python's own modules and kdpipe's are left out, wherever they are.

    Parameters
    ----------
    code : Path or None
        The study's `code` folder.

    Returns
    -------
    dict of str to str, or None
        Paths relative to the folder, with `/`, and their digests (`hash_code`; of what is no
        Python source, of its bytes); None if there is none.
    """
    if code is None:
        return None
    digests = {}
    for name, module in list(sys.modules.items()):
        path = _path_below(name, module, os.path.abspath(code))
        if path is not None and (digest := _hash_file(Path(code, path))) is not None:
            digests[path] = digest
    return dict(sorted(digests.items())) or None


def forget_code(code: Path | None) -> None:
    """Let the modules of a code folder be imported again, as if by another process."""
    folder = os.path.abspath(code or "")
    for name, module in list(sys.modules.items()):
        if _path_below(name, module, folder) is not None:
            del sys.modules[name]


def is_code_unchanged(digests: Mapping[str, str] | None, code: Path) -> bool:
    """Return whether all files of a card still have their digests; False where it has none."""
    return bool(digests) and all(
        _hash_file(code / path) == digest for path, digest in (digests or {}).items()
    )


def are_code_digests(value: object) -> bool:
    """Return whether a value is what `hash_loaded_code` returns, as a card holds it."""
    if value is None:
        return True
    return isinstance(value, dict) and all(
        isinstance(digest, str)
        and re.fullmatch("[0-9a-f]{64}", digest)
        and not os.path.isabs(path)
        and ".." not in path.split("/")
        for path, digest in value.items()
    )


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


def _hash_file(path: Path) -> str | None:
    """Return the digest of a file; None if it cannot be read or parsed."""
    try:
        content = path.read_bytes()
        if path.suffix != ".py":
            return hashlib.sha256(content).hexdigest()
        return hash_code(content)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
