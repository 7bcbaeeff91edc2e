"""Choice of the exported run: one by name, or that of the recommendation, within a budget.

Choices are made on validation. Of several students the one with the lowest validation error is
exported, as the headline of the page says. Under a budget every network competes that the study
trained: students as the recommendation ships them, and every other network (teachers, networks on
the way of a chain, those trained on labels alone) as validation prefers it. Each competes with its
float32 and its int8 file, by validation error, size, and latency for one image on this machine; the
network is that of the best file within the budget.

The contest is one of networks. Of the files of a network that are within the budget the faster on
this machine ships, among those that validation does not show to be worse by the smallest effect
than the best of them (95 %, over the validation images). Latencies within a tenth are equal, since
repeated measurements differ by as much, and the lower validation error decides. `FILE_RULES` are
the rules that can be asked for instead.
"""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from kdpipe.analysis import contest, recommendation
from kdpipe.analysis.dataframe import UNTRAINED_STOP, filter_rows, group_rows, normalize_frame
from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.errors import KdpipeError
from kdpipe.models.pretrained.kdpipe_export import FLOAT_FILE, INT8_FILE
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.store import PUBLISHED_EXPORTS, Store
from kdpipe.stats.proportions import estimate_paired_difference
from kdpipe.text import did_you_mean, format_count, list_publication_commands

LATENCY_TIE = 1.1  # of two files of one network, the slower by this factor at most is as fast
FileRule = Literal["fastest", "smallest", "most accurate"]
# What each means, in the words of the card.
FILE_RULES: dict[FileRule, str] = {
    "fastest": "the fastest on this machine, whatever its error",
    "smallest": "the smallest, whatever its error",
    "most accurate": "the one with the lowest validation error, whatever its latency",
}


@dataclass(frozen=True)
class ExportCandidate:
    """A run that may be exported, its record, and the recommendation that chose it, if one did."""

    run: Run
    record: dict
    answer: Recommendation | None


@dataclass(frozen=True)
class ExportBudget:
    """The limits of an export.

    Attributes
    ----------
    max_milliseconds : float or None
        Limit of the latency for one image.
    max_bytes : int or None
        Limit of the size of the file.
    """

    max_milliseconds: float | None = None
    max_bytes: int | None = None

    def __bool__(self) -> bool:
        """Return whether the budget limits anything."""
        return self.max_milliseconds is not None or self.max_bytes is not None

    def fits(self, size: int, milliseconds: float) -> bool:
        """Return whether a file of that size and latency is within the budget."""
        is_slow = self.max_milliseconds is not None and milliseconds > self.max_milliseconds
        return not is_slow and (self.max_bytes is None or size <= self.max_bytes)

    def measure_excess(self, file: "ExportFile") -> float:
        """Return how many times as large or slow as allowed a file is, whichever is more."""
        excesses = [0.0]
        if self.max_milliseconds is not None:
            excesses.append(file.milliseconds / self.max_milliseconds)
        if self.max_bytes is not None:
            excesses.append(file.size / self.max_bytes)
        return max(excesses)

    def __str__(self) -> str:
        """Describe the limits."""
        limits = (
            [f"one image within {self.max_milliseconds:g} ms"]
            if self.max_milliseconds is not None
            else []
        )
        limits += [f"at most {self.max_bytes:,} bytes"] if self.max_bytes is not None else []
        return " and ".join(limits)


@dataclass(frozen=True)
class ExportFile:
    """A file that may ship.

    Attributes
    ----------
    candidate_index : int
        The position of its candidate.
    file : str
        Its name.
    error : float
        On validation, in percentage points; nan where there is none.
    size : int
        In bytes.
    milliseconds : float
        Of one image.
    is_right : ndarray of bool, or None
        Which validation images it gets right; None where there are none.
    network : str
        The name of the network.
    """

    candidate_index: int
    file: str
    error: float
    size: int
    milliseconds: float
    is_right: np.ndarray | None = None
    network: str = ""

    @property
    def label(self) -> str:
        """Return the name of the file, with that of the network."""
        return f"{self.file} of {self.network}" if self.network else self.file

    def __str__(self) -> str:
        """Describe error, size and latency."""
        return (
            f"validation error {self.error:.2f} %, {self.size:,} bytes, {self.milliseconds:.3g} ms "
            "for one image"
        )


