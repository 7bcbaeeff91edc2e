"""Tables of a report: how one is defined, rendered and written as CSV, Markdown and LaTeX.

Each file of `tables/` defines one `TableSpec`. Its function gets the results frame (see
`analysis.dataframe`), restricted to the blocks that the table reads, with the scratch runs and
ensembles that belong to them, and returns `TableData`: rows of numbers. A row is made by
`summarize_cell`. Every number has a column of its own: `error`, `error_sd`, `error_low`,
`error_high`, and a difference also the number of its pairs and its mark. Errors are top-1 in
points, differences are paired by seed and negative is better. A cell without results keeps its
row, with the reason in its notes.

All differences of one table then hold jointly. Each of m differences has the interval of
1 - 0.05 / m (Bonferroni), at an interim analysis what that leaves of the 5 %. The interval is the
wider of two, as for claims and recommendations: Student's t over seeds, and the one over seeds
and test images where the images are known. The same difference is marked at the other evaluation
point too, from the very same runs, so that what was chosen at one point stays chosen.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from kdpipe import registry
from kdpipe.analysis import dataframe, eval_point
from kdpipe.analysis.dataframe import (
    add_error_provenance,
    add_image_provenance,
    describe_gaps,
    get_series_by_seed,
)
from kdpipe.losses.method import is_plain_kd, short_label
from kdpipe.report.format import (
    escape_markdown,
    format_estimate,
    format_number,
    format_si,
    format_stop,
)
from kdpipe.runs.decision_metric import name_error
from kdpipe.runs.records import EvalPoint, other_eval_point
from kdpipe.stats.error_provenance import (
    ErrorMaskLookup,
    ErrorWithProvenance,
    choose_wider_interval,
    estimate_image_level,
    get_test_run,
)
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import (
    Summary,
    describe_difference,
    select_options,
    summarize,
    summarize_columns,
)
from kdpipe.stats.power import LEVEL
from kdpipe.stats.ranks import rank_options
from kdpipe.stats.replicates import Halves
from kdpipe.user_code import explain_renamed

HOW_TO_READ = (
    "Top-1 test error in points; mean ± half of the 95 % t interval over n seeds, from three seeds "
    "on. Differences are paired by seed, and negative is better."
)
COST_COLUMNS = ("parameters", "multiply_adds", "train_macs", "teacher_macs", "teacher_parameters")
VALUE_FORMATTERS: dict[str, Callable[..., str]] = {
    "method_kind": short_label,
    "stop": format_stop,
}  # by column of texts
# Headings of columns that several tables show; other columns have the table's, or their own name.
HEADINGS = {
    "stop": "stop of the teacher",
    "teacher_error": "error of the teacher",
    "test_ece": "ECE, test",
    "best_test_error": "error, best on validation",
    "last_test_error": "error, last epoch",
    **{f"{split}_nll": f"CE, {split}" for split in ("train", "val", "test")},
    **{f"{split}_kl": f"KL, {split}" for split in ("train", "val", "test")},
    **{f"{split}_cross_entropy": f"CE to teacher, {split}" for split in ("train", "val", "test")},
    "vs_scratch": "against scratch",
    "vs_full_kd": "against full KD",
    "method_kind": "kind of method",
    "vs_full": "against the full teacher",
    "vs_direct": "against large to small",
    "vs_plain": "against the plain one",
}
# How a text begins that a spreadsheet evaluates; a difference such as -1.5 to 0.3 is none.
FORMULA = re.compile(r"[=@\t\r]|[+-].*[|!=@]", re.DOTALL)
VALUES = "_values"  # ends the key of the values by seed that a number is the mean of
EPOCH_LABELS: dict[EvalPoint, str] = {"last": "last epoch", "best": "best epoch"}
# What LaTeX takes for more than text.
LATEX_ESCAPES = str.maketrans({sign: f"\\{sign}" for sign in "%_&#$}{"}) | str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


if not TYPE_CHECKING:
    # Former names, which custom tables may import.
    __getattr__ = explain_renamed(
        __name__,
        Table="TableSpec",
        Grid="TableData",
        made="build_table_data",
        row="summarize_cell",
    )


# --- What a table is


class TableData(NamedTuple):
    """The caption and the rows of a table, each number in a column of its own.

    Attributes
    ----------
    caption : str
        What the table shows.
    rows : list of dict
        Values by column.
    columns : list of str
        The columns that are displayed.
    headings : dict
        The heading of a column where it is not one of `HEADINGS`.
    display : callable or None
        Makes the displayed frame of the adjusted rows, where it is no selection of their columns.
    """

    caption: str
    rows: list[dict[str, Any]]
    columns: list[str]
    headings: dict[str, str]
    display: Callable[[list[dict[str, Any]]], pd.DataFrame] | None = None


@dataclass(frozen=True)
class TableSpec:
    """The definition of a table in a file of `tables/`; its name is that of the file.

    Attributes
    ----------
    title : str
        The title in a report.
    order : int
        The position in a report.
    function : callable
        Makes the `TableData` of a results frame, and of what runs did on single images (a lookup
        or None) where `uses_images` is set.
    uses_last_epoch : bool
        Whether it shows the last epoch whatever the evaluation point of the study.
    uses_images : bool
        Whether the function takes the lookup of single images as its second argument.
    uses_top1 : bool
        Whether its errors are top-1 whatever the metric of the study.
    """

    title: str
    order: int
    function: Callable[..., TableData]
    uses_last_epoch: bool = False
    uses_images: bool = False
    uses_top1: bool = False


@dataclass(frozen=True)
class RenderedTable:
    """A table of one report: every number in `data`, the texts that are shown in `display`.

    `values` has, for each row of `data`, the values by seed that a number is the mean of, by the
    column of that number.
    """

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    display: pd.DataFrame
    columns: list[str]
    values: Sequence[Mapping[str, Mapping[float, float]]] = ()


def load_tables() -> dict[str, TableSpec]:
    """Load every table, by name, in the order of a report."""
    specs = registry.load_all_objects("kdpipe.report.tables", "TABLE", TableSpec)
    return dict(sorted(specs.items(), key=lambda item: item[1].order))


def build_table_data(
    caption: str, rows: list[dict[str, Any]], columns: str, **headings: str
) -> TableData:
    """Build the data of a table from its rows.

    The number of seeds follows the error, and the notes come last. Published numbers get a column
    where there are any, and so does the kind of a method where one is not plain KD: the label is
    the study's and need not say it.

    Parameters
    ----------
    caption : str
        What the table shows.
    rows : list of dict
        Values by column, see `summarize_cell`.
    columns : str
        The columns to display, separated by spaces.
    **headings : str
        The heading of a column that only this table shows.
    """
    shown_columns = [*columns.replace(" error ", " n error ").split(), "notes"]
    if "method" in shown_columns and not all(is_plain_kd(row.get("method_kind")) for row in rows):
        shown_columns.insert(shown_columns.index("method") + 1, "method_kind")
    if any(row.get("published") for row in rows):
        shown_columns.insert(shown_columns.index("error") + 1, "published")
    return TableData(caption, rows, shown_columns, headings)


# --- One row


def summarize_cell(
    cell: pd.DataFrame, measures: Sequence[str] = (), /, **partners: pd.Series | None
) -> dict[str, Any]:
    """Return all numbers of one cell: costs, error, other measures, differences of the error.

    Parameters
    ----------
    cell : DataFrame
        The rows of the cell, one for each seed.
    measures : sequence of str
        Columns of the frame to summarize besides the error.
    **partners : Series or None
        By the name of a difference, the errors by seed of its partner; None if it has none.
    """
    finished = dataframe.find_finished_rows(cell)
    costs = np.fmax.reduce(cell[list(COST_COLUMNS)].to_numpy(float), axis=0, initial=np.nan)
    fields = dict(zip(COST_COLUMNS, costs.tolist(), strict=True))
    fields |= estimate_mean("teacher_error", dataframe.get_teacher_errors(cell))
    errors = dataframe.get_values_by_seed(cell, "test_error", finished)
    fields |= _summarize_errors(errors, **partners)
    if measures:
        values = cell[list(measures)].to_numpy(float)[finished]
        seeds = cell.seed.to_numpy(float)[finished]
        summaries = summarize_columns(values, replicate_ids=seeds)
        for column, summary in zip(measures, summaries, strict=True):
            fields |= _to_columns(column, summary)
            fields[f"{column}_values"] = dataframe.get_values_by_seed(cell, column, finished)
    return fields | {"notes": describe_gaps(cell)}


def summarize_chosen_length(
    lengths: dict[str, pd.DataFrame], outcomes: ErrorMaskLookup | None = None, **partners: pd.Series
) -> dict[str, Any]:
    """Return the row of an early-stopped teacher at the length that validation chose.

    For each seed the length is chosen by the validation errors of other seeds.

    Parameters
    ----------
    lengths : dict of DataFrame
        The cell of each stop of the teacher.
    outcomes : callable or None
        Returns what a run did on single images.
    **partners : Series
        As in `summarize_cell`.
    """
    validation = pd.DataFrame(
        {stop: get_series_by_seed(cell, "val_error") for stop, cell in lengths.items()}
    )
    test = pd.DataFrame({stop: get_series_by_seed(cell) for stop, cell in lengths.items()})
    selection = select_options(validation, test, dataframe.get_halves(pd.concat(lengths.values())))
    choice, errors = selection.chosen, selection.errors
    counts = Counter(choice[seed] for seed in choice.index)
    choice_text = "; ".join(
        f"{stop} for {counts[stop]} seed{'s' * (counts[stop] != 1)}"
        for stop in lengths
        if stop in counts
    )
    notes = "; ".join(filter(None, (choice_text, describe_winner_confidence(lengths, outcomes))))
    fields = _summarize_errors(dict(zip(errors.index, errors, strict=True)), **partners)
    if len(lengths) > 1:
        fields |= {f"{name}_halves": selection.halves for name in partners}
    return fields | {
        "notes": notes or "nothing to choose by: fewer than two seeds with validation errors"
    }


def describe_winner_confidence(
    options: Mapping[str, pd.DataFrame], outcomes: ErrorMaskLookup | None
) -> str:
    """Return how sure it is which option is the best on validation, as `P(kd is best) 61 %`.

    Parameters
    ----------
    options : mapping of str to DataFrame
        The rows of each option. The text is empty for one option, and for too few seeds.
    outcomes : callable or None
        Returns what a run did on single images.
    """
    rows = pd.concat(options.values())
    errors = {
        option: get_series_by_seed(add_image_provenance(cell, "val_error"), "val_error")
        for option, cell in options.items()
    }
    n_images = dataframe.get_validation_size(rows)
    rank_by_option = rank_options(pd.DataFrame(errors, dtype=object), None, outcomes, n_images)
    if len(rank_by_option) < 2:
        return ""
    name, winner_rank = min(rank_by_option.items(), key=lambda item: item[1].rank)
    is_known = winner_rank.p_best == winner_rank.p_best  # not nan
    return f"P({name} is best) {winner_rank.p_best:.0%}" if is_known else ""


def estimate_mean(name: str, values: dict[float, float]) -> dict[str, Any]:
    """Return the mean over seeds with its spread and interval, as columns of that name."""
    return _to_columns(name, summarize(values)) | {f"{name}_values": values}


def estimate_difference(
    name: str, values: dict[float, float], partner: Mapping[float, float] | pd.Series
) -> dict[str, Any]:
    """Return values - partner, paired by seed, as columns of that name.

    The mark is that of the 95 % interval; `<name>_values` are the differences by seed, which
    `adjust_differences` holds jointly with the others of their table.

    Parameters
    ----------
    name : str
        The name of the difference, as `vs_scratch`.
    values : dict
        Errors by seed.
    partner : mapping or Series
        The errors by seed that are subtracted.
    """
    # Series.to_dict would make plain floats of errors with provenance.
    partner_values = dict(partner.items())
    paired = {
        seed: values[seed] - partner_values[seed] for seed in values if seed in partner_values
    }
    summary = summarize(paired)
    fields = {
        "n": summary.n,
        "df": summary.df,
        "mark": describe_difference(summary),
        "values": paired,
    }
    return _to_columns(name, summary) | {f"{name}_{key}": value for key, value in fields.items()}


def get_scratch_errors(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the errors by seed of the runs on labels alone, by student."""
    scratch = dataframe.filter_rows(frame, kind="scratch")
    errors_by_student = {
        key["student"]: get_series_by_seed(cell)
        for key, cell in dataframe.group_rows(scratch, "student")
    }
    return dict.fromkeys(frame.student, pd.Series(dtype=float)) | errors_by_student


