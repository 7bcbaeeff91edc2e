"""The methods of a study, each at its best setting: what the table, the figure and the claims of
the field's methods compare.

A method is a kind: its terms, to the end or stopped. What a study tries of one kind (weights,
temperatures, when it stops) are its settings; which of them stands for the method is chosen on
validation, for each seed by the other seeds. So every method, plain KD too, comes with its own
best weights, and none gains by having tried many.
"""

from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.evidence.choices import chosen, method_of, said
from kdpipe.evidence.selections import by_seed, groups, where, wide
from kdpipe.evidence.verdicts import Untested
from kdpipe.learning.method import in_words


@dataclass(frozen=True)
class Contender:
    """One method from one teacher. `cell`: for each seed the run at the chosen setting."""

    kind: str
    label: str  # of the study; several where seeds choose differently
    tried: list[str]  # all settings
    cell: pd.DataFrame
    rows: pd.DataFrame  # of all settings
    name: str = ""  # the same at every stop: the kind, or the label where settings stand apart

    @property
    def errors(self) -> pd.Series:
        """The test errors by seed."""
        return by_seed(self.cell)


def contenders(rows: pd.DataFrame) -> list[Contender]:
    """The methods of one student, teacher and stop, in the order of the rows.

    Where there is nothing to choose by (no validation, too few seeds) each setting is one.
    """
    found = []
    for key, cells in groups(rows, "method_kind"):
        kind = key["method_kind"]
        try:
            found.append(best(kind, cells))
        except Untested:
            settings = [best(kind, cell) for _, cell in groups(cells, "method")]
            found += [replace(one, name=one.label) for one in settings]
    return found


def plain(found: list[Contender]) -> Contender | None:
    """Plain KD among some methods; of settings that stand apart the one nearest to the paper's."""
    kd = [one for one in found if one.kind == "kd"]
    if len(kd) < 2:
        return kd[0] if kd else None
    main = method_of(pd.concat([one.rows for one in kd]), "kd")
    return next(one for one in kd if one.label == main)


def best(kind: str, rows: pd.DataFrame) -> Contender:
    """The setting that validation chose among some; raises Untested if it cannot."""
    test, validation = wide(rows, "method"), wide(rows, "method", column="val_error")
    choice = chosen(validation, test)
    if choice.empty:
        raise Untested(f"fewer than two seeds to choose among {', '.join(test)}")
    cell = rows.loc[rows.method == rows.seed.map(choice)]
    return Contender(kind, said(choice), list(test), cell, rows, kind)


def to_the_end(rows: pd.DataFrame) -> pd.DataFrame:
    """The students of fully trained teachers whose teacher teaches to the end."""
    return where(rows.loc[~(rows.kd_epochs < rows.epochs)], stop_kind="full")


def lacking(rows: pd.DataFrame) -> str:
    """Names the methods none of whose settings has a result: any of them might be the best."""
    found = rows.groupby("method_kind", sort=False).test_error.count()
    return ", ".join(in_words(kind) for kind in found.index[found == 0])
