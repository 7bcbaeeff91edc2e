"""C2. For every fully trained teacher T: err_S(full KD, T) - err_S(scratch) > 0."""

from kdpipe.evidence.choices import finding, scratch, taught_in_full
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import wide
from kdpipe.evidence.verdicts import Finding


def full_kd_against_scratch(evidence: Evidence) -> Finding:
    rows = taught_in_full(evidence, "kd")
    alone, errors = scratch(evidence.frame), wide(rows, "student", "teacher")
    contrasts = [
        Contrast(
            f"error of {s} from {t} - scratch",
            (errors[s, t] - alone[s]).dropna(),
            "above",
            evidence.delta,
        )
        for s, t in errors
    ]
    return finding(contrasts, f"every fully trained teacher, {rows.method.iloc[0]}", rows)


CLAIM = Claim(
    "Full KD is worse than training from scratch, whatever the teacher",
    full_kd_against_scratch,
)
