"""The recommendation: for each student what to ship, how sure that is, and what it costs.

Everything that could ship competes (see `contest`): distilled in any way, or trained on labels
alone for any length. Choices are made on validation, by every seed, and reported on test. What
validation prefers ships, with one exception: a distilled network has to be shown better on test
than the best one on labels alone that cost no more to train, since it costs a teacher. Otherwise
the latter ships.

A difference is claimed only for choices that did not see the tested seed (see
`intervals.select_options`), so that picking the best of many does not count as a gain. The one that
decides has a level of its own: of studies in which distilling brings nothing, 2.5 % are told to
distill a student. Beside what ships stands an alternative that is cheaper to train and not shown to
be worse by the smallest effect, if there is one.

Baselines: what the best of each side is compared with, each by its name.

Scratch at equal cost, for each definition of cost: for as many operations as the student takes
alone, as it takes with its teacher's answers, and as everything takes that is trained along its
path (bounded by `resources.MAX_EPOCHS_MULTIPLIER`); the best full teacher with full KD; an ensemble
of equal size, with as many scratch runs as networks stand on the chosen path; one of equal
operations, with as many scratch runs as classify an image for what the teacher costs; and the
ensemble that validation prefers. A baseline that the study lacks is named with what to write into
the study file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from kdpipe.analysis import claim, contest, dataframe, eval_point
from kdpipe.analysis.contest import Contest, Entrant, Entrants, Side
from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    add_error_provenance,
    filter_rows,
    get_halves,
    get_metric,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    pivot_by_seed,
    select_direct_students,
    select_scratch_ensembles,
)
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.losses.method import load_terms
from kdpipe.plan.nodes import Plan
from kdpipe.plan.resources import MAX_EPOCHS_MULTIPLIER, compute_epochs_multiplier
from kdpipe.runs.decision_metric import DecisionMetric
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
    Choice,
    Summary,
    describe_difference,
    select_options,
    summarize,
    summarize_paired,
)
from kdpipe.stats.power import LEVEL
from kdpipe.stats.ranks import Rank
from kdpipe.stats.replicates import Halves, merge_halves

NO_ERRORS = pd.Series(dtype=float)
SMALLEST_EFFECT = 0.2  # points: the default of a study
FAILED_STATES = ["diverged", "skipped", "failed"]  # of runs that have ended without a result


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
    kind : {"", "scratch", "ensemble"}
        `scratch`: the same network on labels alone; `ensemble`: the one that validation prefers.
    operations : float
        For one image, as a multiple of the student's.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose it for each other.
    """

    name: str
    errors: pd.Series
    remedy: str = "not run yet"
    kind: str = ""
    operations: float = 1.0
    halves: Halves | None = None


