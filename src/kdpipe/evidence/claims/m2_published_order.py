"""M2. Spearman's rho between the methods' mean errors here and their published ones > 0.

Published: means over the pairs of CIFAR-100 that the study has, or over all four where it has none
of them (does their order hold on other data?). Only methods with published numbers for all of
these, each at the setting that validation chose; needs five. The effect is the rho of the mean
errors, its interval from seeds drawn again on these test images; what is tested is the rho of each
seed's own errors, over seeds (of five, draws alone could not show anything after Holm's
correction). All seeds share their test images, which favour one method or another in every seed: so
the trend of the errors along the published ranks, a sum of errors, is tested over seeds and images
too, and the larger p counts. It says nothing of methods that are not here.
"""

import functools
import operator
from collections.abc import Iterable

import pandas as pd

from kdpipe.evidence import published
from kdpipe.evidence.choices import best, finding, to_the_end
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import STEP, direct, groups, networks, where
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.statistics.ranks import rank_correlation

DATA = "cifar100"
FEWEST_METHODS = 5


def published_order(evidence: Evidence) -> Finding:
    rows = to_the_end(networks(direct(evidence.frame)))
    known = published.by_pair(DATA)
    kinds = set.intersection(*(set(errors.index) for errors in known.values()))
    pairs = {
        (key["student"], key["teacher_label"], key["teacher"]): cells
        for key, cells in groups(
            where(rows, method_kind=sorted(kinds)), "student", "teacher_label", "teacher"
        )
    }
    counts = {pair: cells.method_kind.nunique() for pair, cells in pairs.items()}
    pairs = {pair: cells for pair, cells in pairs.items() if counts[pair] >= FEWEST_METHODS}
    alike = [p for p in pairs if p[:2] in known and (pairs[p]["data"] == DATA).all()]
    used = {pair: pairs[pair] for pair in alike} or pairs
    methods = sorted(set.intersection(kinds, *(set(cells.method_kind) for cells in used.values())))
    if not used or len(methods) < FEWEST_METHODS:
        most = len(methods) if used else max(counts.values(), default=0)
        raise Untested(
            f"{FEWEST_METHODS} methods that have published numbers are needed, "
            f"{most} {'is' if most == 1 else 'are'} here"
        )
    printed = pd.DataFrame({pair[:2]: known[pair[:2]] for pair in alike} or known).loc[methods]
    errors = [_errors(cells, methods) for cells in used.values()]
    mean = functools.reduce(operator.add, errors) / len(errors)
    wanted = printed.mean(axis=1)
    by_seed, estimate = rank_correlation(mean.astype(float), wanted)
    how = (
        f"errors on {_listed(used)} against those published for {_listed(printed)} on {DATA} (best "
        f"epoch on test); {', '.join(methods)}; the effect is of the mean errors, its interval "
        "from seeds drawn again, its test of the rho of each seed"
    )
    text = f"Spearman's rho of {len(methods)} methods, errors here and published"
    contrast = Contrast(text, by_seed, unit="rho", estimate=estimate, linear=_trend(mean, wanted))
    return finding([contrast], how, pd.concat(used.values()))


def _errors(cells: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Seeds down, methods across: the errors of one pair, each method at its chosen setting."""
    arms = {kind: best(kind, where(cells, method_kind=kind)) for kind in methods}
    return pd.DataFrame({kind: arm.errors for kind, arm in arms.items()})


def _trend(errors: pd.DataFrame, wanted: pd.Series) -> pd.Series:
    """By seed, how many points the errors rise by for one published rank (least squares)."""
    ranks = wanted.rank() - wanted.rank().mean()
    weights = ranks / (ranks**2).sum()
    terms = [errors[name] * weight for name, weight in weights.items()]
    return functools.reduce(operator.add, terms).dropna()


def _listed(pairs: Iterable[tuple[str, ...]]) -> str:
    return ", ".join(f"{pair[1]}{STEP}{pair[0]}" for pair in pairs)


CLAIM = Claim("The order of methods is the published one", published_order)
