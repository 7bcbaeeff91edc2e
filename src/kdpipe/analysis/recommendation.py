"""The recommendation: for each student the best teacher, stop and method, how sure, and its cost.

Options are chosen on validation and reported on test. The recommendation uses every seed. An effect
is claimed only for choices that did not see the tested seed (for each seed the option that the
validation errors of other seeds prefer, see `intervals.select_options`), so that picking the best
of many does not count as a gain.

Baselines: what the chosen student is compared with, each by its name.

Scratch at equal cost, for each definition of cost: for as many operations as the student takes
alone, as it takes with its teacher's answers, and as everything takes that is trained along its
path (bounded by `resources.MAX_EPOCHS_MULTIPLIER`); the best full teacher with full KD; an ensemble
of equal size, with as many scratch runs as networks stand on the chosen path; and one of equal
operations, with as many scratch runs as classify an image for what the teacher costs. A baseline
that the study lacks is named with what to write into the study file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kdpipe.analysis import claim, dataframe, eval_point
from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    UNTRAINED_STOP,
    add_error_provenance,
    filter_rows,
    get_halves,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    pivot_by_seed,
    select_direct_students,
    select_scratch_ensembles,
)
from kdpipe.losses.method import load_terms
from kdpipe.plan.nodes import Plan
from kdpipe.plan.resources import MAX_EPOCHS_MULTIPLIER, compute_epochs_multiplier
from kdpipe.runs.records import EvalPoint, find_weights_path, other_eval_point
from kdpipe.runs.store import Store
from kdpipe.stats.error_provenance import (
    ErrorMaskLookup,
    ErrorWithProvenance,
    ImageLevelEstimate,
    choose_wider_interval,
    estimate_image_level,
)
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import (
    MIN_SEEDS,
    Summary,
    describe_difference,
    select_options,
    summarize,
    summarize_paired,
)
from kdpipe.stats.power import LEVEL
from kdpipe.stats.ranks import Rank, rank_options
from kdpipe.stats.replicates import Halves, merge_halves

NO_ERRORS = pd.Series(dtype=float)


@dataclass(frozen=True)
class Baseline:
    """A baseline with its errors by seed.

    Attributes
    ----------
    name : str
        What it is.
    errors : Series
        Test errors by seed; empty where there are none.
    remedy : str
        How to get them.
    kind : str
        `scratch`; `equal size`: as many scratch runs as the path has networks; else empty.
    copies : int
        Networks that answer together.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose it for each other.
    """

    name: str
    errors: pd.Series
    remedy: str = "not run yet"
    kind: str = ""  # scratch; equal size: as many scratch runs as the path has networks
    copies: int = 1  # networks that answer together
    halves: Halves | None = None


def find_baselines(
    frame: pd.DataFrame, student: str, rows: pd.DataFrame, cell: pd.DataFrame
) -> Iterator[Baseline]:
    """Yield the baselines of one student.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    student : str
        The network.
    rows, cell : DataFrame
        All rows that end in it, and those of the recommended option.
    """
    scratch = get_series_by_seed(filter_rows(frame, kind="scratch", student=student))
    yield Baseline("the same network on labels alone (scratch)", scratch, kind="scratch")
    yield _find_full_teacher(student, rows)
    yield from _find_scratch_long(frame, student, cell)
    yield from _find_ensembles(frame, student, cell)


def _find_full_teacher(student: str, rows: pd.DataFrame) -> Baseline:
    """Return the best fully trained teacher with full KD."""
    full_kd = filter_rows(select_direct_students(rows), stop_kind="full", method_kind="kd")
    name = "the best full teacher with full KD (chosen alike)"
    if full_kd.empty:
        remedy = (
            f"add an experiment that teaches {student} directly, with stops: [full] and a method "
            "whose kd_weight is above 0 and which has no stop_epoch"
        )
        return Baseline(name, NO_ERRORS, remedy)
    columns = ("val_error", "test_error")
    validation, test = (pivot_by_seed(full_kd, "teacher", "method", column=c) for c in columns)
    if len(test.columns) == 1:
        return Baseline("its fully trained teacher with full KD", test.iloc[:, 0].dropna())
    choice = select_options(validation, test, get_halves(full_kd))
    return Baseline(name, choice.errors, halves=choice.halves)


def _find_scratch_long(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Baseline]:
    """Yield scratch at equal cost, that of the recommended option first."""
    longer = filter_rows(frame, kind="scratch_long", student=student)
    rows_by_epochs = {int(key["epochs"]): rows for key, rows in group_rows(longer, "epochs")}
    for epochs, reasons in _list_epoch_budgets(cell.iloc[0]).items():
        name = f"scratch for {epochs} epochs, {' = '.join(reasons)} (scratch_long)"
        if epochs in rows_by_epochs:
            yield Baseline(name, get_series_by_seed(rows_by_epochs.pop(epochs)))
        else:
            block = cell.block.iloc[0]
            yield Baseline(name, NO_ERRORS, f"write scratch_long: true into the experiment {block}")
    for epochs, rows in sorted(rows_by_epochs.items()):
        teachers = " and ".join(dict.fromkeys(rows.teacher))
        yield Baseline(
            f"scratch for {epochs} epochs, a price of {teachers} as teacher",
            get_series_by_seed(rows),
        )


def _list_epoch_budgets(row: pd.Series) -> dict[int, list[str]]:
    """Return the epochs of scratch that each cost of a student pays for, with its name."""
    budgets = {
        "the operations of it and its teacher's answers": (row.teacher_macs, math.inf),
        "the operations of all that is trained along its path": (
            row.teacher_macs + row.ancestor_macs,
            MAX_EPOCHS_MULTIPLIER,
        ),
    }
    reasons_by_epochs: dict[int, list[str]] = {}
    for reason, (extra_macs, max_factor) in budgets.items():
        if not row.train_macs > 0 or math.isnan(extra_macs):
            continue
        factor = compute_epochs_multiplier(row.train_macs, extra_macs, max_factor)
        full_factor = compute_epochs_multiplier(row.train_macs, extra_macs)
        bound = (
            f", held at {max_factor:g} times its epochs where the path pays for "
            f"{full_factor:.3g} times"
        )
        reasons_by_epochs.setdefault(round(row.epochs * factor), []).append(
            reason + (bound if factor < full_factor else "")
        )
    return reasons_by_epochs


def _find_ensembles(frame: pd.DataFrame, student: str, cell: pd.DataFrame) -> Iterator[Baseline]:
    """Yield the ensembles of scratch runs, those of equal size and equal operations among them."""
    row = cell.iloc[0]
    size = _count_path_networks(frame, row)
    n_equal_cost = int(row.teacher_multiply_adds // row.multiply_adds)
    reasons_by_size = {size: [f"equal size: the path has {size} networks"]}
    if n_equal_cost > 1:  # else it is scratch itself
        teacher = row.teacher_label
        reasons_by_size.setdefault(n_equal_cost, []).append(
            f"equal operations: what {teacher} costs an image"
        )
    ensembles_by_size: dict[int, list[tuple[str, pd.DataFrame]]] = {}
    for key, ensemble in group_rows(select_scratch_ensembles(frame, student), "ensemble", "size"):
        ensembles_by_size.setdefault(int(key["size"]), []).append((key["ensemble"], ensemble))
    ensembles_by_size.pop(1, None)
    for n_networks in sorted({*reasons_by_size, *ensembles_by_size}):
        reason = "; ".join(reasons_by_size.get(n_networks, [f"{n_networks} times the operations"]))
        labels = " = ".join(label for label, _ in ensembles_by_size.get(n_networks, []))
        name = f"{labels or 'an ensemble'}, {n_networks} scratch runs averaged ({reason})"
        fields = {"kind": "equal size" if n_networks == size else "", "copies": n_networks}
        if n_networks in ensembles_by_size:
            yield Baseline(name, get_series_by_seed(ensembles_by_size[n_networks][0][1]), **fields)
        else:
            network = row.student_network
            label = f"{n_networks}-times-{network}".replace(".", "_")[
                :40
            ]  # a name may be no longer
            entry = f"{label}: {{networks: [{network}], copies: {n_networks}}}"
            yield Baseline(name, NO_ERRORS, f"write under ensembles: {entry}", **fields)


def _count_path_networks(frame: pd.DataFrame, row: pd.Series) -> int:
    """Return how many networks are trained along the path of a student, itself included."""
    via = len(row.via.split(PATH_SEPARATOR)) if row.via else 0
    return _count_teacher_networks(frame, row.teacher_label) + via + int(row.generation)


def _count_teacher_networks(frame: pd.DataFrame, teacher: str) -> int:
    """Return how many networks are behind a teacher, which may be an ensemble or a block."""
    ensembles = filter_rows(frame, kind="ensemble", ensemble=teacher)
    if len(ensembles):
        return int(ensembles["size"].iloc[0])
    path = filter_rows(frame, kind="student", block=teacher)
    path = path[path.teacher_label != teacher]
    if path.empty:
        return 1
    via = path.via.map(lambda text: len(text.split(PATH_SEPARATOR)) if text else 0)
    return _count_path_networks(frame, path.loc[(via + path.generation).idxmax()])


OPTION_COLUMNS = ("teacher", "stop", "via", "generation", "method")


@dataclass(frozen=True)
class PairedGain:
    """A paired difference of the chosen student to a baseline; negative is better.

    Attributes
    ----------
    baseline : str
        The name of the baseline.
    difference : Summary
        Its interval is that of `level`: all differences of one student hold jointly (Bonferroni),
        over all interim analyses of the study.
    mark : str
        What the wider of the two intervals says.
    values : Series
        The differences by seed.
    level : float
        The confidence level of both intervals.
    image_estimate : ImageLevelEstimate or None
        The estimate over seeds and test images.
    kind, copies : str, int
        Those of the `Baseline`.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose one of the two for each other.
    """

    baseline: str
    difference: Summary
    mark: str
    values: pd.Series
    level: float = 0.95
    image_estimate: ImageLevelEstimate | None = None
    kind: str = ""
    copies: int = 1
    halves: Halves | None = None

    @property
    def image_interval(self) -> dict | None:
        """Return the second interval in plain values, or why there is none."""
        return self.image_estimate.to_json(self.level) if self.image_estimate else None


@dataclass(frozen=True)
class Cost:
    """A cost of the chosen student: alone, and with its teacher (NaN where it has none)."""

    name: str
    student_alone: float
    with_teacher: float
    unit: str = ""

    @property
    def has_teacher_cost(self) -> bool:
        """Return whether there is a cost with the teacher."""
        return not math.isnan(self.with_teacher)


@dataclass(frozen=True)
class Recommendation:
    """What to ship for one student, and what that rests on.

    Attributes
    ----------
    student : str
        The network.
    n_options : int
        The number of options to choose among.
    reason : str
        Why there is no recommendation, or what was set aside.
    option : dict
        The chosen option by `OPTION_COLUMNS`; empty where there is none.
    validation, test, scratch : Summary or None
        Validation and test errors of the option, test errors of the student on labels alone.
    settings : str
        The settings of the method.
    n_agreeing_seeds : int
        Seeds for which other seeds choose the same option.
    is_by_halves : bool
        Whether two halves of the seeds chose for each other; else each was left out in turn.
    rank : Rank or None
        The rank of the option on validation, and how sure it is.
    gains : list of PairedGain
        The differences to the baselines that the study has.
    missing_baselines : list of str
        The other baselines, each with how to get it.
    costs : list of Cost
        Costs of the option.
    eval_point : {"last", "best"}
        The evaluation point of all errors.
    other : Recommendation or None
        The recommendation at the other evaluation point.
    """

    student: str
    n_options: int
    reason: str = ""
    option: dict = field(default_factory=dict)
    validation: Summary | None = None
    test: Summary | None = None
    scratch: Summary | None = None
    settings: str = ""
    n_agreeing_seeds: int = 0
    is_by_halves: bool = False
    rank: Rank | None = None
    gains: list[PairedGain] = field(default_factory=list)
    missing_baselines: list[str] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    eval_point: EvalPoint = "last"
    other: "Recommendation | None" = None

    @property
    def scratch_gain(self) -> PairedGain | None:
        """Return the difference to labels alone; None if these have no result."""
        return next((gain for gain in self.gains if gain.kind == "scratch"), None)

    @property
    def arm_to_ship(self) -> str:
        """Return `student` where distilling is better than labels alone, else `scratch`.

        Also `student` where labels alone have no result; empty where nothing can be said.
        """
        gain = self.scratch_gain
        if not self.option or (gain and gain.mark == "too few seeds"):
            return ""
        return "student" if gain is None or gain.mark == "better" else "scratch"

    def find_other_gain(self, gain: PairedGain) -> PairedGain | None:
        """Return the difference to the same baseline at the other evaluation point."""
        candidates = self.other.gains if self.other else []
        return next(
            (candidate for candidate in candidates if candidate.baseline == gain.baseline), None
        )


# --- The recommendations of a study


def recommend_for_plan(plan: Plan, store: Store) -> tuple[pd.DataFrame, list[Recommendation]]:
    """Make the recommendations of a planned study from its records.

    Returns
    -------
    frame : DataFrame
        The normalized results frame at the evaluation point of the study.
    recommendations : list of Recommendation
        One for each student.
    """
    eval_at = plan.study.reading
    frame = normalize_frame(
        eval_point.select_eval_point(dataframe.build_results_frame(plan, store), eval_at)
    )
    error_masks = eval_point.PerImageErrors(plan, store, eval_at).load_error_mask
    return frame, recommend_options(frame, error_masks, claim.get_current_interim(plan.study))


def recommend_at_both_eval_points(
    frame: pd.DataFrame,
    eval_at: EvalPoint,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
) -> list[Recommendation]:
    """Make the recommendations at the evaluation point of a study, each with that at the other.

    Parameters
    ----------
    frame : DataFrame
        The results frame of both points.
    eval_at : {"last", "best"}
        The evaluation point of the study.
    error_masks : mapping or None
        By evaluation point, which images each run gets wrong.
    interim : InterimAnalysis
        The interim analysis that the study is at.
    """
    recommendations, counterparts = (
        recommend_options(
            eval_point.select_eval_point(frame, point), (error_masks or {}).get(point), interim
        )
        for point in (eval_at, other_eval_point(eval_at))
    )
    return [
        replace(recommendation, other=counterpart)
        for recommendation, counterpart in zip(recommendations, counterparts, strict=True)
    ]


def recommend_options(
    frame: pd.DataFrame,
    error_masks: ErrorMaskLookup | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
) -> list[Recommendation]:
    """Make one recommendation for each network that some experiment ends in, smallest first.

    Parameters
    ----------
    frame : DataFrame
        The results frame at one evaluation point.
    error_masks : callable or None
        Which images each run gets wrong, for the second interval of each gain.
    interim : InterimAnalysis
        The interim analysis that the study is at.
    """
    frame = add_error_provenance(normalize_frame(frame))
    drafts = [
        _recommend_for_student(frame, key["student"], rows)
        for key, rows in group_rows(select_terminal_students(frame), "student")
    ]
    eval_at = eval_point.get_eval_point(frame)
    adjusted_gains = [adjust_gains_jointly(draft.gains, error_masks, interim) for draft in drafts]
    return [
        replace(draft, eval_point=eval_at, gains=gains)
        for draft, gains in zip(drafts, adjusted_gains, strict=True)
    ]


def find_weights(
    frame: pd.DataFrame, recommendations: list[Recommendation], records: dict[str, dict]
) -> dict[str, str]:
    """Return by student the file of the weights to ship, relative to the results folder.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame at the evaluation point of the study.
    recommendations : list of Recommendation
        Those of the same frame.
    records : dict
        The records of the runs, by name.
    """
    paths = {}
    for student, name in select_runs_to_ship(frame, recommendations).items():
        folder = Path("runs") / name
        path = find_weights_path(folder, records[name], eval_point.get_eval_point(frame))
        if path is not None:
            paths[student] = str(path)
    return paths


def select_runs_to_ship(
    frame: pd.DataFrame, recommendations: list[Recommendation]
) -> dict[str, str]:
    """Return by student the name of the run to ship: the seed that is best on validation.

    Where too few seeds leave open whether to distill at all, it is a distilled student.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame at the evaluation point of the study.
    recommendations : list of Recommendation
        Those of the same frame.
    """
    run_by_student = {}
    for recommendation in recommendations:
        if not recommendation.option:
            continue
        kind = recommendation.arm_to_ship or "student"
        rows = filter_rows(frame, kind=kind, student=recommendation.student, status="done")
        if kind == "student":
            rows = filter_rows(
                rows, **{name: recommendation.option[name] for name in OPTION_COLUMNS}
            )
        rows = rows.dropna(subset=["val_error"]).sort_values("val_error", kind="stable")
        if not rows.empty:
            run_by_student[recommendation.student] = rows["run"].iloc[0]
    return run_by_student


# --- Options and gains


def select_terminal_students(frame: pd.DataFrame, with_controls: bool = False) -> pd.DataFrame:
    """Select the students that some experiment ends in, not those on the way to one.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    with_controls : bool
        Whether to keep students of untrained teachers, which are no option.
    """
    students = filter_rows(frame, kind="student")
    if not with_controls:
        students = students.loc[students.stop != UNTRAINED_STOP]
    return students.loc[students["last"].astype(str) != "False"] if "last" in students else students


def pivot_option_errors(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the errors of the options of one student that have the most seeds.

    Returns
    -------
    validation, test : DataFrame of shape (n_seeds, n_options)
        Options with fewer seeds than others are set aside.
    """
    test = pivot_by_seed(rows, *OPTION_COLUMNS)
    validation = pivot_by_seed(rows, *OPTION_COLUMNS, column="val_error")
    counts = (validation.notna() & test.notna()).sum()
    complete_options = counts.index[counts == counts.max()]
    return validation.loc[:, complete_options], test.loc[:, complete_options]


