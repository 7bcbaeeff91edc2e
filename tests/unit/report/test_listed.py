"""Listed folders of a report: every file is whole, has a case, and a new one needs no other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.synthetic_frames import COLUMNS
from helpers.synthetic_study import STUDY, made_store

import kdpipe
from kdpipe import registry
from kdpipe.analysis.claim import Claim, UntestableClaim, load_claims
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.config import paths
from kdpipe.report.figure import Analysis, FigureSpec, load_figures
from kdpipe.report.table import TableSpec, load_tables

FOLDERS = {
    "kdpipe.report.tables": ("TABLE", TableSpec),
    "kdpipe.report.figures": ("FIGURE", FigureSpec),
    "kdpipe.analysis.claims": ("CLAIM", Claim),
}
FILES = [(folder, name) for folder in FOLDERS for name in registry.list_names(folder)]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_a_file_says_what_it_is(folder, name):
    thing = registry.load_object(folder, name, *FOLDERS[folder])
    assert thing.title[0].isupper() and not thing.title.endswith(".")
    assert thing.function.__module__ == f"{folder}.{name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_have_one_title_or_one_place(folder):
    things = registry.load_all_objects(folder, *FOLDERS[folder])
    assert len({thing.title for thing in things.values()}) == len(things)
    if folder != "kdpipe.analysis.claims":  # they stand by their numbers
        assert len({thing.order for thing in things.values()}) == len(things)


def test_what_a_study_may_ask_for_is_what_there_is():
    assert set(paths.list_tables()) == set(load_tables())
    assert set(paths.list_claims()) == set(load_claims())


def test_they_stand_in_the_order_they_ask_for():
    for listed in (load_tables(), load_figures()):
        places = [one.order for one in listed.values()]
        assert places == sorted(places)
    numbers = [(key[0], int(re.findall(r"\d+", key)[0])) for key in load_claims()]
    assert numbers == sorted(numbers)
    keys = list(load_claims())
    assert keys.index("C11s") + 1 == keys.index("C11c")


@pytest.mark.parametrize("name", load_tables())
def test_every_table_has_a_case_worked_out_by_hand(name):
    tests = Path(__file__).parents[2].rglob("test_*.py")
    case = re.compile(rf'\b(table|render_table_by_name)\(\s*"{name}"')
    assert any(case.search(path.read_text()) for path in tests)


@pytest.mark.parametrize("name", load_figures())
def test_a_figure_of_nothing_is_none(name):
    empty = normalize_frame(pd.DataFrame(columns=COLUMNS))
    spec = load_figures()[name]
    more = (Analysis(),) if spec.shows_analysis else ()
    try:
        assert spec.function(empty, pd.DataFrame(), *more) is None
    except UntestableClaim as reason:
        assert str(reason)


@pytest.mark.parametrize(
    ("script", "without"),
    [
        ("from kdpipe.config.paths import *; list_tables(), list_claims()", "pandas torch"),
        ("from kdpipe.report import table; table.load_tables()", "torch matplotlib"),
        ("from kdpipe.report import render, figure; figure.load_figures()", "torch"),
        ("from kdpipe.analysis import claim; claim.load_claims()", "torch matplotlib"),
    ],
)  # fmt: skip
def test_listing_and_loading_import_nothing_that_they_do_not_need(script, without):
    script = f"import sys; {script}; sys.exit(bool(sys.modules.keys() & set({without.split()})))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


NEW = {
    "report/tables/worst.py": '''
        """The worst seed of every student, whoever taught it."""
        from kdpipe.analysis import dataframe as frames
        from kdpipe.report.table import TableSpec, build_table_data, summarize_cell

        CELL = ("student", "teacher", "stop", "method")


        def worst(frame):
            students = frames.select_direct_students(frames.normalize_frame(frame))
            rows = [
                key | {"top": frames.get_series_by_seed(cell).max()} | summarize_cell(cell)
                for key, cell in frames.group_rows(students, *CELL)
            ]
            columns = "student teacher method error top"
            return build_table_data("Of each cell.", rows, columns, top="worst seed")


        TABLE = TableSpec("Worst seeds", 45, worst)
        ''',
    "report/figures/spread.py": '''
        """The errors of all runs."""
        from kdpipe.report import style
        from kdpipe.report.figure import ERROR_LABEL, FigureSpec


        def spread(frame, curves):
            figure, (axis,) = style.make_panels(1)
            axis.hist(frame.test_error)
            axis.set(xlabel=ERROR_LABEL)
            return figure, "Of every run."


        FIGURE = FigureSpec("Spread of the errors", 200, spread)
        ''',
    "analysis/claims/c19_noise.py": '''
        """C19. The error of scratch > 0."""
        import pandas as pd

        from kdpipe.analysis.claim import Claim
        from kdpipe.analysis.contrasts import Contrast
        from kdpipe.analysis.selection import average_parts, build_finding, pivot_scratch_errors


        def noise(evidence):
            errors = pivot_scratch_errors(evidence.frame).dropna(axis=1)
            contrast = Contrast("error", average_parts(dict(errors.items())), delta=0.1)
            return build_finding([contrast], "all", evidence.frame[:0])


        CLAIM = Claim("Networks err", noise)
        ''',
}


@pytest.mark.slow
def test_a_file_that_is_dropped_in_can_be_asked_for_and_is_rendered(tmp_path):
    """No other file is changed: the package is a copy with three files more."""
    package = tmp_path / "src" / "kdpipe"
    shutil.copytree(
        Path(kdpipe.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for path, text in NEW.items():
        lines = text.strip("\n").splitlines()
        (package / path).write_text("\n".join(line[8:] for line in lines) + "\n")
    made_store(tmp_path, seeds=[0, 1, 2])
    study = {**STUDY, "seeds": [0, 1, 2], "claims": {"C19": ["size"]}}
    study["tables"] = {"eskd": ["size"], "worst": ["size"]}
    process = subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"],
        input=json.dumps(study), text=True, cwd=tmp_path, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    report = tmp_path / "reports" / "made"
    table = (report / "tables" / "worst.md").read_text()
    assert table.startswith("**Worst seeds.** Of each cell.") and "| worst seed" in table
    assert "wrn16-2" in (report / "tables" / "worst.csv").read_text()
    assert (report / "figures" / "spread.svg").exists()
    verdicts = json.loads((report / "claims.json").read_text())
    keys = [verdict["id"] for verdict in verdicts]
    assert keys[keys.index("C18") : keys.index("D1")] == ["C18", "C19"]
    assert {v["id"]: v["verdict"] for v in verdicts}["C19"] == "supports"
    page = (report / "index.html").read_text()
    assert all(title in page for title in ("Worst seeds", "Spread of the errors", "Networks err"))
    assert page.index("Full KD and KD stopped early") < page.index("Worst seeds")
