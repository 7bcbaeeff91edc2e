"""C14. In every family of teachers: the mean over pairs of err(full) - err(early-stopped) > 0."""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.selection import average_parts, build_finding
from kdpipe.analysis.teacher_contrasts import (
    StudentTeacher,
    compute_early_stopped_errors,
    describe_early_stopping,
)
from kdpipe.errors import KdpipeError
from kdpipe.models import registry
from kdpipe.stats.replicates import merge_halves


def evaluate_families(evidence: Evidence) -> Finding:
    """Compare early-stopped with full teachers in each family."""
    early_stopping = compute_early_stopped_errors(evidence)
    families: dict[str, dict[StudentTeacher, pd.Series]] = {}
    for (student, teacher), gain in early_stopping.gains.items():
        families.setdefault(_get_family(teacher), {})[student, teacher] = gain
    if len(families) < 2:
        raise UntestableClaim(
            f"its early-stopped teachers are of one family, {next(iter(families))}"
        )
    text = "error, full teacher - early-stopped teacher"
    contrasts = [
        Contrast(
            f"{text}: {family}, {len(gains)} pairs",
            average_parts(gains),
            "above",
            evidence.delta,
            halves=merge_halves(*(early_stopping.choices[pair].halves for pair in gains)),
        )
        for family, gains in families.items()
    ]
    return build_finding(contrasts, describe_early_stopping(early_stopping), early_stopping.rows)


def _get_family(network: str) -> str:
    """Return the family of a network, from its name where kdpipe does not know it."""
    try:
        return registry.get_family_name(network)
    except KdpipeError:
        return network.rstrip("0123456789.-")


CLAIM = Claim(
    "Early-stopped teachers are better in every network family",
    evaluate_families,
    question="difference",
)
