"""How sure a search is of its winner: all cells were not seen, and few of them often.

The confidence is that of a model in which cells share what is known of their teachers
(statistics.beliefs); it is about the mean error on the study's validation images, over seeds.
benchmarks/search.md says how often it was true in studies of known truth.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from kdpipe.search import budget
from kdpipe.search.candidates import Option
from kdpipe.search.searched import Searched
from kdpipe.statistics import beliefs

HARDEST = 2  # cells between which more seeds would tell


@dataclass(frozen=True)
class More:
    """What more seeds of some cells would bring."""

    options: tuple[Option, ...]
    seeds: int
    student_epochs: int
    within: float
    hours: float | None = None  # of their jobs, each counted apart, teachers included


@dataclass(frozen=True)
class Doubt:
    """Of one student. Without `within` too little was seen to say how sure the choice is."""

    student: str
    chosen: Option
    within: float | None = None  # points of the best of all, with a chance of beliefs.SURE
    first: dict[Option, float] = field(default_factory=dict)  # chance to be the best of all
    close: dict[Option, float] = field(default_factory=dict)  # to be within the smallest effect
    more: More | None = None
    lost: bool = False  # every cell that competed has no validation error: it diverged


def of(searched: Searched, smallest_effect: float) -> list[Doubt]:
    """For each student that has a winner."""
    return [_of(searched, student, smallest_effect) for student in searched.winners]


def _of(searched: Searched, student: str, smallest_effect: float) -> Doubt:
    everyone = [one.option for one in searched.competing[student]]
    lost = {o for o in everyone if math.inf in searched.errors.get(o, {}).values()}
    options = [option for option in everyone if option not in lost]
    chosen = searched.winners[student]
    if chosen in lost:
        return Doubt(student, chosen, lost=True)
    seeds = sorted({seed for seen in searched.errors.values() for seed in seen})
    errors = np.full((len(options), len(seeds)), math.nan)
    for i, option in enumerate(options):
        for seed, error in searched.errors.get(option, {}).items():
            errors[i, seeds.index(seed)] = error
    stops = list(dict.fromkeys((option.teacher, option.stop) for option in options))
    teachers = [stops.index((option.teacher, option.stop)) for option in options]
    known = [searched.nll.get(stops[teacher], math.nan) for teacher in teachers]
    known = [nll if math.isfinite(nll) else math.nan for nll in known]
    belief = beliefs.believe(errors, teachers, np.log(known))
    if belief is None:
        return Doubt(student, chosen)
    draws = belief.draws()
    lowest = draws.min(axis=1)
    first = (draws == lowest[:, None]).mean(axis=0)
    close = (draws - lowest[:, None] <= smallest_effect).mean(axis=0)
    hardest = [int(i) for i in np.argsort(-first, kind="stable")[:HARDEST]]
    count = len(seeds)
    by_option = {one.option: one for one in searched.competing[student]}
    ones = [by_option[options[i]] for i in hardest]
    price = sum(one.price(min(one.cells)) for one in ones)
    new = budget.jobs(one.cells[min(one.cells)].run for one in ones)
    more = More(
        tuple(options[i] for i in hardest),
        count,
        price * count,
        belief.after(hardest, count),
        sum(map(searched.price, new.values())) * count if searched.price else None,
    )
    return Doubt(
        student,
        chosen,
        belief.within(options.index(chosen), draws),
        dict.fromkeys(lost, 0.0) | dict(zip(options, map(float, first), strict=True)),
        dict.fromkeys(lost, 0.0) | dict(zip(options, map(float, close), strict=True)),
        more,
    )
