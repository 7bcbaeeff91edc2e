"""C15. Variance component of the student - variance component of the teacher > 0.

Both from the errors of one grid, the largest in which every student shares every teacher, crossed
with the seeds; these students and these teachers are what it speaks of.
"""

import functools
import itertools
import operator

import numpy as np
import pandas as pd

from kdpipe.evidence.choices import finding, taught_in_full
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import where, wide
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.statistics import units
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.layout import components, difference
from kdpipe.statistics.traced import TracedError


def capacity(evidence: Evidence) -> Finding:
    rows = taught_in_full(evidence, "kd")
    errors = wide(rows, "student", "teacher")
    students, both = _grid([pair for pair in errors])
    if len(students) < 2 or len(both) < 2:
        raise Untested("it needs two students that share two teachers")
    rows = where(rows, student=students, teacher=both)
    errors = errors[[(s, t) for s in students for t in both]].dropna()
    text, unit = "variance component of the student - of the teacher", "points²"
    how = f"{len(students)} students x {len(both)} teachers, {rows.method.iloc[0]}"
    places = units.grid(pd.Series(range(len(errors)), index=errors.index)).to_numpy(int)
    errors = errors.iloc[places.ravel()]  # of seeds that have every split
    crossed = [size for size in places.shape if size != 1]  # what there is one of is no factor
    if min(crossed, default=1) < FEWEST_SEEDS:
        none = Contrast(text, pd.Series(dtype=float), unit=unit)
        return finding([none], f"{units.count(errors.index)} have every cell of {how}", rows)
    layouts = errors.to_numpy(float).reshape(*crossed, len(students), len(both))
    found, parts = difference(layouts), components(layouts)
    weights = found.weights.reshape(len(errors), -1)
    values = [
        _traced(value, *of)
        for value, *of in zip(found.values.ravel(), weights, errors.to_numpy(), strict=True)
    ]
    contrasts = [Contrast(text, pd.Series(values, errors.index, dtype=object), unit=unit)]
    if found.shares is not None:
        shares, beside = (
            pd.Series(found.shares, errors.index),
            f"{text}, as a share of all variance",
        )
        contrasts.append(Contrast(beside, shares, needed=False, unit="share"))
    total = sum(parts.values()) or 1.0
    rest = "the seed" if len(crossed) == 1 else "the seed and the split"
    names = ("the student", "the teacher", "both together", rest)
    said = ", ".join(
        f"{name} {part / total:.0%}" for name, part in zip(names, parts.values(), strict=True)
    )
    how += f"; of the variance of a single error: {said}"
    return finding(contrasts, how, rows)


def _traced(value: float, weights: np.ndarray, errors: np.ndarray) -> float:
    """A pseudo-value that knows its runs, if all its errors do."""
    if not all(isinstance(error, TracedError) for error in errors):
        return value
    weighted = [error * weight for error, weight in zip(errors, weights.tolist(), strict=True)]
    linear = functools.reduce(operator.add, weighted)
    return TracedError(value, linear.parts, value - float(linear))


def _grid(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The largest complete grid of two and more students and the teachers they share."""
    teachers: dict[str, list[str]] = {}
    for student, teacher in pairs:
        teachers.setdefault(student, []).append(teacher)
    best: tuple[list[str], list[str]] = ([], [])
    for size in range(2, len(teachers) + 1):
        for students in itertools.combinations(teachers, size):
            shared = [t for t in teachers[students[0]] if all(t in teachers[s] for s in students)]
            if len(shared) > 1 and size * len(shared) > len(best[0]) * len(best[1]):
                best = (list(students), shared)
    return best


CLAIM = Claim("The student's capacity, not the teacher, sets the result", capacity)
