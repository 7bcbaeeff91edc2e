"""E3. Trained to the end: err(scratch) - err(KD) > 0, at one length for both.

The length is the shortest from which no longer one gains delta on validation, on labels alone; the
teacher and its stop are those that validation prefers there. Both are chosen for each seed by other
seeds. Not tested if a scratch run still gains delta at the longest length. Mean over students;
beside it each arm at its own best length, chosen likewise.
"""

import math
from collections import Counter
from typing import Any

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import get_halves
from kdpipe.analysis.selection import average_parts, build_finding
from kdpipe.analysis.trainings import Student, find_end, list_students
from kdpipe.stats.intervals import Choice, select_options
from kdpipe.stats.replicates import merge_halves

SCRATCH = "scratch"


def evaluate_trained_to_the_end(evidence: Evidence) -> Finding:
    """Compare scratch and KD at the length from which no longer one gains."""
    ends: dict[str, Choice] = {}
    own_best: dict[str, pd.Series] = {}
    used, halves, parts = [], [], []
    for student in list_students(evidence):
        reason = _explain_no_end(student, evidence.delta)
        if reason:
            parts.append(reason)
            continue
        at_end = _choose_at_end(student, evidence.delta)
        scratch, taught = _choose_scratch(student), _choose_taught(student)
        ends[student.name] = at_end
        own_best[student.name] = (scratch.errors - taught.errors).dropna()
        halves += [at_end.halves, scratch.halves, taught.halves]
        used += [student.scratch, student.taught]
        parts.append(
            f"{student.name}: {_describe(at_end)}; at its own best length scratch is "
            f"{_describe(scratch)}, KD {_describe(taught)}"
        )
    if not ends:
        raise UntestableClaim("; ".join(parts))
    of_students = ", mean over students" if len(ends) > 1 else ""
    effects = {
        f"error, scratch - KD, trained to the end{of_students}": average_parts(
            {name: choice.errors for name, choice in ends.items()}
        ),
        f"error, scratch - KD, each at its own best length{of_students}": average_parts(own_best),
    }
    merged = merge_halves(*halves)
    contrasts = [
        Contrast(text, effect, delta=evidence.delta, is_needed=position == 0, halves=merged)
        for position, (text, effect) in enumerate(effects.items())
    ]
    return build_finding(contrasts, "; ".join(parts), pd.concat(used))


def _explain_no_end(student: Student, delta: float) -> str:
    """Return why a student was not trained to its end; empty if it was."""
    means = student.mean_scratch_validation
    lengths = sorted(means)
    if len(lengths) < 2:
        return f"{student.name} is trained on labels alone at one length"
    if any(math.isnan(mean) for mean in means.values()):
        return f"{student.name} has no validation errors at every length to choose by"
    if max(max(way.errors) for way in student.iter_ways()) < lengths[-1]:
        return f"{student.name} is not taught at the longest length, {lengths[-1]:g} epochs"
    if find_end(means, delta) == lengths[-1]:
        return (
            f"{student.name} on labels alone still improves by the smallest effect at the longest "
            f"length, {lengths[-1]:g} epochs"
        )
    return ""


def _choose_at_end(student: Student, delta: float) -> Choice:
    """Return the length and the teacher, with scratch - KD there in place of the errors."""
    scratch, known = student.scratch_errors, student.scratch_validation
    validation = {(SCRATCH, length): known.loc[:, length] for length in scratch}
    test = {(SCRATCH, length): scratch.loc[:, length] for length in scratch}
    for way in student.iter_ways():
        errors, known = way.errors, way.validation
        for length in [length for length in errors if length in scratch]:
            validation[way.name, length] = known.loc[:, length]
            test[way.name, length] = scratch.loc[:, length] - errors.loc[:, length]

    def prefer(means: pd.Series) -> tuple[str, float]:
        by_option: dict[Any, float] = dict(means.items())
        end = find_end({n: m for (way, n), m in by_option.items() if way == SCRATCH}, delta)
        options = [(way, n) for way, n in by_option if way != SCRATCH and n >= end]
        shortest = min(n for _, n in options)
        return min((o for o in options if o[1] == shortest), key=lambda option: by_option[option])

    return select_options(
        pd.DataFrame(validation), pd.DataFrame(test), get_halves(student.scratch), prefer
    )


def _choose_scratch(student: Student) -> Choice:
    """Return the best length on labels alone."""
    halves = get_halves(student.scratch)
    return select_options(student.scratch_validation, student.scratch_errors, halves)


def _choose_taught(student: Student) -> Choice:
    """Return the best teacher and length."""
    ways = list(student.iter_ways())
    validation = {(way.name, n): v for way in ways for n, v in way.validation.items()}
    test = {(way.name, n): errors for way in ways for n, errors in way.errors.items()}
    return select_options(pd.DataFrame(validation), pd.DataFrame(test), get_halves(student.taught))


def _describe(choice: Choice) -> str:
    """Return a choice in words: `from wrn16-2 (full), 120 epochs, for 4 seeds`."""
    counts = Counter(choice.chosen)
    texts = []
    for option, count in counts.most_common():
        way, length = option if isinstance(option, tuple) else ("", option)
        text = f"{f'from {way}, ' if way else ''}{length:g} epochs"
        texts.append(text if len(counts) == 1 else f"{text}, for {count} seed{'s' * (count != 1)}")
    return " and ".join(texts)


CLAIM = Claim(
    "Trained to the end, a taught student beats an untaught one",
    evaluate_trained_to_the_end,
    question="difference",
)
