"""What a study may ask of its report: the files that lie in two folders above."""

import subprocess
import sys
from pathlib import Path

from kdpipe.config import paths

ROOM = Path(paths.__file__).parents[1]


def files(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_tables_and_claims_are_the_files_of_their_folders():
    assert set(paths.list_tables()) == files(ROOM / "report" / "tables")
    assert set(paths.list_claims().values()) == files(ROOM / "analysis" / "claims")


def test_claims_are_called_by_their_ids_in_the_order_of_their_numbers():
    ids = list(paths.list_claims())
    assert ids[:2] == ["C1", "C2"] and ids[-1] == "Q1"
    assert ids.index("C9") < ids.index("C10") < ids.index("C11c") < ids.index("C11s")
    assert paths.list_claims()["C11s"].startswith("c11s_")


def test_naming_them_imports_none_of_them():
    script = """
import sys
from kdpipe.config import paths
assert paths.list_tables() and paths.list_claims()
print(*(name for name in sys.modules if name.startswith(("kdpipe.report.", "kdpipe.analysis."))))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr
