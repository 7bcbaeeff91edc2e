"""E4. [err(KD from T) - err(KD from T trained longer)] at the longest length - at the shortest > 0.

T is a teacher of its recipe's length, and the one that was trained longer is a stop beyond it
(`schedule 4x`); the length is that of the student's training. Mean over students and teachers that
teach so at two lengths and more.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows, group_rows
from kdpipe.analysis.selection import average_parts, build_finding
from kdpipe.analysis.trainings import Way, list_students


def evaluate_longer_teacher(evidence: Evidence) -> Finding:
    """Compare what a longer trained teacher gains at the longest and at the shortest length."""
    effects, used = {}, []
    for student in list_students(evidence):
        for key, cells in group_rows(student.taught, "teacher"):
            full = Way(key["teacher"], filter_rows(cells, stop_kind="full"))
            for stop, longer_cells in group_rows(filter_rows(cells, stop_kind="longer"), "stop"):
                longer = Way(f"{key['teacher']} ({stop['stop']})", longer_cells)
                lengths = sorted(set(full.errors) & set(longer.errors))
                if len(lengths) < 2:
                    continue
                gains = full.errors - longer.errors
                label = (
                    f"{student.name} from {longer.name}, {lengths[0]:g} and {lengths[-1]:g} epochs"
                )
                effects[label] = (gains[lengths[-1]] - gains[lengths[0]]).dropna()
                used += [way.rows.loc[way.rows.epochs.isin(lengths)] for way in (full, longer)]
    if not effects:
        raise UntestableClaim(
            "no teacher teaches both at its recipe's length and trained longer, students of two "
            "lengths"
        )
    text = "gain of the longer trained teacher at the longest length - at the shortest"
    delta, labels = evidence.delta, list(effects)
    mean_text = f"{text}, mean over cells" if len(effects) > 1 else f"{text}: {labels[0]}"
    contrasts = [Contrast(mean_text, average_parts(effects), delta=delta)]
    if len(effects) > 1:
        contrasts += [
            Contrast(f"{text}: {label}", effect, delta=delta, is_needed=False)
            for label, effect in effects.items()
        ]
    return build_finding(contrasts, "; ".join(labels), pd.concat(used))


CLAIM = Claim(
    "A teacher trained longer is worth more to a student trained longer",
    evaluate_longer_teacher,
    question="difference",
)
