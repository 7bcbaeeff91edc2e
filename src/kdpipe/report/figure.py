"""Figures of a report: how one is defined, and how the figures of a study are drawn.

Each file of `figures/` defines one `FigureSpec`. Its function gets the finished rows of the results
frame and the learning curves, and returns a drawing with its caption, or None where the study has
no data for it. Errors are top-1 in % on test; a point is a mean over seeds with its 95 % interval.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes

from kdpipe import registry
from kdpipe.analysis.claim import UntestableClaim, Verdict
from kdpipe.analysis.dataframe import (
    filter_rows,
    get_metric,
    group_rows,
    normalize_frame,
    select_direct_students,
    select_export_rows,
    select_label_trained_teachers,
)
from kdpipe.analysis.per_class import PerClassErrors
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.analysis.selection import find_main_method
from kdpipe.report import style
from kdpipe.report.format import format_estimate
from kdpipe.report.table import describe_eval_point
from kdpipe.runs.decision_metric import name_error
from kdpipe.stats import replicates
from kdpipe.stats.intervals import describe_difference, summarize
from kdpipe.user_code import explain_renamed

# The arrow points to lower errors along x, and along y, where the text is turned.
ERROR_LABEL = "top-1 error on test, %\n\u2190 lower is better"
TEACHER_MACS_LABEL = "multiply-adds of the teacher"
MAX_PANELS = 6  # panels of a figure, and lines in one

if not TYPE_CHECKING:
    # Former names, which custom figures may import.
    __getattr__ = explain_renamed(__name__, Figure="FigureSpec", ERROR="ERROR_LABEL")

FigureWithCaption = tuple[matplotlib.figure.Figure, str] | None  # the figure and what it shows


@dataclass(frozen=True)
class Analysis:
    """What a report found in its frame, for figures of it.

    Attributes
    ----------
    recommendations : list of Recommendation
        What to ship.
    verdicts : list of Verdict
        The verdicts on the claims.
    class_errors : list of PerClassErrors
        The errors of the recommended students by class.
    class_names : tuple of str
        The names of the classes, where the data have them.
    """

    recommendations: list[Recommendation] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    class_errors: list[PerClassErrors] = field(default_factory=list)
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class FigureSpec:
    """The definition of a figure in a file of `figures/`; its name is that of the file.

    Attributes
    ----------
    title : str
        The title in a report.
    order : int
        The position in a report.
    function : callable
        Draws the figure from a normalized frame and the curves. Where it raises `UntestableClaim`
        (a method that it shows is not in the study) there is no such figure either.
    uses_export_rows : bool
        Whether it gets the networks that were measured as files instead of the results.
    shows_recommendations : bool
        Whether its functions also get the recommendations of the study.
    shows_analysis : bool
        Whether its functions also get the `Analysis` of the study.
    find : callable or None
        Returns what the figure shows in this study, in a few words that end its title, from what
        `function` gets; an empty text where there is nothing to say.
    """

    title: str
    order: int
    function: Callable[..., FigureWithCaption]
    uses_export_rows: bool = False
    shows_recommendations: bool = False
    shows_analysis: bool = False
    find: Callable[..., str] | None = None


@dataclass(frozen=True)
class RenderedFigure:
    """A figure of one report, with the texts below it and in its place."""

    name: str
    title: str
    caption: str
    figure: matplotlib.figure.Figure


@dataclass(frozen=True)
class DrawnFigure:
    """A figure as its files, with its texts; it can be sent from one process to another."""

    name: str
    title: str
    caption: str
    width: float  # in inches
    svg: str
    png: bytes


def load_figures() -> dict[str, FigureSpec]:
    """Load every figure, by name, in the order of a report."""
    specs = registry.load_all_objects("kdpipe.report.figures", "FIGURE", FigureSpec)
    return dict(sorted(specs.items(), key=lambda item: item[1].order))


def draw_figure(
    name: str, analysis: Analysis, frame: pd.DataFrame, curves: pd.DataFrame
) -> DrawnFigure | None:
    """Draw the figure of one file of `figures/`; None where a frame has no data for it."""
    with contextlib.suppress(UntestableClaim):
        rendered = render_figure(name, load_figures()[name], frame, curves, analysis)
        return rendered and save_figure(rendered)
    return None


def save_figure(item: RenderedFigure) -> DrawnFigure:
    """Return the files of a figure."""
    return DrawnFigure(
        item.name,
        item.title,
        item.caption,
        item.figure.get_figwidth(),
        style.render_svg(item.figure, item.name),
        style.render_png(item.figure),
    )


def render_figure(
    name: str,
    spec: FigureSpec,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    analysis: Analysis | None = None,
) -> RenderedFigure | None:
    """Draw one figure in the style of a report; None where there are no data for it.

    Parameters
    ----------
    name : str
        Its name.
    spec : FigureSpec
        Its definition.
    frame, curves : DataFrame
        The results frame and the learning curves.
    analysis : Analysis, optional
        What was found in the same frame; by default nothing is marked as what ships.

    Raises
    ------
    UntestableClaim
        If there are no data for it because the study lacks a method.
    """
    rows = _select_rows(frame, spec.uses_export_rows)
    if spec.uses_export_rows and not len(rows):
        return None
    analysis = analysis or Analysis()
    more = (analysis,) if spec.shows_analysis else ()
    more = (analysis.recommendations,) if spec.shows_recommendations else more
    with style.use_style():
        result = spec.function(rows, curves, *more)
    if result is None:
        return None
    figure, caption = result
    finding = spec.find(rows, curves, *more) if spec.find is not None else ""
    title = f"{spec.title}: {finding}" if finding else spec.title
    metric = get_metric(frame)
    if metric != "top1" and not spec.uses_export_rows:
        title, caption = name_error(title, metric), name_error(caption, metric)
        for axis in figure.axes:
            axis.set(
                xlabel=name_error(axis.get_xlabel(), metric),
                ylabel=name_error(axis.get_ylabel(), metric),
            )
    caption = f"{caption} {_describe_counts(rows)} {describe_eval_point(frame)}"
    return RenderedFigure(name, title, caption, figure)


def _select_rows(frame: pd.DataFrame, uses_export_rows: bool) -> pd.DataFrame:
    """Return the finished rows that a figure is drawn from, normalized."""
    rows = select_export_rows(frame) if uses_export_rows else normalize_frame(frame)
    return filter_rows(rows, status="done") if len(rows) else rows


def select_full_teacher_students(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the direct students of fully trained networks."""
    return filter_rows(
        select_label_trained_teachers(select_direct_students(frame)), stop_kind="full"
    )


