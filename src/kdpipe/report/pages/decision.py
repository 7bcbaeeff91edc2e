"""The decision of a study as the last words of a run: what to ship, and where it lies."""

from pathlib import Path

import pandas as pd

from kdpipe.beforehand import registered
from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.advice import answer
from kdpipe.evidence.advice.answer import OPTION, Answer
from kdpipe.evidence.selections import tidy, where
from kdpipe.plan.items import Plan
from kdpipe.report.pages.headline import headline
from kdpipe.results import readings
from kdpipe.results.store import Store

SHOWN = 2  # answers; the page has all


def lines(plan: Plan, place: Store, page: Path) -> list[str]:
    """What was found, the page, and the weights of each student to ship."""
    if (why := registered.sealed(plan, place)) is not None:
        return [f"sealed: {why}", f"page: {page}"]
    read_at = plan.study.reading
    frame = tidy(reading.at(frames.frame(plan, place), read_at))
    answers = answer.answers(
        frame, reading.Outcomes(plan, place, read_at).wrong, claim.look_of(plan.study)
    )
    said = [headline(one) for one in answers[:SHOWN]]
    if len(answers) > SHOWN:
        said.append(f"{len(answers) - SHOWN} more students have an answer on the page.")
    said.append(f"page: {page}")
    shipped = weights(frame, answers, place.records("runs"))
    there = {student: place.root / path for student, path in shipped.items()}
    there = {student: path for student, path in there.items() if path.exists()}
    for student, path in there.items():
        said.append(f"weights{f' of {student}' if len(shipped) > 1 else ''}: {path}")
    return said


def weights(frame: pd.DataFrame, answers: list[Answer], records: dict[str, dict]) -> dict[str, str]:
    """By student the file of what to ship, within the results: of the seed best on validation.

    Where too few seeds leave that open it is the taught student's.
    frame: tidy, in the reading of the study; records: of the runs, by name.
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
        if rows.empty:
            continue
        name = rows.sort_values("val_error", kind="stable")["run"].iloc[0]
        path = readings.weights(Path("runs") / name, records[name], reading.of(frame))
        if path is not None:
            found[one.student] = str(path)
    return found
