"""Exported networks: what 8-bit integers cost in error and save in bytes and time."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_export_rows,
)
from kdpipe.report.table import (
    RenderedTable,
    build_table_data,
    describe_eval_point,
    estimate_difference,
    estimate_mean,
    render_table_data,
    summarize_cell,
)
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis

CAPTION = (
    "Top-1 test error in points of each network as a file, in float32 and in 8-bit integers "
    "(int8, ONNX Runtime, calibrated on training images); mean ± half of the 95 % t interval over "
    "n seeds. Differences are paired by seed, negative is better: int8 against float32 says what "
    "quantising costs, each of both against scratch in the same numbers says whether distilling "
    "survives it. kB is the size of the file, ms the median time of one image in one thread of "
    "{processor}. {cost}"
)
NAME, TITLE = "as_files", "Networks as files: float32 and int8"
EMPTY = pd.Series(dtype=float)
PATH_COLUMNS = ("teacher", "stop", "via", "generation", "method")
COLUMNS = (
    "network student teacher stop via generation method n float32 float32_vs_scratch int8 "
    "int8_vs_float32 int8_vs_scratch float32_kB int8_kB float32_ms int8_ms notes"
)


def render_export_table(
    frame: pd.DataFrame, smallest_effect: float, interim: InterimAnalysis = SINGLE_ANALYSIS
) -> RenderedTable | None:
    """Render a row for each exported network; None where the study exports none.

    Parameters
    ----------
    frame : DataFrame
        The results frame.
    smallest_effect : float
        In points; where int8 costs more, the row and the caption say so.
    interim : InterimAnalysis
        The interim analysis that the report shows.
    """
    measured = select_export_rows(frame)
    if not len(measured):
        return None
    rows = []
    for key, cells in group_rows(filter_rows(measured, kind=["scratch", "student"]), "student"):
        scratch = filter_rows(cells, kind="scratch")
        rows.append(key | {"network": "scratch"} | _summarize_files(scratch))
        for path, cell in group_rows(filter_rows(cells, kind="student"), *PATH_COLUMNS):
            rows.append(key | {"network": "student"} | path | _summarize_files(cell, scratch))
    for path, cell in group_rows(filter_rows(measured, kind="teacher"), "teacher", "stop"):
        rows.append({"network": "teacher"} | path | _summarize_files(cell))
    cost = _note_int8_cost(rows, smallest_effect)
    processors = sorted({name.removeprefix("cpu: ") for name in measured.device if name})
    caption = CAPTION.format(processor=" and ".join(processors) or "no machine yet", cost=cost)
    headings = {column: column.replace("_vs_", " against ") for column in COLUMNS.split()}
    grid = build_table_data(caption, rows, COLUMNS.removesuffix(" notes"), **headings)
    return render_table_data(NAME, TITLE, grid, interim, describe_eval_point(frame))


def _note_int8_cost(rows: list[dict], smallest_effect: float) -> str:
    """Note in each row that int8 costs more than the smallest effect; return how many it does."""
    harmed = [row for row in rows if row["int8_vs_float32"] > smallest_effect]
    for row in harmed:
        note = "int8 costs more than the smallest effect"
        row["notes"] = "; ".join(filter(None, (row["notes"], note)))
    size = f"more than the smallest effect of the study ({smallest_effect:g} points)"
    if not harmed:
        return f"In no row does int8 cost {size}."
    return (
        f"In {len(harmed)} of {len(rows)} rows, whose notes say so, int8 costs {size}: `kdpipe "
        "export --keep-float 1` leaves the layer in float32 that it harms most."
    )


def _summarize_files(cell: pd.DataFrame, scratch: pd.DataFrame | None = None) -> dict:
    """Return the numbers of one network in both formats, against the student's scratch runs."""
    float32, int8 = get_series_by_seed(cell, "own_error"), get_series_by_seed(cell)
    numbers = (
        summarize_cell(cell)
        | estimate_mean("float32", float32.to_dict())
        | estimate_mean("int8", int8.to_dict())
    )
    numbers |= estimate_difference("int8_vs_float32", int8.to_dict(), float32)
    if scratch is not None:
        scratch_float32 = get_series_by_seed(scratch, "own_error")
        numbers |= estimate_difference("float32_vs_scratch", float32.to_dict(), scratch_float32)
        numbers |= estimate_difference(
            "int8_vs_scratch", int8.to_dict(), get_series_by_seed(scratch)
        )
    done = filter_rows(cell, status="done")
    for kind in ("float32", "int8"):
        size, time = (done[f"{kind}_{unit}"] if len(done) else EMPTY for unit in ("bytes", "ms"))
        numbers |= {f"{kind}_kB": size.median() / 1000, f"{kind}_ms": time.median()}
    return numbers