def find_best_option(validation: pd.DataFrame) -> tuple | None:
    """Return the option with the lowest mean validation error; None without any error."""
    if not validation.notna().to_numpy().any():
        return None
    errors = validation.to_numpy(float)
    return tuple(validation.columns[int(np.nanmean(errors, axis=0).argmin())])


def adjust_gains_jointly(
    gains: list[PairedGain],
    error_masks: ErrorMaskLookup | None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    n_total: int | None = None,
) -> list[PairedGain]:
    """Return differences at the level at which all of them hold, with both intervals.

    Parameters
    ----------
    gains : list of PairedGain
        The differences.
    error_masks : callable or None
        Which images each run gets wrong.
    interim : InterimAnalysis
        The interim analysis that the study is at.
    n_total : int or None
        Their number, where not all of them are among `gains`.
    """
    count = n_total or sum(gain.difference.n >= MIN_SEEDS for gain in gains)
    level = 1 - 2 * interim.compute_level(LEVEL / 2 / max(count, 1))
    adjusted_gains = []
    for gain in gains:
        difference = replace(
            summarize(gain.values, level, gain.halves), dropped=gain.difference.dropped
        )
        image_estimate = estimate_image_level(gain.values, error_masks, gain.halves)
        low, high = choose_wider_interval(difference, image_estimate, level)
        adjusted_gains.append(
            replace(
                gain,
                difference=difference,
                level=level,
                image_estimate=image_estimate,
                mark=describe_difference(replace(difference, low=low, high=high)),
            )
        )
    return adjusted_gains


