"""C9. err(ensemble of the k generations) - err(ensemble of k scratch runs) > -delta."""

import pandas as pd

from kdpipe.evidence.choices import finding, method_of
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import by_seed, groups, scratch_ensembles, where
from kdpipe.evidence.verdicts import Finding, Untested


def ensemble_of_generations(evidence: Evidence) -> Finding:
    method = method_of(evidence.frame, "kd")
    sequences = where(evidence.frame, kind="ensemble", method=method)
    sequences = sequences.loc[
        (sequences.teacher_network == sequences.student) & (sequences["size"] > 1)
    ]
    contrasts, used, why = [], [], []
    for key, sequence in groups(sequences, "student", "ensemble", "of", "size"):
        equal = where(scratch_ensembles(evidence.frame, key["student"]), size=key["size"])
        rivals = list(groups(equal, "ensemble"))
        if not rivals:
            why.append(f"there is no ensemble of {key['size']:g} scratch runs of {key['student']}")
            continue
        name, rival = rivals[0]
        used += [sequence, rival]
        text = (
            f"error, ensemble of {key['size']:g} generations of {key['student']} - "
            f"of as many scratch runs ({name['ensemble']})"
        )
        effect = (by_seed(sequence) - by_seed(rival)).dropna()
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise Untested("; ".join(why) or "no ensemble of generations stands in this study")
    return finding(contrasts, "members averaged, ensembles of equal size", pd.concat(used))


CLAIM = Claim(
    "An ensemble of the generations is no better than one of as many scratch runs",
    ensemble_of_generations,
    primary=True,
)
