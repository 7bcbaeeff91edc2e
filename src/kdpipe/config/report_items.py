"""The tables and claims that a study may name for its report.

Both are files in folders of packages that import this one; only their names are read here, so a
study is checked without pandas.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kdpipe import registry


def list_tables() -> tuple[str, ...]:
    """Return the names of the tables: those of the files in `report/tables`."""
    return registry.list_names("kdpipe.report.tables")


def select_custom(names: Iterable[object]) -> list[str]:
    """Return the names of custom tables or figures: those written as module.NAME."""
    return [name for name in names if isinstance(name, str) and "." in name]


def find_custom_files(names: Iterable[object], code: str | None) -> Iterator[Path]:
    """Yield the files of the modules that define custom tables or figures.

    Parameters
    ----------
    names : iterable
        Names of tables or figures, custom or not.
    code : str or None
        The folder of the modules.

    Yields
    ------
    Path
    """
    for module in dict.fromkeys(name.rpartition(".")[0] for name in select_custom(names)):
        path_stem = Path(code or "") / module.replace(".", "/")
        candidates = (path_stem.with_suffix(".py"), path_stem / "__init__.py")
        yield from (path for path in candidates if path.is_file())


def list_claims() -> dict[str, str]:
    """Return the ids of the claims (C1, C11s) with the names of their files, in numeric order."""
    files = registry.list_names("kdpipe.analysis.claims")
    return {
        file.partition("_")[0].capitalize(): file for file in sorted(files, key=_claim_sort_key)
    }


def _claim_sort_key(file: str) -> tuple[str, int, str]:
    """Return the letters and the number that a file begins with."""
    match = re.match(r"([a-z]+)([0-9]+)", file)
    return (match[1], int(match[2]), file) if match else (file, 0, file)
