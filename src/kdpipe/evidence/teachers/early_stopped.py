"""Early-stopped teachers against fully trained ones: what C11 to C14 and C17 ask.

How early a teacher stops is chosen on validation, for each seed by the other seeds. One stopped
by a schedule of its own and one cut out of the full training are two kinds, never mixed up.
"""

import functools
from dataclasses import dataclass

import pandas as pd

from kdpipe.evidence.choices import chosen, finding, pick, pool, taught
from kdpipe.evidence.claim import Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import UNTRAINED, groups, where, wide
from kdpipe.evidence.verdicts import Finding, Untested

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
        """err(full) - err(early-stopped) of each pair that has both, by seed."""
        return {pair: self.full[pair] - self.early[pair] for pair in self.early}


@functools.lru_cache(maxsize=8)
def stopped(evidence: Evidence, kind: str | None = None, method_kind: str = "kd") -> Stopped:
    """The early-stopped teachers of one kind, each at the length that validation chose.

    kind: schedule or checkpoint; None: schedule, or checkpoint in a study without any. Raises
    Untested if no teacher stands there both ways.
    """
    rows = taught(evidence, method_kind)
    rows = rows.loc[rows.stop != UNTRAINED]  # a control: it was not stopped early, it never began
    if kind is None:
        kind = "schedule" if (rows.stop_kind == "schedule").any() else "checkpoint"
    rows = where(rows, stop_kind=["full", kind])
    found = Stopped(rows, kind, {}, {}, {}, {})
    for key, cell in groups(rows, "student", "teacher"):
        pair = (key["student"], key["teacher"])
        test, validation = wide(cell, "stop"), wide(cell, "stop", column="val_error")
        lengths = [stop for stop in test if stop != "full"]
        if "full" in test:
            found.full[pair] = test.loc[:, "full"]
            found.full_validation[pair] = validation.loc[:, "full"]
        if lengths and "full" in test:
            choice = chosen(validation.loc[:, lengths], test.loc[:, lengths])
            found.early[pair] = pick(test, choice)
            found.early_validation[pair] = pick(validation, choice)
    if not found.early:
        raise Untested(f"no teacher stands there both fully trained and stopped by {kind}")
    return found


def gain_of(evidence: Evidence, found: Stopped) -> Finding:
    """The mean gain over pairs > 0, with the gain of each pair beside it."""
    text = "error, full teacher - early-stopped teacher"
    delta, gains = evidence.delta, found.gains
    contrasts = [Contrast(f"{text}, mean over pairs", pool(gains), "above", delta)]
    if len(gains) > 1:
        contrasts += [
            Contrast(f"{text}: {student} from {teacher}", gain.dropna(), "above", delta, False)
            for (student, teacher), gain in gains.items()
        ]
    return finding(contrasts, how(found), found.rows)


def best_of(
    errors: dict[Pair, pd.Series], validation: dict[Pair, pd.Series], student: str
) -> pd.Series:
    """The errors of the teacher that validation chose among a student's, seed by seed.

    Raises Untested if one of them has no results: it might be the best.
    """
    teachers = [teacher for other, teacher in errors if other == student]
    test = pd.DataFrame({teacher: errors[student, teacher] for teacher in teachers})
    known = pd.DataFrame({teacher: validation[student, teacher] for teacher in teachers})
    for teacher in teachers:
        if test.loc[:, teacher].isna().all():
            raise Untested(f"the best teacher of {student} is not known: {teacher} has no results")
    return pick(test, chosen(known, test))


def how(found: Stopped) -> str:
    """By which method, of how many pairs, stopped where."""
    lengths = found.rows[found.rows.stop_kind != "full"].stop.unique()
    what = f"the length chosen on validation among {', '.join(lengths)}"
    how = what if len(lengths) > 1 else f"stopped by {lengths[0]}"
    count = len(found.early)
    pairs = f"{count} pair{'s' if count > 1 else ''} of student and teacher"
    return f"{found.rows.method.iloc[0]}, {pairs}, {how}"
