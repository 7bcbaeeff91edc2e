"""TODO evidence.claims.c2_full_kd_against_scratch, from teaching."""

from kdpipe.evidence import choices as of
from kdpipe.evidence.choices import Evidence, finding, taught
from kdpipe.evidence.selections import where, wide
from kdpipe.evidence.verdicts import Contrast, Finding


def full_kd_against_scratch(evidence: Evidence) -> Finding:
    """C2: for every teacher, err_S(KD, T) - err_S(scratch) > 0."""
    rows = where(taught(evidence, "kd"), stop_kind="full")
    alone = of.scratch(evidence.frame)
    contrasts = [
        Contrast(
            f"error of {s} from {t} - scratch", (e - alone[s]).dropna(), "above", evidence.delta
        )
        for (s, t), e in wide(rows, "student", "teacher").items()
    ]
    return finding(contrasts, f"every fully trained teacher, {rows.method.iloc[0]}", rows)
