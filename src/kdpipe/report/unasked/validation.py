"""What a report shows of a registered study before its look is reached: validation alone."""

import pandas as pd

from kdpipe.evidence import claim
from kdpipe.evidence.advice.answer import Answer
from kdpipe.evidence.selections import by_seed, groups, tidy
from kdpipe.evidence.verdicts import Verdict
from kdpipe.report.rows import estimate
from kdpipe.report.table import Sheet, made, said_of, sheet

CAPTION = (
    "Top-1 validation error in points; mean ± half of the 95 % t interval "
    "over n seeds. Of test nothing is shown until the look is reached."
)
KEYS = (
    *("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble"),
    "epochs",  # of scratch runs of several lengths
)


def untested(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without anything that test images say."""
    return frame.drop(
        columns=[name for name in frame if "test" in str(name) or name == "own_error"]
    )


def verdicts(why: str, primary: list[str] | None) -> list[Verdict]:
    """No claim is judged."""
    return [
        Verdict(
            key, one.title, one.primary if primary is None else key in primary, "not tested", why
        )
        for key, one in claim.claims().items()
    ]


def answers(frame: pd.DataFrame, why: str) -> list[Answer]:
    """No student has an answer."""
    taught = frame.loc[frame.kind == "student"]
    return [Answer(student, 0, why) for student in dict.fromkeys(taught.student)]


def table(frame: pd.DataFrame) -> Sheet:
    """One row for each cell of the study."""
    rows = []
    for key, cell in groups(tidy(frame), *KEYS):
        errors = by_seed(cell, "val_error")
        rows.append(key | {"n": len(errors), **estimate("val_error", errors.to_dict())})
    columns = " ".join([*KEYS, "n", "val_error"])
    return sheet("validation", "Validation", made(CAPTION, rows, columns), said=said_of(frame))
