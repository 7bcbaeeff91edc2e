"""C3. C1 (b) at every other temperature of the sweep: err_S(L) - err_S(m) > 0.

The methods differ in temperature alone. Premise: on validation it holds at the temperature of
the study's KD, or there is nothing that another one could remove.
"""

import pandas as pd

from kdpipe.evidence.choices import finding, taught
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import direct, groups, networks, weights, where
from kdpipe.evidence.teachers.largest_teacher import sizes
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.statistics.intervals import FEWEST_SEEDS, one_sided, summary
from kdpipe.statistics.power import LEVEL


def temperature(evidence: Evidence) -> Finding:
    base = taught(evidence, "kd")
    first = base.iloc[0]
    alike = {name: first[name] for name in (*weights(base), "method_kind")}
    sweep = where(networks(direct(evidence.frame)), **alike)
    if sweep.temperature.nunique() < 2:
        raise Untested("no two methods of this study differ in temperature alone")
    at_base = sizes(base).effect("val_error").dropna()
    p = one_sided(at_base)
    if len(at_base) < FEWEST_SEEDS:
        raise Untested(
            f"{FEWEST_SEEDS} seeds at T = {first.temperature:g} are needed, "
            f"{len(at_base)} are there"
        )
    if not p < LEVEL:
        raise Untested(
            f"on validation the largest teacher is not shown to be worse at T = "
            f"{first.temperature:g} (effect {summary(at_base).mean:+.2g} points, p {p:.2g}): there "
            "is nothing to remove"
        )
    contrasts, used = [], [base]
    for key, rows in groups(sweep.sort_values("temperature", kind="stable"), "temperature"):
        if key["temperature"] == first.temperature:
            continue
        found = sizes(where(rows, method=rows.method.iloc[0]))
        used.append(found.rows)
        text = f"T = {key['temperature']:g}: error with the largest teacher - the best smaller one"
        contrasts.append(Contrast(text, found.effect("test_error"), "above", evidence.delta))
    return finding(
        contrasts,
        f"it holds on validation at T = {first.temperature:g}, p {p:.2g}",
        pd.concat(used),
    )


CLAIM = Claim("A higher temperature does not make the largest teacher a good one", temperature)