def _summarize_errors(errors: dict[float, float], **partners: pd.Series | None) -> dict[str, Any]:
    """Return the columns of an error and of its differences."""
    summary = summarize(errors)
    fields = {
        "n": len(errors),
        **_to_columns("error", summary),
        "error_median": summary.median,
        "error_values": errors,
    }
    for name, partner in partners.items():
        if partner is not None:
            fields |= estimate_difference(name, errors, partner)
    return fields


def _to_columns(name: str, summary: Summary) -> dict[str, Any]:
    """Return a summary as columns of that name."""
    return {
        name: summary.mean,
        f"{name}_sd": summary.sd,
        f"{name}_low": summary.low,
        f"{name}_high": summary.high,
    }


# --- Rendering


@dataclass(frozen=True)
class EvalPointContext:
    """What is known beside a frame at an evaluation point.

    Attributes
    ----------
    eval_point : {"last", "best"}
        The evaluation point of the frame.
    error_masks : mapping
        By evaluation point, which images each run gets wrong.
    other_errors : mapping
        The test error of each run at the other evaluation point.
    """

    eval_point: EvalPoint = "last"
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] = field(default_factory=dict)
    other_errors: Mapping[str, float] = field(default_factory=dict)


NO_CONTEXT = EvalPointContext()


@dataclass(frozen=True)
class AdjustedRows:
    """Rows whose differences hold jointly, and what a caption says about them.

    Attributes
    ----------
    rows : list of dict
        The rows with their adjusted intervals and marks.
    n_differences : int
        Differences that have an interval.
    n_seeds_only : int
        Those of them that have the interval over seeds only.
    n_differing : int
        Those whose mark is another one at the other evaluation point.
    """

    rows: list[dict[str, Any]]
    n_differences: int
    n_seeds_only: int
    n_differing: int


