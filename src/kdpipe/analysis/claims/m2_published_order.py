"""M2. Spearman's rho between the methods' mean errors here and their published ones > 0.

Published: means over the pairs of CIFAR-100 that the study has, or over all four where it has none
of them (does their order hold on other data?). Only methods with published numbers for all of
these, each at the setting that validation chose; needs five. The effect is the rho of the mean
errors, its interval from seeds drawn again on these test images; what is tested is the rho of each
seed's own errors, over seeds (of five, draws alone could not show anything after Holm's
correction). All seeds share their test images, which favour one method or another in every seed: so
the trend of the errors along the published ranks, a sum of errors, is tested over seeds and images
too, and the larger p counts. Beside it stands a one-sided p over all orders of the methods, each as
likely as the other (a permutation test of the rho of the mean errors): with few methods even the
published order itself is not rare. It says nothing of methods that are not here.
"""

import functools
import math
import operator
from collections.abc import Iterable

import pandas as pd

from kdpipe.analysis import published
from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    filter_rows,
    group_rows,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import (
    MethodArm,
    build_finding,
    select_best_setting,
    select_full_kd_students,
)
from kdpipe.stats.ranks import compute_permutation_p, correlate_ranks
from kdpipe.stats.replicates import merge_halves

PUBLISHED_DATA = "cifar100"
MIN_METHODS = 5


def evaluate_published_order(evidence: Evidence) -> Finding:
    """Correlate the errors of methods with their published errors."""
    rows = select_full_kd_students(
        select_label_trained_teachers(select_direct_students(evidence.frame))
    )
    published_errors = published.get_published_errors_by_pair(PUBLISHED_DATA)
    kinds = set.intersection(*(set(errors.index) for errors in published_errors.values()))
    pairs = {
        (key["student"], key["teacher_label"], key["teacher"]): cells
        for key, cells in group_rows(
            filter_rows(rows, method_kind=sorted(kinds)), "student", "teacher_label", "teacher"
        )
    }
    counts = {pair: cells.method_kind.nunique() for pair, cells in pairs.items()}
    pairs = {pair: cells for pair, cells in pairs.items() if counts[pair] >= MIN_METHODS}
    same_pairs = [
        p for p in pairs if p[:2] in published_errors and (pairs[p]["data"] == PUBLISHED_DATA).all()
    ]
    used = {pair: pairs[pair] for pair in same_pairs} or pairs
    methods = sorted(set.intersection(kinds, *(set(cells.method_kind) for cells in used.values())))
    if not used or len(methods) < MIN_METHODS:
        max_methods = len(methods) if used else max(counts.values(), default=0)
        raise UntestableClaim(
            f"{MIN_METHODS} methods that have published numbers are needed, "
            f"{max_methods} {'is' if max_methods == 1 else 'are'} here"
        )
    published_table = pd.DataFrame(
        {pair[:2]: published_errors[pair[:2]] for pair in same_pairs} or published_errors
    ).loc[methods]
    arms = [_select_method_arms(cells, methods) for cells in used.values()]
    errors = [pd.DataFrame({kind: arm.errors for kind, arm in by.items()}) for by in arms]
    mean = functools.reduce(operator.add, errors) / len(errors)
    published_means = published_table.mean(axis=1)
    rho_by_seed, estimate = correlate_ranks(mean.astype(float), published_means)
    p = compute_permutation_p(mean.astype(float), published_means)
    description = (
        f"errors on {_join_pairs(used)} against those published for "
        f"{_join_pairs(published_table)} on {PUBLISHED_DATA} (best "
        f"epoch on test); {', '.join(methods)}; the effect is of the mean errors, its interval "
        "from seeds drawn again, its test of the rho of each seed"
    )
    if not math.isnan(p):
        description += f"; over all orders of the methods p {p:.2g} (one-sided)"
    text = f"Spearman's rho of {len(methods)} methods, errors here and published"
    contrast = Contrast(
        text,
        rho_by_seed,
        delta=evidence.smallest.rank,
        unit="rho",
        estimate=estimate,
        linear=_fit_trend(mean, published_means),
        halves=merge_halves(*(arm.halves for by in arms for arm in by.values())),
    )
    return build_finding([contrast], description, pd.concat(used.values()))


def _select_method_arms(cells: pd.DataFrame, methods: list[str]) -> dict[str, MethodArm]:
    """Return each method at its chosen setting."""
    return {
        kind: select_best_setting(kind, filter_rows(cells, method_kind=kind)) for kind in methods
    }


def _fit_trend(errors: pd.DataFrame, published_means: pd.Series) -> pd.Series:
    """Return by seed the rise of errors in points per published rank (least squares)."""
    ranks = published_means.rank() - published_means.rank().mean()
    weights = ranks / (ranks**2).sum()
    terms = [errors[name] * weight for name, weight in weights.items()]
    return functools.reduce(operator.add, terms).dropna()


def _join_pairs(pairs: Iterable[tuple[str, ...]]) -> str:
    """Return pairs in one text."""
    return ", ".join(f"{pair[1]}{PATH_SEPARATOR}{pair[0]}" for pair in pairs)


CLAIM = Claim(
    "The order of methods goes with the published one (rho above 0)",
    evaluate_published_order,
    question="difference",
)
