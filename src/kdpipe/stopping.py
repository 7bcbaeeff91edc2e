"""Claims about early-stopped teachers: C11 by schedule and by checkpoint, C12, C13, C14 and C17.

How long a teacher is trained is chosen for each student, teacher and seed by the validation
errors of the other seeds. A schedule (the paper's early stopping) and a checkpoint are two kinds:
where a claim does not say which, it is about schedules, or checkpoints in a study without any.
"""

from dataclasses import dataclass

import pandas as pd

from kdpipe import networks
from kdpipe.cells import groups, where, wide
from kdpipe.errors import KdpipeError
from kdpipe.evidence import Evidence, chosen, finding, pick, pool, taught
from kdpipe.verdicts import Contrast, Finding, Untested

Pair = tuple[str, str]  # student, teacher


@dataclass(frozen=True)
class Stopped:
    """Errors by seed of each pair of student and teacher: full, and early-stopped at its best."""

    rows: pd.DataFrame
    kind: str
    full: dict[Pair, pd.Series]
    early: dict[Pair, pd.Series]
    full_validation: dict[Pair, pd.Series]
    early_validation: dict[Pair, pd.Series]

    @property
    def gains(self) -> dict[Pair, pd.Series]:
        return {pair: self.full[pair] - self.early[pair] for pair in self.early}


def stopped(evidence: Evidence, kind: str | None = None, method_kind: str = "kd") -> Stopped:
    """The early-stopped teachers of one kind, each at the length that validation chose."""
    rows = taught(evidence, method_kind)
    if kind is None:
        kind = "schedule" if (rows.stop_kind == "schedule").any() else "checkpoint"
    rows = where(rows, stop_kind=["full", kind])
    found = Stopped(rows, kind, {}, {}, {}, {})
    for key, cell in groups(rows, "student", "teacher"):
        pair = (key["student"], key["teacher"])
        test, validation = wide(cell, "stop"), wide(cell, "stop", column="val_error")
        lengths = [stop for stop in test if stop != "full"]
        if "full" in test:
            found.full[pair], found.full_validation[pair] = test["full"], validation["full"]
        if lengths and "full" in test:
            choice = chosen(validation[lengths], test[lengths])
            found.early[pair] = pick(test, choice)
            found.early_validation[pair] = pick(validation, choice)
    if not found.early:
        raise Untested(f"no teacher stands there both fully trained and stopped by {kind}")
    return found


def by_schedule(evidence: Evidence) -> Finding:
    """C11s: per seed the mean over pairs of err(full) - err(stopped by a schedule) > 0."""
    return _gain(evidence, stopped(evidence, "schedule"))


def by_checkpoint(evidence: Evidence) -> Finding:
    """C11c: the same for checkpoints cut out of the full training."""
    return _gain(evidence, stopped(evidence, "checkpoint"))


def _gain(evidence: Evidence, found: Stopped) -> Finding:
    text = "error, full teacher - early-stopped teacher"
    delta, gains = evidence.delta, found.gains
    contrasts = [Contrast(f"{text}, mean over pairs", pool(gains), "above", delta)]
    if len(gains) > 1:
        contrasts += [
            Contrast(f"{text}: {student} from {teacher}", gain.dropna(), "above", delta, False)
            for (student, teacher), gain in gains.items()
        ]
    return finding(contrasts, _how(found), found.rows)


def every_early_against_best_full(evidence: Evidence) -> Finding:
    """C12: for every teacher, err(best full) - err(early-stopped at its best length) > 0."""
    found = stopped(evidence)
    contrasts = []
    for student in dict.fromkeys(student for student, _ in found.early):
        best = _best(found.full, found.full_validation, student)
        contrasts += [
            Contrast(
                f"error of {student}: best full teacher - early-stopped {teacher}",
                (best - early).dropna(),
                "above",
                evidence.delta,
            )
            for (other, teacher), early in found.early.items()
            if other == student
        ]
    return finding(contrasts, _how(found), found.rows)