def render_table_by_name(
    name: str,
    frame: pd.DataFrame,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
) -> RenderedTable:
    """Render the table of that name; see `render_table`."""
    return render_table(name, load_tables()[name], frame, interim, error_masks)


def render_table(
    name: str,
    spec: TableSpec,
    frame: pd.DataFrame,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
) -> RenderedTable:
    """Render a table of a results frame.

    Parameters
    ----------
    name : str
        The name under which its files are written.
    spec : TableSpec
        The definition of the table.
    frame : DataFrame
        The results frame at one evaluation point, restricted to what the table reads.
    interim : InterimAnalysis
        The interim analysis that the report shows.
    error_masks : mapping or None
        By evaluation point, which images each run gets wrong.

    Raises
    ------
    TypeError
        If the function of the table does not return `TableData`.
    """
    by_run = add_error_provenance(frame) if len(frame) else frame
    outcomes = (error_masks or {}).get(eval_point.get_eval_point(frame))
    data = spec.function(by_run, outcomes) if spec.uses_images else spec.function(by_run)
    if not isinstance(data, TableData):
        raise TypeError(
            f"it returns a {type(data).__name__}, expected a TableData (table.build_table_data)"
        )
    if not spec.uses_top1:
        data = data._replace(caption=name_error(data.caption, dataframe.get_metric(frame)))
    note = "" if spec.uses_last_epoch else describe_eval_point(frame)
    context = build_eval_point_context(frame, error_masks)
    return render_table_data(name, spec.title, data, interim, note, context)


