"""What the chosen students are compared with, each rival by its name.

Scratch, for each price: for as many operations as the student alone takes, as it takes with its
teacher's answers, and as all takes that is trained along its path (`prices.LONGEST` bounds it); the
best full teacher with full KD; an ensemble of equal size, with as many scratch runs as networks
stand on the chosen path; and one of equal operations, with as many scratch runs as classify an
image for what the teacher costs. A rival that the study lacks is named with what to write into the
study file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from kdpipe.evidence.selections import STEP, by_seed, direct, groups, scratch_ensembles, where, wide
from kdpipe.plan.prices import LONGEST, times_as_long
from kdpipe.statistics.intervals import choose

NONE = pd.Series(dtype=float)


@dataclass(frozen=True)
class Rival:
    """Errors by seed, empty where there are none; `cure` says how to get them."""

    name: str
    errors: pd.Series
    cure: str = "not run yet"
    kind: str = ""  # scratch; equal size: as many scratch runs as the path has networks
    copies: int = 1  # networks that answer together


def of(
    frame: pd.DataFrame, student: str, rows: pd.DataFrame, cell: pd.DataFrame
) -> Iterator[Rival]:
    """The rivals of one student. rows: all that end in it; cell: the option recommended."""
    scratch = by_seed(where(frame, kind="scratch", student=student))
    yield Rival("the same network on labels alone (scratch)", scratch, kind="scratch")
    yield _full_teacher(student, rows)
    yield from _scratch_long(frame, student, cell)
    yield from _ensembles(frame, student, cell)


def _full_teacher(student: str, rows: pd.DataFrame) -> Rival:
    full = where(direct(rows), stop_kind="full", method_kind="kd")
    name = "the best full teacher with full KD (chosen alike)"
    if full.empty:
        cure = (
            f"add an experiment that teaches {student} directly, with stops: [full] and a method "
            "whose kd_weight is above 0 and which has no stop_epoch"
        )
        return Rival(name, NONE, cure)
    columns = ("val_error", "test_error")
    validation, test = (wide(full, "teacher", "method", column=c) for c in columns)
    if len(test.columns) == 1:
        return Rival("its fully trained teacher with full KD", test.iloc[:, 0].dropna())
    return Rival(name, choose(validation, test)[1])


def _scratch_long(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Rival]:
    """One for each price, by its epochs: those that the recommended option costs come first."""
    longer = where(frame, kind="scratch_long", student=student)
    known = {int(key["epochs"]): part for key, part in groups(longer, "epochs")}
    for epochs, why in _prices(cell.iloc[0]).items():
        name = f"scratch for {epochs} epochs, {' = '.join(why)} (scratch_long)"
        if epochs in known:
            yield Rival(name, by_seed(known.pop(epochs)))
        else:
            block = cell.block.iloc[0]
            yield Rival(name, NONE, f"write scratch_long: true into the experiment {block}")
    for epochs, part in sorted(known.items()):
        taught = " and ".join(dict.fromkeys(part.teacher))
        yield Rival(f"scratch for {epochs} epochs, a price of {taught} as teacher", by_seed(part))


def _prices(row: pd.Series) -> dict[int, list[str]]:
    """By the epochs that it pays for, each price of one student beside its own; none if unknown."""
    prices = {
        "the operations of it and its teacher's answers": (row.teacher_macs, math.inf),
        "the operations of all that is trained along its path": (
            row.teacher_macs + row.ancestor_macs,
            LONGEST,
        ),
    }
    found: dict[int, list[str]] = {}
    for why, (beside, most) in prices.items():
        if not row.train_macs > 0 or math.isnan(beside):
            continue
        factor = times_as_long(row.train_macs, beside, most)
        whole = times_as_long(row.train_macs, beside)
        bound = f", held at {most:g} times its epochs where the path pays for {whole:.3g} times"
        found.setdefault(round(row.epochs * factor), []).append(
            why + (bound if factor < whole else "")
        )
    return found


def _ensembles(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Rival]:
    first = cell.iloc[0]
    size = _networks(frame, first)
    copies = int(first.teacher_multiply_adds // first.multiply_adds)
    wanted = {size: [f"equal size: the path has {size} networks"]}
    if copies > 1:  # else it is scratch itself
        teacher = first.teacher_label
        wanted.setdefault(copies, []).append(f"equal operations: what {teacher} costs an image")
    known: dict[int, list[tuple[str, pd.DataFrame]]] = {}
    for key, team in groups(scratch_ensembles(frame, student), "ensemble", "size"):
        known.setdefault(int(key["size"]), []).append((key["ensemble"], team))
    known.pop(1, None)
    for number in sorted({*wanted, *known}):
        why = "; ".join(wanted.get(number, [f"{number} times the operations"]))
        labels = " = ".join(label for label, _ in known.get(number, []))
        name = f"{labels or 'an ensemble'}, {number} scratch runs averaged ({why})"
        kind = {"kind": "equal size" if number == size else "", "copies": number}
        if number in known:
            yield Rival(name, by_seed(known[number][0][1]), **kind)
        else:
            label = f"{number}-times-{student}".replace(".", "_")[:40]  # a name may be no longer
            entry = f"{label}: {{networks: [{student}], copies: {number}}}"
            yield Rival(name, NONE, f"write under ensembles: {entry}", **kind)


def _networks(frame: pd.DataFrame, row: pd.Series) -> int:
    """How many networks are trained along the path of a student, itself included."""
    via = len(row.via.split(STEP)) if row.via else 0
    return _heads(frame, row.teacher_label) + via + int(row.generation)


def _heads(frame: pd.DataFrame, teacher: str) -> int:
    """Networks behind a teacher: one, the members of an ensemble, or the path of a block."""
    teams = where(frame, kind="ensemble", ensemble=teacher)
    if len(teams):
        return int(teams["size"].iloc[0])
    path = where(frame, kind="student", block=teacher)
    path = path[path.teacher_label != teacher]
    if path.empty:
        return 1
    via = path.via.map(lambda text: len(text.split(STEP)) if text else 0)
    return _networks(frame, path.loc[(via + path.generation).idxmax()])
