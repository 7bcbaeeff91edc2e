"""Every text that is read or written names its encoding: a locale may be of another one."""

import ast
from pathlib import Path

import pytest

import kdpipe

SOURCES = sorted(Path(kdpipe.__file__).parent.rglob("*.py"))
# What reads or writes text unless a mode says otherwise, and where its encoding and mode stand.
TEXT_CALLS = {"read_text": 0, "write_text": 1}
OPENERS = {"open", "fdopen", "TemporaryFile"}
OTHER_OPENERS = {"os.open", "tarfile.open", "Image.open", "gzip.open", "tracker.open"}


def find_unnamed(source: str) -> list[int]:
    """The lines of calls that leave the encoding of a text to the locale."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        keywords = {keyword.arg for keyword in node.keywords}
        if "encoding" in keywords:
            continue
        if name in TEXT_CALLS:
            if len(node.args) <= TEXT_CALLS[name]:
                lines.append(node.lineno)
        elif name in OPENERS and ast.unparse(node.func) not in OTHER_OPENERS:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            modes = [each.value for each in arguments if isinstance(each, ast.Constant)]
            if not any(isinstance(mode, str) and "b" in mode for mode in modes):
                lines.append(node.lineno)
        elif keywords & {"text", "universal_newlines"} and name in ("run", "Popen", "check_output"):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("call", "is_unnamed"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, 'utf-8')", False),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("path.open('ab')", False),
        ("path.open()", True),
        ("os.open(path, os.O_RDONLY)", False),
        ("subprocess.run(line, text=True)", True),
        ("subprocess.run(line, text=True, encoding='utf-8')", False),
    ],
)
def test_such_calls_are_found(call, is_unnamed):
    assert bool(find_unnamed(call)) == is_unnamed


def test_no_source_leaves_it_to_the_locale():
    unnamed = [
        f"{path}:{line}" for path in SOURCES for line in find_unnamed(path.read_text("utf-8"))
    ]
    assert not unnamed, "\n".join(unnamed)
