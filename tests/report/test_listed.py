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
from made_frames import COLUMNS
from made_study import STUDY, made_store

import kdpipe
from kdpipe import discovery
from kdpipe.evidence.claim import Claim, claims
from kdpipe.evidence.selections import tidy
from kdpipe.evidence.verdicts import Untested
from kdpipe.report.figure import Figure, figures
from kdpipe.report.table import Table, tables
from kdpipe.study import asked

FOLDERS = {
    "kdpipe.report.tables": ("TABLE", Table),
    "kdpipe.report.figures": ("FIGURE", Figure),
    "kdpipe.evidence.claims": ("CLAIM", Claim),
}
FILES = [(folder, name) for folder in FOLDERS for name in discovery.names(folder)]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_a_file_says_what_it_is(folder, name):
    thing = discovery.one(folder, name, *FOLDERS[folder])
    assert thing.title[0].isupper() and not thing.title.endswith(".")
    assert thing.function.__module__ == f"{folder}.{name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_have_one_title_or_one_place(folder):
    things = discovery.every(folder, *FOLDERS[folder])
    assert len({thing.title for thing in things.values()}) == len(things)
    if folder != "kdpipe.evidence.claims":  # they stand by their numbers
        assert len({thing.order for thing in things.values()}) == len(things)


def test_what_a_study_may_ask_for_is_what_there_is():
    assert set(asked.tables()) == set(tables())
    assert set(asked.claims()) == set(claims())


def test_they_stand_in_the_order_they_ask_for():
    for listed in (tables(), figures()):
        places = [one.order for one in listed.values()]
        assert places == sorted(places)
    numbers = [(key[0], int(re.findall(r"\d+", key)[0])) for key in claims()]
    assert numbers == sorted(numbers)
    keys = list(claims())
    assert keys.index("C11s") + 1 == keys.index("C11c")


@pytest.mark.parametrize("name", tables())
def test_every_table_has_a_case_worked_out_by_hand(name):
    tests = Path(__file__).parent.parent.rglob("test_*.py")
    assert any(re.search(rf'\b(table|filled)\(\s*"{name}"', path.read_text()) for path in tests)


@pytest.mark.parametrize("name", figures())
def test_a_figure_of_nothing_is_none(name):
    empty = tidy(pd.DataFrame(columns=COLUMNS))
    try:
        assert figures()[name].function(empty, pd.DataFrame()) is None
    except Untested as reason:
        assert str(reason)


@pytest.mark.parametrize(
    ("script", "without"),
    [
        ("from kdpipe.study import asked; asked.tables(), asked.claims()", "pandas torch"),
        ("from kdpipe.report import table; table.tables()", "torch matplotlib"),
        ("from kdpipe.report import render, figure; figure.figures()", "torch"),
        ("from kdpipe.evidence import claim; claim.claims()", "torch matplotlib"),
    ],
)  # fmt: skip
def test_listing_and_loading_import_nothing_that_they_do_not_need(script, without):
    script = f"import sys; {script}; sys.exit(bool(sys.modules.keys() & set({without.split()})))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


NEW = {
    "report/tables/worst.py": '''
        """The worst seed of every student, whoever taught it."""
        from kdpipe.evidence.selections import by_seed, direct, groups, tidy
        from kdpipe.report.rows import row
        from kdpipe.report.table import Table, made


        def worst(frame):
            rows = [
                key | {"top": by_seed(cell).max()} | row(cell)
                for key, cell in groups(direct(tidy(frame)), "student", "teacher", "stop", "method")
            ]
            return made("Of each cell.", rows, "student teacher method error top", top="worst seed")


        TABLE = Table("Worst seeds", 45, worst)
        ''',
    "report/figures/spread.py": '''
        """The errors of all runs."""
        from kdpipe.report import style
        from kdpipe.report.figure import ERROR, Figure


        def spread(frame, curves):
            figure, (axis,) = style.panels(1)
            axis.hist(frame.test_error)
            axis.set(xlabel=ERROR)
            return figure, "Of every run."


        FIGURE = Figure("Spread of the errors", 200, spread)
        ''',
    "evidence/claims/c19_noise.py": '''
        """C19. The error of scratch > 0."""
        import pandas as pd

        from kdpipe.evidence.choices import finding, pool, scratch
        from kdpipe.evidence.claim import Claim
        from kdpipe.evidence.verdicts import Contrast


        def noise(evidence):
            errors = pool(dict(scratch(evidence.frame).dropna(axis=1).items()))
            return finding([Contrast("error", errors, delta=0.1)], "all", evidence.frame[:0])


        CLAIM = Claim("Networks err", noise)
        ''',
}


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
    done = subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"],
        input=json.dumps(study), text=True, cwd=tmp_path, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = tmp_path / "reports" / "made"
    table = (report / "tables" / "worst.md").read_text()
    assert table.startswith("**Worst seeds.** Of each cell.") and "| worst seed" in table
    assert "wrn16-2" in (report / "tables" / "worst.csv").read_text()
    assert (report / "figures" / "spread.svg").exists()
    verdicts = json.loads((report / "claims.json").read_text())
    keys = [verdict["id"] for verdict in verdicts]
    assert keys[keys.index("C18") : keys.index("M1")] == ["C18", "C19"]
    assert {v["id"]: v["verdict"] for v in verdicts}["C19"] == "supports"
    page = (report / "index.html").read_text()
    assert all(title in page for title in ("Worst seeds", "Spread of the errors", "Networks err"))
    assert page.index("Full KD and KD stopped early") < page.index("Worst seeds")
