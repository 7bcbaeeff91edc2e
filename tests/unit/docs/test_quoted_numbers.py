"""The numbers of claims that README, docs and paper quote are those that decide."""

import json
import re
from statistics import fmean

import pandas as pd
import pytest
from helpers.snakemake_sandbox import ROOT

REGISTERED = ROOT / "reports/published/fashion_mnist/claims_rules_1.json"
PAPER = ROOT / "paper/paper.md"
PAGES = [ROOT / "README.md", ROOT / "docs/fashion_mnist.md", PAPER]
ROW = re.compile(r"^\| (\w+): .*\|([^|]*?([-+]?[\d.]+) ± ([\d.]+)) \|$", re.MULTILINE)


def half_width(estimate: dict) -> float:
    """The half-width of the wider of the two intervals, by seeds and by seeds and images."""
    intervals = [estimate, estimate["images"] or estimate]
    return max((one["high"] - one["low"]) / 2 for one in intervals if one.get("low"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_interval_in_a_table_of_claims_is_the_wider_of_the_two(page):
    claims = {claim["id"]: claim for claim in json.loads(REGISTERED.read_text())["claims"]}
    rows = ROW.findall(page.read_text())
    assert {"C1", "C6", "C9", "C11s", "C11c"} <= {row[0] for row in rows}
    for claim, text, effect, width in rows:
        contrasts = [one for one in claims[claim]["contrasts"] if one["effect"] is not None]
        known = {(f"{abs(one['effect']):.2f}", f"{half_width(one):.2f}") for one in contrasts}
        assert (effect.lstrip("+-"), width) in known, f"{claim}: {text.strip()}; known: {known}"


def test_the_section_on_splits_quotes_the_values_and_components_of_its_report():
    section = (
        (ROOT / "docs/fashion_mnist.md").read_text().split("## One split")[1].split("\n## ")[0]
    )
    claims = json.loads((ROOT / "reports/published/fashion_splits/claims.json").read_text())
    (contrast,) = next(claim for claim in claims if claim["id"] == "C2")["contrasts"]
    values, images = contrast["values"], contrast["images"]
    for split, row in enumerate(re.findall(r"^\| \d.*\| (.*) \| (.*) \|$", section, re.MULTILINE)):
        of_split = values[3 * split : 3 * split + 3]
        assert row == (", ".join(f"{one:.2f}" for one in of_split), f"{fmean(of_split):.2f}")
    assert split == 2

    text, shares = " ".join(section.split()), {}
    levels, components = images["levels"], images["components"]
    for key, component in components.items():
        shares[key] = component
        for level in key.split(" x "):
            shares[key] /= levels[level]
    with_images = sum(share for key, share in shares.items() if "image" in key)
    errors = [shares["seed"], shares["split"], shares["seed x split"], with_images]
    assert f"{contrast['effect']:.2f} ± {(contrast['high'] - contrast['low']) / 2:.2f}" in text
    assert f"{images['low']:.2f} to +{images['high']:.2f}" in text
    quoted = re.search(r"squared, (\S+) for the seed, (\S+) for the split and (\S+) for", text)
    assert list(quoted.groups()) == [
        f"{components[key]:.2f}" for key in ("seed", "split", "seed x split")
    ]
    quoted = re.search(r"the mean: (\S+) points for the seed, (\S+) .*?, (\S+) .*? and (\S+)", text)
    assert list(quoted.groups()) == [f"{error**0.5:.2f}" for error in errors]


def test_the_section_on_lengths_quotes_the_errors_and_claims_of_its_report():
    page = (ROOT / "docs/fashion_mnist.md").read_text()
    section = page.split("## Training longer")[1].split("\n## ")[0]
    report = ROOT / "reports/published/fashion_lengths"
    table = pd.read_csv(report / "tables/lengths.csv")
    ways = [
        ("labels alone", "scratch", None),
        ("KD from wrn16-2, full", "kd", "full"),
        ("KD from wrn16-2, longer", "kd", "schedule 120 (longer)"),
        ("the same, stopped at 0.6 (ESKD)", "eskd-6", "schedule 120 (longer)"),
        ("TTM from wrn16-2, longer", "ttm", "schedule 120 (longer)"),
    ]
    for name, method, stop in ways:
        of_stop = table.stop == stop if stop else table.method == "scratch"
        by_length = table[(table.method == method) & of_stop].set_index("length")
        (row,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", section, re.MULTILINE)
        for epochs, cell in zip((30, 60, 120, 240, 480), row.split(" | "), strict=True):
            assert (cell != "-") == (epochs in by_length.index)
            if cell != "-":
                error, width = cell.split(" ± ")
                digits, one = len(width.split(".")[1]), by_length.loc[epochs]
                half = (one.error_high - one.error_low) / 2
                assert (float(error), float(width)) == (
                    round(one.error, digits),
                    round(half, digits),
                )

    claims = {one["id"]: one for one in json.loads((report / "claims.json").read_text())}
    rows = re.findall(r"^\| (E\d): .* \| (\S+) ± (\S+) \| (.*) \|$", section, re.MULTILINE)
    assert [claim for claim, *_ in rows] == ["E1", "E2", "E3", "E4"]
    for claim, effect, width, verdict in rows:
        (one, digits) = claims[claim], len(width.split(".")[1])
        assert (float(effect), verdict) == (round(one["effect"], digits), one["verdict"])
        assert float(width) == round((one["high"] - one["low"]) / 2, digits)
    readme = " ".join((ROOT / "README.md").read_text().split())
    for name in ("labels alone", "KD from wrn16-2, longer"):
        (longest,) = re.findall(rf"\| {name} \|.*\| (\S+ ± \S+) \|\n", section)
        assert longest in readme
    text = " ".join(section.split())
    at_480 = (
        "error, scratch of 480 epochs, which cost less, - KD: wrn10-0.5, {} epochs, from wrn16-2"
    )
    for epochs, sign, of in (
        (60, -1, "are {} points better"),
        (240, 1, "{} ± {} points at 240"),
        (480, 1, "{} ± {} at 480"),
    ):
        name = at_480.format(epochs)
        one = next(each for each in claims["E1"]["contrasts"] if each["text"].startswith(name))
        half = (one["high"] - one["low"]) / 2
        assert of.format(f"{sign * one['effect']:.2f}", f"{half:.2f}") in text
    images = claims["E4"]["images"]
    assert f"+{images['low']:.2f} to +{images['high']:.2f}" in text
    assert f"corrected p is {claims['E4']['p_corrected']:.3f}" in text


def test_verdicts_and_numbers_of_the_paper_are_those_of_the_report():
    claims = {claim["id"]: claim for claim in json.loads(REGISTERED.read_text())["claims"]}
    text = PAPER.read_text()
    rows = re.findall(r"^\| (\w+): .*? \| ([\w ]+) \| ", text, re.MULTILINE)
    assert len(rows) == 5 and all(claims[claim]["primary"] for claim, _ in rows)
    assert [(claim, claims[claim]["verdict"]) for claim, _ in rows] == rows
    # Outside of the table: errors, prices and lengths, as the page has them.
    report = (REGISTERED.parent / "index.md").read_text()
    prose = " ".join(line for line in text.splitlines() if not line.startswith("|"))
    prose = " ".join(prose.split())
    quoted = re.findall(r"[\d.]+ ± [\d.]+ %|[\d.]+ times as much|for \d+ epochs", prose)
    assert len(quoted) == 4
    assert [one for one in quoted if one not in report] == []


def test_every_citation_of_the_paper_resolves():
    cited = set(re.findall(r"@([a-z]\w+)", PAPER.read_text()))
    entries = re.findall(r"^@\w+\{(\w+),", (PAPER.parent / "paper.bib").read_text(), re.MULTILINE)
    assert len(entries) == len(set(entries)) and set(entries) == cited


def test_the_study_of_a_real_teacher_quotes_its_claims_and_errors():
    folder = ROOT / "reports/published/real_teacher"
    text = (ROOT / "docs/real_teacher.md").read_text()
    claims = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())}
    for key in ("F1", "F2"):
        claim = claims[key]
        (row,) = re.findall(rf"^\| {key}: .*$", text, re.MULTILINE)
        assert f"{claim['effect']:+.2f} ± {half_width(claim):.2f}" in row
        assert claim["verdict"] in row and f"about {claim['seeds_needed']} seeds" in row
    frame = pd.read_csv(folder / "results.csv")
    rows = {"labels alone": frame[frame.kind == "scratch"]}
    rows |= {
        name: frame[(frame.teacher == name) & frame.kind.isin(["teacher", "student"])]
        for name in ("probed", "random", "tuned")
    }
    for name, runs in rows.items():
        (row,) = re.findall(rf"^\| {name} \| (.*%)", text, re.MULTILINE)
        means = runs.groupby(runs.length.fillna(0)).test_error.mean().tolist()
        quoted = re.findall(r"([\d.]+) ± ", row)
        shown = [
            f"{mean:.{len(each.split('.')[1])}f}" for each, mean in zip(quoted, means, strict=True)
        ]
        assert quoted == shown, name


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("reports/published/*/index.html")), ids=lambda p: p.parent.name
)
def test_a_published_page_has_no_path_of_the_machine_that_rendered_it(page):
    paths = re.findall(
        r"^\s*(?:path|card|code|unlabelled): (/\S*)$", page.read_text(), re.MULTILINE
    )
    assert set(paths) <= {"/usr/share/datasets/fashion-mnist"}  # as the study files write it
