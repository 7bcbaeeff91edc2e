"""C15. Variance component of the student - variance component of the teacher > 0.

Both from the errors of one grid, the largest in which every student shares every teacher, crossed
with the seeds; these students and these teachers are what it speaks of, so it depends on the ranges
of both that the study chose.
"""

import functools
import itertools
import operator

import numpy as np
import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows, pivot_by_seed
from kdpipe.analysis.selection import build_finding, select_students_of_full_teachers
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ErrorWithProvenance
from kdpipe.stats.intervals import MIN_SEEDS
from kdpipe.stats.variance_components import compare_components, estimate_two_way_components


def evaluate_capacity(evidence: Evidence) -> Finding:
    """Compare the variance components of students and teachers."""
    rows = select_students_of_full_teachers(evidence, "kd")
    errors = pivot_by_seed(rows, "student", "teacher")
    students, teachers = _find_largest_grid([pair for pair in errors])
    if len(students) < 2 or len(teachers) < 2:
        raise UntestableClaim("it needs two students that share two teachers")
    rows = filter_rows(rows, student=students, teacher=teachers)
    errors = errors[[(s, t) for s in students for t in teachers]].dropna()
    text, unit = "variance component of the student - of the teacher", "points²"
    description = f"{len(students)} students x {len(teachers)} teachers, {rows.method.iloc[0]}"
    positions = replicates.to_grid(pd.Series(range(len(errors)), index=errors.index)).to_numpy(int)
    errors = errors.iloc[positions.ravel()]  # of seeds that have every split
    crossed = [size for size in positions.shape if size != 1]  # what there is one of is no factor
    if min(crossed, default=1) < MIN_SEEDS:
        empty_contrast = Contrast(text, pd.Series(dtype=float), unit=unit)
        return build_finding(
            [empty_contrast],
            f"{replicates.describe_replicates(errors.index)} have every cell of {description}",
            rows,
        )
    layouts = errors.to_numpy(float).reshape(*crossed, len(students), len(teachers))
    pseudo_values, parts = compare_components(layouts), estimate_two_way_components(layouts)
    weights = pseudo_values.weights.reshape(len(errors), -1)
    values = [
        _add_provenance(value, *terms)
        for value, *terms in zip(
            pseudo_values.values.ravel(), weights, errors.to_numpy(), strict=True
        )
    ]
    contrasts = [Contrast(text, pd.Series(values, errors.index, dtype=object), unit=unit)]
    if pseudo_values.shares is not None:
        shares, share_text = (
            pd.Series(pseudo_values.shares, errors.index),
            f"{text}, as a share of all variance",
        )
        contrasts.append(Contrast(share_text, shares, is_needed=False, unit="share"))
    total = sum(parts.values()) or 1.0
    rest = "the seed" if len(crossed) == 1 else "the seed and the split"
    names = ("the student", "the teacher", "both together", rest)
    shares_text = ", ".join(
        f"{name} {part / total:.0%}" for name, part in zip(names, parts.values(), strict=True)
    )
    description += f"; of the variance of a single error: {shares_text}"
    description += "; it depends on the ranges of students and teachers that the study chose"
    return build_finding(contrasts, description, rows)


def _add_provenance(value: float, weights: np.ndarray, errors: np.ndarray) -> float:
    """Return a pseudo-value that knows its runs, if all its errors do."""
    if not all(isinstance(error, ErrorWithProvenance) for error in errors):
        return value
    weighted = [error * weight for error, weight in zip(errors, weights.tolist(), strict=True)]
    linear = functools.reduce(operator.add, weighted)
    return ErrorWithProvenance(value, linear.parts, value - float(linear))


def _find_largest_grid(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the largest complete grid of at least two students and the teachers they share."""
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


CLAIM = Claim(
    "The student's capacity, not the teacher, sets the result",
    evaluate_capacity,
    question="difference",
)
