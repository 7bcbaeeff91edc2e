"""The package holds its layers (pyproject.toml), in no circle, and each module says what it is."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from helpers.layers import LAYERS

import kdpipe

ROOT = Path(kdpipe.__file__).parent
TREES = {path.relative_to(ROOT): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}
TODO = re.compile(r"\b(?:TODO|FIXME|XXX|MERGED)\b.*")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """The modules of the package that each of them imports, inside functions too."""
    graph = grimp.build_graph("kdpipe", exclude_type_checking_imports=True, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def test_the_contracts_of_import_linter_are_kept():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    process = subprocess.run(command, cwd=ROOT.parents[1], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_every_module_stands_in_a_layer(imports):
    layers = tuple(f"kdpipe.{module}" for layer in LAYERS for module in layer)
    outside = {
        name
        for name in imports
        if not any(name == layer or name.startswith(f"{layer}.") for layer in layers)
    }
    assert outside == {"kdpipe", "kdpipe.runs"}, "which layer? name it in [tool.importlinter]"
    assert len(LAYERS) <= 10


def test_no_module_imports_what_imports_it(imports):
    graphlib.TopologicalSorter(imports).prepare()  # a CycleError names the circle


def test_no_import_is_relative():
    relative = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_a_module_has_one_docstring_and_nothing_left_to_do():
    errors = []
    for path, tree in TREES.items():
        expressions = [node.value for node in tree.body if isinstance(node, ast.Expr)]
        n_texts = sum(isinstance(value, ast.Constant) for value in expressions)
        if ast.get_docstring(tree) is None or n_texts != 1:
            errors.append(f"{path}: {n_texts} docstrings")
        errors += [f"{path}: {mark}" for mark in TODO.findall((ROOT / path).read_text())]
    assert not errors, "\n".join(errors)
