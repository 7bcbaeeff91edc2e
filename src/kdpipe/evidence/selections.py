"""Selections of the tidy frame: which rows belong together.

A frame holds one row for each place of a run in the study (see frames). `tidy` puts it into a
fixed order; `where`, `direct` and `groups` pick cells out of it; `by_seed` and `wide` give the
values of cells, each run counted once, and `notes` what is missing of them. Tables, claims and
figures all select here.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kdpipe.learning.method import terms
from kdpipe.statistics import units
from kdpipe.statistics.traced import TracedError

# What is read of a frame; a column that it lacks counts as empty.
LABELS = (
    *("kind", "block", "data", "teacher", "teacher_network", "stop", "stop_kind", "via"),
    *("student", "method", "method_kind", "ensemble", "of", "run", "teacher_run", "status"),
    *("reason", "device", "torch", "reading"),
)
LOSSES = tuple(
    f"{split}_{loss}"
    for loss in ("nll", "kl", "cross_entropy")
    for split in ("train", "val", "test")
)
KEYS = [key for term in terms().values() if term.in_every_report for key in term.keys.model_fields]
WEIGHTS = ("ce_weight", *(key for key in KEYS if key.endswith("_weight")), "label_smoothing")
NUMBERS = (
    *("seed", "member", "generation", "epochs", "stop_epochs", "size", "teacher_lr", "train_n"),
    *("temperature", *WEIGHTS, "kd_epochs", "ce_weight_after_stop"),
    *("parameters", "multiply_adds", "train_macs", "teacher_macs"),
    *("ancestor_macs", "seconds", "teacher_parameters", "teacher_multiply_adds"),
    *("teacher_val_error", "teacher_test_error", "val_error", "test_error", "test_ece"),
    *("train_kd_error", "test_kd_error", *LOSSES),
    *(f"{s}_{what}" for what in ("entropy", "confidence") for s in ("train", "val", "test")),
    *("best_epoch", "best_val_error", "best_test_error", "last_test_error"),
)
MEASURED = ("scratch", "scratch_long", "student", "ensemble")  # in the reading of the study
APART = ("probe", "gauge")  # no network as it is on the study's data
TRIED = "tried"  # what a search chooses by: no evidence for what it has chosen
ONE_TEACHER = "one teacher for all seeds"
UNTRAINED = "checkpoint 0"  # the stop of a teacher that knows nothing: a control
STEP = " > "  # between the networks of a chain, and between the methods of its steps


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in a fixed order, with every column that is read and no empty labels as nan.

    Networks are ordered by multiply-adds, stops as full, schedule, checkpoint. Further members of
    a seed are left out: they stand in ensembles only. So are probes, whose errors are of other
    data, and gauges, which are the same networks in 8 bits. A study of several splits is paired by
    seed and split: `seed` is then the unit of both (see statistics.units). Where blocks disagree
    about a cell (one has a fixed teacher, one a teacher for each seed) their teachers read
    `label [block]`.
    """
    if "kind" in frame:
        frame = frame.loc[~frame.kind.isin((*APART, TRIED))]
    extra = [column for column in frame if column not in (*LABELS, *NUMBERS)]
    frame = frame.reindex(columns=[*LABELS, *NUMBERS, *extra])
    labels = frame[list(LABELS)].astype(object)
    frame[list(LABELS)] = labels.where(labels.notna(), "").astype(str)
    if "split" in frame:
        frame["seed"] = units.of(frame.seed, frame.split)
    for column in NUMBERS:
        if not _know_runs(frame[column]):
            frame[column] = pd.Series(pd.to_numeric(frame[column]), dtype=float)
    frame["generation"] = frame.generation.fillna(1).where(frame.kind == "student", 0)
    frame = frame.loc[(frame.kind == "ensemble") | (frame.member.fillna(0) == 0)].copy()
    frame["teacher_label"] = frame.teacher
    cell_of = ["student", "teacher", "stop", "via", "generation", "method", "seed"]
    taught = frame[frame.kind == "student"]
    several = taught.groupby(cell_of).run.transform("nunique") > 1
    apart = (frame.kind == "student") & frame.block.isin(taught.block[several])
    frame["teacher"] = frame.teacher.mask(apart, frame.teacher + " [" + frame.block + "]")
    frame["student_rank"] = frame.groupby("student").multiply_adds.transform("min")
    frame["teacher_rank"] = frame.groupby("teacher").teacher_multiply_adds.transform("min")
    frame["stop_rank"] = frame.stop_kind.map({"full": 0, "schedule": 1, "checkpoint": 2})
    order = ("student_rank", "student", "teacher_rank", "teacher", "stop_rank", "stop_epochs")
    last = ("via", "generation", "method", "ensemble", "kind", "block", "seed")
    return frame.sort_values([*order, *last], kind="stable", ignore_index=True)