def require_validation(plan: Plan, option: str, purpose: str) -> None:
    """Raise KdpipeError if a study has no validation images, for which an option has a purpose."""
    if not plan.card.count_validation(plan.study.data.validation):
        raise KdpipeError(f"{option}: the study has no validation images, on which {purpose}")


def find_candidates(
    plan: Plan, store: Store, name: str | None, budget: ExportBudget
) -> list[ExportCandidate]:
    """Return the runs that may be exported.

    Parameters
    ----------
    plan : Plan
        The plan of the study.
    store : Store
        The results folder.
    name : str or None
        The name of a run, then the only candidate.
    budget : ExportBudget
        Without limits, only the best choice is a candidate.

    Returns
    -------
    list of ExportCandidate
        The best on validation first.

    Raises
    ------
    KdpipeError
        If test results are blinded, there is no such run, or no recommendation.
    """
    if (reason := registration.find_blinding_reason(plan, store)) is not None:
        raise KdpipeError(
            f"nothing was exported, since the model card would show test results: {reason}"
        )
    frame, answers = recommendation.recommend_for_plan(plan, store)
    frame = normalize_frame(frame)
    run_by_student = recommendation.select_runs_to_ship(frame, answers)
    by_run = {
        run_by_student[item.student]: item for item in answers if item.student in run_by_student
    }
    records = store.load_records("runs")
    if name is not None:
        if name not in plan.runs:
            raise KdpipeError(
                f"the study has no run {name!r}{did_you_mean(name, plan.runs)} (see kdpipe status, "
                "or the column run of results.csv)"
            )
        if name not in records:
            raise KdpipeError(f"run {name} has no record yet: run the study first")
        return [ExportCandidate(plan.runs[name], records[name], by_run.get(name))]
    others = _select_other_networks(frame, by_run, plan) if budget else []
    if not by_run and not others:
        reasons = "; ".join(f"{item.student}: {item.reason}" for item in answers if item.reason)
        raise KdpipeError(
            f"the study has no recommendation yet ({reasons or 'no student has been distilled'}): "
            "run it to its end, or give a run to export"
        )
    best = recommendation.find_best_recommendation(
        [item for item in answers if item.student in run_by_student]
    )
    ordered = sorted(by_run.items(), key=lambda entry: entry[1] is not best)  # the best one first
    export_candidates = [
        ExportCandidate(plan.runs[run], records[run], item) for run, item in ordered
    ]
    if not budget:
        return export_candidates[:1]
    return export_candidates + [
        ExportCandidate(plan.runs[run], records[run], None) for run in others if run in records
    ]


def take_trained_records(
    candidates: list[ExportCandidate], store: Store, records_store: Store, study_file: str
) -> list[ExportCandidate]:
    """Return candidates with the records of a results folder in which they were trained again.

    Parameters
    ----------
    candidates : list of ExportCandidate
        Chosen by the records of a published report.
    store : Store
        The results folder with the weights.
    records_store : Store
        The results folder by which they were chosen, for the message.
    study_file : str
        The study's file, for the message.

    Raises
    ------
    KdpipeError
        If one of them is not there.
    """
    trained_records = store.load_records("runs")
    for candidate in candidates:
        if candidate.run.name not in trained_records:
            raise KdpipeError(
                f"--trained {store.root}: there is no run {candidate.run.name}: "
                f"{_describe_retraining(candidate.run.name, records_store, study_file)}"
            )
    return [replace(item, record=trained_records[item.run.name]) for item in candidates]


