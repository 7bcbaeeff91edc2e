"""Published numbers, to stand beside measured ones of the same data, pair and method.

`published.json` holds those of the paper (arXiv 1910.01348) and, on CIFAR-100, of other methods of
the field, with their source and how certain each one is. They are never results: a report shows
them in a column of their own, labelled `published`, and only where data set, student, teacher, stop
and method are the published ones. The paper's methods have to have its settings too. Those of the
field are published as their authors set them, which the report says, and a study sets them as it
likes.
"""

import functools
import json
import math
from importlib import resources

import pandas as pd


def describe_published_error(cell: pd.DataFrame) -> str:
    """Return what was published for a cell, with spread and source; empty if nothing was."""
    if cell.empty or cell["data"].iloc[0] not in _load_file()["protocol"]:
        return ""
    row = cell.iloc[0]
    candidates = load_published_entries().get(
        (row.data, row.student, row.teacher_label, row.stop), []
    )
    method = _match_method(row)
    return "; ".join(_format_entry(entry, row) for entry in candidates if entry["method"] == method)


@functools.cache
def load_published_entries() -> dict[tuple[str, str, str, str], list[dict]]:
    """Return every published number by data set, student, teacher and stop of the teacher."""
    entries_by_key: dict[tuple[str, str, str, str], list[dict]] = {}
    for series in _load_file()["series"]:
        for row in series["rows"]:
            key = (series["data"], series["student"], row["teacher"], row["stop"])
            entries_by_key.setdefault(key, []).append({**series, **row})
    return entries_by_key


def get_published_errors_by_pair(data: str) -> dict[tuple[str, str], pd.Series]:
    """Return the errors by kind of method for each (student, teacher), full teachers only."""
    errors_by_pair: dict[tuple[str, str], dict[str, float]] = {}
    for (name, student, teacher, stop), cell_entries in load_published_entries().items():
        if name == data and stop == "full":
            errors_by_pair[student, teacher] = {
                entry["method"]: entry["error"] for entry in cell_entries
            }
    return {pair: pd.Series(errors) for pair, errors in errors_by_pair.items()}


def _match_method(row: pd.Series) -> str:
    """Return the kind of a cell's method; empty where its settings are not the published ones."""
    if row.kind in ("scratch", "teacher"):
        return "scratch"
    settings = dict(_load_file()["methods"].get(row.method_kind, {"temperature": math.nan}))
    share = settings.pop("kd_share", None)
    is_alike = all(math.isclose(row[name], value) for name, value in settings.items())
    if share is not None:
        is_alike = is_alike and math.isclose(row.kd_epochs, share * row.epochs, abs_tol=0.5)
    return row.method_kind if is_alike else ""


def _format_entry(entry: dict, row: pd.Series) -> str:
    """Return a published number with spread and source."""
    spread = f" ± {entry['sd']:g}" if entry["sd"] is not None else ""
    statistic = entry["statistic"]
    if entry["sd"] is not None:
        statistic = (
            f"mean ± sd over n - {entry['sd_ddof']}" if entry["sd_ddof"] else "mean ± sd over n"
        )
    source = f"{entry['source']}, {_load_file()['sure'][entry['sure']]}, {statistic}"
    if "inferred" in entry.get("note", ""):
        source += f"; {entry['note']}"
    if not _load_file()["methods"].get(entry["method"], True):
        source += ", as its authors set it"
    train_size = _load_file()["protocol"][entry["data"]]["train_size"]
    if not math.isnan(row.train_n) and row.train_n != train_size:
        source += f", on {train_size:,} training images"
    by_top1 = "" if row.get("metric", "top1") == "top1" else "top-1 "
    return f"{by_top1}{entry['error']:g}{spread} ({source})"


@functools.cache
def _load_file() -> dict:
    """Return the content of published.json."""
    return json.loads(
        resources.files("kdpipe.analysis").joinpath("published.json").read_text("utf-8")
    )
