"""The diagram of the workflow has the rules of the workflow, and what Snakemake says of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TARGETS = {"all", "report", "teachers", "students", "again"}  # `again` makes no result
# Several jobs of `train` and `table` in one, on a cluster alone.
CLUSTER_RULES = {"pack", "packed"}
DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
\t0[label = "all", color = "0.06 0.6 0.85", style="rounded"];
\t1[label = "train", color = "0.61 0.6 0.85", style="rounded"];
\t2[label = "prepare", color = "0.17 0.6 0.85", style="rounded"];
\t3[label = "render", color = "0.28 0.6 0.85", style="rounded"];
\t4[label = "probe", color = "0.22 0.6 0.85", style="rounded"];
\t1 -> 0
\t2 -> 1
\t1 -> 1
\t1 -> 3
\t1 -> 4
\t4 -> 3
}
"""


@pytest.fixture
def diagram(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import diagram

    return diagram


def test_it_has_every_rule(diagram):
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = {name for path in files for name in re.findall(r"^rule (\w+):", path.read_text(), re.M)}
    drawn = set(re.findall(r">(\w+)</text>", diagram.FILE.read_text(encoding="utf-8")))
    assert rules - TARGETS - CLUSTER_RULES == set(diagram.RULES) <= drawn


def test_what_is_committed_is_what_is_drawn(diagram):
    text = diagram.FILE.read_text(encoding="utf-8")
    edges = [tuple(pair.split("-")) for pair in re.findall(r'<path id="(\S+)"', text)]
    assert text == diagram.draw(edges) and ("train", "table") in edges


def test_edges_are_read_from_the_graph_of_snakemake(diagram):
    """Without those to the target, and the one that train - probe - render implies."""
    expected = [("prepare", "train"), ("probe", "render"), ("train", "probe"), ("train", "train")]
    assert sorted(diagram.read_edges(DOT)) == expected
