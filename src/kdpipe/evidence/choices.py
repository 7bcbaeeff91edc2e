"""What the claims share: the cells that a claim rests on, choices on validation, and holes.

Everything here is decided by names and settings, never by test errors: which method counts as
the study's KD, which teacher is the largest, and, seed by seed, the option that the validation
errors of the other seeds prefer.

A method of the field is a kind: its terms, to the end or stopped. What a study tries of one kind
(weights, temperatures, when it stops) are its settings, and a `Contender` is the method at the one
that validation chose. So each, plain KD too, comes with its own best weights, and none gains by
having tried many.
"""

import functools
import math
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.evidence.claim import Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import (
    ONE_TEACHER,
    STEP,
    by_seed,
    direct,
    groups,
    networks,
    notes,
    where,
    wide,
)
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.learning.method import in_words
from kdpipe.statistics.intervals import choose

PAPER = {"temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9}  # section 3
FIRST_DROP = 0.3  # the share of the epochs after which the paper's ESKD stops (inferred)


def method_of(frame: pd.DataFrame, kind: str) -> str:
    """The study's main method of a kind: the one whose settings are nearest to the paper's.

    For ESKD also by where KD stops (0.3 of the epochs) and the weight of CE after it (1).
    """
    students = frame.loc[(frame.kind == "student") & (frame.method_kind == kind)]
    students = students.loc[~students.method.str.contains(STEP, regex=False)]
    if students.empty:
        raise Untested(f"no student of this study is trained by {in_words(kind)}")
    columns = [*PAPER, "label_smoothing", "kd_epochs", "epochs", "ce_weight_after_stop"]
    tried = students[["method", "method_kind", *columns]].drop_duplicates("method")
    return min(tried.itertuples(), key=_distance).method


@functools.lru_cache(maxsize=8)
def taught(evidence: Evidence, kind: str = "kd", method: str | None = None) -> pd.DataFrame:
    """The direct students of networks trained on labels, by one method; all stops."""
    frame = evidence.frame
    label = method or method_of(frame, kind)
    found = networks(direct(frame))
    found = found.loc[found.method == label]
    if found.empty:
        raise Untested(f"no student is taught directly by a network with {label}")
    return found


def taught_in_full(evidence: Evidence, kind: str = "kd") -> pd.DataFrame:
    """Those of `taught` whose teacher was trained to its end."""
    found = where(taught(evidence, kind), stop_kind="full")
    if found.empty:
        raise Untested(f"no student is taught by a fully trained teacher with {in_words(kind)}")
    return found


def scratch(frame: pd.DataFrame, column: str = "test_error") -> pd.DataFrame:
    """Runs on labels alone: seeds down, students across; nan where there is none."""
    found = wide(frame.loc[frame.kind == "scratch"], "student", column=column)
    return found.reindex(columns=sorted(set(frame.student) - {""}))


def chosen(validation: pd.DataFrame, test: pd.DataFrame) -> pd.Series:
    """For each seed the option with the lowest mean validation error of the other seeds.

    One option is no choice. Without validation the report refuses to choose.
    """
    if len(test.columns) == 1:
        return pd.Series(test.columns[0], index=test.index)
    if validation.isna().to_numpy().all():
        raise Untested("there are no validation errors to choose by")
    return choose(validation, test)[0]


def pick(values: pd.DataFrame, choice: pd.Series) -> pd.Series:
    """The values of each seed's chosen option."""
    found = {seed: values.at[seed, choice[seed]] for seed in choice.index}
    objects = any(kind.hasobject for kind in values.dtypes)  # errors that know their runs
    return pd.Series(found, dtype=object if objects else float)


def pool(parts: Mapping) -> pd.Series:
    """The mean over parts (students, pairs) by seed; a seed that lacks one of them is left out."""
    if not parts:
        return pd.Series(dtype=float)
    table = pd.DataFrame(dict(enumerate(parts.values()))).dropna()
    return functools.reduce(operator.add, (part for _, part in table.items())) / len(parts)


def said(choice: pd.Series) -> str:
    """A choice in words: `wrn10-1 for 4 seeds, wrn16-1 for 1`."""
    counts = Counter(choice)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{option} for {count} seeds" for option, count in counts.most_common())


def finding(contrasts: list, how: str, used: pd.DataFrame) -> Finding:
    """A finding with the holes of the cells it used, and whether they share one teacher."""
    missing, one_teacher = [], False
    keys = ("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble")
    runs, teachers = (used[column].tolist() for column in ("run", "teacher_run"))
    whole = ((used.status == "done") & used.test_error.notna()).tolist()
    places: dict[tuple, list[int]] = {}
    for place, key in enumerate(zip(*(used[key].tolist() for key in keys), strict=True)):
        places.setdefault(key, []).append(place)
    for key, cell in places.items():
        if all(whole[place] for place in cell):  # nearly every cell, and notes take their time
            several = len({runs[place] for place in cell}) > 1
            one_teacher |= several and len({teachers[place] for place in cell} - {""}) == 1
            continue
        found = [note for note in notes(used.iloc[cell]).split("; ") if note]
        one_teacher |= ONE_TEACHER in found
        holes = [note for note in found if note != ONE_TEACHER and "mixes" not in note]
        if holes:
            missing.append(f"{_named(dict(zip(keys, key, strict=True)))}: {'; '.join(holes)}")
    return Finding(contrasts, how, missing, one_teacher)


def _named(key: dict) -> str:
    if key["kind"] == "ensemble":
        return f"ensemble {key['ensemble']}"
    path = [key["teacher"], *key["via"].split(STEP), key["student"]]
    name = STEP.join(part for part in path if part) or key["kind"]
    extra = [key["stop"] if key["stop"] != "full" else "", key["method"]]
    if key["generation"] > 1:
        extra.append(f"generation {key['generation']:g}")
    if key["kind"] != "student":
        extra.append(key["kind"])
    return f"{name} ({', '.join(part for part in extra if part)})"


def _distance(row) -> tuple:
    far = abs(math.log(row.temperature / PAPER["temperature"]))
    far += abs(row.ce_weight - PAPER["ce_weight"]) + abs(row.kd_weight - PAPER["kd_weight"])
    far += row.label_smoothing if not math.isnan(row.label_smoothing) else 0
    if row.method_kind == "eskd":
        far += abs(row.kd_epochs / row.epochs - FIRST_DROP)
        far += abs(row.ce_weight_after_stop - 1)
    return (math.inf if math.isnan(far) else round(far, 9), row.method)


def trade_off_contrasts(parts: dict[str, dict], split: str, needed: bool) -> list[Contrast]:
    """CE and KD loss on one split from full KD to ESKD, by pair: `<split>_nll`, `<split>_kl`."""
    ce, kd = pool(parts[f"{split}_nll"]), -pool(parts[f"{split}_kl"])
    where = {"train": "train", "val": "validation"}[split]
    return [
        Contrast(f"CE on {where}, full KD - ESKD", ce, needed=needed, unit="nat"),
        Contrast(f"KD loss on {where}, ESKD - full KD", kd, needed=needed, unit="nat"),
    ]


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
