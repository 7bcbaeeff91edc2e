"""Custom tables and figures: code beside the study, which lists it as `module.NAME`.

Each is a `TableSpec` or a `FigureSpec`, as those of kdpipe are, and stands after these in the
report. `kdpipe check` tries them on the study without results and with simulated ones. When a
report is rendered, one that fails is reported and leaves the rest as it is.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd

from kdpipe.analysis import dataframe, eval_point
from kdpipe.analysis.claim import UntestableClaim
from kdpipe.analysis.dataframe import restrict_to_blocks
from kdpipe.analysis.preregistration.register import SimulatedStore
from kdpipe.config import paths
from kdpipe.config.schema import Study
from kdpipe.errors import KdpipeError
from kdpipe.plan.nodes import Plan
from kdpipe.report.figure import DrawnFigure, FigureSpec, render_figure, save_figure
from kdpipe.report.table import (
    RenderedTable,
    TableSpec,
    render_table,
    table_to_csv,
    table_to_latex,
    table_to_markdown,
)
from kdpipe.runs.records import EvalPoint
from kdpipe.runs.store import Store
from kdpipe.stats.error_provenance import ErrorMaskLookup
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.user_code import forbid_exit, format_user_error, import_object

Spec = TypeVar("Spec", TableSpec, FigureSpec)
Rendered = TypeVar("Rendered")


def render_custom_tables(
    study: Study,
    frame: pd.DataFrame,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
) -> tuple[list[RenderedTable], list[str]]:
    """Render the custom tables of a study.

    Parameters
    ----------
    study : Study
        The study that lists them.
    frame : DataFrame
        The results frame, not normalized, with all blocks.
    interim : InterimAnalysis
        The interim analysis that the report shows.
    error_masks : mapping
        By evaluation point, which images each run gets wrong.

    Returns
    -------
    tables : list of RenderedTable
        The tables that could be rendered.
    errors : list of str
        A line for each table that failed.
    """

    def render(name: str, spec: TableSpec, blocks: list[str]) -> RenderedTable:
        rendered = render_table(name, spec, restrict_to_blocks(frame, blocks), interim, error_masks)
        for to_text in (table_to_csv, table_to_markdown, table_to_latex):
            to_text(rendered)
        return rendered

    return _render_each(study, "tables", TableSpec, render)


def render_custom_figures(
    study: Study, frame: pd.DataFrame, curves: pd.DataFrame
) -> tuple[list[DrawnFigure], list[str]]:
    """Draw the custom figures of a study for which there are data.

    Parameters
    ----------
    study : Study
        The study that lists them.
    frame, curves : DataFrame
        The results frame, not normalized, and the learning curves.

    Returns
    -------
    figures : list of DrawnFigure
        The figures that could be drawn.
    errors : list of str
        A line for each figure that failed.
    """

    def render(name: str, spec: FigureSpec, blocks: list[str]) -> DrawnFigure | None:
        try:
            figure = render_figure(name, spec, restrict_to_blocks(frame, blocks), curves)
        except UntestableClaim:
            return None
        return figure and save_figure(figure)

    rendered, errors = _render_each(study, "figures", FigureSpec, render)
    return [figure for figure in rendered if figure is not None], errors


def find_plugin_errors(plan: Plan) -> list[str]:
    """Return what is wrong with the custom tables and figures of a study.

    They are tried without any results and with simulated ones.
    """
    conditions: dict[str, str] = {}  # by message
    empty_store, simulated_store = Store(Path(os.devnull)), SimulatedStore(plan=plan)
    for store, condition in ((empty_store, "without results"), (simulated_store, "with results")):
        frame = eval_point.select_eval_point(
            dataframe.build_results_frame(plan, store), plan.study.reading
        )
        curves = dataframe.build_curves_frame(plan, store)
        errors = [
            *render_custom_tables(plan.study, frame)[1],
            *render_custom_figures(plan.study, frame, curves)[1],
        ]
        conditions = dict.fromkeys(errors, condition) | conditions
    return [f"{error}; tried on this study {condition}" for error, condition in conditions.items()]


@forbid_exit()
def _render_each(
    study: Study, key: str, kind: type[Spec], render: Callable[[str, Spec, list[str]], Rendered]
) -> tuple[list[Rendered], list[str]]:
    """Render every custom object under a key of the study, in the order of their specs."""
    code = Path(study.code) if study.code else None
    specs, results, errors = [], [], []
    for name in paths.select_custom(blocks_by_name := getattr(study, key)):
        label = f"{key}.{name}"
        try:
            spec = import_object(label, name, code)
            if not isinstance(spec, kind):
                raise KdpipeError(
                    f"{label}: {name} is of type {type(spec).__name__}, expected a "
                    f"{kind.__module__}.{kind.__name__}"
                )
            specs.append((spec.order, name, spec))
        except KdpipeError as error:
            errors.append(str(error))
    for _, name, spec in sorted(specs, key=lambda item: item[:2]):
        try:
            results.append(render(name, spec, blocks_by_name[name]))
        except (Exception, SystemExit) as error:
            errors.append(f"{key}.{name}: it failed: {format_user_error(error, code)}")
    return results, errors