def group_by_student(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return each student with its rows, at most `MAX_PANELS` of them."""
    return [(key["student"], part) for key, part in group_rows(rows, "student")][:MAX_PANELS]


def describe_best(errors: dict[str, pd.Series], kind: str) -> str:
    """Return in a few words which of several options is best, if that can be told.

    All pairs are compared by seed, and their intervals hold jointly (Bonferroni): the best one was
    not known beforehand.

    Parameters
    ----------
    errors : dict of Series
        The errors by seed, by the name of the option.
    kind : str
        What the options are, as `teacher`.
    """
    options = {name: values.astype(float).dropna() for name, values in errors.items()}
    options = {name: values for name, values in options.items() if len(values)}
    if len(options) < 2:
        return ""
    best = min(options, key=lambda name: options[name].mean())
    level = 1 - 0.05 / math.comb(len(options), 2)
    differences = [
        summarize(options[best].sub(values).dropna(), level)
        for name, values in options.items()
        if name != best
    ]
    n_worse = sum(describe_difference(difference) == "better" for difference in differences)
    if n_worse == len(differences):
        return f"{best} is the best of {len(options)} {kind}s"
    if n_worse:
        return f"{best} is better than {n_worse} of {len(differences)} other {kind}s"
    return f"no difference can be told between {len(options)} {kind}s"


def count_marks(differences: Iterable[pd.Series]) -> tuple[int, int]:
    """Return how many of several differences are better and worse, by intervals that hold jointly.

    Parameters
    ----------
    differences : iterable of Series
        Each paired by seed, in points.
    """
    values = [difference.astype(float).dropna() for difference in differences]
    level = 1 - 0.05 / max(1, len(values))
    marks = [describe_difference(summarize(difference, level)) for difference in values]
    return marks.count("better"), marks.count("worse")


def describe_order(rhos: pd.Series, rising: str, falling: str) -> str:
    """Return in a few words whether two measures of the same cells have one order.

    Parameters
    ----------
    rhos : Series
        The rank correlation of each seed.
    rising, falling : str
        The words for a correlation above 0, and for one below.
    """
    rho = summarize(rhos)
    if rho.n > 1 and not rho.has_spread:
        return f"rho is {rho.mean:+.2g} in every seed"
    words = {"worse": rising, "better": falling}.get(describe_difference(rho))
    return (
        f"{words or 'no order can be told'} (rho {format_estimate(rho.mean, rho.half_width, '+')})"
    )


def place_teachers(rows: pd.DataFrame) -> tuple[dict[str, float], bool]:
    """Return where each teacher stands along an axis, and whether that axis is of multiply-adds.

    Teachers of one network, as on several numbers of images, would stand in one place: then all
    stand beside each other, from the smallest to the largest.
    """
    ordered = rows.sort_values("teacher_rank", kind="stable").drop_duplicates("teacher")
    costs = ordered.set_index("teacher").teacher_multiply_adds.astype(float)
    if costs.is_unique:
        return {str(name): float(cost) for name, cost in costs.items()}, True
    return {str(name): float(i) for i, name in enumerate(costs.index)}, False


def scale_teachers(axis: Axes, places: dict[str, float], is_by_cost: bool) -> None:
    """Set scale, label and names of an axis on which teachers stand, see `place_teachers`."""
    if is_by_cost:
        axis.set(xscale="log", xlabel=TEACHER_MACS_LABEL)
    else:
        axis.set(xlabel="teacher, the smallest first")
    style.set_tick_names(axis, places.values(), places)


def assign_method_styles(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return a style for each method of a frame, the same in all figures; the main KD is first."""
    methods = filter_rows(frame, kind="student").method
    try:
        first = [find_main_method(frame, "kd")]
    except UntestableClaim:
        first = []
    names = dict.fromkeys([*first, *methods])
    return {name: style.get_method_style(i) for i, name in enumerate(names)}


def assign_teacher_styles(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return a style for each teacher of a frame, the same in all figures, the smallest first."""
    rows = frame.loc[frame.teacher != ""].sort_values("teacher_rank", kind="stable")
    names = list(dict.fromkeys(rows.teacher))
    return {name: style.get_teacher_style(i, len(names)) for i, name in enumerate(names)}


def _describe_counts(rows: pd.DataFrame) -> str:
    """Return the numbers of seeds and of test images, as a sentence."""
    done = filter_rows(rows, status="done")
    images = done.test_n.max() if "test_n" in done else float("nan")
    test = f" of {images:,.0f} images" if images == images else ""
    # In a search teachers have more seeds than the students that went on to be tested.
    seeds = sorted((part.seed for _, part in done.groupby("kind")), key=lambda ids: ids.nunique())
    counts = dict.fromkeys(
        map(replicates.describe_replicates, (seeds[0], seeds[-1]) if seeds else (done.seed,))
    )
    return f"Means with 95 % t intervals over n = {' to '.join(counts)}; test set{test}."