def render_table_data(
    name: str,
    title: str,
    data: TableData,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    eval_point_note: str = "",
    context: EvalPointContext = NO_CONTEXT,
) -> RenderedTable:
    """Render the data of a table with its differences held jointly.

    Parameters
    ----------
    name, title : str
        The name and the title of the table.
    data : TableData
        Its caption and rows.
    interim : InterimAnalysis
        The interim analysis that the report shows.
    eval_point_note : str
        A sentence of the caption, see `describe_eval_point`.
    context : EvalPointContext
        What is known beside the frame of the rows.
    """
    adjusted = adjust_differences(data.rows, interim, context)
    caption = [
        data.caption,
        *_describe_adjustment(adjusted),
        interim.description if adjusted.n_differences else "",
        eval_point_note,
    ]
    if adjusted.n_differing:
        other_label = EPOCH_LABELS[other_eval_point(context.eval_point)]
        caption.append(f"Where the mark at the {other_label} differs, it is in brackets.")
    if data.display:
        display = data.display(adjusted.rows)
    else:
        headings = HEADINGS | data.headings
        heading_by_column = {c: headings.get(c, c.replace("_", " ")) for c in data.columns}
        display = pd.DataFrame(
            [
                {heading: format_cell(row, c) for c, heading in heading_by_column.items()}
                for row in adjusted.rows
            ]
        )
    caption_text = " ".join(filter(None, caption))
    rows = pd.DataFrame(adjusted.rows)
    values = [
        {key.removesuffix(VALUES): row[key] for key in row if key.endswith(VALUES)}
        for row in data.rows
    ]
    return RenderedTable(name, title, caption_text, rows, display, data.columns, values)


