"""The house stands: imports go down from floor to floor, and in no circle."""

import ast
import graphlib
from pathlib import Path

import kdpipe

ROOT = Path(kdpipe.__file__).parent
GROUND = {"", "errors", "identity", "discovery", "section", "wording"}  # "": kdpipe itself
FLOORS = [  # a room imports from its own floor only itself, and from all floors below
    GROUND,
    {"results", "learning"},
    {"data", "networks"},
    {"study"},
    {"specs"},
    {"plan", "training"},
    {"statistics"},
    {"evidence", "jobs"},
    {"report", "upkeep"},
    {"workflow"},
    {"cli"},
    {"__main__"},
]
APART = ({"study", "plan", "evidence", "report", "upkeep"}, {"training", "jobs"})
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def imports() -> dict[str, set[str]]:
    """Of each module of the package what it imports of it, inside functions too."""
    names = {path: _name(path) for path in ROOT.rglob("*.py")}
    known = set(names.values())
    found: dict[str, set[str]] = {}
    for path, name in names.items():
        used = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kdpipe"):
                assert node.level == 0, f"{name}: relative import"
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= {one if one in known else node.module for one in below}
            elif isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names if alias.name.startswith("kdpipe")}
        found[name] = {one.removeprefix("kdpipe").strip(".") for one in used}
    return {name.removeprefix("kdpipe").strip("."): used for name, used in found.items()}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_imports_what_imports_it():
    graphlib.TopologicalSorter(imports()).prepare()  # raises CycleError, which names them


def test_imports_go_down_from_floor_to_floor():
    wrong = []
    for name, used in imports().items():
        room = name.split(".")[0]
        for one in used:
            below = one.split(".")[0]
            apart = any({room, below} & a and {room, below} & b for a, b in (APART, APART[::-1]))
            level = FLOOR[below] >= FLOOR[room] and not (room == below or {room, below} <= GROUND)
            if level or (apart and room != below):
                wrong.append(f"{name} imports {one}")
    assert not wrong, "\n".join(wrong)
