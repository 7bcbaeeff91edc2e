"""Draw the rules of the workflow and what they pass on, from Snakemake's graph of a study.

    snakemake --configfile STUDY --rulegraph --cores 1 | python docs/diagram.py

writes docs/_static/workflow.svg. The study has to have a probe, an ensemble, a logit cache and
`export: true`, and nothing may be finished. A test compares the boxes with the rules.
"""

import re
import sys
from html import escape
from pathlib import Path

FILE = Path(__file__).parent / "_static" / "workflow.svg"
WIDTH, HEIGHT = 190, 62
# Where a rule stands (column, row), and what it computes.
RULES = {
    "prepare": (0, 1, "images, as one array or an index"),
    "train": (1, 1, "a run: teacher, student, scratch"),
    "table": (1, 0, "a teacher's logits for all views"),
    "score": (2, 0, "an ensemble"),
    "probe": (2, 1, "a linear probe on other data"),
    "gauge": (2, 2, "error and time as ONNX files"),
    "render": (3, 1, "the report, from the records"),
}


def draw(edges: list[tuple[str, str]]) -> str:
    """The picture of these edges between rules; one from a rule to itself is a loop."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 990 320" font-family="sans-serif">',
        "<title>The rules of the workflow</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>',
        '<rect width="990" height="320" fill="white"/>',
    ]
    for before, after in edges:
        path = _draw_edge(before, after)
        parts.append(
            f'<path id="{before}-{after}" d="{path}" fill="none" stroke="#667" '
            'stroke-width="1.5" marker-end="url(#tip)"/>'
        )
    for name, (column, row, purpose) in RULES.items():
        x, y = _corner(column, row)
        parts += [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#eef3fa" '
            'stroke="#36648b"/>',
            f'<text x="{x + WIDTH // 2}" y="{y + 26}" text-anchor="middle" font-size="16" '
            f'font-weight="bold">{name}</text>',
            f'<text x="{x + WIDTH // 2}" y="{y + 46}" text-anchor="middle" font-size="11.5">'
            f"{escape(purpose)}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def _corner(column: int, row: int) -> tuple[int, int]:
    return 15 + 257 * column, 20 + 112 * row


def _draw_edge(before: str, after: str) -> str:
    """The way from one box to the other: straight down or up, or from right to left side."""
    (column, row, _), (to_column, to_row, _) = RULES[before], RULES[after]
    (x, y), (to_x, to_y) = _corner(column, row), _corner(to_column, to_row)
    if before == after:
        left, right, bottom = x + 70, x + 120, y + HEIGHT
        return f"M{left} {bottom}C{left} {bottom + 45} {right} {bottom + 45} {right} {bottom + 2}"
    if column == to_column:  # two of these are drawn side by side
        shift = -15 if row < to_row else 15
        start, end = (y + HEIGHT, to_y) if row < to_row else (y, to_y + HEIGHT)
        return f"M{x + WIDTH // 2 + shift} {start}L{to_x + WIDTH // 2 + shift} {end}"
    start_x, start_y, end_y = x + WIDTH, y + HEIGHT // 2, to_y + HEIGHT // 2
    return f"M{start_x} {start_y}L{to_x} {end_y}"


def read_edges(dot: str) -> list[tuple[str, str]]:
    """The edges of Snakemake's graph by the names of their rules.

    Without those to the target, and those over a column, which others imply.
    """
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', dot, re.MULTILINE))
    pairs = re.findall(r"^\s*(\d+) -> (\d+)", dot, re.MULTILINE)
    named = sorted((names[before], names[after]) for before, after in pairs)
    return [
        (before, after)
        for before, after in named
        if after in RULES and RULES[after][0] - RULES[before][0] < 2
    ]


if __name__ == "__main__":
    FILE.write_text(draw(read_edges(sys.stdin.read())), encoding="utf-8")
