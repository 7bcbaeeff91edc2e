"""Top-1 beside the metric that decides, for a study whose metric is another one."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    TRAINED_KINDS,
    filter_rows,
    get_metric,
    get_series_by_seed,
    group_rows,
    normalize_frame,
)
from kdpipe.report.table import (
    RenderedTable,
    build_table_data,
    describe_eval_point,
    estimate_mean,
    render_table_data,
)
from kdpipe.runs.decision_metric import METRIC_TEXT

CAPTION = (
    "Test errors in points of each way of training, by {metric} (100 minus it), which decides, and "
    "top-1; mean ± half of the 95 % t interval over n seeds. Nothing is chosen or judged by top-1."
)
CELL_KEYS = (
    *("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble"),
    "epochs",  # of scratch runs of several lengths
)


def render_top1_table(frame: pd.DataFrame) -> RenderedTable | None:
    """Render a row for each cell of the study; None where the metric is top-1."""
    metric = get_metric(frame)
    if metric == "top1" or "test_top1_error" not in frame:
        return None
    rows = []
    trained = filter_rows(normalize_frame(frame), kind=[*TRAINED_KINDS])
    for key, cell in group_rows(trained, *CELL_KEYS):
        errors = get_series_by_seed(cell)
        top1_errors = get_series_by_seed(cell, "test_top1_error")
        rows.append(
            key
            | {"n": len(errors)}
            | estimate_mean("error", errors.to_dict())
            | estimate_mean("top1_error", top1_errors.to_dict())
        )
    data = build_table_data(
        CAPTION.format(metric=METRIC_TEXT[metric]),
        rows,
        " ".join([*CELL_KEYS, "n", "error", "top1_error"]),
        top1_error="top-1 error",
    )
    note = describe_eval_point(frame)
    return render_table_data("top1", "Top-1 beside the metric", data, eval_point_note=note)
