"""What the page of a report says once, embeds, and explains."""

import base64
import html
import re

import pandas as pd
import pytest
from helpers.synthetic_study import made_store

from kdpipe.report import page
from kdpipe.report.render import render_report
from kdpipe.report.table import RenderedTable


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    plan, store = made_store(folder)
    path = render_report(plan, store, folder / "report")
    return path, (path / "index.html").read_text()


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
    legend = html.unescape(text[text.index('id="names"') : text.index("<h3>Its file</h3>")])
    explained = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", legend))
    assert re.fullmatch(r"T 4, 0.9 KD \+ 0.1 CE", explained["kd"])
    assert "until epoch" in explained["eskd"] and explained["eskd"].endswith("then CE alone")
    assert f'title="kd: {explained["kd"]}"' in html.unescape(text)


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
    assert [row[0][0] for row in rows] == ["-", "1 missing", "all seeds share it", "-"]
    assert not any("mixes" in str(key) for row in rows for _, key in row)
    assert page._describe_mixed([table, table]) == (
        "4 rows of these tables compare runs that were not all made alike (a and b): the notes in "
        "each CSV name them."
    )
    assert page._describe_mixed([]) == ""
    assert "mixes" in page.table_to_csv(table)