def describe_eval_point(frame: pd.DataFrame) -> str:
    """Return a sentence on the evaluation point of a frame."""
    point = eval_point.get_eval_point(frame)
    text = eval_point.name_eval_point(point, point, dataframe.get_metric(frame))
    return f"Networks are evaluated at {text}, teachers as they taught."


def build_eval_point_context(
    frame: pd.DataFrame, error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None
) -> EvalPointContext:
    """Build the context of a frame, with the test errors of its runs at the other point."""
    column = eval_point.get_other_error_column(frame)
    other_errors = zip(frame.run, frame[column], strict=True) if column in frame else ()
    return EvalPointContext(eval_point.get_eval_point(frame), error_masks or {}, dict(other_errors))


def format_cell(row: dict[str, Any], column: str) -> str:
    """Return a displayed field: `7.61 ± 0.12`, a difference with its mark, a number or a text."""
    value = row.get(column)
    if value is None or value == "" or pd.isna(value):
        return "-"
    if isinstance(value, str):
        return VALUE_FORMATTERS.get(column, str)(value)
    if column in (*COST_COLUMNS, "operations"):
        return format_si(value)
    if f"{column}_low" not in row:
        return format_number(value) if isinstance(value, float) else str(value)
    half_width = (row[f"{column}_high"] - row[f"{column}_low"]) / 2
    if f"{column}_mark" not in row:
        return format_estimate(value, half_width)
    n_pairs = row[f"{column}_n"]
    pairs_note = "" if n_pairs == row["n"] else f" ({n_pairs} pairs)"
    size = format_estimate(value, half_width, sign="+")
    return f"{size}, {format_mark(row, column)}{pairs_note}"


def format_mark(row: dict[str, Any], name: str) -> str:
    """Return the mark of a difference, and in brackets that of the other evaluation point.

    The latter only where it is another one.
    """
    mark = row[f"{name}_mark"]
    other_marks = {
        label: row.get(f"{name}_mark_at_{point}") for point, label in EPOCH_LABELS.items()
    }
    return mark + "".join(
        f" ({label}: {other})" for label, other in other_marks.items() if other not in (None, mark)
    )


