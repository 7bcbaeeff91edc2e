"""The teacher that makes a student unnecessary: better on validation, and perhaps small enough.

In a search with a limit of latency it is known whether it is: its float32 file was measured. Else
only the reader knows, and is told what the teacher costs.
"""

from dataclasses import dataclass

import pandas as pd

from kdpipe.analysis import contest, recommendation
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
)
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.stats.intervals import Summary, summarize


@dataclass(frozen=True)
class TeacherToShip:
    """A teacher with a lower validation error than every student that ships or is best taught.

    Attributes
    ----------
    network, run : str
        The network, and its seed that is best on validation.
    test : Summary
        Its test errors.
    student : str
        The best of the students.
    operations : float
        For one image, as a multiple of what ships of that student.
    parameters : int
        Their number.
    milliseconds : float or None
        The measured latency of its float32 file for one image; None where it was not measured.
    limit : float or None
        The limit of the search in milliseconds.
    """

    network: str
    run: str
    test: Summary
    student: str
    operations: float
    parameters: int
    milliseconds: float | None = None
    limit: float | None = None


def find_teacher_to_ship(
    frame: pd.DataFrame, recommendations: list[Recommendation], limit: float | None = None
) -> TeacherToShip | None:
    """Find the cheapest larger teacher that validation prefers to every student.

    Parameters
    ----------
    frame : DataFrame
        The results frame at one evaluation point, not normalized.
    recommendations : list of Recommendation
        Those of the same frame.
    limit : float or None
        The limit of latency of a search in milliseconds, which the teacher has to keep.

    Returns
    -------
    TeacherToShip or None
        None where there is none, or nothing ships.
    """
    best = recommendation.find_best_recommendation(recommendations)
    if best is None or best.shipped is None:
        return None
    shipped = best.shipped.entrant
    lowest_error = min(
        candidate.entrant.validation.mean
        for item in recommendations
        for candidate in (item.shipped, item.taught)
        if candidate is not None
    )
    latencies = contest.measure_latencies(frame)
    teachers = filter_rows(normalize_frame(frame), kind="teacher", status="done")
    teachers = teachers.loc[teachers.stop_kind.isin(contest.WHOLE_STOPS)]
    better = []
    # A network that teaches in several ways is trained in several ways.
    for key, rows in group_rows(teachers, "teacher_network", "teacher", "method", "stop", "epochs"):
        rows, network = rows.drop_duplicates("run"), key["teacher_network"]
        multiply_adds = float(rows.multiply_adds.iloc[0])
        if multiply_adds <= shipped.multiply_adds:  # it competes with the students
            continue
        is_known = limit is None or latencies.get(network, float("inf")) <= limit
        if is_known and float(rows.val_error.mean()) < lowest_error:
            better.append((multiply_adds, network, rows))
    if not better:
        return None
    multiply_adds, network, rows = min(better, key=lambda item: item[:2])
    run = recommendation.select_best_run(rows)
    assert run is not None  # it has validation errors
    return TeacherToShip(
        network,
        run,
        summarize(get_series_by_seed(rows).astype(float)),
        best.student,
        multiply_adds / shipped.multiply_adds,
        int(rows.parameters.iloc[0]),
        latencies.get(network),
        limit,
    )
