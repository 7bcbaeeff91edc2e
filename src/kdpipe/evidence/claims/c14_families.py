"""C14. In every family of teachers: the mean over pairs of err(full) - err(early-stopped) > 0."""

import pandas as pd

from kdpipe.errors import KdpipeError
from kdpipe.evidence.choices import finding, pool
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.teachers.early_stopped import Pair, how, stopped
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.networks import naming


def across_families(evidence: Evidence) -> Finding:
    found = stopped(evidence)
    families: dict[str, dict[Pair, pd.Series]] = {}
    for (student, teacher), gain in found.gains.items():
        families.setdefault(_family(teacher), {})[student, teacher] = gain
    if len(families) < 2:
        raise Untested(f"its early-stopped teachers are of one family, {next(iter(families))}")
    text = "error, full teacher - early-stopped teacher"
    contrasts = [
        Contrast(f"{text}: {family}, {len(gains)} pairs", pool(gains), "above", evidence.delta)
        for family, gains in families.items()
    ]
    return finding(contrasts, how(found), found.rows)


def _family(network: str) -> str:
    try:
        return naming.family(network)
    except KdpipeError:
        return network.rstrip("0123456789.-")


CLAIM = Claim("Early-stopped teachers are better in every network family", across_families)
