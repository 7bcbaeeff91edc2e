"""Taught students beside scratch runs of the same price of training: what E1 and E1p compare.

A price is a number of multiply-adds; the teacher's answers cost a forward pass for each image of
each epoch, as they do without a cache. A scratch run has the price of a taught student if it
differs by no more than half an epoch of its own. Where no scratch run has it there are two others:
the dearest of those that cost less can tell the contrary alone (it cost no more and is better), the
cheapest of those that cost more can support alone (it cost at least as much and is worse).
"""

from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import get_halves, get_series_by_seed, group_rows
from kdpipe.analysis.selection import build_finding, describe_choice
from kdpipe.analysis.trainings import Student, list_students
from kdpipe.stats.intervals import Choice, select_options

OWN, PATH = ("train_macs", "teacher_macs"), ("train_macs", "teacher_macs", "ancestor_macs")
COSTS = {"both": "as much", "contrary": "less", "support": "more"}


@dataclass(frozen=True)
class _Rival:
    """A scratch run: its length, its price, and its rows."""

    length: float
    price: float
    rows: pd.DataFrame


@dataclass(frozen=True)
class _TaughtCell:
    """Students of one length, teacher and stop: the rows, the price, rivals by what they tell."""

    name: str
    rows: pd.DataFrame
    price: float
    rivals: dict[str, _Rival]

    def compare(self, tells: str) -> pd.Series:
        """Return the error of a rival less its own, by seed."""
        return get_series_by_seed(self.rivals[tells].rows) - get_series_by_seed(self.rows)


def build_equal_price_finding(evidence: Evidence, columns: tuple[str, ...]) -> Finding:
    """Build the finding that taught students are better than scratch runs of equal price.

    They have to be at each length of training, with the teacher and the stop that validation
    prefers at that length, chosen for each seed by others. All cells are shown beside.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    columns : tuple of str
        The columns whose sum is the price of a taught student.

    Raises
    ------
    UntestableClaim
        If prices are not known, or nothing can be chosen.
    """
    contrasts: list[Contrast] = []
    used, missing, not_chosen = [], [], []
    for student in list_students(evidence):
        rivals = _list_rivals(student)
        for key, rows in group_rows(student.taught, "epochs"):
            name = f"{student.name}, {key['epochs']:g} epochs"
            cells = _list_cells(rows, rivals, columns)
            choice = _choose_cell(cells)
            chosen = [cell for option, cell in cells.items() if option in set(choice.chosen)]
            chosen = chosen or (list(cells.values()) if len(cells) == 1 else [])
            if not chosen:
                not_chosen.append(name)
                continue
            only = chosen[0].name
            text = f"{name}, from {describe_choice(choice) if len(chosen) > 1 else only}"
            if not all({"both", "support"} & set(cell.rivals) for cell in chosen):
                needed = max(_count_epochs(rivals, cell.price) for cell in chosen)
                missing.append(f"{text}: {needed:,} epochs on labels alone have its price")
            for tells in COSTS:
                if not all(tells in cell.rivals for cell in chosen):
                    continue
                effects = {cell.name: cell.compare(tells) for cell in chosen}
                # As objects: errors that know their runs must not become floats.
                values = pd.Series(
                    {seed: effects[cell].get(seed) for seed, cell in choice.chosen.items()},
                    dtype=choice.errors.dtype,
                )
                compared = _describe_pair([cell.rivals[tells] for cell in chosen], tells, text)
                contrasts.append(
                    Contrast(
                        compared,
                        values.dropna(),
                        delta=evidence.delta,
                        halves=choice.halves,
                        tells=tells,
                    )
                )
                used += [part for cell in chosen for part in (cell.rows, cell.rivals[tells].rows)]
            if len(cells) > 1:
                contrasts += _compare_all(cells, name, evidence.delta)
    needed_contrasts = [contrast for contrast in contrasts if contrast.is_needed]
    if not needed_contrasts:
        raise UntestableClaim(
            f"nothing to choose a teacher by: {'; '.join(not_chosen)}"
            if not_chosen
            else "the prices of training are not known"
        )
    finding = build_finding(contrasts, _describe(needed_contrasts), pd.concat(used))
    if all(contrast.tells == "both" for contrast in needed_contrasts):
        return finding
    lacks = f"; {'; '.join(missing)}" if missing else ""
    return replace(finding, undecided=f"no scratch run of just the price decides{lacks}")


def _list_cells(
    rows: pd.DataFrame, rivals: list[_Rival], columns: tuple[str, ...]
) -> dict[str, _TaughtCell]:
    """Return the taught students of one length by teacher and stop."""
    cells = {}
    for key, cell in group_rows(rows, "teacher", "stop"):
        price = float(cell[list(columns)].iloc[0].sum(min_count=len(columns)))
        name = f"{key['teacher']} ({key['stop']})"
        cells[name] = _TaughtCell(name, cell, price, _find_rivals(rivals, price))
    return cells


def _choose_cell(cells: dict[str, _TaughtCell]) -> Choice:
    """Return the teacher and stop that validation prefers; the only one where there is one."""
    errors = {name: get_series_by_seed(cell.rows) for name, cell in cells.items()}
    if len(cells) == 1:
        ((name, known),) = errors.items()
        return Choice(pd.Series(name, known.dropna().index, dtype=object), known.dropna())
    known = {name: get_series_by_seed(cell.rows, "val_error") for name, cell in cells.items()}
    halves = get_halves(pd.concat([cell.rows for cell in cells.values()]))
    return select_options(pd.DataFrame(known), pd.DataFrame(errors), halves)


def _compare_all(cells: dict[str, _TaughtCell], name: str, delta: float) -> list[Contrast]:
    """Return the comparisons of all cells of a length, on which nothing rests."""
    return [
        Contrast(
            _describe_pair([rival], tells, f"{name}, from {cell.name}"),
            cell.compare(tells).dropna(),
            delta=delta,
            is_needed=False,
            tells=tells,
        )
        for cell in cells.values()
        for tells, rival in cell.rivals.items()
    ]


def _describe_pair(rivals: list[_Rival], tells: str, text: str) -> str:
    """Return what is compared in words."""
    lengths = " or ".join(f"{length:g}" for length in sorted({rival.length for rival in rivals}))
    return f"error, scratch of {lengths} epochs, which cost {COSTS[tells]}, - KD: {text}"


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
