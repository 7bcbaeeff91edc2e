"""README and docs hold together: every link leads somewhere, every page is built and listed."""

import functools
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from helpers.browser import CHROMIUM, browser

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"^```.*?^```$|^    .*?$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "config/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)


@functools.cache
def anchors(path: Path) -> set[str]:
    """Of the headings of a page, as forges and Sphinx make them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(path: Path) -> list[str]:
    text = CODE.sub("", FENCE.sub("", path.read_text()))
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    for link in links(path):
        if re.match("https?://", link):
            continue
        file, _, anchor = link.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists() and there.is_relative_to(ROOT), f"{path}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(there), f"{path}: {link}: there is no such heading"


def test_the_readme_is_short_and_says_how_to_test():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    assert "\nmake test\n" in text
    for word in ("snakemake", "workflow"):  # by these the Snakemake workflow catalogue finds it
        assert word in text.lower()


@pytest.mark.parametrize(("page", "least"), [("README.md", 3), ("docs/fashion_mnist.md", 20)])
def test_the_numbers_of_what_came_out_are_those_of_the_report(page, least):
    """An effect is said with the sign that the sentence wants.

    Those of the table of claims are compared in tests/unit/docs/test_quoted_numbers.py.
    """
    section = (ROOT / page).read_text().split("## What came out")[1].split("\n## ")[0]
    text = "\n".join(line for line in section.splitlines() if not line.startswith("| C"))
    report = (ROOT / "reports/published/fashion_mnist/index.md").read_text()
    message = re.findall(r"\d+\.\d+ ± \d+\.\d+", text)
    assert len(message) >= least
    assert not [number for number in message if not re.search(rf"\b{re.escape(number)}\b", report)]


def test_the_effects_that_came_back_are_those_of_the_two_reports():
    published = [f"reports/published/{name}" for name in ("fashion_mnist", "fashion_again")]
    line = [sys.executable, "benchmarks/replication.py", *published]
    process = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    rows, message = process.stdout.splitlines(), process.stdout.splitlines()[-1]
    text = (ROOT / "docs/fashion_mnist.md").read_text().split("## Done again")[1].split("\n## ")[0]
    copied = [row for row in text.splitlines() if row.startswith("| C")]
    assert len(copied) > 15 and set(copied) < set(rows)
    met, of = re.findall(r"\*\*(\d+) of (\d+) effects", text)[0]
    assert message.startswith(f"{met} of {of} effects lie where they were expected")
    assert message.endswith("of 12 claims with a verdict 0 got the opposite one")
    missed = [row for row in rows if row.endswith("| no |")]
    assert len(missed) == int(of) - int(met) and set(missed) < set(copied)
    in_points, zero = rows[-2].split(" lie where")[0], rows[-2].rpartition(" ")[2]
    readme = " ".join((ROOT / "README.md").read_text().split())
    for account in (readme, " ".join(text.split())):
        assert in_points in account and f"exactly 0 would have met {zero}" in account


def test_the_index_lists_every_page():
    listed = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs/index.md")}
    pages = {path for path in PAGES if path.parent != ROOT}
    assert pages - listed == {ROOT / "docs/index.md"}


def test_sphinx_builds_every_page_without_a_warning(tmp_path):
    line = [
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-c",
        "docs",
        "-d",
        tmp_path / "trees",
        ".",
        tmp_path / "out",
    ]
    process = subprocess.run([sys.executable, *line], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    for path in PAGES:
        if path.parent != ROOT:
            assert (tmp_path / "out" / path.relative_to(ROOT)).with_suffix(".html").exists()
    _check_built_links(tmp_path / "out")
    if CHROMIUM is not None:
        _check_search(tmp_path)
    contents = (tmp_path / "out/docs/index.html").read_text()
    assert 'href="how-to/term.html"' in contents and 'href="reference/study.html"' in contents


QUESTIONS = {  # asked of the search, with a page among the first two that answers
    "it says cannot tell what now": "docs/faq.html",
    "custom loss": "docs/how-to/term.html",
    "Slurm with whole nodes of four GPUs": "docs/faq.html",
    "how large will it get": "docs/faq.html",
    "how do I cite": "docs/faq.html",
    "change the temperature": "docs/faq.html",
    "use my own data": "docs/faq.html",
    "which GPU memory": "docs/faq.html",
    "resume after a crash": "docs/how-to/resume.html",
    "compare two losses": "docs/how-to/compare.html",
}


def _check_search(folder: Path) -> None:
    """The search finds the page that answers what people ask, before pages of the project."""
    links = "[...document.querySelectorAll('ul.search > li > a')].map(a => a.getAttribute('href'))"
    summary = "document.querySelector('.search-summary')?.textContent ?? ''"
    with browser(folder) as page:
        for question, answer in QUESTIONS.items():
            query, end = f"?q={quote(question)}", time.monotonic() + 60
            page.ask("Page.navigate", url=(folder / "out/search.html").as_uri() + query)
            while page.run("location.search") != query or "finished" not in page.run(summary):
                assert time.monotonic() < end, f"{question}: no answer"
                time.sleep(0.05)
            found = [link.partition("?")[0] for link in page.run(links)]
            assert answer in found[:2], f"{question}: {found[:5]}"


def _check_built_links(out: Path) -> None:
    """The root leads to the manual, and a link to a published report opens its page."""
    assert 'url=docs/index.html"' in (out / "index.html").read_text()
    gallery = (out / "docs/gallery.html").read_text()
    reports = re.findall(r'href="../reports/published/(\w+)/index.html"', gallery)
    published = sorted(path.parent.name for path in ROOT.glob("reports/published/*/index.html"))
    assert sorted(reports) == published
    for page in out.glob("docs/**/*.html"):
        for link in re.findall(r'href="([^"]*published/[^"]*)"', page.read_text()):
            assert (page.parent / link).is_file(), f"{page}: {link}"
    for page in out.glob("reports/published/*/index.html"):
        for link in re.findall(r'href="([^"#:]+)"', page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"
    index = (out / "searchindex.js").read_text()
    assert all(f'"{word}"' in index or f"{word}:" in index for word in ("custom", "gpu", "disk"))