def _describe_adjustment(adjusted: AdjustedRows) -> Iterator[str]:
    """Yield how many differences hold jointly, and which intervals decide."""
    count, n_seeds_only = adjusted.n_differences, adjusted.n_seeds_only
    if not count:
        return
    states_own_counts = any("compared" in row for row in adjusted.rows)
    if count > 1 and not states_own_counts:
        yield (
            f"The {count} differences of this table hold jointly: each has an interval of level "
            f"1 - {LEVEL:g} / {count} (Bonferroni), which decides its mark."
        )
    if n_seeds_only == count:
        yield "Intervals are over seeds alone, so the marks hold for this test set."
        return
    note = f" (for {n_seeds_only} only the first is known, which is about this test set)"
    yield (
        "The interval is the wider of two, over seeds and over seeds and test images"
        f"{note if n_seeds_only else ''}."
    )


# --- Differences that hold jointly


def adjust_differences(
    rows: list[dict[str, Any]],
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    context: EvalPointContext = NO_CONTEXT,
) -> AdjustedRows:
    """Adjust the intervals of all differences so that they hold jointly.

    Differences without an interval do not count. A row that says with how many it is `compared`
    holds jointly with these only. The mark at the other evaluation point is
    `<name>_mark_at_<point>`.

    Parameters
    ----------
    rows : list of dict
        The rows of a table, see `estimate_difference`.
    interim : InterimAnalysis
        The interim analysis that the report shows.
    context : EvalPointContext
        What is known beside the frame of the rows.
    """
    names_by_row = [
        [key.removesuffix("_mark") for key in row if key.endswith("_mark")] for row in rows
    ]
    lows = [
        row[f"{name}_low"] for row, names in zip(rows, names_by_row, strict=True) for name in names
    ]
    n_differences = sum(low == low for low in lows)  # not nan
    adjusted_rows, n_seeds_only, n_differing = [], 0, 0
    for row, names in zip(rows, names_by_row, strict=True):
        fields = {key: value for key, value in row.items() if not key.endswith((VALUES, "_halves"))}
        count = max(1, row.get("compared", n_differences))
        level = 1 - 2 * interim.compute_level(LEVEL / 2 / count)
        for name in names:
            if math.isnan(row[f"{name}_low"]):
                continue
            halves = row.get(f"{name}_halves")
            adjusted = _adjust_difference(row[f"{name}{VALUES}"], level, context, halves)
            fields |= {f"{name}_{key}": value for key, value in adjusted.items()}
            n_seeds_only += "images_low" not in adjusted
            n_differing += format_mark(fields, name) != fields[f"{name}_mark"]
        adjusted_rows.append(fields)
    return AdjustedRows(adjusted_rows, n_differences, n_seeds_only, n_differing)


def _adjust_difference(
    values: dict[float, float],
    level: float,
    context: EvalPointContext,
    halves: Halves | None = None,
) -> dict[str, Any]:
    """Return interval and mark, the second interval if there is one, and the other mark."""
    other_point = other_eval_point(context.eval_point)
    summary = summarize(values, level, halves)
    error_masks = context.error_masks.get(context.eval_point)
    estimate = estimate_image_level(_to_series(values), error_masks, halves)
    low, high = choose_wider_interval(summary, estimate, level)
    mark = describe_difference(replace(summary, low=low, high=high))
    fields = {"low": low, "high": high, "mark": mark}
    if estimate.estimate is not None:
        image_low, image_high = estimate.estimate.compute_interval(level)
        fields |= {"images_low": image_low, "images_high": image_high}
    if other_values := _find_other_values(values, context):
        fields[f"mark_at_{other_point}"] = _compute_mark(
            other_values, level, context.error_masks.get(other_point), halves
        )
    return fields


