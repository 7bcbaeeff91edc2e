"""What the budget of a search pays for: epochs of students, and hours of jobs.

Hours are those that the records of the search say, and of what is not trained yet those that they
let expect: a price by multiply-adds, corrected for each network by what its runs took. The first
round of a search with hours is what makes them known. A teacher of two students counts for each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from kdpipe.plan.cost import price as cost
from kdpipe.plan.items import Plan, Run, Table
from kdpipe.search import rule
from kdpipe.search.candidates import Candidate
from kdpipe.study.blocks import Search

Job = Run | Table
Jobs = dict[str, Job]  # by name
Price = Callable[[Job], float]


class Limit(NamedTuple):
    """So much may be spent on the cells of one student; `price` is a job's part of it."""

    most: float
    price: Price

    def of(self, jobs: Mapping[str, Job]) -> float:
        return sum(map(self.price, jobs.values()))


def limits(search: Search, students: int, hours: Price | None, gone: Jobs) -> list[Limit]:
    """What limits each of so many students.

    hours: of a job; None where nothing that was trained says what one takes, which pays for none.
    gone: what was made for students that do not compete.
    """
    found = []
    if search.student_epochs is not None:
        found.append(Limit(search.student_epochs / students, _epochs))
    if search.hours is not None:
        price = hours or _unknown
        left = search.hours - sum(map(price, gone.values()))
        found.append(Limit(left / students, price))
    return found


def hours(plan: Plan, records: Mapping[str, dict]) -> Price | None:
    """What prices a job in hours, by the records of runs; None where these say nothing."""
    expected = cost.Price(plan, records=records, start=0.0)
    if not expected.known:
        return None

    def price(job: Job) -> float:
        took = records.get(job.name, {}).get("seconds", {}).get("total")
        return (expected.of(job) if took is None else took) / 3600

    return price


def jobs(runs: Iterable[Run]) -> Jobs:
    """What is made for these runs: themselves, all that they learn from, and its tables."""
    found: Jobs = {}
    left = list(runs)
    while left:
        run = left.pop()
        if run.name not in found:
            found[run.name] = run
            found |= {table.name: table for table in run.tables}
            left += run.parents
    return found


def affordable(
    limits: list[Limit],
    ones: list[Candidate],
    rivals: list[Candidate],
    spent: Jobs,
    seeds: list[int],
    fresh: list[Run],
) -> list[Candidate]:
    """As many of these, from the first, as the budget pays for at the first of these seeds.

    What the winner takes with fresh seeds is set aside first, and what the rule will ask for of the
    seeds after this one, as if the dearest of them and their rivals went on. rivals: who competes
    already and has this seed; spent: what was made so far; fresh: the scratch runs of fresh seeds.
    """
    if not limits:
        return ones
    spent, paid = dict(spent), []
    so_far = [limit.of(spent) for limit in limits]
    shares = [_shares(limit, [*rivals, *ones], seeds[0]) for limit in limits]
    kept_back = [sum(map(limit.price, fresh)) for limit in limits]
    for one in ones:
        new = jobs([one.cells[seeds[0]].run])
        new = {name: job for name, job in new.items() if name not in spent}
        after = [total + limit.of(new) for total, limit in zip(so_far, limits, strict=True)]
        there = [*rivals, *paid, one]
        left = list(_counts(len(there), len(seeds) - 1)) + [1] * len(fresh)
        least = [
            total + back + _ahead([share[each] for each in there], left)
            for total, back, share in zip(after, kept_back, shares, strict=True)
        ]
        if all(cost <= limit.most for cost, limit in zip(least, limits, strict=True)):
            spent, so_far, paid = spent | new, after, [*paid, one]
    return paid


def cheapest(limits: list[Limit], ones: list[Candidate], seed: int) -> Candidate:
    """Who takes the least with a seed, by the last limit: hours, where they are limited."""
    return min(ones, key=lambda one: limits[-1].of(jobs([one.cells[seed].run])))


class _Share(NamedTuple):
    """What a candidate takes with a seed: its students, who teaches them, and who that is."""

    own: float
    head: float
    teacher: tuple[str, ...]  # names of runs


def _shares(limit: Limit, ones: list[Candidate], seed: int) -> dict[Candidate, _Share]:
    found = {}
    for one in dict.fromkeys(ones):
        cell = one.cells[seed]
        whole = limit.of(jobs([cell.run]))
        own = sum(map(limit.price, one.students([seed]).values()))
        head = whole - own if math.isfinite(own) else math.inf
        found[one] = _Share(own, head, tuple(run.name for run, _ in cell.teacher.members))
    return found


def _ahead(shares: list[_Share], left: list[int]) -> float:
    """What seeds to come take at the most, by how many cells go on; teachers are trained once."""
    own = max(share.own for share in shares)
    head = max(share.head for share in shares)
    teachers = len({share.teacher for share in shares})
    return sum(own * count + head * min(count, teachers) for count in left)


def _counts(cells: int, seeds: int) -> Iterator[int]:
    """How many go on with each of so many seeds; the last one needs no more of them."""
    for _ in range(seeds):
        if (cells := rule.going_on(cells)) == 1:
            return
        yield cells


def _unknown(job: Job) -> float:
    return math.inf


def _epochs(job: Job) -> float:
    return job.epochs if isinstance(job, Run) and job.spec["teacher"] is not None else 0
