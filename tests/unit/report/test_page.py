"""What the page of a report says once, embeds, and explains."""

import base64
import dataclasses
import html
import re

import pandas as pd
import pytest
from helpers.snakemake_sandbox import ROOT
from helpers.synthetic_study import made_store

from kdpipe.analysis.dataframe import describe_mixed_code
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.report import page
from kdpipe.report.glossary import WORDS, link_words
from kdpipe.report.render import collect_context, render_report
from kdpipe.report.table import RenderedTable
from kdpipe.report.table_row import describe_row

VALUE = re.compile(r"^  seed (\d+): (\S+)(?: = (.+))?$")  # of one seed, as a row in full has it


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def rendered(made, tmp_path_factory):
    plan, store = made
    path = render_report(plan, store, tmp_path_factory.mktemp("report"), "made.yaml")
    return path, (path / "index.html").read_text()


@pytest.fixture(scope="module")
def report(made):
    return collect_context(*made, has_figures=False)[0]


@pytest.fixture(scope="module")
def tables(report):
    """All tables, as `kdpipe report --row` has them."""
    return page.list_tables(report)


def test_an_edit_of_custom_code_between_runs_is_stated_without_any_table(report):
    """At the top: a study need not ask for the tables whose notes name each cell."""
    assert report.mixed_code == ""
    frame = report.frame.assign(code="own.small 1")
    assert describe_mixed_code(frame) == ""
    (name, *_), *_ = frame.loc[frame.kind == "scratch", ["run", "seed"]].to_numpy().tolist()
    frame.loc[frame.run == name, "code"] = "own.small 2"
    text = describe_mixed_code(frame)
    assert text.startswith("The code of own.small was edited between runs: 2 of ")
    assert "cells mix its versions" in text
    edited = dataclasses.replace(report, mixed_code=text)
    for rendered in (page.render_markdown(edited), page.render_html(edited, {})):
        body = rendered[rendered.index("What to ship") :]
        assert text in body[: body.index("compared with")]


def test_the_csv_of_each_table_is_part_of_the_page(rendered):
    """A page that is sent alone has them, as the files beside it are."""
    folder, text = rendered
    links = re.findall(r'download="(\w+)\.csv" href="data:text/csv;base64,([^"]+)"', text)
    assert {name for name, _ in links} == {path.stem for path in (folder / "tables").glob("*.csv")}
    for name, content in links:
        assert base64.b64decode(content) == (folder / "tables" / f"{name}.csv").read_bytes()
    assert 'href="results.csv"' in text and "records.jsonl.gz" not in text  # not beside this one


def test_names_of_methods_are_explained_in_a_legend_and_in_tables(rendered):
    _, text = rendered
    legend = html.unescape(text[text.index('id="names"') : text.index("<h3>The study file</h3>")])
    explained = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", legend))
    assert re.fullmatch(r"T 4, 0.9 KD \+ 0.1 CE", explained["kd"])
    assert "until epoch" in explained["eskd"] and explained["eskd"].endswith("then CE alone")
    assert f'title="kd: {explained["kd"]}"' in html.unescape(text)


def test_words_of_captions_lead_to_their_definitions(rendered):
    """Every link has its end, and the manual's glossary has every word too."""
    _, text = rendered
    linked = set(re.findall(r'<a class="word" href="#([^"]+)">', text))
    defined = set(re.findall(r'<dt id="(word-[^"]+)">', text))
    assert {"word-cell", "word-stop", "word-KD-error", "word-scratch"} <= linked <= defined
    manual = (ROOT / "docs/glossary.md").read_text()
    missing = [word for word in WORDS if f"**{word}**" not in manual]
    assert missing == []


def test_the_first_of_a_word_is_linked_and_no_part_of_another():
    assert link_words("a stop, two stops & a non-stop stopper") == (
        'a <a class="word" href="#word-stop">stop</a>, two stops &amp; a non-stop stopper'
    )


def test_mixed_machines_are_named_once_and_in_the_csv():
    """Only the text that is true of many rows goes; another note of the row stays."""
    notes = [
        "mixes devices: a and b",
        "1 missing; mixes devices: a and b",
        "all seeds share it",
        "-",
    ]
    table = RenderedTable(
        "made",
        "Made",
        "",
        pd.DataFrame({"notes": notes}),
        pd.DataFrame({"notes": notes}),
        ["notes"],
    )
    _, rows = page._table_fields(table)
    assert [row[0][0] for _, row in rows] == ["-", "1 missing", "all seeds share it", "-"]
    assert not any("mixes" in str(key) for _, row in rows for _, key in row)
    assert page._describe_mixed([table, table]) == (
        "4 rows of these tables compare runs that were not all made alike (a and b): the notes in "
        "each CSV name them."
    )
    assert page._describe_mixed([]) == ""
    assert "mixes" in page.table_to_csv(table)


