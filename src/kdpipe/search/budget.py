"""What the budget of a search pays for: epochs of students, and hours of jobs.

Hours are those that the records of the search say, and of what is not trained yet those that they
let expect: a price by multiply-adds, corrected for each network by what its runs took. Before the
first round nothing is known, and hours limit nothing.
"""

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


def limits(search: Search, students: int, hours: Price | None) -> list[Limit]:
    """What limits each of so many students. hours: of a job, where any are known."""
    found = []
    if search.student_epochs is not None:
        found.append(Limit(search.student_epochs / students, _epochs))
    if search.hours is not None and hours is not None:
        found.append(Limit(search.hours / students, hours))
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
    beside: int = 0,
) -> list[Candidate]:
    """As many of these, from the first, as the budget pays for at the first of these seeds.

    What the winner takes with fresh seeds is set aside first, and what the rule will ask for of the
    seeds after this one, as if the dearest of them and their rivals went on. spent: what was made
    so far; fresh: the scratch runs of fresh seeds; beside: how many compete already that have this
    seed.
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
        left = list(_counts(beside + len(paid) + 1, len(seeds) - 1)) + [1] * len(fresh)
        least = [
            total + back + _ahead(share, [*rivals, one], left)
            for total, back, share in zip(after, kept_back, shares, strict=True)
        ]
        if all(cost <= limit.most for cost, limit in zip(least, limits, strict=True)):
            spent, so_far, paid = spent | new, after, [*paid, one]
    return paid


def _shares(
    limit: Limit, ones: list[Candidate], seed: int
) -> dict[Candidate, tuple[float, float, str]]:
    """What a candidate takes with a seed: its students, who teaches them, and that one's name."""
    found = {}
    for one in dict.fromkeys(ones):
        whole = limit.of(jobs([one.cells[seed].run]))
        own = sum(map(limit.price, one.students([seed]).values()))
        found[one] = own, whole - own, one.option.teacher
    return found


def _ahead(
    shares: Mapping[Candidate, tuple[float, float, str]], ones: list[Candidate], left: list[int]
) -> float:
    """What seeds to come take at the most, by how many cells go on; teachers are trained once."""
    own = max(shares[one][0] for one in ones)
    head = max(shares[one][1] for one in ones)
    teachers = len({shares[one][2] for one in ones})
    return sum(own * count + head * min(count, teachers) for count in left)


def _counts(cells: int, seeds: int) -> Iterator[int]:
    """How many go on with each of so many seeds; the last one needs no more of them."""
    for _ in range(seeds):
        if (cells := rule.going_on(cells)) == 1:
            return
        yield cells


def _epochs(job: Job) -> float:
    return job.epochs if isinstance(job, Run) and job.spec["teacher"] is not None else 0
