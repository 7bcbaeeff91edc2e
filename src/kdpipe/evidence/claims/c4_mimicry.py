"""C4. On train and on test: KD error with L - with m > 0, fully trained teachers only.

L is the largest teacher, whether or not it is the more accurate one; m the smaller one that
validation prefers. The same of KL stands beside it.
"""

from kdpipe.evidence.choices import finding, taught
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.teachers.largest_teacher import sizes
from kdpipe.evidence.verdicts import Finding


def mimicry(evidence: Evidence) -> Finding:
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


CLAIM = Claim("Small students cannot mimic large teachers", mimicry)