def read_numbers(text):
    """By heading the number, and (value, source) by seed."""
    numbers = {}
    for part in text.split("\n\n")[1:-1]:
        head, *lines = part.splitlines()
        [(name, mean)] = re.findall(r"^(.+?): (\S+?),? ", head)
        found = [VALUE.findall(line)[0] for line in lines]
        numbers[name] = float(mean), {seed: (float(value), runs) for seed, value, runs in found}
    return numbers


def test_a_number_is_the_mean_of_what_the_records_say_of_its_runs(rendered, tables):
    """The values are looked up by name in results.csv, and the mean is that of the table's CSV."""
    folder, _ = rendered
    errors = pd.read_csv(folder / "results.csv").drop_duplicates("run").set_index("run").test_error
    row = pd.read_csv(folder / "tables/teacher_size.csv").iloc[2]
    numbers = read_numbers(describe_row(tables, "teacher_size", "3", "records"))
    assert {"error", "against scratch"} <= set(numbers)
    for heading, column in (("error", "error"), ("against scratch", "vs_scratch")):
        mean, by_seed = numbers[heading]
        assert len(by_seed) == row.n
        for value, source in by_seed.values():
            plus, _, minus = source.partition(" - ")
            assert value == pytest.approx(errors[plus] - (errors[minus] if minus else 0))
        assert mean == pytest.approx(sum(value for value, _ in by_seed.values()) / row.n)
        assert mean == pytest.approx(row[column])


def test_a_mean_over_cells_gives_the_weight_of_each_run(rendered, tables):
    """Of A or B: the weights of either side add up to one."""
    folder, _ = rendered
    pairs = pd.read_csv(folder / "tables/a_or_b.csv")
    number = pairs.index[pairs.cells > 1][0] + 1
    mean, by_seed = read_numbers(describe_row(tables, "a_or_b", f"{number}", ""))["difference"]
    assert mean == pytest.approx(pairs.difference[number - 1])
    cells = pairs.cells[number - 1]
    for _, source in by_seed.values():
        signs = re.findall(rf"([+-]) {1 / cells:.4g} x ", f"+ {source}")
        assert signs.count("+") == signs.count("-") == cells


def test_each_row_of_the_page_has_its_number_and_each_table_its_command(rendered):
    folder, text = rendered
    rows = pd.read_csv(folder / "tables/teacher_size.csv")
    assert re.findall(r'<tr id="row-teacher_size-(\d+)">', text) == [
        str(i + 1) for i in range(len(rows))
    ]
    pairs = re.findall(r'<tr id="row-a_or_b-(\d+)">', text)  # those undecided stand apart
    assert sorted(map(int, pairs)) == list(
        range(1, 1 + len(pd.read_csv(folder / "tables/a_or_b.csv")))
    )
    assert "<code>kdpipe report made.yaml --row teacher_size 1</code>" in text
    # A row of this grid is several of the CSV.
    assert 'id="row-checkpoints-' not in text and "--row checkpoints 1</code>" in text


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("teacher", "1"), "no such table; its tables are .*teacher_size"),
        (("teacher_size", "0"), "rows 1 to"),
        (("teacher_size", "99"), "rows 1 to"),
        (("teacher_size", "-1"), "rows 1 to"),
    ],
)
def test_another_table_or_row_is_refused(tables, arguments, expected):
    name, number = arguments
    with pytest.raises(KdpipeError, match=expected):
        describe_row(tables, name, number, "records")


def test_the_command_of_a_published_page_works(capsys, monkeypatch):
    """As it stands on the page; it writes nothing, and its number is that of the published CSV."""
    monkeypatch.chdir(ROOT)
    folder = "reports/published/hf_guide"
    text = (ROOT / folder / "index.html").read_text()
    [command] = re.findall(r"<code>(kdpipe report \S+ --results \S+ --row by_class 1)</code>", text)
    before = {path: path.stat().st_mtime_ns for path in (ROOT / folder).rglob("*")}
    assert main(command.split()[1:]) == 0
    assert {path: path.stat().st_mtime_ns for path in (ROOT / folder).rglob("*")} == before
    mean, by_seed = read_numbers(capsys.readouterr().out)["error"]
    row = pd.read_csv(ROOT / folder / "tables/by_class.csv").iloc[0]
    assert mean == pytest.approx(row.error) and len(by_seed) == row.n