def catching_up(evidence: Evidence) -> Finding:
    """C13: the largest teacher's gap to the best is smaller among the early-stopped ones."""
    found = stopped(evidence)
    rank = found.rows.drop_duplicates("teacher").set_index("teacher").teacher_rank
    parts = {}
    for student in dict.fromkeys(student for student, _ in found.early):
        teachers = [teacher for other, teacher in found.early if other == student]
        if len(teachers) < 2:
            continue
        largest = (student, max(teachers, key=lambda teacher: rank[teacher]))
        full = {pair: found.full[pair] for pair in found.early}
        gap = found.full[largest] - _best(full, found.full_validation, student)
        early_gap = found.early[largest] - _best(found.early, found.early_validation, student)
        parts[student] = gap - early_gap
    if not parts:
        raise Untested("no student has two teachers that are also stopped early")
    text = "gap of the largest teacher to the best, full - early-stopped"
    contrast = Contrast(text, pool(parts), "above", evidence.delta)
    return finding([contrast], _how(found), found.rows)


def across_families(evidence: Evidence) -> Finding:
    """C14: C11 in every family of teachers."""
    found = stopped(evidence)
    families: dict[str, dict[Pair, pd.Series]] = {}
    for (student, teacher), gain in found.gains.items():
        families.setdefault(_family(teacher), {})[student, teacher] = gain
    if len(families) < 2:
        raise Untested(f"its early-stopped teachers are of one family, {next(iter(families))}")
    text = "error, full teacher - early-stopped teacher"
    contrasts = [
        Contrast(f"{text}: {family}, {len(gains)} pairs", pool(gains), "above", evidence.delta)
        for family, gains in families.items()
    ]
    return finding(contrasts, _how(found), found.rows)


def attention_transfer(evidence: Evidence) -> Finding:
    """C17: the gain of early stopping under attention transfer - under KD > 0, same pairs.

    Attention transfer alone; with KD in a study that has it in no other way (the paper's is not
    known to have been the one or the other).
    """
    alone = (evidence.frame.method_kind == "at").any()
    both = (evidence.frame.method_kind == "at+kd").any()
    at = stopped(evidence, method_kind="at+kd" if both and not alone else "at")
    kd = stopped(evidence, at.kind)
    pairs = [pair for pair in at.gains if pair in kd.gains]
    if not pairs:
        raise Untested("no pair is taught by both attention transfer and KD")
    effect = pool({pair: at.gains[pair] - kd.gains[pair] for pair in pairs})
    text = "gain of early stopping, under attention transfer - under KD"
    how = f"{at.rows.method.iloc[0]}, stopped by {at.kind}, mean over {len(pairs)} pairs"
    used = pd.concat([at.rows, kd.rows])
    return finding([Contrast(text, effect, "above", evidence.delta)], how, used)


def _best(errors: dict[Pair, pd.Series], validation: dict[Pair, pd.Series], student: str):
    """The errors of the teacher that validation chose among a student's, seed by seed."""
    teachers = [teacher for other, teacher in errors if other == student]
    test = pd.DataFrame({teacher: errors[student, teacher] for teacher in teachers})
    known = pd.DataFrame({teacher: validation[student, teacher] for teacher in teachers})
    for teacher in teachers:
        if test[teacher].isna().all():
            raise Untested(f"the best teacher of {student} is not known: {teacher} has no results")
    return pick(test, chosen(known, test))


def _how(found: Stopped) -> str:
    lengths = found.rows[found.rows.stop_kind != "full"].stop.unique()
    what = f"the length chosen on validation among {', '.join(lengths)}"
    how = what if len(lengths) > 1 else f"stopped by {lengths[0]}"
    count = len(found.early)
    pairs = f"{count} pair{'s' if count > 1 else ''} of student and teacher"
    return f"{found.rows.method.iloc[0]}, {pairs}, {how}"


def _family(network: str) -> str:
    try:
        return networks.family(network)
    except KdpipeError:
        return network.rstrip("0123456789.-")