def _recommend_for_student(frame: pd.DataFrame, student: str, rows: pd.DataFrame) -> Recommendation:
    """Make the recommendation for one student; its gains are not held jointly yet."""
    scratch_errors = get_series_by_seed(filter_rows(frame, kind="scratch", student=student))
    scratch = summarize(scratch_errors.astype(float))
    n_options = len(rows[list(OPTION_COLUMNS)].drop_duplicates())
    validation, test = pivot_option_errors(rows)
    best_option = find_best_option(validation)
    if best_option is None:
        reason = "no validation errors: the report refuses to choose by test errors"
        reason = reason if test.notna().to_numpy().any() else "no result"
        return Recommendation(student, n_options, reason, scratch=scratch)
    n_set_aside = n_options - len(test.columns)
    rank_by_option: dict = rank_options(validation)
    choice = select_options(validation, test, get_halves(rows))
    choices, errors = choice.chosen, choice.errors
    cell = filter_rows(rows, **dict(zip(OPTION_COLUMNS, best_option, strict=True)))
    gains, missing_baselines = [], []
    for baseline in find_baselines(frame, student, rows, cell):
        if not baseline.errors.notna().any():
            missing_baselines.append(f"{baseline.name}: {baseline.remedy}")
            continue
        difference = summarize_paired(errors, baseline.errors)
        values = (errors - baseline.errors).dropna()
        if _is_same_runs(values):
            continue
        gains.append(
            PairedGain(
                baseline.name,
                difference,
                describe_difference(difference),
                values,
                kind=baseline.kind,
                copies=baseline.copies,
                halves=merge_halves(choice.halves, baseline.halves)
                if len(test.columns) > 1
                else baseline.halves,
            )
        )
    return Recommendation(
        student,
        n_options,
        reason=f"{n_set_aside} with fewer seeds are set aside" if n_set_aside else "",
        option=dict(zip(OPTION_COLUMNS, best_option, strict=True)),
        validation=summarize(validation[best_option]),
        test=summarize(test[best_option]),
        scratch=scratch,
        settings=_describe_settings(cell.iloc[0], frame),
        n_agreeing_seeds=int((choices == best_option).sum()) if len(choices) else 0,
        is_by_halves=choice.halves is not None,
        rank=rank_by_option.get(best_option),
        gains=gains,
        missing_baselines=missing_baselines,
        costs=list(_list_costs(cell)),
    )


