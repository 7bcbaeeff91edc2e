"""The house stands: imports go down and in no circle, and no room is crowded."""

import ast
import graphlib
import re
from collections import Counter
from pathlib import Path

from house import APART, FLOOR, LISTED

import kdpipe

ROOT = Path(kdpipe.__file__).parent
TEXTS = {path.relative_to(ROOT.parent): path.read_text() for path in ROOT.rglob("*.py")}
MARKS = re.compile(r"\b(?:TODO|FIXME|XXX)\b.*")  # of what somebody meant to finish
TREES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ast.parse(text)
    for path, text in TEXTS.items()
}


def imported(tree: ast.Module) -> set[str]:
    """What one module imports of the package, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"line {node.lineno}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in TREES else node.module for name in names}
    return {name for name in found if name.partition(".")[0] == "kdpipe"}


def room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def may(above: str, below: str) -> bool:
    """Whether a room may import another: itself, and what stands on a floor below it."""
    apart = any(above in one and below in other for one, other in (APART, APART[::-1]))
    beside = above == below or FLOOR[above] == FLOOR[below] == 0
    return beside or (FLOOR[below] < FLOOR[above] and not apart)


def test_no_module_imports_what_imports_it():
    imports = {name: imported(tree) for name, tree in TREES.items()}
    graphlib.TopologicalSorter(imports).prepare()  # a CycleError names the circle


def test_imports_go_down_from_floor_to_floor():
    new = {room(name) for name in TREES} - FLOOR.keys()
    assert not new, f"on which floor do they stand? Say so in tests/house.py: {new}"
    used = [(name, one) for name, tree in TREES.items() for one in imported(tree)]
    wrong = [f"{name} imports {one}" for name, one in used if not may(room(name), room(one))]
    assert not wrong, "\n".join(wrong)


def test_no_room_is_crowded():
    entries = {path.parent / path.stem for path in TEXTS} | {path.parent for path in TEXTS}
    rooms = Counter(path.parent for path in entries if path.name not in LISTED | {"__init__"})
    crowded = {str(path): n for path, n in rooms.items() if n > 12 and path.name not in LISTED}
    assert not crowded.keys() - {"kdpipe"}, f"more than twelve entries: {crowded}"
    assert len(list(ROOT.glob("*.py"))) <= 8, "at the top: __init__, __main__ and six more"


def test_a_module_is_short_and_says_once_why_it_exists():
    wrong = [f"{path}: over 300 lines" for path, text in TEXTS.items() if text.count("\n") > 300]
    wrong += [f"{path}: {mark}" for path, text in TEXTS.items() for mark in MARKS.findall(text)]
    for name, tree in TREES.items():
        values = [line.value for line in tree.body if isinstance(line, ast.Expr)]
        said = [value.value for value in values if isinstance(value, ast.Constant)]
        if len(said) != 1:
            wrong.append(f"{name}: {len(said)} docstrings")
    assert not wrong, "\n".join(wrong)