def _compute_mark(
    values: dict[float, float],
    level: float,
    error_masks: ErrorMaskLookup | None,
    halves: Halves | None = None,
) -> str:
    """Return the mark of a difference by the wider of its two intervals."""
    summary = summarize(values, level, halves)
    mark = describe_difference(summary)
    if mark not in ("better", "worse"):
        return mark  # and so it is with a wider interval
    estimate = estimate_image_level(_to_series(values), error_masks, halves)
    low, high = choose_wider_interval(summary, estimate, level)
    return describe_difference(replace(summary, low=low, high=high))


def _find_other_values(
    values: dict[float, float], context: EvalPointContext
) -> dict[float, float] | None:
    """Return the same difference at the other point; None if one of its runs has no error there."""
    other_values = {}
    for seed, value in values.items():
        if not isinstance(value, ErrorWithProvenance):
            return None
        error = sum(
            weight * context.other_errors.get(get_test_run(part) or "", math.nan)
            for part, weight in value.parts.items()
        )
        if math.isnan(error):
            return None
        other_values[seed] = ErrorWithProvenance(
            error + value.constant, value.parts, value.constant
        )
    return other_values


def _to_series(values: dict[float, float]) -> pd.Series:
    """Return values by seed as a series that keeps their provenance."""
    return pd.Series(list(values.values()), list(values), dtype=object)


# --- Output formats


def table_to_csv(table: RenderedTable) -> str:
    """Return every number of a table, unrounded; no text is a formula to a spreadsheet."""
    data = table.data.copy(deep=False)
    for name in data.columns:
        values = data[name].tolist()
        disarmed = [_disarm_formula(value) for value in values]
        if disarmed != values:  # numbers keep their type, and so their text
            data[name] = pd.Series(disarmed, index=data.index, dtype=object)
    return data.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def _disarm_formula(value: Any) -> Any:
    """Return a text, as the name of a class, with an apostrophe before what begins a formula."""
    is_formula = isinstance(value, str) and FORMULA.match(value)
    return f"'{value}" if is_formula else value


def table_to_markdown(table: RenderedTable) -> str:
    """Return title, caption and displayed fields; numbers are rounded by their uncertainty."""
    body = "No run of this study belongs here."
    if len(table.display):
        body = frame_to_markdown(table.display)
    return f"**{escape_markdown(table.title)}.** {escape_markdown(table.caption)}\n\n{body}\n"


def frame_to_markdown(frame: pd.DataFrame) -> str:
    """Return a frame of texts as a Markdown table."""
    escaped = frame.map(escape_markdown).rename(columns=escape_markdown)
    return escaped.to_markdown(index=False, disable_numparse=True) or ""


def table_to_latex(table: RenderedTable) -> str:
    """Return the displayed table for a paper; it needs the package booktabs."""
    if table.display.empty:
        return f"% {' '.join(table.title.split())}: no run of this study belongs here.\n"
    style = table.display.style.hide(axis="index")
    style.format(escape="latex").format_index(escape="latex", axis=1)
    caption = f"{table.title}. {table.caption}".translate(LATEX_ESCAPES)
    body = style.to_latex(
        hrules=True,
        label=f"tab:{table.name}",
        caption=caption,
        position="ht",
        column_format="l" * len(table.display.columns),
    )
    return body.replace("±", r"$\pm$").replace(" > ", r" $\to$ ").replace("`", "'")


def compute_sort_keys(table: RenderedTable) -> list[list[float | str]]:
    """Return what a page sorts each displayed field by: a number where there is one."""
    if table.columns:
        return [
            [_to_sort_key(row.get(column)) for column in table.columns]
            for row in table.data.to_dict("records")
        ]
    return [[_parse_leading_number(str(text)) for text in row] for row in table.display.to_numpy()]


def _to_sort_key(value) -> float | str:
    """Return a number, a text, or an empty text for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else float(value)


def _parse_leading_number(text: str) -> float | str:
    """Return the number that a text begins with, or the text."""
    number = re.match(r"[+-]?\d+(\.\d+)?", text)
    return float(number[0]) if number else text.strip("-")
