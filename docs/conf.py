"""Sphinx: the Markdown of this repository as pages of HTML, into docs/_build/html (`make docs`).

The pages read as plain Markdown on a forge, so nothing in them is written for Sphinx: its table of
contents is made of the links in docs/index.md, a part for each of its headings. It reads from the
root of the repository, so that links out of docs/ lead to pages too.
"""

import re
import shutil
from pathlib import Path

import kdpipe

project = "kdpipe"
author = "The kdpipe authors"
version = release = kdpipe.__version__
html_title = f"kdpipe {release}"

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "benchmarks/*.md",
    "examples/*/*.md",
    "config/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
# All that is walked through in vain.
exclude_patterns = [".*", "docs/_build", "src", "tests", "studies", "results", "logs", "reports"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_search_scorer = str(Path(__file__).with_name("_static") / "scorer.js")
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

START = """<!doctype html>
<meta charset="utf-8">
<title>kdpipe</title>
<meta http-equiv="refresh" content="0; url={0}.html">
<a href="{0}.html">The manual of kdpipe</a>
"""


def read_for_sphinx(app, name: str, source: list[str]) -> None:
    """What differs from the text on a forge: contents behind the lists of docs/index.md, and of a
    published report its page, which `copy_reports` puts beside the manual."""
    link = r"\[([^\]]*)\]\((\S+/published/\w+/index)\.md\)"
    text = re.sub(link, r'<a href="\2.html">\1</a>', source[0])
    if name == root_doc:
        first, *parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        text = "".join([first, *map(_with_contents, parts)])
    source[0] = text


def copy_reports(app, error: Exception | None) -> None:
    """Copy the published reports, and write an index.html that leads to the manual."""
    if error is not None or app.builder.name != "html":
        return
    out, reports = Path(app.outdir), Path("reports") / "published"
    for page in sorted((Path(app.srcdir) / reports).glob("*/index.html")):
        folder = out / reports / page.parent.name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(page.parent, folder)  # a page links to what lies beside it
    (out / "index.html").write_text(START.format(root_doc), encoding="utf-8")


def _with_contents(part: str) -> str:
    """A part of the index with the same links as a hidden table of contents behind it."""
    title = part.splitlines()[0].removeprefix("## ")
    pages = re.findall(r"^- \[.*?\]\((.*?)\.md\)", part, re.MULTILINE)
    lines = ["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```\n\n"]
    return "\n".join([part, *lines]) if pages else part


def setup(app) -> None:
    app.connect("source-read", read_for_sphinx)
    app.connect("build-finished", copy_reports)
