"""Forecast of a search: epochs at least, likely and at most, beside those of the whole grid."""

import math
from collections import Counter
from collections.abc import Callable, Iterator

from kdpipe.analysis.search import elimination_rule, search_space
from kdpipe.analysis.search.search_space import Arm
from kdpipe.analysis.search.state import (
    FRESH,
    LATENCY,
    RECALLED,
    STUDENTS,
    TEACHERS,
    SearchState,
)
from kdpipe.plan.nodes import Run
from kdpipe.plan.resources import format_duration
from kdpipe.text import format_count


def format_forecast(search_state: SearchState) -> list[str]:
    """Format the forecast of each student, and the round that is due.

    Parameters
    ----------
    search_state : SearchState
        How far the search has come.

    Returns
    -------
    list of str
        Lines of text.
    """
    current_round = search_state.current_round
    round_line = (
        f"search: round {current_round.number} is due ({current_round})"
        if current_round
        else "search: it has ended"
    )
    search, hour_lines = search_state.plan.study.search, []
    if search is not None and search.hours is not None:
        hour_lines = [
            f"search: its runs may take {search.hours:g} hours, each counted apart: what they take "
            f"decides how many cells go on; so far they took "
            f"{format_duration(3600 * search_state.hours)}"
        ]
    students = [
        student for student in search_state.competing if student not in search_state.slow_students
    ]
    return [
        *(_forecast_student(search_state, student) for student in students),
        *hour_lines,
        round_line,
    ]


def format_progress(search_state: SearchState) -> str:
    """Format how far a search has come that still goes on.

    Parameters
    ----------
    search_state : SearchState
        How far the search has come.

    Returns
    -------
    str
        Such as `the search is in round 4 (students, seed 1), with 11 runs to do; at most 3 more
        rounds follow`; empty once the search has ended.
    """
    due = search_state.current_round
    if due is None:
        return ""
    n_runs, n_later = len(due.pending), count_later_rounds(search_state)
    runs = f"{format_count(n_runs, 'run')} to do" if n_runs else "measurements to do"
    text = f"the search is in round {due.number} ({due}), with {runs}"
    if not n_later:
        return f"{text}; it is the last one"
    rounds = format_count(n_later, "more round")
    return f"{text}; at most {rounds} follow{'s' * (n_later == 1)}"


def count_later_rounds(search_state: SearchState) -> int:
    """Count the rounds that can follow the one that is due.

    Parameters
    ----------
    search_state : SearchState
        How far the search has come.

    Returns
    -------
    int
        The most: a budget, or teachers that keep what was promised of them, make them fewer.
    """
    due, study = search_state.current_round, search_state.plan.study
    if due is None or due.phase == FRESH:
        return 0
    arms = [
        arm
        for student, competing in search_state.competing.items()
        for arm in competing
        if student not in search_state.slow_students and arm.key not in search_state.unaffordable
    ]
    seeds = study.search_seeds
    is_screened = len({arm.stop for arm in arms}) >= elimination_rule.MIN_STOPS
    n_later = 1  # with fresh seeds
    if due.phase == LATENCY:
        has_hours = study.search is not None and study.search.hours is not None
        n_later += is_screened or has_hours
    if due.phase in (LATENCY, TEACHERS):
        n_later += 1 + is_screened  # of students, and of those set aside
    keys = {arm.key for arm in arms}
    if due.phase == STUDENTS and due.seeds[0] == seeds[0]:
        n_later += not keys <= {*due.arm_keys}
    elif due.phase in (STUDENTS, RECALLED):
        keys &= {*search_state.get_competitors(due)}
    n_seeds = len(seeds) - (seeds.index(due.seeds[0]) if due.phase == STUDENTS else 0)
    n_cells = max(Counter(key.student for key in keys).values())
    revision = elimination_rule.get_revision(study.search.rule if study.search else None)
    return n_later + sum(1 for _ in _iter_arm_counts(n_cells, n_seeds, revision)) - 1


def _forecast_student(search_state: SearchState, student: str) -> str:
    """Return the line of one student."""
    study, arms = search_state.plan.study, search_state.competing[student]
    seeds = study.search_seeds
    fresh = study.due_seeds[len(seeds) :]
    revision = elimination_rule.get_revision(study.search.rule if study.search else None)
    n_first = _count_first_arms(arms, seeds[0])
    screened_counts = list(_iter_arm_counts(n_first, len(seeds), revision))
    full_counts = list(_iter_arm_counts(len(arms), len(seeds), revision))
    prices = sorted(arm.count_epochs(seeds[0]) for arm in arms)
    mean = math.fsum(prices) / len(prices)

    def cost(counts: list[int], price: Callable[[int], float]) -> float:
        return sum(map(price, counts)) + len(fresh) * price(1)

    least = cost(screened_counts, lambda count: sum(prices[:count]))
    likely = cost(screened_counts, lambda count: count * mean)
    most = cost(full_counts, lambda count: sum(prices[len(prices) - count :]))
    epoch_limit = study.search.student_epochs if study.search else None
    if epoch_limit is not None:
        share = epoch_limit / (len(search_state.competing) - len(search_state.slow_students))
        least, likely, most = (min(epochs, share) for epochs in (least, likely, most))
    whole_grid = search_space.count_epochs(
        {
            name: run for arm in arms for name, run in arm.get_students(study.due_seeds).items()
        }.values()
    )
    first_teachers = _collect_teachers(arms, seeds[:1])
    dearest = search_space.count_epochs(_collect_teachers(arms, study.due_seeds))
    used = len(screened_counts) - 1 + len(fresh)
    cheapest = min(search_space.count_epochs(_collect_teachers([arm], seeds[:1])) for arm in arms)
    low = min(search_space.count_epochs(first_teachers) + used * cheapest, dearest)
    return (
        f"search: {len(arms)} cells of {student} compete over {len(seeds)} seeds, {len(fresh)} "
        f"more are fresh: {least:,.0f} to {most:,.0f} student-epochs, likely {likely:,.0f}, of the "
        f"{whole_grid:,} of the whole grid; of teachers {low:,} to {dearest:,}"
    )


def _count_first_arms(arms: list[Arm], seed: int) -> int:
    """Count the cells trained at first, if good teachers have good students."""
    stops = {arm.stop for arm in arms if arm.get_teacher(seed) is not None}
    if len(stops) < elimination_rule.MIN_STOPS:
        return len(arms)
    sizes = [sum(arm.stop == stop for arm in arms) for stop in stops]
    screening = elimination_rule.screen_stops(
        {number: float(number) for number in range(len(stops))}
    )
    mean = sum(sizes) / len(sizes)
    others = len(arms) - sum(sizes)
    return others + round(mean * len(screening.selected)) + len(screening.probed)


def _iter_arm_counts(cells: int, seeds: int, revision: int) -> Iterator[int]:
    """Yield how many cells are trained with each seed, from their number at first."""
    for _ in range(seeds):
        yield cells
        if (cells := elimination_rule.count_survivors(cells, revision)) == 1:
            return


def _collect_teachers(arms: list[Arm], seeds: list[int]) -> list[Run]:
    """Return all runs on labels that cells learn from."""
    queue = [arm.cells[seed].run for arm in arms for seed in seeds]
    teachers: dict[str, Run] = {}
    while queue:
        run = queue.pop()
        for parent in run.parents:
            if parent.spec.teacher is None:
                teachers[parent.name] = parent
            queue.append(parent)
    return list(teachers.values())
