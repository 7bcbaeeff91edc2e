"""E2. [err(scratch) - err(KD)] at the shortest length - the same at the longest > 0.

The length is that of the student's training in epochs, and the scratch run is trained as long. Mean
over students, teachers and stops that stand at the shortest and at the longest length of their
student; others are shown beside, at the lengths that they have. Whether a patient teacher (Beyer et
al., CVPR 2022, arXiv 2106.05237) is one whose lead stays.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import average_parts, build_finding
from kdpipe.analysis.trainings import list_students


def evaluate_gain_over_lengths(evidence: Evidence) -> Finding:
    """Compare what KD gains at the shortest and at the longest length."""
    main, others, used, names = {}, {}, [], []
    for student in list_students(evidence):
        scratch = student.scratch_errors
        ways = list(student.iter_ways())
        extremes = {way.name: _find_extremes(scratch, way.errors) for way in ways}
        known = [pair for pair in extremes.values() if pair is not None]
        if not known:
            continue
        shortest, longest = min(pair[0] for pair in known), max(pair[1] for pair in known)
        names.append(f"{student.name}: {shortest:g} against {longest:g} epochs")
        for way in ways:
            pair, errors = extremes[way.name], way.errors
            if pair is None:
                continue
            gains = [scratch[length] - errors[length] for length in pair]
            label = f"{student.name} from {way.name}, {pair[0]:g} and {pair[1]:g} epochs"
            target = main if pair == (shortest, longest) else others
            target[label] = (gains[0] - gains[1]).dropna()
            used += [way.rows.loc[way.rows.epochs.isin(pair)]]
            used += [student.scratch.loc[student.scratch.epochs.isin(pair)]]
    if not main:
        raise UntestableClaim(
            "no student is taught at two lengths of training by one teacher, with scratch runs as "
            "long"
        )
    text = "gain of KD over scratch at the shortest length - at the longest"
    delta, several = evidence.delta, len(main) > 1
    mean_text = f"{text}, mean over cells" if several else f"{text}: {next(iter(main))}"
    contrasts = [Contrast(mean_text, average_parts(main), delta=delta)]
    contrasts += [
        Contrast(f"{text}: {label}", effect, delta=delta, is_needed=False)
        for label, effect in {**(main if several else {}), **others}.items()
    ]
    return build_finding(contrasts, "; ".join(names), pd.concat(used))


def _find_extremes(scratch: pd.DataFrame, taught: pd.DataFrame) -> tuple[float, float] | None:
    """Return the shortest and the longest length of both arms; None if there are no two."""
    lengths = sorted(set(scratch) & set(taught))
    return (lengths[0], lengths[-1]) if len(lengths) > 1 else None


CLAIM = Claim(
    "What distilling gains shrinks as the student trains longer",
    evaluate_gain_over_lengths,
    question="difference",
)
