"""C4. On test: KD error with L - with m > 0, fully trained teachers only.

L is the largest teacher, whether or not it is the more accurate one; m the smaller one that
validation prefers. The same on train and of KL stands beside it: training images are no sample of
others, so what is measured on them has no interval over images, and decides nothing.
"""

from kdpipe.analysis.claim import Claim, Evidence, Finding
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import build_finding, select_students
from kdpipe.analysis.teacher_contrasts import compute_teacher_size_effect


def evaluate_mimicry(evidence: Evidence) -> Finding:
    """Compare the KD error from the largest and the best smaller teacher."""
    size_effect = compute_teacher_size_effect(select_students(evidence, "kd"), premise=False)
    text = "{} on {} with the largest teacher - with the best smaller one"
    contrasts = [
        Contrast(
            text.format("KD error", split),
            size_effect.compute_mean_effect(f"{split}_kd_error", by_image=split == "test"),
            "above",
            evidence.smallest.kd_error,
            is_needed=split == "test",
            halves=size_effect.halves,
        )
        for split in ("test", "train")
    ]
    contrasts += [
        Contrast(
            text.format("KL", split),
            size_effect.compute_mean_effect(f"{split}_kl"),
            delta=evidence.smallest.kl,
            is_needed=False,
            unit="nat",
            halves=size_effect.halves,
        )
        for split in ("test", "train")
    ]
    return build_finding(contrasts, size_effect.description, size_effect.rows)


CLAIM = Claim(
    "Small students cannot mimic large teachers",
    evaluate_mimicry,
    question="difference",
)
