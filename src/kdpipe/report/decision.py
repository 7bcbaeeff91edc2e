"""The decision of a study as the last words of a run: what to do, and where what it takes lies."""

from pathlib import Path

from kdpipe.beforehand import registered
from kdpipe.evidence import answer, frames, reading
from kdpipe.evidence.answer import OPTION, Answer
from kdpipe.evidence.selections import tidy, where
from kdpipe.plan.items import Plan
from kdpipe.report.headline import headline
from kdpipe.results import readings, records
from kdpipe.results.store import Store

SHOWN = 2  # answers; the page has all


def lines(plan: Plan, place: Store, page: Path) -> list[str]:
    """What was found, the page, and the weights of the chosen student: its best on validation."""
    if (why := registered.sealed(plan, place)) is not None:
        return [f"sealed: {why}", f"page: {page}"]
    read_at = plan.study.reading
    frame = tidy(reading.at(frames.frame(plan, place), read_at))
    answers = answer.answers(frame, reading.Outcomes(plan, place, read_at).wrong)
    said = [headline(one) for one in answers[:SHOWN]]
    if len(answers) > SHOWN:
        said.append(f"{len(answers) - SHOWN} more students have an answer on the page.")
    said.append(f"page: {page}")
    if (weights := _weights(frame, answers, place)) is not None:
        said.append(f"weights: {weights}")
    return said


def _weights(frame, answers: list[Answer], place: Store) -> Path | None:
    """Of the first answer's option: the file of the seed that is best on validation."""
    chosen = next((one for one in answers if one.chosen), None)
    if chosen is None:
        return None
    rows = where(frame, kind="student", student=chosen.student, status="done")
    rows = where(rows, **{name: chosen.chosen[name] for name in OPTION})
    rows = rows.dropna(subset=["val_error"])
    if rows.empty:
        return None
    folder = place.run(rows.sort_values("val_error")["run"].iloc[0])
    record = records.finished(folder, None)
    path = readings.weights(folder, record, reading.of(frame)) if record else None
    return path if path and path.exists() else None
