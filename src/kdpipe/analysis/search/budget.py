"""The budget of a search: epochs of students, and hours of jobs.

Hours are those in the records of the search; of what is not trained yet they are estimated from
multiply-adds, corrected for each network by what its runs took. So hours are known after the first
round of a search. A teacher of two students counts for each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from kdpipe.analysis.search import elimination_rule
from kdpipe.analysis.search.search_space import Arm
from kdpipe.config.schema import SearchConfig
from kdpipe.plan.estimate import CostModel
from kdpipe.plan.nodes import LogitCache, Plan, Run

Job = Run | LogitCache
Jobs = dict[str, Job]  # by name
JobPrice = Callable[[Job], float]


class Limit(NamedTuple):
    """A maximum for the cells of one student; `price` is a job's part of it."""

    maximum: float
    price: JobPrice

    def sum_prices(self, jobs: Mapping[str, Job]) -> float:
        """Return the sum of the prices of jobs.

        Parameters
        ----------
        jobs : mapping of str to Job
            Jobs by name.

        Returns
        -------
        float
            In the unit of the limit.
        """
        return sum(map(self.price, jobs.values()))


def make_limits(
    search: SearchConfig, students: int, hours: JobPrice | None, excluded_jobs: Jobs
) -> list[Limit]:
    """Return what limits each of several students.

    Parameters
    ----------
    search : SearchConfig
        The search.
    students : int
        Number of students that share the budget.
    hours : callable or None
        Returns the hours of a job; None if no finished run says what one takes, so that nothing is
        affordable.
    excluded_jobs : dict of str to Job
        What was trained for students that do not compete.

    Returns
    -------
    list of Limit
        Epochs, then hours, as far as they are limited.
    """
    limits = []
    if search.student_epochs is not None:
        limits.append(Limit(search.student_epochs / students, _count_student_epochs))
    if search.hours is not None:
        price = hours or _price_unknown
        remaining = search.hours - sum(map(price, excluded_jobs.values()))
        limits.append(Limit(remaining / students, price))
    return limits


def make_hour_price(plan: Plan, records: Mapping[str, dict]) -> JobPrice | None:
    """Return a function that gives the hours of a job, by the records of runs.

    Parameters
    ----------
    plan : Plan
        The plan.
    records : mapping of str to dict
        Records of its runs, by name.

    Returns
    -------
    callable or None
        None if the records say nothing.
    """
    cost_model = CostModel(plan, records=records, start=0.0)
    if not cost_model.is_known:
        return None

    def price(job: Job) -> float:
        seconds = records.get(job.name, {}).get("seconds", {}).get("total")
        return (cost_model.estimate_seconds(job) if seconds is None else seconds) / 3600

    return price


def collect_jobs(runs: Iterable[Run]) -> Jobs:
    """Return the jobs of runs: themselves, all that they learn from, and its logit caches.

    Parameters
    ----------
    runs : iterable of Run
        Runs of a plan.

    Returns
    -------
    dict of str to Job
        Jobs by name.
    """
    jobs: Jobs = {}
    queue = list(runs)
    while queue:
        run = queue.pop()
        if run.name not in jobs:
            jobs[run.name] = run
            jobs |= {cache.name: cache for cache in run.logit_caches}
            queue += run.parents
    return jobs


