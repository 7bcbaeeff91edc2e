"""C9. err(ensemble of the k generations) - err(ensemble of k scratch runs) > -delta."""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    select_scratch_ensembles,
)
from kdpipe.analysis.selection import build_finding, find_main_method


def evaluate_ensemble_of_generations(evidence: Evidence) -> Finding:
    """Compare ensembles of generations with ensembles of scratch runs."""
    method = find_main_method(evidence.frame, "kd")
    sequences = filter_rows(evidence.frame, kind="ensemble", method=method)
    sequences = sequences.loc[
        (sequences.teacher_network == sequences.student_network) & (sequences["size"] > 1)
    ]
    contrasts, used, reasons = [], [], []
    for key, sequence in group_rows(sequences, "student", "ensemble", "of", "size"):
        equal_size = filter_rows(
            select_scratch_ensembles(evidence.frame, key["student"]), size=key["size"]
        )
        baselines = list(group_rows(equal_size, "ensemble"))
        if not baselines:
            reasons.append(
                f"there is no ensemble of {key['size']:g} scratch runs of {key['student']}"
            )
            continue
        name, baseline = baselines[0]
        used += [sequence, baseline]
        text = (
            f"error, ensemble of {key['size']:g} generations of {key['student']} - "
            f"of as many scratch runs ({name['ensemble']})"
        )
        effect = (get_series_by_seed(sequence) - get_series_by_seed(baseline)).dropna()
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise UntestableClaim(
            "; ".join(reasons) or "no ensemble of generations stands in this study"
        )
    return build_finding(contrasts, "members averaged, ensembles of equal size", pd.concat(used))


CLAIM = Claim(
    "An ensemble of the generations is no better than one of as many scratch runs",
    evaluate_ensemble_of_generations,
    primary=True,
    question="not better",
)
