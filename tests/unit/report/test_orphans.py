"""Files that a killed process has left among reports are found, and nothing else is."""

import fcntl
import tempfile
from pathlib import Path

import pytest
from helpers.snakemake_sandbox import ROOT

from kdpipe.report import fingerprint

WHOLE = ROOT / "reports" / "published" / "digits"


def temporary(path: Path) -> Path:
    """As kdpipe makes it beside a path, before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
    ) as file:
        file.write(b"half")
    return Path(file.name)


@pytest.fixture
def reports(tmp_path):
    """One report, and one with its archive; neither has a file that is whole."""
    return tmp_path / "reports"


def test_every_file_of_a_report_is_known_before_it_has_its_name(reports):
    names = [path.relative_to(WHOLE) for path in WHOLE.rglob("*") if path.is_file()]
    names = [name for name in names if name.parts[0] != "export"]  # written by kdpipe export
    assert {"index.md", "a_or_b.csv"} <= {name.name for name in names}
    # what this report has none of
    names += map(
        Path,
        (
            ".own",
            ".files",
            ".inputs",
            "tables/by_class.csv",
            "tables/validation.md",
            "registrations/x.json",
        ),
    )
    result = [temporary(reports / each / name) for name in names for each in ("x", "published/x")]
    assert sorted(fingerprint.find_report_orphans(reports)) == sorted(result)


def test_what_is_not_kdpipes_or_is_being_written_is_left(reports, tmp_path):
    mine = temporary(reports / "x/results.csv")
    for name in (".notes.csv.abcdefgh.tmp", ".results.csv.mine.tmp", "results.csv.abcdefgh.tmp"):
        (reports / "x" / name).write_text("somebody's")
    (reports / "x/tables").mkdir()
    for name in (".mine.csv.abcdefgh.tmp", ".index.md.abcdefgh.tmp"):
        (reports / "x/tables" / name).write_text("somebody's")
    temporary(reports / "deeper/x/y/results.csv")
    temporary(tmp_path / "elsewhere/results.csv")
    (reports / "link").symlink_to(tmp_path / "elsewhere")
    with temporary(reports / "x/index.md").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fingerprint.find_report_orphans(reports) == [mine]
    (tmp_path / "linked").symlink_to(reports)
    assert fingerprint.find_report_orphans(tmp_path / "linked") == []
