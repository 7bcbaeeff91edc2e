"""Taught students beside scratch runs of the same price of training: what E1 and E1p compare.

A price is a number of multiply-adds. A scratch run has that of a taught student if it differs by no
more than half an epoch of its own. Where no scratch run has it there are two others: the dearest of
those that cost less can tell the contrary alone (it cost no more and is better), the cheapest of
those that cost more can support alone (it cost at least as much and is worse).
"""

from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import get_series_by_seed, group_rows
from kdpipe.analysis.selection import build_finding
from kdpipe.analysis.trainings import Student, list_students

OWN, PATH = ("train_macs", "teacher_macs"), ("train_macs", "teacher_macs", "ancestor_macs")


@dataclass(frozen=True)
class _Rival:
    """A scratch run: its length, its price, and its rows."""

    length: float
    price: float
    rows: pd.DataFrame


def build_equal_price_finding(evidence: Evidence, columns: tuple[str, ...]) -> Finding:
    """Build the finding that taught students are better than scratch runs of equal price.

    All taught students have to be, whatever their length and teacher.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    columns : tuple of str
        The columns whose sum is the price of a taught student.

    Raises
    ------
    UntestableClaim
        If prices are not known.
    """
    contrasts, used, missing = [], [], []
    for student in list_students(evidence):
        rivals = _list_rivals(student)
        for key, cell in group_rows(student.taught, "teacher", "stop", "epochs"):
            price = float(cell[list(columns)].iloc[0].sum(min_count=len(columns)))
            name = (
                f"{student.name}, {key['epochs']:g} epochs, from {key['teacher']} ({key['stop']})"
            )
            found = _find_rivals(rivals, price)
            if "both" not in found and "support" not in found:
                needed = _count_epochs(rivals, price)
                missing.append(f"{name}: {needed:,} epochs on labels alone have its price")
            for tells, rival in found.items():
                errors = get_series_by_seed(rival.rows) - get_series_by_seed(cell)
                costs = {"both": "as much", "support": "more", "contrary": "less"}[tells]
                text = (
                    f"error, scratch of {rival.length:g} epochs, which cost {costs}, - KD: {name}"
                )
                contrast = Contrast(text, errors.dropna(), delta=evidence.delta, tells=tells)
                contrasts.append(contrast)
                used += [cell, rival.rows]
    if not contrasts:
        raise UntestableClaim("the prices of training are not known")
    exact = all(contrast.tells == "both" for contrast in contrasts)
    finding = build_finding(contrasts, _describe(contrasts), pd.concat(used))
    lacks = f"; {'; '.join(missing)}" if missing else ""
    undecided = f"no scratch run of just the price decides{lacks}"
    return finding if exact else replace(finding, undecided=undecided)


def _list_rivals(student: Student) -> list[_Rival]:
    """Return the scratch runs of a student by price."""
    runs = pd.concat([student.scratch, student.long_runs])
    keys = ["epochs", *(["drop_epochs"] if "drop_epochs" in runs else [])]
    rivals = [
        _Rival(float(rows.epochs.iloc[0]), float(rows.train_macs.iloc[0]), rows)
        for _, rows in group_rows(runs, *keys)
    ]
    return sorted((r for r in rivals if r.price == r.price), key=lambda rival: rival.price)


def _find_rivals(rivals: list[_Rival], price: float) -> dict[str, _Rival]:
    """Return the scratch runs that a taught student is compared with, by what they tell."""
    if price != price or not rivals:
        return {}
    nearest = min(rivals, key=lambda rival: abs(rival.price - price))
    if abs(nearest.price - price) <= 0.5 * nearest.price / nearest.length * (1 + 1e-9):
        return {"both": nearest}
    cheaper = [rival for rival in rivals if rival.price < price]
    dearer = [rival for rival in rivals if rival.price > price]
    found = {"contrary": cheaper[-1]} if cheaper else {}
    return found | ({"support": dearer[0]} if dearer else {})


def _count_epochs(rivals: list[_Rival], price: float) -> int:
    """Return the epochs on labels alone that have a price."""
    if price != price or not rivals:
        return 0
    return round(price / (rivals[0].price / rivals[0].length))


def _describe(contrasts: list[Contrast]) -> str:
    """Return how many comparisons there are of each kind."""
    counts = {
        "at the same price": sum(contrast.tells == "both" for contrast in contrasts),
        "with a dearer scratch run": sum(contrast.tells == "support" for contrast in contrasts),
        "with a cheaper one": sum(contrast.tells == "contrary" for contrast in contrasts),
    }
    return ", ".join(f"{count} {text}" for text, count in counts.items() if count)
