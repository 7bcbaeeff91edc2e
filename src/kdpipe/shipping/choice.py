"""What is exported: a run by its name, or the answer's choice, under a budget where one is given.

Choices are made on validation. Under a budget the files of every student's choice take part, in
float32 and in 8 bits, each with its own validation error, its size, and its time for one image on
this machine; of those that fit the best on validation is shipped, the smaller of equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kdpipe.errors import KdpipeError
from kdpipe.evidence.advice import shipped
from kdpipe.evidence.advice.answer import Answer
from kdpipe.evidence.lookup import error_of
from kdpipe.plan.items import Plan, Run
from kdpipe.results.store import Store
from kdpipe.wording import nearest


@dataclass(frozen=True)
class Candidate:
    """A run that may be shipped, its record, and the answer that chose it, if one did."""

    run: Run
    record: dict
    answer: Answer | None


@dataclass(frozen=True)
class Budget:
    """The most that one image may take, in milliseconds, and a file have, in bytes."""

    within: float | None = None
    at_most: int | None = None

    def __bool__(self) -> bool:
        return self.within is not None or self.at_most is not None

    def has_room(self, size: int, milliseconds: float) -> bool:
        """Whether a file of that size and time fits."""
        slow = self.within is not None and milliseconds > self.within
        return not slow and (self.at_most is None or size <= self.at_most)

    def __str__(self) -> str:
        said = [f"one image within {self.within:g} ms"] if self.within is not None else []
        said += [f"at most {self.at_most:,} bytes"] if self.at_most is not None else []
        return " and ".join(said)


@dataclass(frozen=True)
class Offer:
    """A file that could be shipped; `error` is on validation, nan where there is none."""

    place: int  # of its candidate
    file: str
    error: float
    size: int
    milliseconds: float

    def __str__(self) -> str:
        return (
            f"validation error {self.error:.2f} %, {self.size:,} bytes, {self.milliseconds:.3g} ms "
            "for one image"
        )


def candidates(plan: Plan, place: Store, name: str | None, budget: Budget) -> list[Candidate]:
    """The run of that name; without one those that the answers choose, the best of them alone
    where no budget is to be met.

    Raises KdpipeError if there is no such run, or no choice.
    """
    frame, answers = shipped.decided(plan, place)
    chosen = shipped.runs(frame, answers)
    by_run = {chosen[one.student]: one for one in answers if one.student in chosen}
    records = place.records("runs")
    if name is not None:
        if name not in plan.runs:
            raise KdpipeError(
                f"the study has no run {name!r}{nearest(name, plan.runs)} (kdpipe status and the "
                "column run of results.csv name them)"
            )
        if name not in records:
            raise KdpipeError(f"run {name} has no record yet: run the study first")
        return [Candidate(plan.runs[name], records[name], by_run.get(name))]
    if not by_run:
        why = "; ".join(f"{one.student}: {one.reason}" for one in answers if one.reason)
        raise KdpipeError(
            f"the study has no answer yet ({why or 'no student has been taught'}): run it to its "
            "end, or name a run to export"
        )
    found = [Candidate(plan.runs[run], records[run], one) for run, one in by_run.items()]
    errors = {one.run.name: _error(one, plan) for one in found}
    found.sort(key=lambda one: (errors[one.run.name], one.run.cost.multiply_adds))
    return found if budget else found[:1]


def fitting(offers: Sequence[Offer], budget: Budget) -> Offer:
    """The offer to ship. Raises KdpipeError, with the nearest of them, where none fits."""
    fit = [one for one in offers if budget.has_room(one.size, one.milliseconds)]
    if not fit:
        least = min(offers, key=lambda one: one.size if budget.within is None else one.milliseconds)
        raise KdpipeError(f"nothing fits {budget}; the nearest is {least.file}: {least}")
    return min(fit, key=lambda one: (_last_if_unknown(one.error), one.size))


def _last_if_unknown(error: float) -> float:
    return error if error == error else float("inf")


def _error(candidate: Candidate, plan: Plan) -> float:
    found = (candidate.record.get(plan.study.reading) or {}).get("val")
    error = error_of(found)
    assert error is not None  # it was chosen by it
    return error
