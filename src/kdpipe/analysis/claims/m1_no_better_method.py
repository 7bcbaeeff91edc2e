"""M1. For every pair: err(KD) - err(the best other method) < delta, KD at its own best weights.

Which method is the best one, and which of KD's settings, is chosen on validation, for each seed by
other seeds. Methods that teach to the end, from fully trained teachers; needs two beside KD, and
two settings of KD, or there are no best weights of its own. KD that stops early is C6's.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    filter_rows,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    name_methods_without_results,
    select_best_setting,
    select_full_kd_students,
)
from kdpipe.stats.replicates import merge_halves


def evaluate_no_better_method(evidence: Evidence) -> Finding:
    """Compare the best other method with plain KD for each pair."""
    rows = select_full_kd_students(
        select_label_trained_teachers(select_direct_students(evidence.frame))
    )
    effects, halves, used, descriptions, reasons, max_methods = {}, {}, [], [], [], 0
    for key, cells in group_rows(rows, "student", "teacher"):
        pair = f"{key['student']} from {key['teacher']}"
        plain, others = filter_rows(cells, method_kind="kd"), cells.loc[cells.method_kind != "kd"]
        count = others.method_kind.nunique()
        max_methods = max(max_methods, count)
        if plain.empty or count < 2:
            if count:
                shortage = "one method beside KD" if len(plain) else "no full KD"
                reasons.append(f"{pair} has {shortage}")
            continue
        if plain.method.nunique() < 2:
            reasons.append(
                f"plain KD of {pair} has a single setting ({plain.method.iloc[0]}), so it does not "
                "come with its own best weights"
            )
            continue
        if methods_without_results := name_methods_without_results(cells):
            reasons.append(
                f"the best method of {pair} is not known: {methods_without_results} has no results"
            )
            continue
        kd, best_other = select_best_setting("kd", plain), select_best_setting("", others)
        effects[pair] = (best_other.errors - kd.errors).dropna()
        halves[pair] = merge_halves(kd.halves, best_other.halves)
        used.append(cells)
        descriptions.append(f"{best_other.label} against {kd.label} for {pair}")
    if not effects:
        needs = (
            f"it needs two methods beside KD from one fully trained teacher; here: {max_methods}"
        )
        raise UntestableClaim("; ".join([*reasons, needs] if max_methods < 2 else reasons))
    text = "error, best other method - KD"
    delta = evidence.delta
    contrasts = [
        Contrast(f"{text}: {pair}", effect, "not better", delta, halves=halves[pair])
        for pair, effect in effects.items()
    ]
    if len(effects) > 1:
        mean = average_parts(effects)
        merged, mean_text = merge_halves(*halves.values()), f"{text}, mean over pairs"
        contrasts.append(Contrast(mean_text, mean, "not better", delta, False, halves=merged))
    return build_finding(contrasts, "; ".join([*descriptions, *reasons]), pd.concat(used))


CLAIM = Claim(
    "No method is better than plain KD with its own best weights",
    evaluate_no_better_method,
    question="not better",
)
