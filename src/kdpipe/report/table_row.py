"""One row of a table in full: its unrounded numbers, and the runs and values behind each of them.

`kdpipe report STUDY --row TABLE NUMBER` prints it, so that a number of a page can be computed again
from the records.
"""

import math
from collections.abc import Mapping, Sequence

from kdpipe.errors import KdpipeError
from kdpipe.report.table import HEADINGS, VALUE_FORMATTERS, RenderedTable
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ErrorWithProvenance


def describe_row(tables: Sequence[RenderedTable], name: str, number: str, records: str) -> str:
    """Describe a row of a table: each number with its interval, and what it is the mean of.

    Parameters
    ----------
    tables : sequence of RenderedTable
        The tables of the report.
    name : str
        The name of the table.
    number : str
        The number of the row, counted from 1 as in the CSV of the table.
    records : str
        Where the records of the runs are.

    Raises
    ------
    KdpipeError
        If the report has no such table, or the table no such row.
    """
    by_name = {table.name: table for table in tables}
    if name not in by_name:
        known = ", ".join(sorted(by_name)) or "none"
        raise KdpipeError(f"--row {name}: the report has no such table; its tables are {known}")
    table = by_name[name]
    if not (number.isdecimal() and 1 <= int(number) <= len(table.data)):
        raise KdpipeError(
            f"--row {name} {number}: the table has the rows 1 to {len(table.data)}, in the order "
            f"of tables/{name}.csv"
        )
    row = table.data.to_dict("records")[int(number) - 1]
    values = table.values[int(number) - 1] if table.values else {}
    lines = [f"{table.title}, row {number} ({name})"]
    lines += [f"{_get_heading(key)}: {text}" for key, text in _list_fields(row, values).items()]
    own_runs = _find_own_runs(values.get("error", {}))
    for column, by_seed in values.items():
        lines += ["", *_describe_number(row, column, by_seed, own_runs)]
    if values:
        lines += ["", f"The records of these runs are in {records}."]
        lines += ["The caption of the table gives the level of its intervals."]
    else:
        lines += ["", "This table keeps no values by seed."]
    return "\n".join(lines)


def _list_fields(row: Mapping, values: Mapping) -> dict[str, str]:
    """Return the fields of a row that neither are nor describe a mean over seeds, as texts."""
    described = (*values, *(f"{column}_" for column in values))
    fields = {}
    for key, value in row.items():
        if value is None or value == "" or value != value or key.startswith(described):
            continue
        is_text = isinstance(value, str)
        fields[key] = VALUE_FORMATTERS.get(key, str)(value) if is_text else f"{value:.10g}"
    return fields


def _get_heading(column: str) -> str:
    """Return the heading of a column, as tables have it."""
    return HEADINGS.get(column, column.replace("_", " "))


def _find_own_runs(errors: Mapping[float, float]) -> dict[float, str]:
    """Return the run of each seed of a cell, from its errors."""
    return {
        seed: str(next(iter(error.parts)))
        for seed, error in errors.items()
        if isinstance(error, ErrorWithProvenance) and list(error.parts.values()) == [1.0]
    }


def _describe_number(
    row: Mapping, column: str, by_seed: Mapping[float, float], own_runs: Mapping[float, str]
) -> list[str]:
    """Return a number with its interval and mark, and below it the values by seed."""
    heading = _get_heading(column)
    mean, low, high = (row.get(f"{column}{end}", math.nan) for end in ("", "_low", "_high"))
    line = f"{heading}: {mean:.10g}" if by_seed else f"{heading}: no run has it"
    if low == low:  # not nan
        line += f", interval {low:.10g} to {high:.10g}"
    if mark := row.get(f"{column}_mark"):
        line += f", {mark}"
    has_splits = replicates.has_several_splits(by_seed)
    lines = [line]
    for seed, value in by_seed.items():
        label = f"seed {replicates.get_seeds([seed])[0]:.0f}"
        if has_splits:
            label += f", split {replicates.get_splits([seed])[0]:.0f}"
        source = _describe_source(value) or own_runs.get(seed, "")
        lines.append(f"  {label}: {float(value):.10g}" + (f" = {source}" if source else ""))
    return lines


def _describe_source(value: float) -> str:
    """Return the runs that a value is computed from, with their weights; empty if unknown."""
    if not isinstance(value, ErrorWithProvenance):
        return ""
    terms = []
    for part, weight in value.parts.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):.4g} x "
        sign = "- " if weight < 0 else "+ "
        terms.append(f"{sign}{size}{part}")
    if value.constant:
        terms.append(f"{'-' if value.constant < 0 else '+'} {abs(value.constant):.10g}")
    return " ".join(terms).removeprefix("+ ")
