"""What a report shows of a registered study before its interim analysis is due: validation only."""

import pandas as pd

from kdpipe.analysis import claim
from kdpipe.analysis.claim import Finding, UntestableClaim, Verdict
from kdpipe.analysis.dataframe import get_metric, get_series_by_seed, group_rows, normalize_frame
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.report.table import (
    RenderedTable,
    build_table_data,
    describe_eval_point,
    estimate_mean,
    render_table_data,
)
from kdpipe.runs.decision_metric import name_error

CAPTION = (
    "Top-1 validation error in points; mean ± half of the 95 % t interval "
    "over n seeds. No test result is shown until the look is reached."
)
CELL_KEYS = (
    *("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble"),
    "epochs",  # of scratch runs of several lengths
)


def blind_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a results frame without its test numbers."""
    return frame.drop(
        columns=[name for name in frame if "test" in str(name) or name == "own_error"]
    )


def make_blind_verdicts(
    reason: str, primary: list[str] | None, listed: list[str] | None = None
) -> list[Verdict]:
    """Return every claim as not tested; `primary` and `listed` as in `claim.judge_claims`."""
    findings: dict[str, tuple[str, bool, Finding | UntestableClaim]] = {
        key: (spec.title, spec.primary, UntestableClaim(reason))
        for key, spec in claim.load_claims().items()
    }
    return claim.judge_findings(findings, primary, listed=listed)


def make_blind_recommendations(frame: pd.DataFrame, reason: str) -> list[Recommendation]:
    """Return no recommendation for any student."""
    taught = frame.loc[frame.kind == "student"]
    return [Recommendation(student, 0, reason) for student in dict.fromkeys(taught.student)]


def render_validation_table(frame: pd.DataFrame) -> RenderedTable:
    """Render a row for each cell of the study."""
    rows = []
    for key, cell in group_rows(normalize_frame(frame), *CELL_KEYS):
        errors = get_series_by_seed(cell, "val_error")
        rows.append(key | {"n": len(errors), **estimate_mean("val_error", errors.to_dict())})
    columns = " ".join([*CELL_KEYS, "n", "val_error"])
    return render_table_data(
        "validation",
        "Validation",
        build_table_data(name_error(CAPTION, get_metric(frame)), rows, columns),
        eval_point_note=describe_eval_point(frame),
    )