def require_weights(candidates: list[ExportCandidate], store: Store, study_file: str) -> None:
    """Raise KdpipeError if a finished run has its line in an archive, but no folder with weights.

    Parameters
    ----------
    candidates : list of ExportCandidate
        The runs that may be exported.
    store : Store
        The results folder.
    study_file : str
        The study's file, for the message.
    """
    for candidate in candidates:
        name = candidate.run.name
        if candidate.record["status"] != "done" or store.run(name).exists():
            continue
        message = f"{store.root} has the record of {name}, but no weights"
        exported = store.root / PUBLISHED_EXPORTS / name
        if exported.is_dir():
            command = shlex.join(["kdpipe", "predict", str(exported), "IMAGE"])
            message += f". It is exported already: {exported} (`{command}`). To export it again"
        raise KdpipeError(f"{message}: {_describe_retraining(name, store, study_file)}")


def _describe_retraining(name: str, records_store: Store, study_file: str) -> str:
    """Return the two commands that train a run of a published study again and export it."""
    train, export = list_publication_commands(study_file, name, str(records_store.root))
    return f"`{train}` trains it by its recorded spec, then `{export}` exports it"


def _select_other_networks(
    frame: pd.DataFrame, shipped_runs: Collection[str], plan: Plan
) -> list[str]:
    """Return the run to ship of each network that no recommendation ships.

    Its way of training is the one that validation prefers, of those with the most seeds; of a
    teacher only whole runs are exported.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    shipped_runs : collection of str
        The runs that recommendations ship.
    plan : Plan
        The plan of the study.
    """
    rows = filter_rows(frame, kind=["teacher", "student", *contest.LABEL_KINDS], status="done")
    is_teacher = rows.kind == "teacher"
    rows = rows.assign(exported=rows.student_network.mask(is_teacher, rows.teacher_network))
    is_whole = rows.stop_kind.isin(contest.WHOLE_STOPS)
    rows = rows.loc[is_whole | ~is_teacher]
    rows = rows.loc[(rows.kind != "student") | (rows.stop != UNTRAINED_STOP)]
    networks = {plan.runs[name].network for name in shipped_runs}
    runs = []
    for key, cell in group_rows(rows, "exported"):
        if key["exported"] not in networks:
            ways = _list_ways(cell)
            n_seeds = max(way.val_error.count() for way in ways)
            complete = [way for way in ways if way.val_error.count() == n_seeds]
            best = min(complete, key=lambda way: _nan_to_inf(float(way.val_error.mean())))
            runs.append(recommendation.select_best_run(best))
    return [run for run in runs if run is not None]