def _is_same_runs(differences: pd.Series) -> bool:
    """Return whether these are differences of runs to themselves."""
    return len(differences) > 0 and all(
        isinstance(difference, ErrorWithProvenance) and not any(difference.parts.values())
        for difference in differences
    )


def _describe_settings(row: pd.Series, frame: pd.DataFrame) -> str:
    """Return the settings of the method of a row, and what an ensemble as its teacher averages."""
    ensemble = filter_rows(frame, kind="ensemble", ensemble=row.teacher_label)
    text = f"{row.teacher_label} is the average of {ensemble.of.iloc[0]}; " if len(ensemble) else ""
    text += f"{row.method}: T {row.temperature:g}, {row.kd_weight:g} KD + {row.ce_weight:g} CE"
    for name, term in list(load_terms().items())[1:]:
        weight = f"{name}_weight"
        if weight in row and row[weight] > 0:
            text += f" + {row[weight]:g} {term.title}"
    if isinstance(row.get("terms"), str):
        text += f" + {row.terms}"
    if row.kd_epochs < row.epochs:
        text += f" until epoch {row.kd_epochs:g} of {row.epochs:g}, then CE alone"
    if row.label_smoothing > 0:
        text += f", labels smoothed by {row.label_smoothing:g}"
    return text


def _list_costs(cell: pd.DataFrame) -> Iterator[Cost]:
    """Yield the costs of the chosen option."""
    row = cell.iloc[0]
    yield Cost("parameters", row.parameters, row.parameters + row.teacher_parameters)
    yield Cost(
        "operations for one image",
        row.multiply_adds,
        row.multiply_adds + row.teacher_multiply_adds,
    )
    with_answers = row.train_macs + row.teacher_macs
    yield Cost("operations to train, with the teacher's answers", row.train_macs, with_answers)
    with_ancestors = with_answers + row.ancestor_macs
    yield Cost("the same, with the training of all it learned from", row.train_macs, with_ancestors)
    yield Cost("time of one run here", cell.seconds.mean(), math.nan, "s")
