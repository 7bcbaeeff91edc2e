"""The decision of a study as the last words of a run: what to ship, and where it lies."""

from pathlib import Path

import pandas as pd

from kdpipe.beforehand import registered
from kdpipe.evidence import reading
from kdpipe.evidence.advice import shipped
from kdpipe.evidence.advice.answer import Answer
from kdpipe.plan.items import Plan
from kdpipe.report.pages.headline import headline
from kdpipe.report.unasked import searched
from kdpipe.results import readings
from kdpipe.results.store import Store
from kdpipe.search import doubt, due

SHOWN = 2  # answers; the page has all


def lines(
    plan: Plan, place: Store, page: Path, export: str = "kdpipe export STUDY --best"
) -> list[str]:
    """What was found, the page, and the weights of each student to ship.

    export: the command that exports what the study chose.
    """
    if (why := registered.sealed(plan, place)) is not None:
        return [f"sealed: {why}", f"page: {page}"]
    frame, answers = shipped.decided(plan, place)
    said = [headline(one) for one in answers[:SHOWN]]
    if (search := due.of(plan.study, place)) is not None:
        said += searched.sentences(search, doubt.of(search, plan.study.smallest_effect))
    if len(answers) > SHOWN:
        said.append(f"{len(answers) - SHOWN} more students have an answer on the page.")
    said.append(f"page: {page}")
    known = weights(frame, answers, place.records("runs"))
    there = {student: place.root / path for student, path in known.items()}
    there = {student: path for student, path in there.items() if path.exists()}
    for student, path in there.items():
        said.append(f"weights{f' of {student}' if len(known) > 1 else ''}: {path}")
    if there:
        said.append(f"files to ship: {export}")
    return said


def weights(frame: pd.DataFrame, answers: list[Answer], records: dict[str, dict]) -> dict[str, str]:
    """By student the file of what to ship, within the results.

    frame: tidy, in the reading of the study; records: of the runs, by name.
    """
    found = {}
    for student, name in shipped.runs(frame, answers).items():
        path = readings.weights(Path("runs") / name, records[name], reading.of(frame))
        if path is not None:
            found[student] = str(path)
    return found