def _list_ways(cell: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each way in which a network was trained, one row a run."""
    return [
        rows.drop_duplicates("run")
        for _, rows in group_rows(cell, "kind", *contest.OPTION_COLUMNS, "epochs", "train_size")
    ]


def select_within_budget(files: Sequence[ExportFile], budget: ExportBudget) -> ExportFile:
    """Return the best file within a budget; of equals the smaller one.

    Raises
    ------
    KdpipeError
        If there is none; the message names the nearest.
    """
    fitting_files = list_within_budget(files, budget)
    return min(fitting_files, key=lambda file: (_nan_to_inf(file.error), file.size))


def list_within_budget(files: Sequence[ExportFile], budget: ExportBudget) -> list[ExportFile]:
    """Return the files within a budget.

    Raises
    ------
    KdpipeError
        If there is none; the message names the closest file.
    """
    fitting_files = [file for file in files if budget.fits(file.size, file.milliseconds)]
    if not fitting_files:
        nearest_file = min(files, key=budget.measure_excess)
        raise KdpipeError(
            f"nothing fits {budget}; the closest is {nearest_file.label}: {nearest_file}"
        )
    return fitting_files


def select_file(
    files: Sequence[ExportFile], smallest_effect: float, rule: FileRule | None = None
) -> ExportFile:
    """Return the file of a network that ships.

    Without a rule it is the fastest that validation does not show to be worse, and of files that
    are as fast (`LATENCY_TIE`) the most accurate; the first one without validation images. Of
    equals by a rule the faster or more accurate one ships.

    Parameters
    ----------
    files : sequence of ExportFile
        The files of one network.
    smallest_effect : float
        In points: a file is shown to be worse if the whole interval of its difference to the best
        file is above that.
    rule : {'fastest', 'smallest', 'most accurate'}, optional
        Another rule.
    """
    if rule is not None:
        keys = {
            "fastest": lambda file: (file.milliseconds, _nan_to_inf(file.error)),
            "smallest": lambda file: (file.size, _nan_to_inf(file.error)),
            "most accurate": lambda file: (_nan_to_inf(file.error), file.milliseconds),
        }
        return min(files, key=keys[rule])
    best = min(files, key=lambda file: (_nan_to_inf(file.error), file.milliseconds))
    if best.is_right is None:
        return files[0]
    able = [file for file in files if not _is_shown_worse(file, best, smallest_effect)]
    fast_enough = LATENCY_TIE * min(file.milliseconds for file in able)
    tied = [file for file in able if file.milliseconds <= fast_enough]
    return min(tied, key=lambda file: (_nan_to_inf(file.error), file.milliseconds))


def describe_file_choice(
    files: Sequence[ExportFile],
    chosen: ExportFile,
    smallest_effect: float,
    rule: FileRule | None = None,
) -> str:
    """Return which file of a network ships, and by which rule.

    Parameters
    ----------
    files : sequence of ExportFile
        The files of the network that may ship.
    chosen : ExportFile
        The one that does.
    smallest_effect : float
        In points.
    rule : {'fastest', 'smallest', 'most accurate'}, optional
        The rule, where it is not the usual one.
    """
    if len(files) == 1:
        return f"{chosen.file} ships, the only file that may."
    facts = "; ".join(f"{file.file}: {file}" for file in files)
    if rule is not None:
        return (
            f"{chosen.file} ships: of the files of the network {FILE_RULES[rule]}, as asked for "
            f"({facts})."
        )
    if chosen.is_right is None:
        return f"{chosen.file} ships: there are no validation images to compare the files by."
    return (
        f"{chosen.file} ships: of the files of the network the fastest on this machine, among "
        "those that validation does not show to be worse than the best of them by "
        f"{smallest_effect:g} points, the smallest effect of the study; if one takes at most a "
        f"tenth longer, the lower validation error decides ({facts})."
    )


def describe_int8_cost(files: Sequence[ExportFile], smallest_effect: float, keep_float: int) -> str:
    """Return what 8-bit integers cost, if that is more than the smallest effect; else nothing.

    Parameters
    ----------
    files : sequence of ExportFile
        The files of the network.
    smallest_effect : float
        In points.
    keep_float : int
        How many layers of the int8 graph are in float32.
    """
    by_name = {file.file: file for file in files}
    if not {FLOAT_FILE, INT8_FILE} <= set(by_name):
        return ""
    cost = by_name[INT8_FILE].error - by_name[FLOAT_FILE].error
    if not cost > smallest_effect:  # also where there are no validation images
        return ""
    kept = f" although its {format_count(keep_float, 'most sensitive layer')} stayed in float32"
    return (
        f"{INT8_FILE} costs {cost:.2f} points on validation, more than the smallest effect of the "
        f"study ({smallest_effect:g}){kept if keep_float else ''}: export with --keep-float "
        f"{keep_float + 1} to keep {'one more layer' if keep_float else 'its most sensitive layer'}"
        " in float32."
    )


def _is_shown_worse(file: ExportFile, best: ExportFile, smallest_effect: float) -> bool:
    """Return whether validation shows a file to be worse than the best by more than an effect."""
    if file is best or file.is_right is None or best.is_right is None:
        return False
    return estimate_paired_difference(best.is_right, file.is_right).low > smallest_effect


def _nan_to_inf(error: float) -> float:
    """Return a sort key for an error, with nan last."""
    return error if error == error else float("inf")
