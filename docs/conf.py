"""Sphinx: the Markdown of this repository as pages of HTML, into docs/_build/html (`make docs`).

The pages read as plain Markdown on a forge, so nothing in them is written for Sphinx: its table of
contents is made of the links in docs/index.md, a part for each of its headings. It reads from the
root of the repository, so that links out of docs/ lead to pages too.
"""

import re

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
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def read_for_sphinx(app, name: str, source: list[str]) -> None:
    """What differs from the text on a forge: contents behind the lists of docs/index.md, and of a
    published report its page."""
    text = re.sub(r"(\(\S+/published/\w+/index)\.md\)", r"\1.html)", source[0])
    if name == root_doc:
        first, *parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        text = "".join([first, *map(_with_contents, parts)])
    source[0] = text


def _with_contents(part: str) -> str:
    """A part of the index with the same links as a hidden table of contents behind it."""
    title = part.splitlines()[0].removeprefix("## ")
    pages = re.findall(r"^- \[.*?\]\((.*?)\.md\)", part, re.MULTILINE)
    lines = ["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```\n\n"]
    return "\n".join([part, *lines]) if pages else part


def setup(app) -> None:
    app.connect("source-read", read_for_sphinx)