def select_affordable(
    limits: list[Limit],
    arms: list[Arm],
    rivals: list[Arm],
    spent: Jobs,
    seeds: list[int],
    fresh_runs: list[Run],
) -> list[Arm]:
    """Select as many arms, from the first, as the budget pays for at the first of some seeds.

    What the winner takes with fresh seeds is reserved first, and what the rule will request at the
    later seeds, as if the most expensive of the arms and their rivals went on.

    Parameters
    ----------
    limits : list of Limit
        Limits of the student; without any all arms are affordable.
    arms : list of Arm
        Arms in the order in which they are selected.
    rivals : list of Arm
        Arms that compete already and have this seed.
    spent : dict of str to Job
        What has been trained so far.
    seeds : list of int
        The seed that is due, and those after it.
    fresh_runs : list of Run
        Scratch runs of the fresh seeds.

    Returns
    -------
    list of Arm
        The affordable arms.
    """
    if not limits:
        return arms
    spent, selected = dict(spent), []
    totals = [limit.sum_prices(spent) for limit in limits]
    arm_costs = [_compute_arm_costs(limit, [*rivals, *arms], seeds[0]) for limit in limits]
    reserves = [sum(map(limit.price, fresh_runs)) for limit in limits]
    for arm in arms:
        new_jobs = collect_jobs([arm.cells[seeds[0]].run])
        new_jobs = {name: job for name, job in new_jobs.items() if name not in spent}
        new_totals = [
            total + limit.sum_prices(new_jobs) for total, limit in zip(totals, limits, strict=True)
        ]
        competitors = [*rivals, *selected, arm]
        counts = list(_iter_survivor_counts(len(competitors), len(seeds) - 1)) + [1] * len(
            fresh_runs
        )
        projected = [
            total
            + reserve
            + _estimate_later_cost([arm_cost[competitor] for competitor in competitors], counts)
            for total, reserve, arm_cost in zip(new_totals, reserves, arm_costs, strict=True)
        ]
        if all(total <= limit.maximum for total, limit in zip(projected, limits, strict=True)):
            spent, totals, selected = spent | new_jobs, new_totals, [*selected, arm]
    return selected


def find_cheapest(limits: list[Limit], arms: list[Arm], seed: int) -> Arm:
    """Return the arm that takes the least with a seed, by the last limit.

    Parameters
    ----------
    limits : list of Limit
        Limits of the student; hours, if limited, are the last.
    arms : list of Arm
        Arms to choose from.
    seed : int
        The seed.

    Returns
    -------
    Arm
        The cheapest arm.
    """
    return min(arms, key=lambda arm: limits[-1].sum_prices(collect_jobs([arm.cells[seed].run])))


class _ArmCost(NamedTuple):
    """What an arm takes with a seed: its students, their teachers, and who these are."""

    student_cost: float
    teacher_cost: float
    teacher: tuple[str, ...]  # names of runs


def _compute_arm_costs(limit: Limit, arms: list[Arm], seed: int) -> dict[Arm, _ArmCost]:
    """Compute what each arm takes with a seed."""
    arm_costs = {}
    for arm in dict.fromkeys(arms):
        cell = arm.cells[seed]
        total_cost = limit.sum_prices(collect_jobs([cell.run]))
        student_cost = sum(map(limit.price, arm.get_students([seed]).values()))
        teacher_cost = total_cost - student_cost if math.isfinite(student_cost) else math.inf
        arm_costs[arm] = _ArmCost(
            student_cost, teacher_cost, tuple(run.name for run, _ in cell.teacher.members)
        )
    return arm_costs


def _estimate_later_cost(arm_costs: list[_ArmCost], counts: list[int]) -> float:
    """Estimate what later seeds take at most; teachers are trained once."""
    student_cost = max(arm_cost.student_cost for arm_cost in arm_costs)
    teacher_cost = max(arm_cost.teacher_cost for arm_cost in arm_costs)
    teachers = len({arm_cost.teacher for arm_cost in arm_costs})
    return sum(student_cost * count + teacher_cost * min(count, teachers) for count in counts)


def _iter_survivor_counts(cells: int, seeds: int) -> Iterator[int]:
    """Yield how many arms go on with each later seed; a single one needs no more."""
    for _ in range(seeds):
        if (cells := elimination_rule.count_survivors(cells)) == 1:
            return
        yield cells


def _price_unknown(job: Job) -> float:
    """Return infinity: nothing is affordable."""
    return math.inf


def _count_student_epochs(job: Job) -> float:
    """Return the epochs of a student; 0 for other jobs."""
    return job.epochs if isinstance(job, Run) and job.spec.teacher is not None else 0
