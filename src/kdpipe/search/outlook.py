"""What a search may cost: epochs at the least, likely, and at the most, beside the whole grid's."""

import math
from collections.abc import Callable, Iterator

from kdpipe.plan.items import Run
from kdpipe.plan.prices import as_duration
from kdpipe.search import candidates, rule
from kdpipe.search.candidates import Candidate
from kdpipe.search.searched import Searched


def lines(searched: Searched) -> list[str]:
    """Of each student, and the round that is due."""
    due = searched.due
    last = f"search: round {due.number} is due ({due})" if due else "search: it has ended"
    search, more = searched.plan.study.search, []
    if search is not None and search.hours is not None:
        more = [
            f"search: its runs may take {search.hours:g} hours, each counted apart: what they take "
            f"decides how many cells go on; so far they took {as_duration(3600 * searched.hours)}"
        ]
    there = [one for one in searched.competing if one not in searched.slow]
    return [*(_of(searched, one) for one in there), *more, last]


def _of(searched: Searched, student: str) -> str:
    study, ones = searched.plan.study, searched.competing[student]
    seeds = study.search_seeds
    fresh = study.due_seeds[len(seeds) :]
    few = list(_counts(_at_first(ones, seeds[0]), len(seeds)))
    many = list(_counts(len(ones), len(seeds)))
    prices = sorted(one.price(seeds[0]) for one in ones)
    mean = math.fsum(prices) / len(prices)

    def cost(counts: list[int], of: Callable[[int], float]) -> float:
        return sum(map(of, counts)) + len(fresh) * of(1)

    least = cost(few, lambda count: sum(prices[:count]))
    likely = cost(few, lambda count: count * mean)
    most = cost(many, lambda count: sum(prices[len(prices) - count :]))
    asked = study.search.student_epochs if study.search else None
    if asked is not None:
        share = asked / (len(searched.competing) - len(searched.slow))
        least, likely, most = (min(each, share) for each in (least, likely, most))
    whole = candidates.epochs(
        {name: run for one in ones for name, run in one.students(study.due_seeds).items()}.values()
    )
    taught = _teachers(ones, seeds[:1])
    dearest = candidates.epochs(_teachers(ones, study.due_seeds))
    used = len(few) - 1 + len(fresh)
    cheapest = min(candidates.epochs(_teachers([one], seeds[:1])) for one in ones)
    low = min(candidates.epochs(taught) + used * cheapest, dearest)
    return (
        f"search: {len(ones)} cells of {student} compete over {len(seeds)} seeds, {len(fresh)} "
        f"more are fresh: {least:,.0f} to {most:,.0f} student-epochs, likely {likely:,.0f}, of the "
        f"{whole:,} of the whole grid; of teachers {low:,} to {dearest:,}"
    )


def _at_first(ones: list[Candidate], seed: int) -> int:
    """How many cells are trained at first, where good teachers have good students."""
    known = {one.stop for one in ones if one.taught_by(seed) is not None}
    if len(known) < rule.FEWEST_STOPS:
        return len(ones)
    sizes = [sum(one.stop == stop for one in ones) for stop in known]
    cut = rule.cut({number: float(number) for number in range(len(known))})
    mean = sum(sizes) / len(sizes)
    others = len(ones) - sum(sizes)
    return others + round(mean * len(cut.kept)) + len(cut.probed)


def _counts(cells: int, seeds: int) -> Iterator[int]:
    """How many cells are trained with each seed, from so many at first."""
    for _ in range(seeds):
        yield cells
        if (cells := rule.going_on(cells)) == 1:
            return


def _teachers(ones: list[Candidate], seeds: list[int]) -> list[Run]:
    """All that they learn from which nobody taught."""
    left = [one.cells[seed].run for one in ones for seed in seeds]
    found: dict[str, Run] = {}
    while left:
        run = left.pop()
        for parent in run.parents:
            if parent.spec["teacher"] is None:
                found[parent.name] = parent
            left.append(parent)
    return list(found.values())
