"""Digests of the code that a network or a loss term reaches, without importing any of it.

The unit is the reached code: the definition that a study names, and every top-level definition
below the study's `code` folder that it reaches by name, through imports within that folder. An
edit of another definition of the same file changes nothing. Where names do not show what is
reached (`import *`, statements with effects at the top level of a module, `eval`), whole files are
taken. Syntax is hashed in a normal form that is equal on all versions of Python.
"""

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Fields of syntax nodes that change nothing of what code does, or differ between Python versions.
IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}
INSTALL_DIRS = {"site-packages", "dist-packages"}
# Names by which code reaches what no name of it shows: then all imported files are taken whole.
DYNAMIC_NAMES = {"globals", "eval", "exec", "__import__", "import_module"}
DYNAMIC_ATTRIBUTES = {"import_module", "__subclasses__"}
REACHED = "reached "  # begins the digests of this module; older cards have those of whole files


@dataclass
class _Module:
    """A file of the code folder.

    Attributes
    ----------
    name : str
        Its dotted name.
    path : str
        Its path below the folder.
    content : bytes
        The file.
    statements : list of ast.stmt
        Its top-level statements, without docstrings.
    bindings : dict of str to set of int
        The numbers of the statements that bind each name.
    reached : set of int
        The numbers of the reached statements.
    aliases : set of str
        The imported names that are reached, as texts.
    is_whole : bool
        Whether all of it counts.
    """

    name: str
    path: str
    content: bytes
    statements: list[ast.stmt] = field(default_factory=list)
    bindings: dict[str, set[int]] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    is_whole: bool = False


def hash_reached_code(folder: Path, path: str) -> dict[str, str] | None:
    """Return the digests of the code that an object reaches, by file.

    Parameters
    ----------
    folder : Path
        The study's `code` folder.
    path : str
        Dotted path of the object, `module.NAME`.

    Returns
    -------
    dict of str to str, or None
        Paths below the folder, with `/`, and the digests of what is reached in each; None if the
        object is not defined below the folder.
    """
    module, _, name = path.rpartition(".")
    walk = _Walk(folder)
    walk.reach(module, name)
    walk.finish()
    return walk.digests() or None


