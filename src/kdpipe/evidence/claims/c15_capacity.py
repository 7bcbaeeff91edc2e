"""C15. sd(err over students at one teacher) - sd(err over teachers at one student) > 0.

Each is a mean over the largest grid in which every student shares every teacher.
"""

import itertools

from kdpipe.evidence.choices import finding, pool, taught
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.selections import where, wide
from kdpipe.evidence.verdicts import Contrast, Finding, Untested


def capacity(evidence: Evidence) -> Finding:
    rows = where(taught(evidence, "kd"), stop_kind="full")
    errors = wide(rows, "student", "teacher").astype(float)
    students, both = _grid([pair for pair in errors])
    if len(students) < 2 or len(both) < 2:
        raise Untested("it needs two students that share two teachers")
    cube = {t: errors[[(s, t) for s in students]].std(axis=1, skipna=False) for t in both}
    other = {s: errors[[(s, t) for t in both]].std(axis=1, skipna=False) for s in students}
    text = "sd of the error over students at one teacher - over teachers at one student"
    effect = (pool(cube) - pool(other)).dropna()
    how = f"{len(students)} students x {len(both)} teachers, {rows.method.iloc[0]}"
    return finding([Contrast(text, effect, "above", evidence.delta)], how, rows)


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
