"""M1. For every pair: err(KD) - err(the best other method) < delta, KD at its own best weights.

Which method is the best one, and which of KD's settings, is chosen on validation, for each seed by
the other seeds. Methods that teach to the end, from fully trained teachers; needs two beside KD.
KD that stops early is C6's.
"""

import pandas as pd

from kdpipe.evidence.choices import best, finding, lacking, pool, to_the_end
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import direct, groups, networks, where
from kdpipe.evidence.verdicts import Finding, Untested


def no_better_method(evidence: Evidence) -> Finding:
    rows = to_the_end(networks(direct(evidence.frame)))
    effects, used, how, why, most = {}, [], [], [], 0
    for key, cells in groups(rows, "student", "teacher"):
        pair = f"{key['student']} from {key['teacher']}"
        plain, others = where(cells, method_kind="kd"), cells.loc[cells.method_kind != "kd"]
        count = others.method_kind.nunique()
        most = max(most, count)
        if plain.empty or count < 2:
            if count:
                few = "one method beside KD" if len(plain) else "no full KD"
                why.append(f"{pair} has {few}")
            continue
        if without := lacking(cells):
            why.append(f"the best method of {pair} is not known: {without} has no results")
            continue
        kd, rival = best("kd", plain), best("", others)
        effects[pair] = (rival.errors - kd.errors).dropna()
        used.append(cells)
        how.append(f"{rival.label} against {kd.label} for {pair}")
    if not effects:
        needs = f"it needs two methods beside KD from one fully trained teacher; here: {most}"
        raise Untested("; ".join([*why, needs] if most < 2 else why))
    text = "error, best other method - KD"
    delta = evidence.delta
    contrasts = [
        Contrast(f"{text}: {pair}", effect, "not better", delta) for pair, effect in effects.items()
    ]
    if len(effects) > 1:
        mean = pool(effects)
        contrasts.append(Contrast(f"{text}, mean over pairs", mean, "not better", delta, False))
    return finding(contrasts, "; ".join([*how, *why]), pd.concat(used))


CLAIM = Claim("No method is better than plain KD with its own best weights", no_better_method)