def find_baselines(
    frame: pd.DataFrame, student: str, rows: pd.DataFrame, cell: pd.DataFrame
) -> Iterator[Baseline]:
    """Yield the baselines of one student, but for the ensemble that validation prefers.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    student : str
        The student, as the frame has it.
    rows, cell : DataFrame
        All rows that end in it, and those of the best distilled one.
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
    longer = contest.name_variants(filter_rows(frame, kind="scratch_long", student=student))
    rows_by_length = {
        (int(key["epochs"]), str(key["variant"])): rows
        for key, rows in group_rows(longer, "epochs", "variant")
    }
    for epochs, reasons in _list_epoch_budgets(cell.iloc[0]).items():
        name = f"scratch for {epochs} epochs, {' = '.join(reasons)} (scratch_long)"
        length = next((length for length in rows_by_length if length[0] == epochs), None)
        if length is not None:
            yield Baseline(name, get_series_by_seed(rows_by_length.pop(length)))
        else:
            block = cell.block.iloc[0]
            yield Baseline(name, NO_ERRORS, f"write scratch_long: true into the experiment {block}")
    for (epochs, _), rows in sorted(rows_by_length.items()):
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
        if n_networks in ensembles_by_size:
            errors = get_series_by_seed(ensembles_by_size[n_networks][0][1])
            yield Baseline(name, errors, operations=n_networks)
        else:
            network = row.student_network
            label = f"{n_networks}-times-{network}".replace(".", "_")[
                :40
            ]  # a name may be no longer
            entry = f"{label}: {{networks: [{network}], copies: {n_networks}}}"
            yield Baseline(name, NO_ERRORS, f"write under ensembles: {entry}")


def find_best_ensemble(ensembles: pd.DataFrame, multiply_adds: float) -> Baseline | None:
    """Return the ensemble that validation prefers; None where there is none.

    Parameters
    ----------
    ensembles : DataFrame
        The rows of those that stand with one student.
    multiply_adds : float
        Of one image, of the student.
    """
    keys = ("ensemble", "of", "method", "teacher", "stop", "size")
    validation, test = (
        pivot_by_seed(ensembles, *keys, column=column) for column in ("val_error", "test_error")
    )
    complete = contest.list_complete(validation, test)
    validation, test = validation.loc[:, complete], test.loc[:, complete]
    if (best := contest.find_best_option(validation)) is None:
        return None
    row = filter_rows(ensembles, **dict(zip(keys, best, strict=True))).iloc[0]
    name = f"{row.ensemble}, the ensemble of {row['size']:g} networks"
    facts = {"kind": "ensemble", "operations": row.multiply_adds / multiply_adds}
    if len(complete) == 1:
        return Baseline(name, test.iloc[:, 0].dropna(), **facts)
    choice = select_options(validation, test, get_halves(ensembles))
    name = f"the best of {len(complete)} ensembles on validation (chosen alike), {name}"
    return Baseline(name, choice.errors, halves=choice.halves, **facts)


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
    kind, operations : str, float
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
    operations: float = 1.0
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
class Candidate:
    """The entrant of one side that validation prefers, and what it is compared with.

    Attributes
    ----------
    entrant : Entrant
        The network.
    n_options : int
        The number of entrants to choose among.
    settings : str
        The settings of its method; empty on labels alone.
    n_agreeing_seeds : int
        Seeds for which other seeds choose the same.
    is_by_halves : bool
        Whether two halves of the seeds chose for each other; else each was left out in turn.
    rank : Rank or None
        Its rank within its side on validation, and how sure it is.
    gains : list of PairedGain
        The differences to the baselines that the study has, which hold jointly.
    missing_baselines : list of str
        The other baselines, each with how to get it.
    costs : list of Cost
        What it costs.
    """

    entrant: Entrant
    n_options: int = 1
    settings: str = ""
    n_agreeing_seeds: int = 0
    is_by_halves: bool = False
    rank: Rank | None = None
    gains: list[PairedGain] = field(default_factory=list)
    missing_baselines: list[str] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def ensemble_gain(self) -> PairedGain | None:
        """Return the difference to the ensemble that validation prefers."""
        return next((gain for gain in self.gains if gain.kind == "ensemble"), None)


@dataclass(frozen=True)
class Alternative:
    """A cheaper entrant that is not shown to be worse than what ships by the smallest effect.

    Attributes
    ----------
    entrant : Entrant
        The network.
    difference : PairedGain
        Its error less that of what ships: of two named networks, at a level of its own.
    smallest_effect : float
        In points.
    is_close : bool
        Whether it is shown to be worse by less than that, or not at all.
    share : float
        Its price of training as a share of that of what ships.
    """

    entrant: Entrant
    difference: PairedGain
    smallest_effect: float
    is_close: bool
    share: float


@dataclass(frozen=True)
class BreakEven:
    """From how many students on training a teacher is cheaper than training longer on labels.

    Attributes
    ----------
    labels : Entrant or None
        The cheapest on labels alone whose validation error is no higher than that of the best
        distilled one; None where no length of the study is as good.
    n_students : int or None
        The number of students; None: never, since on labels alone it is no dearer than the student
        with its teacher's answers alone.
    """

    labels: Entrant | None
    n_students: int | None = None


@dataclass(frozen=True)
class Recommendation:
    """What to ship for one student, and what that rests on.

    Attributes
    ----------
    student : str
        The network.
    n_options : int
        The number of entrants, of both sides.
    reason : str
        Why there is no recommendation, or what was set aside.
    taught, labels : Candidate or None
        The best distilled one on validation; the best on labels alone, of those that cost no more
        to train if validation prefers the distilled one.
    preferred : {"taught", "labels"}
        The side of the lowest validation error.
    decision : PairedGain or None
        The error of the best distilled one less that of the best on labels alone, each chosen
        without the tested seed; None where one of the two has no result.
    alternative : Alternative or None
        What is almost as good for less, if anything is.
    break_even : BreakEven or None
        When a teacher pays for itself.
    eval_point : {"last", "best"}
        The evaluation point of all errors.
    other : Recommendation or None
        The recommendation at the other evaluation point.
    metric : str
        The metric by which it is chosen and judged.
    """

    student: str
    n_options: int
    reason: str = ""
    taught: Candidate | None = None
    labels: Candidate | None = None
    preferred: Side = "taught"
    decision: PairedGain | None = None
    alternative: Alternative | None = None
    break_even: BreakEven | None = None
    eval_point: EvalPoint = "last"
    other: "Recommendation | None" = None
    metric: DecisionMetric = "top1"

    @property
    def has_comparable_points(self) -> bool:
        """Return whether the other evaluation point is another reading by the same metric.

        At `reading: last` runs choose their best epoch by top-1, whatever the metric of the study.
        """
        return self.metric == "top1" or self.eval_point == "best"

    @property
    def is_settled(self) -> bool:
        """Return whether there are enough seeds to judge whether to distill."""
        return self.decision is None or self.decision.mark != "too few seeds"

    @property
    def side(self) -> Side:
        """Return the side that ships; with too few seeds that which validation prefers."""
        if self.labels is None or self.taught is None:
            return "taught" if self.labels is None else "labels"
        if self.preferred == "labels" or not self.is_settled:
            return self.preferred
        is_shown = self.decision is not None and self.decision.mark == "better"
        return "taught" if is_shown else "labels"

    @property
    def shipped(self) -> Candidate | None:
        """Return what ships; None where nothing can be said."""
        return self.get_candidate(self.side)

    @property
    def price_ratio(self) -> float:
        """Return what the best distilled one costs to train, in prices of that on labels alone."""
        if self.taught is None or self.labels is None or not self.labels.entrant.price:
            return math.nan
        return self.taught.entrant.price / self.labels.entrant.price

    def get_candidate(self, side: Side) -> Candidate | None:
        """Return the best of one side."""
        return self.taught if side == "taught" else self.labels

    def find_other_gain(self, candidate: Candidate, gain: PairedGain) -> PairedGain | None:
        """Return the difference of a side to the same baseline at the other evaluation point."""
        counterpart = self.other.get_candidate(candidate.entrant.side) if self.other else None
        gains = counterpart.gains if counterpart else []
        return next((other for other in gains if other.baseline == gain.baseline), None)


# --- The recommendations of a study


def recommend_for_plan(plan: Plan, store: Store) -> tuple[pd.DataFrame, list[Recommendation]]:
    """Make the recommendations of a planned study from its records.

    Returns
    -------
    frame : DataFrame
        The results frame at the evaluation point of the study, not normalized.
    recommendations : list of Recommendation
        One for each student.
    """
    study, eval_at = plan.study, plan.study.reading
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), eval_at)
    error_masks = PerImageMetrics(plan, store, eval_at).load_part
    interim = claim.get_current_interim(study)
    return frame, recommend_options(
        frame, error_masks, interim, study.smallest_effect, study.max_latency
    )


def recommend_at_both_eval_points(
    frame: pd.DataFrame,
    eval_at: EvalPoint,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    smallest_effect: float = SMALLEST_EFFECT,
    max_latency: float | None = None,
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
    smallest_effect : float
        The smallest difference worth having, in points.
    max_latency : float or None
        The limit of latency of a search, in milliseconds.
    """
    recommendations, counterparts = (
        recommend_options(
            eval_point.select_eval_point(frame, point),
            (error_masks or {}).get(point),
            interim,
            smallest_effect,
            max_latency,
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
    smallest_effect: float = SMALLEST_EFFECT,
    max_latency: float | None = None,
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
    smallest_effect : float
        The smallest difference worth having, in points.
    max_latency : float or None
        The limit of latency of a search, in milliseconds: teachers that were measured to be slower
        do not compete.
    """
    frame = add_error_provenance(normalize_frame(contest.drop_slow_teachers(frame, max_latency)))
    facts = {"eval_point": eval_point.get_eval_point(frame), "metric": get_metric(frame)}
    contests = list(contest.build_contests(frame))
    ensembles = _assign_ensembles(frame, contests)
    judge = _Judge(error_masks, interim, smallest_effect)
    return [
        replace(_recommend(frame, one, ensembles[one.student], judge), **facts) for one in contests
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

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame at the evaluation point of the study.
    recommendations : list of Recommendation
        Those of the same frame.
    """
    entrants = contest.select_entrants(frame)
    run_by_student = {}
    for recommendation in recommendations:
        if recommendation.shipped is None:
            continue
        rows = filter_rows(entrants, contest=recommendation.student, status="done")
        run = select_best_run(filter_rows(rows, **recommendation.shipped.entrant.key))
        if run is not None:
            run_by_student[recommendation.student] = run
    return run_by_student


def select_best_run(rows: pd.DataFrame) -> str | None:
    """Return the name of the run that is best on validation; None without any error."""
    rows = rows.dropna(subset=["val_error"]).sort_values("val_error", kind="stable")
    return None if rows.empty else str(rows["run"].iloc[0])


def find_best_recommendation(recommendations: list[Recommendation]) -> Recommendation | None:
    """Return the one that `--best` means: the lowest validation error of what ships.

    Of equals it is the one with fewer operations for an image.
    """
    shipped = [
        (one.shipped.entrant.validation.mean, one.shipped.entrant.multiply_adds, i)
        for i, one in enumerate(recommendations)
        if one.shipped is not None
    ]
    return recommendations[min(shipped)[2]] if shipped else None


def put_best_first(recommendations: list[Recommendation]) -> list[Recommendation]:
    """Return the recommendations with the one that `--best` means first, the others as they are."""
    best = find_best_recommendation(recommendations)
    return sorted(recommendations, key=lambda item: item is not best)


# --- Comparisons


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


@dataclass(frozen=True)
class _Judge:
    """By what differences are judged."""

    error_masks: ErrorMaskLookup | None
    interim: InterimAnalysis
    smallest_effect: float

    def judge(self, gains: list[PairedGain]) -> list[PairedGain]:
        """Return differences at the level at which all of them hold."""
        return adjust_gains_jointly(gains, self.error_masks, self.interim)


def _assign_ensembles(frame: pd.DataFrame, contests: list[Contest]) -> dict[str, pd.DataFrame]:
    """Return the rows of the ensembles that stand with each student.

    One of several networks stands with the largest student that has fewer operations.
    """
    ensembles = filter_rows(frame, kind="ensemble")
    ensembles = ensembles.loc[ensembles["size"] > 1]
    operations = {one.student: one.taught.rows.multiply_adds.max() for one in contests}
    owners = []
    for network, multiply_adds in zip(
        ensembles.student_network, ensembles.multiply_adds, strict=True
    ):
        smaller = [name for name, macs in operations.items() if macs < multiply_adds]
        is_mixed = network == ""
        largest = max(smaller, key=lambda name: operations[name], default="")
        owners.append(largest if is_mixed else network)
    owned = pd.Series(owners, index=ensembles.index, dtype=object)
    return {name: ensembles.loc[owned == name] for name in operations}


def _recommend(
    frame: pd.DataFrame, field_: Contest, ensembles: pd.DataFrame, judge: _Judge
) -> Recommendation:
    """Make the recommendation for one student."""
    taught, labels = field_.taught, field_.labels
    n_options = len(taught.keys) + taught.n_set_aside + len(labels.keys) + labels.n_set_aside
    best_taught = taught.find_best()
    if best_taught is None:
        if (alone := _recommend_labels_alone(frame, field_, judge)) is not None:
            return replace(alone, n_options=n_options)
        reason = "no validation errors: the report refuses to choose by test errors"
        if not taught.test.notna().to_numpy().any():
            runs = taught.rows.drop_duplicates("run")
            reason = f"none of its distilled runs has a result yet ({_count_states(runs)})"
        return Recommendation(field_.student, n_options, reason)
    best_entrant = taught.entrants[best_taught]
    preferred = _find_preferred_side(field_)
    if preferred == "taught":
        labels = labels.restrict_to_price(best_entrant.price)
    baselines = _list_baselines(frame, field_, ensembles)
    choices: dict[Side, Choice] = {
        side.side: side.choose() for side in (taught, labels) if len(side.keys)
    }
    has_labels = labels.find_best() is not None
    candidates = {
        side.side: _build_candidate(frame, side, choices, baselines, judge)
        for side in (taught, *([labels] if has_labels else []))
    }
    decision = None
    if has_labels:
        rival = Baseline("the best on labels alone", choices["labels"].errors)
        rival = replace(rival, halves=choices["labels"].halves)
        (decision,) = judge.judge([_compare(choices["taught"], rival)])
    n_set_aside = taught.n_set_aside + field_.labels.n_set_aside
    draft = Recommendation(
        field_.student,
        n_options,
        reason=f"{n_set_aside} with fewer seeds are set aside" if n_set_aside else "",
        taught=candidates["taught"],
        labels=candidates.get("labels"),
        preferred=preferred,
        decision=decision,
        break_even=_find_break_even(field_, best_entrant),
    )
    return replace(draft, alternative=_find_alternative(field_, draft, judge))


def _recommend_labels_alone(
    frame: pd.DataFrame, field_: Contest, judge: _Judge
) -> Recommendation | None:
    """Make the recommendation where every distilled run failed; None where that is not so."""
    labels = field_.labels
    runs = field_.taught.rows.drop_duplicates("run")
    if not runs.status.isin(FAILED_STATES).all() or labels.find_best() is None:
        return None
    candidate = _build_candidate(frame, labels, {"labels": labels.choose()}, [], judge)
    reason = f"none of its {len(runs)} distilled runs has one ({_count_states(runs)})"
    draft = Recommendation(field_.student, 0, reason=reason, labels=candidate, preferred="labels")
    return replace(draft, alternative=_find_alternative(field_, draft, judge))


def _count_states(runs: pd.DataFrame) -> str:
    """Return how many runs are in which state."""
    counts = runs.status.value_counts().to_dict()
    return ", ".join(f"{count} {state or 'not run'}" for state, count in counts.items())


def _find_preferred_side(field_: Contest) -> Side:
    """Return the side of the entrant with the lowest validation error over common seeds."""
    bests = {}
    for side in (field_.taught, field_.labels):
        if (best := side.find_best()) is not None:
            bests[side.side] = side.get_errors(best)[0]
    if len(bests) < 2:
        return "taught"
    errors = pd.DataFrame(bests).dropna()
    gap = float((errors.labels - errors.taught).mean())
    return "labels" if round(gap, 9) <= 0 else "taught"


def _list_baselines(
    frame: pd.DataFrame, field_: Contest, ensembles: pd.DataFrame
) -> list[Baseline]:
    """Return the baselines of a contest, the ensemble that validation prefers among them."""
    taught = field_.taught
    rows = filter_rows(taught.rows, kind="student")  # without teachers that compete
    keys = [key for key in taught.keys if key[0] == "student"]
    best_key = contest.find_best_option(taught.validation.loc[:, keys])
    cell = taught.select_cell(best_key) if best_key is not None else rows
    student = cell.row_student.iloc[0]
    rows = filter_rows(rows, row_student=student)
    baselines = list(find_baselines(frame, student, rows, cell))
    best = find_best_ensemble(ensembles, cell.multiply_adds.iloc[0])
    if best is None:
        return baselines
    same = [one for one in baselines if _is_same_runs((one.errors - best.errors).dropna())]
    if not same:
        return [*baselines, best]
    return [
        replace(one, kind="ensemble", operations=best.operations) if one is same[0] else one
        for one in baselines
    ]


def _build_candidate(
    frame: pd.DataFrame,
    side: Entrants,
    choices: dict[Side, Choice],
    baselines: list[Baseline],
    judge: _Judge,
) -> Candidate:
    """Return the best of one side with its comparisons, but for that with the other side."""
    key = side.find_best()
    assert key is not None
    choice, cell = choices[side.side], side.select_cell(key)
    others = [other.errors for name, other in choices.items() if name != side.side]
    gains, missing_baselines = [], []
    for baseline in baselines:
        if not baseline.errors.notna().any():
            missing_baselines.append(f"{baseline.name}: {baseline.remedy}")
            continue
        gain = _compare(choice, baseline)
        is_decision = any(_is_same_runs((e - baseline.errors).dropna()) for e in others)
        if not _is_same_runs(gain.values) and not is_decision:
            gains.append(gain)
    row = cell.iloc[0]
    is_distilled = row.kind == "student"
    return Candidate(
        side.entrants[key],
        len(side.keys) + side.n_set_aside,
        settings=_describe_settings(row, frame) if is_distilled else "",
        n_agreeing_seeds=int((choice.chosen == key).sum()) if len(choice.chosen) else 0,
        is_by_halves=choice.halves is not None,
        rank=side.rank(key, judge.error_masks),
        gains=judge.judge(gains),
        missing_baselines=missing_baselines if is_distilled else [],
        costs=list(_list_costs(cell)),
    )


def _compare(choice: Choice, baseline: Baseline) -> PairedGain:
    """Return the difference of a choice to a baseline, not held jointly yet."""
    difference = summarize_paired(choice.errors, baseline.errors)
    return PairedGain(
        baseline.name,
        difference,
        describe_difference(difference),
        (choice.errors - baseline.errors).dropna(),
        kind=baseline.kind,
        operations=baseline.operations,
        halves=merge_halves(choice.halves, baseline.halves),
    )


def _find_alternative(
    field_: Contest, recommendation: Recommendation, judge: _Judge
) -> Alternative | None:
    """Return a cheaper entrant that is not shown to be worse by the smallest effect.

    Validation chooses the cheapest that it shows to be worse by less, else the cheapest that it
    does not show to be worse by as much. One that test shows to be worse by as much is none.
    """
    shipped = recommendation.shipped
    if shipped is None or not recommendation.is_settled:
        return None
    validation, test = _get_errors(field_, shipped.entrant)
    delta = judge.smallest_effect
    close, open_ = [], []
    for entrant in field_.list_entrants():
        if not entrant.price < shipped.entrant.price:
            continue
        gap = summarize((_get_errors(field_, entrant)[0] - validation).dropna())
        if gap.low <= delta:  # nan with too few seeds
            (close if gap.high < delta else open_).append(entrant)
    if not close and not open_:
        return None
    chosen = min(close or open_, key=lambda entrant: entrant.price)
    errors = Baseline("what ships", test)
    (difference,) = judge.judge(
        [_compare(Choice(pd.Series(dtype=object), _get_errors(field_, chosen)[1]), errors)]
    )
    low, high = choose_wider_interval(
        difference.difference, difference.image_estimate or ImageLevelEstimate(), difference.level
    )
    if not low <= delta:
        return None
    share = chosen.price / shipped.entrant.price
    return Alternative(chosen, difference, delta, high < delta, share)


def _get_errors(field_: Contest, entrant: Entrant) -> tuple[pd.Series, pd.Series]:
    """Return the validation and the test errors of an entrant by seed."""
    return field_.get_side(entrant.side).get_errors(tuple(entrant.key.values()))


def _find_break_even(field_: Contest, taught: Entrant) -> BreakEven | None:
    """Return from how many students on the teacher of the best distilled one pays for itself."""
    if not taught.price or not len(field_.labels.keys):
        return None
    as_good = [
        entrant
        for entrant in field_.labels.entrants.values()
        if round(entrant.validation.mean, 9) <= round(taught.validation.mean, 9)
    ]
    if not as_good:
        return BreakEven(None)
    cheapest = min(as_good, key=lambda entrant: entrant.price)
    saving = cheapest.price - taught.price_with_answers
    if saving <= 0:
        return BreakEven(cheapest)
    return BreakEven(cheapest, max(1, math.ceil(taught.ancestor_macs / saving)))


def _is_same_runs(differences: pd.Series) -> bool:
    """Return whether these are differences of runs to themselves."""
    return len(differences) > 0 and all(
        isinstance(difference, ErrorWithProvenance) and not any(difference.parts.values())
        for difference in differences
    )


SETTING_COLUMNS = ["method", "kd_epochs", "epochs"]  # what may differ under one name


def _describe_settings(row: pd.Series, frame: pd.DataFrame) -> str:
    """Return the settings of the method of a row, and what an ensemble as its teacher averages."""
    ensemble = filter_rows(frame, kind="ensemble", ensemble=row.teacher_label)
    text = f"{row.teacher_label} is the average of {ensemble.of.iloc[0]}; " if len(ensemble) else ""
    return f"{text}{row.method}: {_describe_method(row)}"


def describe_methods(frame: pd.DataFrame) -> dict[str, str]:
    """Return by its name what each method of a study does; several settings are joined."""
    if frame.empty or "method" not in frame:
        return {}
    texts: dict[str, list[str]] = {}
    for _, row in filter_rows(frame, kind="student").drop_duplicates(SETTING_COLUMNS).iterrows():
        known = texts.setdefault(str(row.method), [])
        if (text := _describe_method(row)) not in known:
            known.append(text)
    return {name: "; or ".join(known) for name, known in texts.items()}


def _describe_method(row: pd.Series) -> str:
    """Return the settings of the method of a row."""
    text = f"T {row.temperature:g}, {row.kd_weight:g} KD + {row.ce_weight:g} CE"
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
    """Yield the costs of an entrant."""
    row = cell.iloc[0]
    has_teacher = row.kind == "student"
    with_answers = row.train_macs + row.teacher_macs
    teachers = (
        (row.teacher_parameters, row.teacher_multiply_adds) if has_teacher else (math.nan,) * 2
    )
    yield Cost("parameters", row.parameters, row.parameters + teachers[0])
    yield Cost("operations for one image", row.multiply_adds, row.multiply_adds + teachers[1])
    if not has_teacher:
        yield Cost("operations to train", row.train_macs, math.nan)
    else:
        yield Cost("operations to train, with the teacher's answers", row.train_macs, with_answers)
        with_ancestors = with_answers + row.ancestor_macs
        name = "the same, with the training of all it learned from"
        yield Cost(name, row.train_macs, with_ancestors)
    yield Cost("time of one run here", cell.seconds.mean(), math.nan, "s")