def weights(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns in which methods of one temperature can differ, but for their stop."""
    return (*WEIGHTS, "terms") if "terms" in frame else WEIGHTS


def traced(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with test errors that know their runs (a column of objects), tidy before or after.

    Those of teachers as they taught, and of probes on other data, know none.
    """
    numbers = pd.Series(pd.to_numeric(frame.test_error), dtype=float)
    errors = [
        TracedError(error, {run: 1.0}) if kind in MEASURED and not math.isnan(error) else error
        for kind, run, error in zip(frame.kind, frame.run, numbers, strict=True)
    ]
    return frame.assign(test_error=pd.Series(errors, index=frame.index, dtype=object))


def as_files(frame: pd.DataFrame) -> pd.DataFrame:
    """The networks that were measured as files, tidy, each as what it is (scratch, student, ...).

    Their errors are those in 8 bits; `own_error` and `own_val_error` are those in float32.
    """
    gauged = frame.loc[frame.kind == "gauge"]
    return tidy(gauged.assign(kind=gauged["of"])) if len(gauged) else gauged


def _know_runs(errors) -> bool:
    return errors.dtype == object and any(isinstance(one, TracedError) for one in errors)


def read_by(frame: pd.DataFrame, reads: list[str]) -> pd.DataFrame:
    """The rows that a table or claim reads: its blocks and ensembles, and every scratch run."""
    wanted = frame.block.isin(reads) | (frame.kind == "scratch")
    if "ensemble" in frame:
        wanted |= frame.ensemble.isin(reads)
    return frame.loc[wanted].reset_index(drop=True)


def where(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """The rows with these values; a list means any of them, nan equals nan."""
    keep = pd.Series(True, index=frame.index)
    for column, value in values.items():
        if isinstance(value, list):
            keep &= frame[column].isin(value)
        else:
            keep &= frame[column].isna() if pd.isna(value) else frame[column] == value
    return frame.loc[keep]


def direct(frame: pd.DataFrame) -> pd.DataFrame:
    """The students taught by their teacher at once: no network between, first generation."""
    return frame.loc[(frame.kind == "student") & (frame.via == "") & (frame.generation <= 1)]


def networks(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose teacher is a network trained on labels, not an ensemble or an experiment."""
    own = (frame.teacher_network != "") & (frame.teacher_label == frame.teacher_network)
    return frame.loc[own]


def scratch_ensembles(frame: pd.DataFrame, student: str) -> pd.DataFrame:
    """The ensembles of scratch runs of one network; snapshots of one run are none."""
    teams = where(frame, kind="ensemble", student=student, of=student)
    if "whole" not in teams:
        return teams
    return teams.loc[[str(whole) != "False" for whole in teams.whole]]


def groups(rows: pd.DataFrame, *keys: str) -> Iterator[tuple[dict, pd.DataFrame]]:
    """The cells: rows that agree in the keys, in the order of the rows."""
    values: Any  # a tuple, also of one key
    for values, cell in rows.groupby(list(keys), sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), cell


def done(cell: pd.DataFrame) -> list[int]:
    """Positions of one cell's finished runs, each once although it may stand in several blocks.

    Two runs of one seed cannot be of one cell: ValueError names them.
    """
    seen: dict[str, int] = {}
    for place, (run, status) in enumerate(
        zip(_values(cell, "run"), _values(cell, "status"), strict=True)
    ):
        if status == "done":
            seen.setdefault(run, place)
    places = list(seen.values())
    seeds = _values(cell, "seed")
    seeds = [seeds[place] for place in places]
    if len(set(seeds)) < len(seeds):
        twice = [run for run, seed in zip(seen, seeds, strict=True) if seeds.count(seed) > 1]
        raise ValueError(f"one cell, one seed, but several runs: {', '.join(twice)}")
    return places


def by_seed(cell: pd.DataFrame, column: str = "test_error") -> pd.Series:
    """The values of one cell by seed; runs that are not done have none."""
    # An error that knows its runs (see traced) stays what it is: an object.
    kind = object if cell[column].dtype == object else float
    return pd.Series(values(cell, column), dtype=kind).rename_axis("seed")


def values(cell: pd.DataFrame, column: str, places: list[int] | None = None) -> dict[float, float]:
    """As `by_seed`, as a plain dict: a table of thousands of cells asks for it."""
    seeds, found = _values(cell, "seed"), _values(cell, column)
    known = {seeds[place]: found[place] for place in (done(cell) if places is None else places)}
    return {seed: known[seed] for seed in sorted(known) if not math.isnan(known[seed])}


def wide(rows: pd.DataFrame, *keys: str, column: str = "test_error") -> pd.DataFrame:
    """Values of many cells: seeds down, cells across (by their keys); nan where there is none.

    A cell without any finished run keeps its column, and a seed without any its row.
    """
    seeds, found = _values(rows, "seed"), _values(rows, column)
    runs, status = _values(rows, "run"), _values(rows, "status")
    labels = [[_label(value) for value in _values(rows, key)] for key in keys]
    line = {seed: place for place, seed in enumerate(sorted({s for s in seeds if s == s}))}
    cells = {key: place for place, key in enumerate(dict.fromkeys(zip(*labels, strict=True)))}
    kind = object if rows[column].dtype == object else float
    table = np.full((len(line), len(cells)), math.nan, dtype=kind)
    seen: dict[tuple, str] = {}
    for key, seed, run, value, state in zip(
        zip(*labels, strict=True), seeds, runs, found, status, strict=True
    ):
        if state != "done":
            continue
        first = seen.setdefault((key, seed), run)
        if first != run:
            raise ValueError(f"one cell, one seed, but several runs: {first}, {run}")
        place = (line[seed], cells[key])
        if value == value and table[place] != table[place]:  # the first that is not nan
            table[place] = value
    index = pd.Index(list(line), dtype=float)
    if len(keys) == 1:
        return pd.DataFrame(table, index, pd.Index([key for (key,) in cells]))
    return pd.DataFrame(table, index, pd.MultiIndex.from_tuples(list(cells)) if cells else None)


def _label(value: Any) -> Any:
    """A value as a part of a key: nan equals nan."""
    return math.nan if value != value else value


def teacher_errors(cell: pd.DataFrame) -> dict[float, float]:
    """Test errors of the teachers by seed; one teacher of several seeds counts once."""
    found: dict[float, float] = {}
    runs = set()
    columns = ("teacher_run", "seed", "teacher_test_error")
    for run, seed, error in zip(*(_values(cell, column) for column in columns), strict=True):
        if run not in runs and not math.isnan(error):
            runs.add(run)
            found.setdefault(seed, error)
    return found


def notes(cell: pd.DataFrame) -> str:
    """What is missing and why, whether the seeds share one teacher, and mixed machines."""
    if cell.empty:
        return "not in this study"
    columns = ("run", "status", "test_error", "reason", "teacher_run", "device", "torch")
    seen: dict[str, tuple] = {}
    for run, *facts in zip(*(cell[column].to_numpy().tolist() for column in columns), strict=True):
        seen.setdefault(run, tuple(facts))
    missing: Counter[str] = Counter()
    reasons = {}
    done = 0
    for status, error, reason, *_ in seen.values():
        if status == "done" and error == error:  # not nan
            done += 1
            continue
        missing[{"done": "without a test error", "": "missing"}.get(status, status)] += 1
        reasons[reason] = True
    found = [f"{count} {state}" for state, count in missing.most_common()]
    reasons.pop("", None)
    if reasons and not done:
        found.append(next(iter(reasons)))
    if done > 1 and len({facts[3] for facts in seen.values()} - {""}) == 1:
        found.append(ONE_TEACHER)
    for name, place in (("devices", 4), ("versions of torch", 5)):
        several = sorted({facts[place] for facts in seen.values()} - {""})
        if len(several) > 1:
            found.append(f"mixes {name}: {' and '.join(several)}")
    return "; ".join(found)


def path_of(key: dict) -> dict:
    """The labels of a cell, and before them its networks from the teacher to the student."""
    networks = [key["teacher"], *key["via"].split(STEP), key["student"]]
    return {"path": STEP.join(name for name in networks if name), **key}


def _values(cell: pd.DataFrame, column: str) -> list:
    return cell[column].to_numpy().tolist()
