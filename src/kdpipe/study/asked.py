"""What a study may ask of its report, by name: the tables that can be drawn, the claims judged.

Both are files of listed folders above this floor; their names are read here and nothing of them
is imported, so a study is checked without pandas.
"""

import re

from kdpipe import discovery


def tables() -> tuple[str, ...]:
    """Names of the tables: those of the files in `report/tables`."""
    return discovery.names("kdpipe.report.tables")


def claims() -> dict[str, str]:
    """Ids of the claims, as C1 or C11s, to the names of their files (c1_larger_teacher)."""
    files = discovery.names("kdpipe.evidence.claims")
    return {file.partition("_")[0].capitalize(): file for file in sorted(files, key=_in_number)}


def _in_number(file: str) -> tuple[str, int, str]:
    found = re.match(r"([a-z]+)([0-9]+)", file)
    return (found[1], int(found[2]), file) if found else (file, 0, file)
