"""Tables and figures of one's own: the documented example, what fails, and hostile words."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import synthetic_study, tiny_study

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.report import fingerprint
from kdpipe.runs.store import Store

PAGE = (Path(__file__).parents[3] / "docs/how-to/table.md").read_text()
(CODE,) = re.findall(r"^```python\n# my_tables.py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
OWN = {
    "tables": {"teacher_size": ["main"], "my_tables.SPREAD": ["main"]},
    "figures": {"my_tables.ERRORS": ["main"]},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with made results; called with code, it is written with that beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.startswith("my_")]:
        monkeypatch.delitem(sys.modules, name)
    content = tiny_study.study(seeds=[0, 1, 2])
    plan = planner.build_plan(load.validate_study(content, "study.yaml"))
    synthetic_study.write(plan, Store(tmp_path / "results"))

    def write(text, **own):
        sys.modules.pop("my_tables", None)
        (tmp_path / "my_tables.py").write_text(text)
        return tiny_study.write(tmp_path / "study.yaml", content | (own or OWN))

    return write


def says(command, capsys) -> tuple[int, str]:
    code = main([command, "study.yaml"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.slow
def test_the_example_of_the_docs_is_checked_and_rendered_without_torch(study, tmp_path):
    study(CODE)
    for command in ("check", "report"):
        script = "import sys; from kdpipe.cli.main import main; "
        script += f"code = main(['{command}', 'study.yaml']); "
        script += "sys.exit(code or 'torch' in sys.modules)"
        process = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
        )
        assert process.returncode == 0, process.stdout + process.stderr
    report = tmp_path / "reports/tiny"
    rows = list(csv.DictReader((report / "results.csv").open()))
    errors = [float(row["test_error"]) for row in rows if row["kind"] == "student"]
    (row,) = csv.DictReader((report / "tables/my_tables.SPREAD.csv").open())
    assert float(row["lowest"]) == pytest.approx(min(errors))
    assert float(row["highest"]) == pytest.approx(max(errors))
    page = (report / "index.html").read_text()
    assert page.index("Spread of the seeds") > page.index('id="table-teacher_size"')
    assert 'download="my_tables.SPREAD.csv"' in page
    assert 'href="figures/my_tables.ERRORS.svg"' in page
    for name in ("tables/my_tables.SPREAD.tex", "figures/my_tables.ERRORS.png"):
        assert (report / name).stat().st_size > 100
    assert "**Spread of the seeds.**" in (report / "index.md").read_text()


BROKEN = """import os
from kdpipe.report.table import TableSpec, build_table_data
from kdpipe.report.figure import FigureSpec
import pandas as pd


def raises(frame):
    return frame["no_such_column"]


def only_of_results(frame):
    return build_table_data("Of results.", [{"first": frame.test_error.dropna().iloc[0]}], "first")


def leaves(frame, curves):
    os._exit(3)


RAISES = TableSpec("Raises", 1, raises)
FIRST = TableSpec("First", 2, only_of_results)
LIST = TableSpec("List", 3, lambda frame: [1, 2])
LEAVES = FigureSpec("Leaves", 4, leaves)
ROWS = [{"number": 1}]
GOOD = TableSpec("Good", 5, lambda frame: build_table_data("Good.", ROWS, "number"))
"""
EACH = {
    "tables": {f"my_tables.{name}": ["main"] for name in ("RAISES", "FIRST", "LIST", "GOOD")},
    "figures": {"my_tables.LEAVES": ["main"]},
}


def test_check_says_every_one_that_fails_and_where(study, capsys):
    study(BROKEN, **EACH)
    code, message = says("check", capsys)
    assert code == 2 and "study.yaml: 4 errors" in message
    lines = message.splitlines()[1:]
    (first,) = [line for line in lines if "my_tables.RAISES" in line]
    assert "tables.my_tables.RAISES: it failed: KeyError: 'no_such_column' (" in first
    assert first.endswith("/my_tables.py, line 8); tried on this study without results")
    (first,) = [line for line in lines if "my_tables.FIRST" in line]
    assert "IndexError" in first and first.endswith("tried on this study without results")
    (wrong_type,) = [line for line in lines if "LIST: it failed: TypeError: " in line]
    assert "it returns a list, expected a TableData (table.build_table_data)" in wrong_type
    assert any(
        "figures.my_tables.LEAVES: it failed: SystemExit: os._exit(3)" in line for line in lines
    )


def test_a_report_is_rendered_without_those_that_fail_and_says_so(study, tmp_path, capsys):
    study(BROKEN, **EACH)
    code, message = says("report", capsys)
    assert code == 0 and "kdpipe: tables.my_tables.RAISES: it failed: KeyError" in message
    report = tmp_path / "reports/tiny"
    page = (report / "index.html").read_text()
    assert page.count('<p class="warn">Left out: ') == 3
    assert "Left out: figures.my_tables.LEAVES: it failed: SystemExit: os._exit(3)" in page
    assert {path.name for path in (report / "tables").glob("my_*.csv")} == {
        "my_tables.FIRST.csv",  # there are results now
        "my_tables.GOOD.csv",
    }
    assert "- tables.my_tables.RAISES: it failed" in (report / "index.md").read_text()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"tables": {"my_tables.NONE": ["main"]}}, "my_tables.py has no NONE"),
        ({"tables": {"my_other.SPREAD": ["main"]}}, "there is no module my_other in "),
        (
            {"tables": {"my_tables.ERRORS": ["main"]}},
            "of type FigureSpec, expected a kdpipe.report.table.TableSpec",
        ),
        ({"tables": {"my_tables.spread": ["main"]}}, "is of type function, expected a "),
        ({"tables": {"my tables.SPREAD": ["main"]}}, "there is no table 'my tables.SPREAD'"),
        ({"tables": {"my_tables.SPREAD": ["mian"]}}, "there is no experiment or ensemble mian"),
        ({"figures": {"losses": ["main"]}}, "figures: 'losses': give a custom figure"),
        ({"figures": {"my_tables.ERRORS": ["mian"]}}, "there is no experiment or ensemble mian"),
        (
            {"figures": {"my_tables.SPREAD": ["main"]}},
            "of type TableSpec, expected a kdpipe.report.figure.Fig",
        ),
        ({"tables": {"json.TABLE": ["main"]}}, "json is a standard library module"),
        ({"code": "nowhere", **OWN}, "code: there is no folder"),
        ({"code": "."}, "code: only for custom networks, terms, tables or figures"),
    ],
)
def test_a_wrong_name_is_a_message(study, capsys, own, message):
    study(CODE, **own)
    code, text = says("check", capsys)
    assert code == 2 and message in text and "Traceback" not in text


HOSTILE = """
from matplotlib import pyplot as plt
from kdpipe.report.table import TableSpec, build_table_data
from kdpipe.report.figure import FigureSpec

BAD = "</table><script>alert(1)</script> | `a` $x$ \\\\input{x} & % _y_ ]]>"


def table(frame):
    return build_table_data(BAD, [{"what": BAD, "notes": BAD}], "what", what=BAD)


def figure(frame, curves):
    drawn, axis = plt.subplots()
    axis.text(0.5, 0.5, "</svg><script>alert(1)</script> &")
    return drawn, BAD


TABLE, FIGURE = TableSpec(BAD, 1, table), FigureSpec(BAD, 1, figure)
"""


def test_hostile_words_are_text_everywhere(study, tmp_path):
    study(HOSTILE, tables={"my_tables.TABLE": ["main"]}, figures={"my_tables.FIGURE": ["main"]})
    assert main(["check", "study.yaml"]) == 0 and main(["report", "study.yaml"]) == 0
    report = tmp_path / "reports/tiny"
    page = (report / "index.html").read_text()
    assert page.count("<script>") == 1 and page.count("</svg>") == page.count("<svg ")
    assert page.count("&lt;script&gt;alert(1)") >= 6
    text = (report / "index.md").read_text()
    assert "<script>" not in text.replace(r"\<script>", "") and r"\`a\` " in text
    tex = (report / "tables/my_tables.TABLE.tex").read_text()
    assert r"\input" not in tex and not re.search(r"(?<!\\)[$#%]", tex)
    assert tex.count(r"\& \% \_y\_") == 5 and tex.count("&") == 5 + 2  # between two columns
    assert "<script>" not in (report / "figures/my_tables.FIGURE.svg").read_text()


def test_rendering_removes_what_it_wrote_and_nothing_of_the_user(study, tmp_path):
    study(CODE)
    assert main(["report", "study.yaml"]) == 0
    report = tmp_path / "reports/tiny"
    mine = [report / name for name in ("notes.txt", "tables/my.csv", "figures/my_tables.OLD.svg")]
    for path in mine:
        path.write_text("mine")
    reference = {path.name for path in report.rglob("my_tables.*")} - {"my_tables.OLD.svg"}
    assert len(reference) == 5
    study(CODE, tables={"teacher_size": ["main"]})
    assert main(["report", "study.yaml"]) == 0
    assert {path.name for path in report.rglob("my_tables.*")} == {"my_tables.OLD.svg"}
    assert all(path.read_text() == "mine" for path in mine)
    assert not (report / ".own").exists()
    (report / ".own").write_text("../../study.yaml\n/etc/x\ntables/../notes.txt\n")
    assert main(["report", "study.yaml"]) == 0
    assert (tmp_path / "study.yaml").exists() and (report / "notes.txt").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "from kdpipe.report.table import Table",
            "kdpipe.report.table.Table was renamed to TableSpec",
        ),
        ("from kdpipe.report.table import made", ".made was renamed to build_table_data"),
        ("from kdpipe.report.figure import Figure", ".Figure was renamed to FigureSpec"),
        ("from kdpipe.report.rows import row", "it is kdpipe.report.table now"),
        ("from kdpipe.evidence.selections import tidy", "it is kdpipe.analysis ("),
        ("from kdpipe.analysis.dataframe import tidy", ".tidy was renamed to normalize_frame"),
    ],
)
def test_a_name_of_before_is_answered_with_the_present_one(study, capsys, code, message):
    study(f"{code}\n")
    status, text = says("check", capsys)
    assert status == 2 and message in text and "Traceback" not in text


def test_a_changed_file_makes_the_report_stale(study, tmp_path):
    store = Store(tmp_path / "results")
    digests = []
    for code in (CODE, CODE, CODE + "\n# changed\n"):
        plan = planner.build_plan(load.load_study(study(code)))
        digests.append(fingerprint.compute_digest(plan, store))
    assert digests[0] == digests[1] != digests[2]


def test_no_run_is_renamed_and_the_study_comes_back_as_json(study):
    own = load.load_study(study(CODE))
    plain = load.load_study(study(CODE, tables={}))
    assert list(planner.build_plan(own).runs) == list(planner.build_plan(plain).runs)
    content = json.loads(own.model_dump_json(exclude_defaults=True))
    assert content["code"] == os.getcwd()
    assert load.validate_study(content, "again") == own
