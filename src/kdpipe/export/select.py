"""Choice of the exported run: one by name, or that of the recommendation, within a budget.

Choices are made on validation. Under a budget the files of the choice of every student compete, in
float32 and int8, each with its own validation error, size, and latency for one image on this
machine; of those within the budget the best on validation ships, the smaller one in a tie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kdpipe.analysis import recommendation
from kdpipe.analysis.dataframe import compute_top1_error
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.errors import KdpipeError
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.store import Store
from kdpipe.text import did_you_mean


@dataclass(frozen=True)
class ExportCandidate:
    """A run that may be exported, its record, and the recommendation that chose it, if one did."""

    run: Run
    record: dict
    answer: Recommendation | None


@dataclass(frozen=True)
class ExportBudget:
    """The limits of an export.

    Attributes
    ----------
    max_milliseconds : float or None
        Limit of the latency for one image.
    max_bytes : int or None
        Limit of the size of the file.
    """

    max_milliseconds: float | None = None
    max_bytes: int | None = None

    def __bool__(self) -> bool:
        """Return whether the budget limits anything."""
        return self.max_milliseconds is not None or self.max_bytes is not None

    def fits(self, size: int, milliseconds: float) -> bool:
        """Return whether a file of that size and latency is within the budget."""
        is_slow = self.max_milliseconds is not None and milliseconds > self.max_milliseconds
        return not is_slow and (self.max_bytes is None or size <= self.max_bytes)

    def __str__(self) -> str:
        """Describe the limits."""
        limits = (
            [f"one image within {self.max_milliseconds:g} ms"]
            if self.max_milliseconds is not None
            else []
        )
        limits += [f"at most {self.max_bytes:,} bytes"] if self.max_bytes is not None else []
        return " and ".join(limits)


@dataclass(frozen=True)
class ExportFile:
    """A file that may ship.

    Attributes
    ----------
    candidate_index : int
        The position of its candidate.
    file : str
        Its name.
    error : float
        On validation, in percentage points; nan where there is none.
    size : int
        In bytes.
    milliseconds : float
        Of one image.
    """

    candidate_index: int
    file: str
    error: float
    size: int
    milliseconds: float

    def __str__(self) -> str:
        """Describe error, size and latency."""
        return (
            f"validation error {self.error:.2f} %, {self.size:,} bytes, {self.milliseconds:.3g} ms "
            "for one image"
        )


def find_candidates(
    plan: Plan, store: Store, name: str | None, budget: ExportBudget
) -> list[ExportCandidate]:
    """Return the runs that may be exported.

    Parameters
    ----------
    plan : Plan
        The plan of the study.
    store : Store
        The results folder.
    name : str or None
        The name of a run, then the only candidate.
    budget : ExportBudget
        Without limits, only the best choice is a candidate.

    Returns
    -------
    list of ExportCandidate
        The best on validation first.

    Raises
    ------
    KdpipeError
        If there is no such run, or no recommendation.
    """
    frame, answers = recommendation.recommend_for_plan(plan, store)
    run_by_student = recommendation.select_runs_to_ship(frame, answers)
    by_run = {
        run_by_student[item.student]: item for item in answers if item.student in run_by_student
    }
    records = store.load_records("runs")
    if name is not None:
        if name not in plan.runs:
            raise KdpipeError(
                f"the study has no run {name!r}{did_you_mean(name, plan.runs)} (see kdpipe status, "
                "or the column run of results.csv)"
            )
        if name not in records:
            raise KdpipeError(f"run {name} has no record yet: run the study first")
        return [ExportCandidate(plan.runs[name], records[name], by_run.get(name))]
    if not by_run:
        reasons = "; ".join(f"{item.student}: {item.reason}" for item in answers if item.reason)
        raise KdpipeError(
            f"the study has no recommendation yet ({reasons or 'no student has been distilled'}): "
            "run it to its end, or give a run to export"
        )
    export_candidates = [
        ExportCandidate(plan.runs[run], records[run], item) for run, item in by_run.items()
    ]
    errors = {item.run.name: _validation_error(item, plan) for item in export_candidates}
    export_candidates.sort(key=lambda item: (errors[item.run.name], item.run.cost.multiply_adds))
    return export_candidates if budget else export_candidates[:1]


def select_within_budget(files: Sequence[ExportFile], budget: ExportBudget) -> ExportFile:
    """Return the best file within a budget.

    Raises
    ------
    KdpipeError
        If there is none; the message names the closest file.
    """
    fitting_files = [file for file in files if budget.fits(file.size, file.milliseconds)]
    if not fitting_files:
        nearest_file = min(
            files,
            key=lambda file: file.size if budget.max_milliseconds is None else file.milliseconds,
        )
        raise KdpipeError(
            f"nothing fits {budget}; the closest is {nearest_file.file}: {nearest_file}"
        )
    return min(fitting_files, key=lambda file: (_nan_to_inf(file.error), file.size))


def _nan_to_inf(error: float) -> float:
    """Return a sort key for an error, with nan last."""
    return error if error == error else float("inf")


def _validation_error(candidate: ExportCandidate, plan: Plan) -> float:
    """Return the validation error of a candidate."""
    evaluation = (candidate.record.get(plan.study.reading) or {}).get("val")
    error = compute_top1_error(evaluation)
    assert error is not None  # the error that the recommendation used
    return error
