"""Published numbers, to stand beside measured ones of the same data, pair and method.

`published.json` holds those of the paper (arXiv 1910.01348) and, on CIFAR-100, of the field's
methods, with their source and how sure each is. They are never results: a report shows them in a
column of their own, labelled `published`, and only where data set, student, teacher, stop and
method are the published ones. The paper's methods have its settings too; those of the field are
published as their authors set them, which is said, and each study sets them as it likes.
"""

import functools
import json
import math
from importlib import resources

import pandas as pd


def beside(cell: pd.DataFrame) -> str:
    """What was published for a cell of the tidy frame, with spread and source; or nothing."""
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


def by_pair(data: str) -> dict[tuple[str, str], pd.Series]:
    """The errors by kind of method for each (student, teacher), fully trained teachers only."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for (name, student, teacher, stop), several in entries().items():
        if name == data and stop == "full":
            found[student, teacher] = {entry["method"]: entry["error"] for entry in several}
    return {pair: pd.Series(errors) for pair, errors in found.items()}


def _method(here: pd.Series) -> str:
    """The kind of a cell's method, or nothing where its settings are not the published ones."""
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
    kind = entry["statistic"]
    if entry["sd"] is not None:
        kind = f"mean ± sd over n - {entry['sd_ddof']}" if entry["sd_ddof"] else "mean ± sd over n"
    source = f"{entry['source']}, {_file()['sure'][entry['sure']]}, {kind}"
    if "inferred" in entry.get("note", ""):
        source += f"; {entry['note']}"
    if not _file()["methods"].get(entry["method"], True):
        source += ", as its authors set it"
    trained = _file()["protocol"][entry["data"]]["train_size"]
    if not math.isnan(here.train_n) and here.train_n != trained:
        source += f", on {trained:,} training images"
    return f"{entry['error']:g}{spread} ({source})"


@functools.cache
def _file() -> dict:
    return json.loads(resources.files("kdpipe.evidence").joinpath("published.json").read_text())
