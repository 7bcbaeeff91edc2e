"""Which run to ship: of each student's answer the seed that is best on validation."""

import pandas as pd

from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.advice import answer
from kdpipe.evidence.advice.answer import OPTION, Answer
from kdpipe.evidence.selections import tidy, where
from kdpipe.plan.items import Plan
from kdpipe.results.store import Store


def decided(plan: Plan, place: Store) -> tuple[pd.DataFrame, list[Answer]]:
    """The tidy frame in the reading of the study, and the answers from it."""
    read_at = plan.study.reading
    frame = tidy(reading.at(frames.frame(plan, place), read_at))
    wrong = reading.Outcomes(plan, place, read_at).wrong
    return frame, answer.answers(frame, wrong, claim.look_of(plan.study))


def runs(frame: pd.DataFrame, answers: list[Answer]) -> dict[str, str]:
    """By student the name of the run to ship.

    Where too few seeds leave open whether to teach at all, it is a taught student.
    frame: tidy, in the reading of the study.
    """
    found = {}
    for one in answers:
        if not one.chosen:
            continue
        kind = one.ships or "student"
        rows = where(frame, kind=kind, student=one.student, status="done")
        if kind == "student":
            rows = where(rows, **{name: one.chosen[name] for name in OPTION})
        rows = rows.dropna(subset=["val_error"])
        if not rows.empty:
            found[one.student] = rows.sort_values("val_error", kind="stable")["run"].iloc[0]
    return found
