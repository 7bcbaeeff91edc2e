"""The report of a study, from its records: one page, tables, figures, claims, and every number.

It needs neither torch nor a GPU nor any weights: a folder of records is enough, with learning
curves where there are any. A study that is half done renders with its holes. One of which nothing
has run yet is refused, so that an earlier report stays.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kdpipe.analysis import claim, dataframe, eval_point, pairwise, per_class, recommendation
from kdpipe.analysis.claim import Verdict
from kdpipe.analysis.dataframe import normalize_frame, restrict_to_blocks
from kdpipe.analysis.eval_point import PerImageErrors
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.analysis.search import rounds, uncertainty
from kdpipe.analysis.search.state import SearchState
from kdpipe.analysis.teacher_to_ship import find_teacher_to_ship
from kdpipe.config import paths
from kdpipe.data.cards import get_class_names
from kdpipe.models.pretrained.kdpipe_export import read_export_config
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.pydantic_base import DOTTED_PATTERN
from kdpipe.report import fingerprint, page, plugins, style, table_row, workers
from kdpipe.report.builtin_tables import a_or_b, as_files, by_class, search, top1, validation
from kdpipe.report.figure import (
    Analysis,
    DrawnFigure,
    RenderedFigure,
    draw_figure,
    load_figures,
    save_figure,
)
from kdpipe.report.page import ReportContext
from kdpipe.report.table import (
    RenderedTable,
    load_tables,
    render_table_by_name,
    table_to_csv,
    table_to_latex,
    table_to_markdown,
)
from kdpipe.runs import registrations
from kdpipe.runs.files import atomic_replace_all, find_temporary_files, read_regular_file
from kdpipe.runs.records import EVAL_POINTS, ROUNDING_KEY, EvalPoint, format_rounding
from kdpipe.runs.store import PUBLISHED_EXPORTS, Store
from kdpipe.stats.error_provenance import ErrorMaskLookup
from kdpipe.text import escape_lines

TABLE_FORMATS = {"csv": table_to_csv, "md": table_to_markdown, "tex": table_to_latex}
# Tables of kdpipe that a study need not list.
BUILTIN_TABLE_NAMES = (a_or_b.NAME, as_files.NAME, by_class.NAME, search.NAME)
CUSTOM_FILE_PATTERN = rf"(tables|figures)/{DOTTED_PATTERN.strip('^$')}"


def render_report(
    plan: Plan, store: Store, folder: Path, study_file: str = "STUDY", worker_count: int = 1
) -> Path:
    """Write the report of a plan into a folder.

    A run of which a file was altered becomes a hole with its reason, and such a report is never
    up to date. The files are replaced all at once.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder with its records.
    folder : Path
        The folder of the report.
    study_file : str
        The study's file, for commands on the page.
    worker_count : int
        How many processes draw figures (`workers.start_server`); with 1 this one does.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    KdpipeError
        If there is neither a record nor a failure; nothing is written then.
    """
    status.require_records(plan, store, failures=True)
    store = status.hide_altered(plan, store)
    # Before the records are read: what is finished meanwhile makes the report out of date.
    digest = fingerprint.compute_digest(plan, store)
    inputs = fingerprint.compute_inputs_digest(plan, store, study_file, digest)
    report, frame = collect_context(plan, store, worker_count)
    is_published = store.root.absolute() == folder.absolute()
    report = replace(
        report,
        study_file=study_file,
        exported=_find_exported(report, store, folder) if is_published else {},
        results=str(folder) if is_published else None,
        registration_link=_link_registration(plan, folder) if is_published else "",
    )
    files = {
        folder / name: content for name, content in _render_files(report, frame, digest).items()
    }
    custom_names = paths.select_custom([*plan.study.tables, *plan.study.figures])
    if custom_files := _list_custom_files(custom_names):
        listing = "".join(f"{name}\n" for name in custom_files)
        files[folder / fingerprint.CUSTOM_FILES_LIST] = listing.encode()
    if not is_published:  # else git has its digests
        if inputs is not None:
            files[folder / fingerprint.INPUTS_FILE] = f"{inputs}\n".encode()
        contents = {str(path.relative_to(folder)): content for path, content in files.items()}
        files[folder / fingerprint.CHECKSUM_FILE] = fingerprint.format_checksums(contents)
    atomic_replace_all(
        files,
        manifest=folder / fingerprint.PAGE_FILE,
        stale=_find_stale_files(folder, files.keys()),
    )
    registration.note_looks(plan, store)
    for line in (*report.plugin_errors, *store.altered["runs"].values()):
        print(f"kdpipe: {escape_lines(line)}", file=sys.stderr)
    return folder


def _link_registration(plan: Plan, folder: Path) -> str:
    """Return the registration beside a published page, seen from it; empty where there is none."""
    path = registrations.registration_path(plan.study.study, Store(folder))
    return str(path.relative_to(folder)) if path.is_file() else ""


def _find_exported(
    report: ReportContext, store: Store, folder: Path
) -> dict[str, page.ExportedFolder]:
    """Return by student the exported folder of its run in a published report.

    Its run may have been trained again, since weights are not published.
    """
    exported = {}
    for student, path in report.weight_paths.items():
        name = Path(path).parts[1]
        place = folder / PUBLISHED_EXPORTS / name
        if not place.is_dir():
            continue
        config = read_export_config(place)
        recorded = store.load_records("runs")[name]["files"]
        trained = config["files"]["model.safetensors"]["sha256"]
        if trained in {info["sha256"] for info in recorded.values()}:
            text = "Its weights have the recorded checksum."
        else:
            is_top1 = report.plan.study.metric == "top1"
            rows = report.frame.loc[report.frame.run == name]
            recorded_errors = rows.test_error if is_top1 else rows.test_top1_error
            recorded_error = float(recorded_errors.iloc[0])
            measured = config["measured"]
            error = 100 - measured["files"]["model.onnx"]["accuracy"][0]
            name_error = "test error" if is_top1 else "top-1 test error"
            text = (
                "Its run was trained again from the recorded spec, on "
                f"{measured['processor']}, with other weights as the result: {name_error} "
                f"{error:.2f} %, {recorded_error:.2f} % in the record."
            )
        exported[student] = page.ExportedFolder(
            link=f"{PUBLISHED_EXPORTS}/{name}",
            path=str(place),
            size=sum(info["bytes"] for info in config["files"].values()),
            text=text,
        )
    return exported


def describe_table_row(plan: Plan, store: Store, table: str, number: str) -> str:
    """Describe one row of a table of a report: its numbers, and the runs behind them.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder with its records.
    table, number : str
        The name of the table, and the number of the row, counted from 1.

    Raises
    ------
    KdpipeError
        If the report has no such table, or the table no such row.
    """
    report, _ = collect_context(plan, store, has_figures=False)
    registration.note_looks(plan, store)
    folder = store.root / "runs"
    records = folder / "NAME" / "record.json" if folder.is_dir() else store.archive_path
    return table_row.describe_row(page.list_tables(report), table, number, str(records))


def collect_context(
    plan: Plan, store: Store, worker_count: int = 1, has_figures: bool = True
) -> tuple[ReportContext, pd.DataFrame]:
    """Analyze the records of a plan.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder with its records.
    worker_count : int
        How many processes draw figures.
    has_figures : bool
        Whether figures are drawn.

    Returns
    -------
    report : ReportContext
        All that the page shows.
    frame : DataFrame
        The results frame with the numbers of both evaluation points.
    """
    frame = dataframe.build_results_frame(plan, store)
    curves = dataframe.build_curves_frame(plan, store)
    image_metrics: dict[EvalPoint, PerImageMetrics] = {
        point: PerImageMetrics(plan, store, point) for point in EVAL_POINTS
    }
    image_errors: dict[EvalPoint, PerImageErrors] = {
        point: metrics.errors for point, metrics in image_metrics.items()
    }
    error_masks: dict[EvalPoint, ErrorMaskLookup] = {
        point: metrics.load_part for point, metrics in image_metrics.items()
    }
    blinding_reason = registration.find_blinding_reason(plan, store)
    if blinding_reason is not None:
        frame = validation.blind_frame(frame)
        listed = registration.list_registered_claims(plan.study, store)
        results = _analyze_blinded(plan, frame, blinding_reason, listed)
    else:
        results = _analyze(
            plan, store, frame, curves, image_errors, error_masks, worker_count, has_figures
        )
    records = store.load_records("runs")
    frame_at_point = results["frame"]
    report = ReportContext(
        plan=plan,
        run_states=_collect_run_states(plan, records, frame_at_point),
        stale_runs=status.find_stale(plan, store),
        registration_lines=registration.describe_registration(
            plan,
            store,
            None if blinding_reason else claim.verdicts_to_json(results["verdicts"]),
        ),
        mixed_code=dataframe.describe_mixed_code(frame),
        curves=page.draw_curves(curves),
        teacher_rounding=_describe_rounding(plan, records),
        missing_eval_points=eval_point.describe_missing_eval_points(frame, error_masks),
        weight_paths=recommendation.find_weights(
            normalize_frame(frame_at_point), results["recommendations"], records
        ),
        **results,
    )
    return report, frame


def _describe_rounding(plan: Plan, records: dict[str, dict]) -> str:
    """Return how far the outputs of teachers in bfloat16 are from float32, at most."""
    found = [records[name].get(ROUNDING_KEY) for name in plan.runs if name in records]
    roundings = [rounding for rounding in found if rounding]
    if not roundings:
        return ""
    largest = {
        key: max(rounding[key] for rounding in roundings)
        for key in ("largest_error", "other_class")
    }
    count = f"the most of {len(roundings):,} students"
    return f"{format_rounding(roundings[0] | largest)} ({count})"


def _analyze_blinded(
    plan: Plan, frame: pd.DataFrame, reason: str, listed: list[str] | None
) -> dict:
    """Return the fields of a context that shows validation numbers only."""
    frame = eval_point.select_eval_point(frame, plan.study.reading)
    return {
        "frame": frame,
        "recommendations": validation.make_blind_recommendations(frame, reason),
        "verdicts": validation.make_blind_verdicts(reason, plan.study.primary, listed),
        "tables": [validation.render_validation_table(frame)],
        "figures": [],
    }


def _analyze(
    plan: Plan,
    store: Store,
    full_frame: pd.DataFrame,
    curves: pd.DataFrame,
    image_errors: dict[EvalPoint, PerImageErrors],
    error_masks: dict[EvalPoint, ErrorMaskLookup],
    worker_count: int,
    has_figures: bool,
) -> dict:
    """Return the fields of a context that rest on test numbers; workers draw meanwhile."""
    study, eval_at = plan.study, plan.study.reading
    interim = claim.get_current_interim(study)
    frame = eval_point.select_eval_point(full_frame, eval_at)
    recommendations: list[Recommendation] = recommendation.recommend_at_both_eval_points(
        full_frame, eval_at, error_masks, interim, study.smallest_effect, study.max_latency
    )
    if (search_state := rounds.get_search_state(study, store)) is not None:
        recommendations = search.drop_searched(recommendations, search_state)
    inputs = frame, curves
    found = {"frame": frame, "recommendations": recommendations}
    read = image_errors, error_masks
    if not has_figures:
        return found | _judge(
            plan, store, search_state, full_frame, *inputs, recommendations, *read, lambda _: []
        )

    with workers.open_workers(worker_count, inputs) as submit:
        drawings = submit_figures(submit, Analysis(recommendations), shows_analysis=False)

        def collect_figures(analysis: Analysis) -> list[DrawnFigure]:
            drawings.update(submit_figures(submit, analysis, shows_analysis=True))
            drawn = (
                workers.get_result(drawings[name], draw_figure, name, analysis, *inputs)
                for name in load_figures()
                if name in drawings
            )
            return [figure for figure in drawn if figure is not None]

        return found | _judge(
            plan, store, search_state, full_frame, *inputs, recommendations, *read, collect_figures
        )


def submit_figures(
    submit: workers.Submit, analysis: Analysis, shows_analysis: bool
) -> dict[str, Future[DrawnFigure | None]]:
    """Submit the figures that show the whole analysis, or the others, to workers; by name."""
    return {
        name: submit(draw_figure, name, analysis)
        for name, spec in load_figures().items()
        if spec.shows_analysis == shows_analysis
    }


def _judge(
    plan: Plan,
    store: Store,
    search_state: SearchState | None,
    full_frame: pd.DataFrame,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    recommendations: list[Recommendation],
    image_errors: dict[EvalPoint, PerImageErrors],
    error_masks: dict[EvalPoint, ErrorMaskLookup],
    collect_figures: Callable[[Analysis], list[DrawnFigure]],
) -> dict:
    """Return verdicts, tables, and what else is computed while workers draw."""
    study, eval_at = plan.study, plan.study.reading
    interim = claim.get_current_interim(study)
    verdicts: list[Verdict] = claim.judge_both_eval_points(
        full_frame,
        curves,
        study.smallest_effect,
        eval_at,
        dict(study.claims),
        error_masks,
        study.primary,
        interim,
        study.smallest_effects,
        registration.list_registered_claims(study, store),
    )
    if (registered := registration.load_registered_verdicts(plan, store)) is not None:
        verdicts = claim.attach_registered(verdicts, registered.claims)
    tables: list[RenderedTable] = [
        render_table_by_name(
            name, restrict_to_blocks(frame, study.tables[name]), interim, error_masks
        )
        for name in load_tables()
        if name in study.tables
    ]
    if (top1_table := top1.render_top1_table(frame)) is not None:
        tables.append(top1_table)
    export_table = as_files.render_export_table(frame, study.smallest_effect, interim)
    if export_table is not None:
        tables.append(export_table)
    custom_tables, table_errors = plugins.render_custom_tables(study, frame, interim, error_masks)
    custom_figures, figure_errors = plugins.render_custom_figures(study, frame, curves)
    tables += custom_tables
    pairs = pairwise.compare_pairwise(frame, error_masks[eval_at], interim)
    class_errors = per_class.compute_per_class_errors(
        normalize_frame(frame), recommendations, image_errors[eval_at], interim
    )
    class_names = get_class_names(plan.card)
    analysis = Analysis(recommendations, verdicts, class_errors, class_names)
    search_figures, search_headline, search_sentences = list[RenderedFigure](), "", list[str]()
    if search_state is not None:
        uncertainties = uncertainty.estimate_uncertainties(
            search_state, study.smallest_effect, error_masks[eval_at]
        )
        tables.insert(0, search.render_search_table(plan, search_state, uncertainties))
        if (
            search_figure := search.render_search_figure(plan, search_state, uncertainties)
        ) is not None:
            search_figures.append(search_figure)
        search_headline = search.format_search_headline(search_state)
        search_sentences += search.describe_search(search_state, uncertainties)
        search_sentences += search.describe_search_cost(plan, search_state)
    return {
        "verdicts": verdicts,
        "tables": tables,
        "figures": [
            *map(save_figure, search_figures),
            *collect_figures(analysis),
            *custom_figures,
        ],
        "pairs_table": a_or_b.render_pairs_table(
            pairs, interim, pairwise.find_incomparable_levels(frame)
        )
        if pairs
        else None,
        "class_table": by_class.render_class_table(class_errors, class_names),
        "class_sentences": [by_class.describe_worst_class(e, class_names) for e in class_errors],
        "plugin_errors": [*table_errors, *figure_errors],
        "search_headline": search_headline,
        "search_sentences": search_sentences,
        "teacher": find_teacher_to_ship(frame, recommendations, study.max_latency),
    }


def _collect_run_states(
    plan: Plan, records: dict[str, dict], frame: pd.DataFrame
) -> dict[str, str]:
    """Return the state of every run; further members of ensembles have no row in the frame."""
    frame_states = dict(zip(frame.run, frame.status, strict=True))
    return {
        name: frame_states.get(name) or records.get(name, {}).get("status", "to do")
        for name in plan.runs
    }


def _render_files(report: ReportContext, frame: pd.DataFrame, digest: str) -> dict[str, bytes]:
    """Return the content of each file of a report, by its path in the folder."""
    texts = {"results.csv": frame.to_csv(index=False)}
    texts["claims.json"] = json.dumps(claim.verdicts_to_json(report.verdicts), indent=1) + "\n"
    for table in (*report.tables, report.pairs_table, report.class_table):
        if table is not None:
            for ending, to_text in TABLE_FORMATS.items():
                texts[f"tables/{table.name}.{ending}"] = to_text(table)
    for item in report.figures:
        texts[f"figures/{item.name}.svg"] = style.to_standalone_svg(item.svg)
    svgs = {item.name: item.svg for item in report.figures}
    texts["index.html"] = page.render_html(report, svgs)
    texts[fingerprint.PAGE_FILE] = (
        f"{page.render_markdown(report)}\n{fingerprint.format_footer(digest)}\n"
    )
    files = {name: text.encode() for name, text in texts.items()}
    for item in report.figures:
        files[f"figures/{item.name}.png"] = item.png
    return files


def _list_custom_files(names: list[str]) -> list[str]:
    """Return the files that custom tables and figures may have, whichever of the two each is."""
    tables = [f"tables/{name}.{ending}" for name in names for ending in TABLE_FORMATS]
    return tables + [f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")]


def _find_stale_files(folder: Path, written: Collection[Path]) -> list[Path]:
    """Return what an earlier report left in a folder, whole or half written.

    These are files under the names of kdpipe's tables and figures, and those of the custom tables
    and figures that the earlier report listed. Any other file is the user's.
    """
    names = [
        f"tables/{name}.{ending}"
        for name in (*load_tables(), *BUILTIN_TABLE_NAMES)
        for ending in TABLE_FORMATS
    ]
    names += [
        f"figures/{name}.{ending}"
        for name in (*load_figures(), search.FIGURE_NAME)
        for ending in ("svg", "png")
    ]
    with contextlib.suppress(OSError, ValueError):
        path = folder / fingerprint.CUSTOM_FILES_LIST
        listed = read_regular_file(path, fingerprint.MAX_CHECKSUMS_BYTES).decode().splitlines()
        names.append(fingerprint.CUSTOM_FILES_LIST)
        names += [name for name in listed if re.fullmatch(CUSTOM_FILE_PATTERN, name)]
    names += [fingerprint.INPUTS_FILE, fingerprint.CHECKSUM_FILE]
    paths = [path for path in (folder / name for name in names) if path not in written]
    temporary = [left for path in paths for left in find_temporary_files(path.parent, path.name)]
    return [path for path in paths if path.is_file()] + temporary
