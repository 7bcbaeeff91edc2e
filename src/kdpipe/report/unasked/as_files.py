"""Networks as files that ship: what 8-bit integers cost in error and save in bytes and time."""

import pandas as pd

from kdpipe.evidence.selections import as_files, by_seed, groups, where
from kdpipe.report.rows import difference, estimate, row
from kdpipe.report.table import Sheet, made, said_of, sheet
from kdpipe.statistics.looks import ONLY, Look

CAPTION = (
    "Top-1 test error in points of each network as a file, in float32 and in 8-bit integers "
    "(int8, ONNX Runtime, calibrated on training images); mean ± half of the 95 % t interval over "
    "n seeds. Differences are paired by seed, negative is better: int8 against float32 says what "
    "quantising costs, each of both against scratch in the same numbers says whether distilling "
    "survives it. kB is the size of the file, ms the median time of one image on {processor}."
)
NAME, TITLE = "as_files", "Networks as files: float32 and int8"
NONE = pd.Series(dtype=float)
PATH = ("teacher", "stop", "via", "generation", "method")
COLUMNS = (
    "network student teacher stop via generation method n float32 float32_vs_scratch int8 "
    "int8_vs_float32 int8_vs_scratch float32_kB int8_kB float32_ms int8_ms notes"
)


def found(frame: pd.DataFrame, look: Look = ONLY) -> Sheet | None:
    """One row for each network that was measured; None where none was asked for."""
    measured = as_files(frame)
    if not len(measured):
        return None
    rows = []
    for key, cells in groups(where(measured, kind=["scratch", "student"]), "student"):
        alone = where(cells, kind="scratch")
        rows.append(key | {"network": "scratch"} | _row(alone))
        for path, cell in groups(where(cells, kind="student"), *PATH):
            rows.append(key | {"network": "student"} | path | _row(cell, alone))
    for path, cell in groups(where(measured, kind="teacher"), "teacher", "stop"):
        rows.append({"network": "teacher"} | path | _row(cell))
    processors = sorted({name.removeprefix("cpu: ") for name in measured.device if name})
    caption = CAPTION.format(processor=" and ".join(processors) or "no machine yet")
    headings = {column: column.replace("_vs_", " against ") for column in COLUMNS.split()}
    grid = made(caption, rows, COLUMNS.removesuffix(" notes"), **headings)
    return sheet(NAME, TITLE, grid, look, said_of(frame))


def _row(cell: pd.DataFrame, scratch: pd.DataFrame | None = None) -> dict:
    """The numbers of one network in both; `scratch`: the student's on labels alone."""
    exact, rough = by_seed(cell, "own_error"), by_seed(cell)
    numbers = row(cell) | estimate("float32", exact.to_dict()) | estimate("int8", rough.to_dict())
    numbers |= difference("int8_vs_float32", rough.to_dict(), exact)
    if scratch is not None:
        alone = by_seed(scratch, "own_error")
        numbers |= difference("float32_vs_scratch", exact.to_dict(), alone)
        numbers |= difference("int8_vs_scratch", rough.to_dict(), by_seed(scratch))
    known = where(cell, status="done")
    for kind in ("float32", "int8"):
        size, time = (known[f"{kind}_{unit}"] if len(known) else NONE for unit in ("bytes", "ms"))
        numbers |= {f"{kind}_kB": size.median() / 1000, f"{kind}_ms": time.median()}
    return numbers
