"""TODO evidence.claims.c4_mimicry, from sizes."""

from kdpipe.evidence.choices import Evidence, finding, taught
from kdpipe.evidence.largest_teacher import sizes
from kdpipe.evidence.verdicts import Contrast, Finding


def mimicry(evidence: Evidence) -> Finding:
    """C4: KD error with L - with m > 0 on train and on test, full teachers only."""
    found = sizes(taught(evidence, "kd"), premise=False)
    text = "{} on {} with the largest teacher - with the best smaller one"
    contrasts = [
        Contrast(text.format("KD error", s), found.effect(f"{s}_kd_error"), "above", evidence.delta)
        for s in ("train", "test")
    ]
    contrasts += [
        Contrast(text.format("KL", s), found.effect(f"{s}_kl"), needed=False, unit="nat")
        for s in ("train", "test")
    ]
    return finding(contrasts, found.how, found.rows)