def join_digests(digests: Mapping[str, str]) -> str:
    """Return one digest for those of several files."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


class _Walk:
    """The walk from one object to all that it reaches."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.modules: dict[str, _Module | None] = {}
        self.pending: list[tuple[str, str]] = []
        self.seen: set[tuple[str, str]] = set()

    def reach(self, module: str, name: str) -> None:
        """Note that a name of a module is reached; an empty name stands for the whole file."""
        if (module, name) not in self.seen:
            self.seen.add((module, name))
            self.pending.append((module, name))

    def finish(self) -> None:
        """Follow all names that are reached, until there are no more."""
        while self.pending:
            module_name, name = self.pending.pop()
            module = self._load(module_name)
            if module is None:
                continue
            if self._load(f"{module_name}.{name}") is not None and name not in module.bindings:
                self.reach(f"{module_name}.{name}", "")
            elif module.is_whole:
                continue
            elif not name or name not in module.bindings:
                self._take_whole(module)
            else:
                for index in module.bindings[name]:
                    self._take_statement(module, index, name)

    def digests(self) -> dict[str, str]:
        """Return the digest of what is reached in each file."""
        digests = {}
        for module in filter(None, self.modules.values()):
            if module.is_whole:
                digest = _hash_source(module.content)
            elif module.reached or module.aliases:
                body = [module.statements[index] for index in sorted(module.reached)]
                digest = _hash_tree([body, sorted(module.aliases)])
            else:
                continue
            digests[module.path] = f"{REACHED}{digest}"
        return dict(sorted(digests.items()))

    def _load(self, name: str) -> _Module | None:
        """Read a module below the folder, once, and what importing it runs; None of all others."""
        if name in self.modules:
            return self.modules[name]
        self.modules[name] = None
        path = _find_file(self.folder, name)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        module = _Module(name, path.relative_to(self.folder).as_posix(), content)
        self.modules[name] = module
        tree = _parse(content) if path.suffix == ".py" else None
        if tree is None:
            module.is_whole = True
            return module
        module.statements = [s for s in tree.body if not _is_docstring(s)]
        for index, statement in enumerate(module.statements):
            for bound in _list_bound_names(statement):
                module.bindings.setdefault(bound, set()).add(index)
        parent = name.rpartition(".")[0]
        if parent:
            self._load(parent)
        for imported, bound in self._list_imports(module, tree):
            if self._load(imported) is not None and bound == "*":
                self.reach(imported, "")
                self._take_whole(module)
            elif bound:
                self._load(f"{imported}.{bound}")
        if self._has_effects(module):
            self._take_whole(module)
        if any(map(_is_dynamic, ast.walk(tree))) or "__getattr__" in module.bindings:
            self._take_whole(module)
            for other in list(filter(None, self.modules.values())):
                self._take_whole(other)
        return module

    def _has_effects(self, module: _Module) -> bool:
        """Return whether importing a module does more than bind names."""
        return any(
            _has_effect(statement) or self._is_registered(module, statement)
            for statement in module.statements
            if not _is_main_guard(statement)
        )

    def _is_registered(self, module: _Module, statement: ast.stmt) -> bool:
        """Return whether a definition has a decorator from below the folder."""
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        for decorator in statement.decorator_list:
            names = {node.id for node in ast.walk(decorator) if isinstance(node, ast.Name)}
            for name in names:
                for index in module.bindings.get(name, ()):
                    binding = module.statements[index]
                    if not isinstance(binding, ast.Import | ast.ImportFrom):
                        return True
                    imports = self._list_imports(module, binding)
                    if any(self._load(imported) is not None for imported, _ in imports):
                        return True
        return False

    def _take_whole(self, module: _Module) -> None:
        if module.is_whole:
            return
        module.is_whole = True
        for statement in module.statements:
            self._follow(module, statement)

    def _take_statement(self, module: _Module, index: int, name: str) -> None:
        """Add a statement that binds a reached name; of an import, this name alone."""
        statement = module.statements[index]
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    origin = _get_origin(module, self.folder, statement)
                    module.aliases.add(f"{origin}:{alias.name}:{alias.asname}")
                    if isinstance(statement, ast.ImportFrom) and self._is_name(origin, alias.name):
                        self.reach(origin, alias.name)
        elif index not in module.reached:
            module.reached.add(index)
            self._follow(module, statement)

    def _follow(self, module: _Module, statement: ast.stmt) -> None:
        """Reach everything that a statement names."""
        local_imports = [
            node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        targets: dict[str, str] = {}  # names that stand for modules of the folder
        for node in [*local_imports, *module.statements]:
            if isinstance(node, ast.Import | ast.ImportFrom):
                targets.update(self._list_module_names(module, node))
        for node in local_imports:
            if isinstance(node, ast.ImportFrom):
                origin = _get_origin(module, self.folder, node)
                for alias in node.names:
                    if self._is_name(origin, alias.name):
                        self.reach(origin, "" if alias.name == "*" else alias.name)
        inner = set()  # the names of modules that an attribute follows
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and (chain := _get_chain(node)):
                target, rest = targets.get(chain[0]), chain[1:]
                while target and len(rest) > 1 and _find_file(self.folder, f"{target}.{rest[0]}"):
                    target, rest = f"{target}.{rest[0]}", rest[1:]
                if target:
                    self.reach(target, rest[0])
                    inner.add(id(_get_root(node)))
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                if node.id in targets and id(node) not in inner:
                    self.reach(targets[node.id], "")  # such as getattr(module, name)
                if node.id in module.bindings:
                    self.reach(module.name, node.id)

    def _is_name(self, origin: str, name: str) -> bool:
        """Return whether an imported name is no module, whose attributes are followed instead."""
        return self._load(f"{origin}.{name}") is None

    def _list_module_names(
        self, module: _Module, node: ast.Import | ast.ImportFrom
    ) -> Iterator[tuple[str, str]]:
        """Yield the names that an import binds to modules of the folder, each with its module."""
        origin = _get_origin(module, self.folder, node)
        for alias in node.names:
            target = f"{origin}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            if alias.asname is None and isinstance(node, ast.Import):
                target = target.partition(".")[0]
            if self._load(target) is not None or _is_package(self.folder, target):
                yield alias.asname or target.rpartition(".")[2], target

    def _list_imports(self, module: _Module, tree: ast.AST) -> Iterator[tuple[str, str]]:
        """Yield the modules that code imports, each with a name from it, which may be empty."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = _get_origin(module, self.folder, node)
                yield from ((origin, alias.name) for alias in node.names)


def _find_file(folder: Path, name: str) -> Path | None:
    """Return the file of a module below the folder, as an import would find it."""
    if not name or any(not part for part in name.split(".")):
        return None
    base = folder.joinpath(*name.split("."))
    if INSTALL_DIRS & set(base.relative_to(folder).parts):
        return None
    for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
        if path.is_file():
            return path
    extensions = base.parent.glob(f"{base.name}.*.so") if base.parent.is_dir() else ()
    return next(iter(sorted(extensions)), None)


def _is_package(folder: Path, name: str) -> bool:
    return folder.joinpath(*name.split(".")).is_dir()


def _get_origin(module: _Module, folder: Path, node: ast.Import | ast.ImportFrom) -> str:
    """Return the absolute name of the module that an import names; empty for `import a, b`."""
    if isinstance(node, ast.Import):
        return ""
    if not node.level:
        return node.module or ""
    is_package = module.path.endswith("__init__.py")
    parts = module.name.split(".")
    package = parts[: len(parts) - node.level + is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


def _get_root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _get_chain(node: ast.Attribute) -> list[str]:
    """Return the names of `a.b.c`; none if it begins with another expression."""
    names: list[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        names.append(value.attr)
        value = value.value
    return [value.id, *reversed(names)] if isinstance(value, ast.Name) else []


def _list_bound_names(statement: ast.stmt) -> set[str]:
    """Return the names that a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif type(node).__name__ == "TypeAlias":
            names.add(getattr(node, "name").id)  # noqa: B009  (Python 3.12)
    return names


def _is_dynamic(node: ast.AST) -> bool:
    """Return whether a node reaches code that no name shows."""
    if isinstance(node, ast.Name):
        return node.id in DYNAMIC_NAMES
    if isinstance(node, ast.Attribute):
        return node.attr in DYNAMIC_ATTRIBUTES or _get_chain(node) == ["sys", "modules"]
    if isinstance(node, ast.FunctionDef):
        return node.name == "__init_subclass__"
    return isinstance(node, ast.ClassDef) and any(key.arg == "metaclass" for key in node.keywords)


def _has_effect(statement: ast.stmt) -> bool:
    """Return whether a top-level statement may do more than bind names."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    if isinstance(statement, ast.Expr | ast.Delete | ast.Assert | ast.Raise):
        return not _is_docstring(statement)
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        nodes = (node for target in targets for node in ast.walk(target))
        return any(isinstance(node, ast.Attribute | ast.Subscript) for node in nodes)
    return any(_has_effect(node) for node in _list_inner_statements(statement))


def _list_inner_statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield the statements in the blocks of an `if`, `try`, `for`, `while`, `with` or `match`."""
    for key in ("body", "orelse", "finalbody"):
        yield from getattr(statement, key, ())
    for key in ("handlers", "cases"):
        for block in getattr(statement, key, ()):
            yield from block.body


def _is_main_guard(statement: ast.stmt) -> bool:
    """Return whether a statement is `if __name__ == "__main__"`, which no import runs."""
    test = statement.test if isinstance(statement, ast.If) else None
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
    )


def _parse(source: bytes | str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and such: importing the file shows them
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _hash_source(content: bytes) -> str:
    """Return the digest of a whole file; of its bytes, if it is no Python source."""
    tree = _parse(content)
    return hashlib.sha256(content).hexdigest() if tree is None else _hash_tree(tree)


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
    return _hash_tree(tree)


def _hash_tree(tree: ast.AST | list[Any]) -> str:
    """Return the SHA-256 of a syntax tree, or a list of them, in its normal form."""
    digest = hashlib.sha256()
    for token in _list_tokens(tree):
        digest.update(f"{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _list_tokens(tree: ast.AST | list[Any]) -> Iterator[str]:
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
