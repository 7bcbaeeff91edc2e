"""The paper's own numbers, to stand beside measured ones of the same data, pair and method.

`published.json` holds them with their source and how sure each is. They are never results: a
report shows them in a column of their own, labelled `published`, and only where data set,
student, teacher, stop and method are those of the paper. Paper: arXiv 1910.01348.
"""

import functools
import json
import math
from importlib import resources

import pandas as pd


def beside(cell: pd.DataFrame) -> str:
    """What the paper printed for a cell of the tidy frame, with spread and source; or nothing."""
    if cell.empty or cell["data"].iloc[0] not in _file()["protocol"]:
        return ""
    here = cell.iloc[0]
    found = entries().get((here.data, here.student, here.teacher_label, here.stop), [])
    method = _method(here)
    return "; ".join(_text(entry, here) for entry in found if entry["method"] == method)


@functools.cache
def entries() -> dict[tuple[str, str, str, str], list[dict]]:
    """Every published number by data set, student, teacher and stop of the teacher."""
    found: dict[tuple[str, str, str, str], list[dict]] = {}
    for series in _file()["series"]:
        for row in series["rows"]:
            key = (series["data"], series["student"], row["teacher"], row["stop"])
            found.setdefault(key, []).append({**series, **row})
    return found


def _method(here: pd.Series) -> str:
    """The paper's name of a cell's method, or nothing where its settings are others."""
    if here.kind in ("scratch", "teacher"):
        return "scratch"
    wanted = dict(_file()["methods"].get(here.method_kind, {"temperature": math.nan}))
    share = wanted.pop("kd_share", None)
    alike = all(math.isclose(here[name], value) for name, value in wanted.items())
    if share is not None:
        alike = alike and math.isclose(here.kd_epochs, share * here.epochs, abs_tol=0.5)
    return here.method_kind if alike else ""


def _text(entry: dict, here: pd.Series) -> str:
    spread = f" ± {entry['sd']:g}" if entry["sd"] is not None else ""
    kind = entry["statistic"] if entry["sd"] is None else "mean ± sd"
    source = f"{entry['source']}, {_file()['sure'][entry['sure']]}, {kind}"
    trained = _file()["protocol"][entry["data"]]["train_size"]
    if not math.isnan(here.train_n) and here.train_n != trained:
        source += f", on {trained:,} training images"
    return f"{entry['error']:g}{spread} ({source})"


@functools.cache
def _file() -> dict:
    return json.loads(resources.files("kdpipe.report").joinpath("published.json").read_text())
