"""What a study may ask of its report, by name: the tables that can be drawn, the claims judged.

Both are files of listed folders above this floor; their names are read here and nothing of them
is imported, so a study is checked without pandas.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kdpipe import discovery


def tables() -> tuple[str, ...]:
    """Names of the tables: those of the files in `report/tables`."""
    return discovery.names("kdpipe.report.tables")


def own(names: Iterable[object]) -> list[str]:
    """Those of a study's tables or figures that are its own: named as module.THING."""
    return [name for name in names if isinstance(name, str) and "." in name]


def files(names: Iterable[object], code: str | None) -> Iterator[Path]:
    """The files of the modules in which a study's own tables or figures lie."""
    for module in dict.fromkeys(name.rpartition(".")[0] for name in own(names)):
        place = Path(code or "") / module.replace(".", "/")
        both = (place.with_suffix(".py"), place / "__init__.py")
        yield from (path for path in both if path.is_file())


def claims() -> dict[str, str]:
    """Ids of the claims, as C1 or C11s, to the names of their files (c1_larger_teacher)."""
    files = discovery.names("kdpipe.evidence.claims")
    return {file.partition("_")[0].capitalize(): file for file in sorted(files, key=_in_number)}


def _in_number(file: str) -> tuple[str, int, str]:
    found = re.match(r"([a-z]+)([0-9]+)", file)
    return (found[1], int(found[2]), file) if found else (file, 0, file)
