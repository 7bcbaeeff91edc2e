"""The page of a report, in HTML and in Markdown: the same words and the same tables.

`ReportContext` is all that a page shows, before any of it is written. The HTML is one
self-contained file: it needs no network, no script to be read, and it prints. Text from the study
and the records is escaped; only the drawings, which kdpipe made itself, are inserted as they are.
The Markdown leaves out the figures. Sentences that stand on both are written by the functions at
the end of this module.
"""

import base64
import math
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup, escape

from kdpipe import __version__
from kdpipe.analysis.claim import (
    LESS,
    VERDICTS,
    WORTH_HAVING,
    SizeInterval,
    Verdict,
    get_current_interim,
)
from kdpipe.analysis.dataframe import POST_HOC_KINDS
from kdpipe.analysis.eval_point import name_eval_point
from kdpipe.analysis.per_class import MISSING_OUTPUTS_TEXT
from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.recommendation import (
    Candidate,
    PairedGain,
    Recommendation,
    describe_methods,
    put_best_first,
)
from kdpipe.analysis.teacher_to_ship import TeacherToShip
from kdpipe.config import paths
from kdpipe.config.schema import Study
from kdpipe.models.pretrained import origin
from kdpipe.plan.nodes import Plan
from kdpipe.report import glossary
from kdpipe.report.builtin_tables import a_or_b
from kdpipe.report.figure import DrawnFigure
from kdpipe.report.format import (
    describe_best,
    describe_break_even,
    describe_entrant,
    describe_teacher_to_ship,
    escape_markdown,
    format_cost,
    format_effect,
    format_estimate,
    format_few_seeds,
    format_headline,
    format_interval,
    format_p_value,
    format_si,
    format_winner_rank,
)
from kdpipe.report.table import (
    RenderedTable,
    compute_sort_keys,
    frame_to_markdown,
    table_to_csv,
    table_to_markdown,
)
from kdpipe.runs.decision_metric import METRIC_TEXT, DecisionMetric, name_accuracy, name_error
from kdpipe.runs.records import other_eval_point
from kdpipe.text import format_count, join_names, list_publication_commands

MAX_OPEN_ROWS = 40  # rows of a table, or curves; more are folded
WIDE_PIXELS = 800  # a wider figure has a line of its own
DECISION_FIGURES = (
    "training_price",
    "search",
    "options",
    "students",
)  # figures that stand beside the decision
VERDICT_MARKS = dict(zip(VERDICTS, "✓✗≈?-", strict=True))
PRIMARY_MARK, EXPLORED_MARK = "◆", "◇"
NOT_REGISTERED = "not registered"  # in the column of registered verdicts
SIZE_MARKS = {WORTH_HAVING: "▲", LESS: "▽"}
STRIP_WIDTH, STRIP_HEIGHT = 220, 12  # pixels of the strip of a size

FEW_IMAGES = 5000  # and fewer: begin from weights, where images are natural
UNNATURAL_DATASETS = {"svhn"}  # in color, but no photographs of things
MAX_CURVES = 400  # curves on a page; `kdpipe track` has no such limit
CURVE_WIDTH, CURVE_HEIGHT = 320, 120  # pixels
CURVE_DASHES = {"val_error": "", "train_error": ' stroke-dasharray="4 3"'}

ERROR_RATE_NOTE = (
    "By the rules, at most 5 % of studies have a wrong direction among the claims of a family, and "
    "at most another 5 % a wrong size. How often that happened in simulated studies of known "
    "truth, and by which rules these were judged, is in benchmarks/error_rates.md; the rules are "
    "in docs/statistics.md."
)


# In the notes of a row; the page says once what is true of many rows, the CSV says it of each.
MIXED_NOTE = re.compile(r"(?:^|; )mixes (?:devices|versions of torch|machines): ([^;]*)")
MARKS_OF_DIFFERENCES = ("better", "worse", "cannot tell", "no spread")


@dataclass(frozen=True)
class ExportedFolder:
    """The exported folder of a run that a published report recommends.

    Attributes
    ----------
    link : str
        The folder, seen from the page.
    path : str
        The folder, seen from where the report was rendered, for commands.
    size : int
        In bytes.
    text : str
        Whether its weights are those of the record, and both errors if not.
    """

    link: str
    path: str
    size: int
    text: str

    @property
    def command(self) -> str:
        """Return the command that classifies an image with it."""
        return shlex.join(["kdpipe", "predict", self.path, "IMAGE"])


@dataclass(frozen=True)
class ReportContext:
    """All that the page of a study shows.

    Attributes
    ----------
    plan : Plan
        The planned study.
    frame : DataFrame
        The results frame at the evaluation point of the study.
    recommendations : list of Recommendation
        One for each student.
    verdicts : list of Verdict
        One for each claim.
    tables, figures : list
        In the order of the page.
    pairs_table : RenderedTable or None
        A or B; None where there are no pairs.
    class_table : RenderedTable or None
        The errors by class of the chosen students; None where they are not known.
    class_sentences : list of str
        One for each student: its worst class.
    run_states : dict
        The state of every run of the plan, by name.
    stale_runs : dict
        By name, the runs that were made of weights which have been made again since.
    registration_lines : list of str
        How the study was registered, and one line for each deviation from it.
    curves : list of (str, Markup)
        The learning curve of each run as SVG.
    plugin_errors : list of str
        Custom tables and figures that failed, and why.
    missing_eval_points : str
        What has no best evaluation point, or no more than its numbers.
    mixed_code : str
        Which custom code was edited between runs; may be empty.
    weight_paths : dict
        By student, the file of the weights to ship.
    search_headline : str
        How far the search of a study is that goes on; else empty.
    search_sentences : list of str
        What a search has found, and how sure that is.
    study_file : str
        The study's file, for commands.
    teacher : TeacherToShip or None
        A teacher that makes a student unnecessary if it is small enough.
    teacher_rounding : str
        How far the outputs of teachers in bfloat16 are from float32; empty if there are none.
    exported : dict
        By student, the exported folder beside the page, where there is one.
    results : str or None
        The folder of the records, where it is no folder with weights: that of a published report.
    registration_link : str
        The file of the registration, seen from the page; empty where it does not lie beside it.
    """

    plan: Plan
    frame: pd.DataFrame
    recommendations: list[Recommendation]
    verdicts: list[Verdict]
    tables: list[RenderedTable]
    figures: list[DrawnFigure]
    pairs_table: RenderedTable | None = None
    class_table: RenderedTable | None = None
    class_sentences: list[str] = field(default_factory=list)
    run_states: dict[str, str] = field(default_factory=dict)
    stale_runs: dict[str, str] = field(default_factory=dict)
    registration_lines: list[str] = field(default_factory=list)
    curves: list[tuple[str, Markup]] = field(default_factory=list)
    plugin_errors: list[str] = field(default_factory=list)
    missing_eval_points: str = ""
    mixed_code: str = ""
    weight_paths: dict[str, str] = field(default_factory=dict)
    search_headline: str = ""
    search_sentences: list[str] = field(default_factory=list)
    study_file: str = "STUDY"
    teacher: TeacherToShip | None = None
    teacher_rounding: str = ""
    exported: dict[str, ExportedFolder] = field(default_factory=dict)
    results: str | None = None
    registration_link: str = ""

    @property
    def teacher_text(self) -> str:
        """Return the sentences on the teacher; empty where there is none."""
        return describe_teacher_to_ship(self.teacher, self.study_file) if self.teacher else ""

    @property
    def best_first(self) -> list[Recommendation]:
        """Return the recommendations, the one that `kdpipe export` takes first."""
        return put_best_first(self.recommendations)

    def get_headline(self, recommendation: Recommendation) -> str:
        """Return the headline of a student, which is not the last word while a search goes on."""
        return f"{'So far: ' if self.search_headline else ''}{format_headline(recommendation)}"

    def list_export_commands(self, run: str) -> list[str]:
        """Return the commands that export a run, from its records alone in a published report."""
        if self.results is None:
            return [shlex.join(["kdpipe", "export", self.study_file, run])]
        return list_publication_commands(self.study_file, run, self.results)

    def get_row_command(self, table: str) -> str:
        """Return the command that prints the first row of a table in full, from the records."""
        records = [] if self.results is None else ["--results", self.results]
        return shlex.join(["kdpipe", "report", self.study_file, *records, "--row", table, "1"])


# --- HTML


def render_html(report: ReportContext, svgs: dict[str, str]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    report : ReportContext
        What the page shows.
    svgs : dict
        The drawing of each figure, by its name.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "unbroken": add_nonbreaking_spaces,
        "breakable": add_word_breaks,
        "linked": glossary.link_words,
        "sentence": capitalize_sentence,
        "p_value": format_p_value,
        "cost": format_cost,
        "interval": format_interval,
        "winner_rank": format_winner_rank,
    }
    template = environment.from_string(
        resources.files("kdpipe.report")
        .joinpath("templates", "report.html.jinja")
        .read_text("utf-8")
    )
    study = report.plan.study
    drawings = [
        (figure, Markup(_label_svg(figure, svgs[figure.name])), _pixel_width(figure) > WIDE_PIXELS)
        for figure in report.figures
    ]
    return template.render(
        report=report,
        plan=report.plan,
        version=__version__,
        max_open_rows=MAX_OPEN_ROWS,
        facts=list_facts(report),
        summary=describe_study(report),
        registration_summary=describe_registration_status(report),
        lost_runs=list_lost_runs(report.frame),
        headlines=[(item, report.get_headline(item)) for item in report.best_first],
        best_text=describe_best(report.recommendations),
        list_candidates=list_candidates,
        describe_candidate=describe_candidate,
        describe_publication=describe_publication,
        csv_links={table.name: _embed_csv(table) for table in list_tables(report)},
        mixed_text=_describe_mixed(list_tables(report)),
        method_texts=describe_methods(report.frame),
        words={glossary.make_word_id(word): (word, text) for word, text in glossary.WORDS.items()},
        format_si=format_si,
        describe_choice=describe_choice,
        describe_decision_gain=describe_decision_gain,
        describe_break_even=describe_break_even,
        pairs_table=report.pairs_table,
        undecided_texts=_describe_undecided(report),
        decided_pairs=_list_pairs(report, is_decided=True),
        undecided_pairs=_list_pairs(report, is_decided=False),
        class_table=_list_parts(report.class_table),
        tables=[part for table in report.tables for part in _list_parts(table)],
        decision_figures=[item for item in drawings if item[0].name in DECISION_FIGURES],
        other_figures=[item for item in drawings if item[0].name not in DECISION_FIGURES],
        tested=[verdict for verdict in report.verdicts if _is_tested(verdict)],
        untested=[verdict for verdict in report.verdicts if not _is_tested(verdict)],
        verdict_counts=count_verdicts(report.verdicts),
        has_registered=_has_registered(report.verdicts),
        rules=registration.RULES,
        verdict_marks=VERDICT_MARKS,
        size_marks=SIZE_MARKS,
        scratch_text=describe_scratch(report.plan),
        license_texts=describe_licenses(report.plan),
        describe_size=describe_size,
        describe_components=describe_components,
        draw_size_strip=draw_size_strip,
        no_tables="" if study.tables else suggest_tables(report.plan),
        names={*study.methods, *study.ensembles, *(block.name for block in study.experiments)},
        interim_text=get_current_interim(study).description,
        eval_point_text=describe_eval_points(study),
        error_unit=name_error("points of top-1 error", study.metric),
        second_interval_text=describe_second_interval(report.recommendations, report.verdicts),
        error_rate_text=describe_error_rate(report),
        format_few_seeds=format_few_seeds,
        format_effect=format_effect,
        format_estimate=format_estimate,
        describe_uncertainty=describe_uncertainty,
        describe_rules_difference=describe_rules_difference,
        get_deciding_p=get_deciding_p,
        describe_other_verdict=describe_other_verdict,
        explored_text=_describe_explored(report.verdicts),
        not_registered=NOT_REGISTERED,
        describe_other_recommendation=describe_other_recommendation,
        describe_other_difference=describe_other_difference,
        config=yaml.safe_dump(
            paths.make_paths_relative(
                study.model_dump(mode="json", exclude_defaults=True, exclude={"registration"}),
                Path(report.study_file).parent,
            ),
            sort_keys=False,
        ),
    )


def add_nonbreaking_spaces(text: str) -> str:
    """Return a text in which a number stays on one line with its half-width, unit and n."""
    return re.sub(r" (?=[±(%]|[+-]\d)|(?<=±) |(?<=\(n) ", "\u00a0", text)


def add_word_breaks(text: str) -> Markup:
    """Return a text in which a name may break after what joins its parts, for wide tables."""
    return Markup(re.sub(r"(?<=\w)([_-])(?=\w)", r"\1<wbr>", str(escape(text))))


def capitalize_sentence(text: str, names: set[str]) -> str:
    """Return a text with a capital letter, unless its first word is a name (or has digits)."""
    first_word = text.split(" ", 1)[0].strip(",:;")
    is_name = first_word in names or any(letter.isdigit() for letter in first_word)
    return text if is_name else text[:1].upper() + text[1:]


def list_tables(report: ReportContext) -> list[RenderedTable]:
    """Return all tables of a page."""
    return [*report.tables, *filter(None, [report.pairs_table, report.class_table])]


def _embed_csv(table: RenderedTable) -> str:
    """Return the CSV of a table as an address that needs no file beside the page."""
    return f"data:text/csv;base64,{base64.b64encode(table_to_csv(table).encode()).decode()}"


def _describe_mixed(tables: list[RenderedTable]) -> str:
    """Return how many rows of tables rest on runs of several devices or versions of torch."""
    texts = [str(text) for table in tables for text in table.display.to_numpy().ravel()]
    mixed = [match[1] for text in texts for match in MIXED_NOTE.finditer(text)]
    if not mixed:
        return ""
    return (
        f"{format_count(len(mixed), 'row')} of these tables compare{'s' * (len(mixed) == 1)} runs "
        f"that were not all made alike ({'; '.join(dict.fromkeys(mixed))}): the notes in each CSV "
        "name them."
    )


def _drop_mixed_note(text: Any) -> Any:
    """Return a text without the note that its runs were not all made alike; a number as it is."""
    if not isinstance(text, str):
        return text
    shorter = MIXED_NOTE.sub("", text).removeprefix("; ")
    return shorter if shorter or not text else "-"


def _list_parts(table: RenderedTable | None) -> list[tuple]:
    """Return a table as (table, headings, rows, whether it is folded), or nothing."""
    if table is None:
        return []
    return [(table, *_table_fields(table), len(table.display) > MAX_OPEN_ROWS)]


def _list_pairs(report: ReportContext, is_decided: bool) -> list[tuple]:
    """Return the part of the pairs with, or without, a question in which one pair is decided."""
    if report.pairs_table is None:
        return []
    part = a_or_b.select_pairs(report.pairs_table, is_decided)
    return _list_parts(part) if len(part.display) else []


def _describe_undecided(report: ReportContext) -> list[str]:
    """Return a sentence for each question in which no pair is decided."""
    if report.pairs_table is None:
        return []
    return a_or_b.describe_undecided(report.pairs_table, report.plan.study.smallest_effect)


def _table_fields(
    table: RenderedTable,
) -> tuple[list[str], list[tuple[int, list[tuple[str, float | str]]]]]:
    """Return headings and numbered rows of (text, sort key), without columns that hold nothing.

    The number is that of the row in the CSV; 0 where a displayed row is several of it.
    """
    texts = table.display.astype(str).map(_drop_mixed_note).to_numpy().tolist()
    nonempty = [i for i in range(len(table.display.columns)) if any(row[i] != "-" for row in texts)]
    numbers = [int(i) + 1 for i in table.data.index] if table.columns else [0] * len(texts)
    rows = [
        (number, [(row[i], _drop_mixed_note(keys[i])) for i in nonempty])
        for number, row, keys in zip(numbers, texts, compute_sort_keys(table), strict=True)
    ]
    return [str(table.display.columns[i]) for i in nonempty], rows


def _label_svg(figure: DrawnFigure, svg: str) -> str:
    """Return an SVG with a name and a description for readers who cannot see it."""
    name = f"figure-{figure.name}"
    labels = f'role="img" aria-labelledby="{name}-title" aria-describedby="{name}-caption" '
    # In a narrower box its text would be too small.
    labels += f'style="min-width: {0.65 * _pixel_width(figure):.0f}px" '
    return svg.replace("<svg ", f"<svg {labels}", 1)


def _pixel_width(figure: DrawnFigure) -> float:
    """Return the width at which the text of a figure has the size it was drawn with."""
    return 96 * figure.width


def draw_curves(curves: pd.DataFrame) -> list[tuple[str, Markup]]:
    """Draw the learning curve of each run, small enough that one page holds hundreds of them.

    Error in points over epochs: on validation as a line, in training (a running mean, augmented,
    with the labels as they were trained on) dashed. The SVG is written here and not by matplotlib,
    for its size.

    Parameters
    ----------
    curves : DataFrame
        See `dataframe.build_curves_frame`.

    Returns
    -------
    list of (str, Markup)
        Name and SVG of each run that has a curve, in the order of the plan.
    """
    columns = [column for column in CURVE_DASHES if column in curves]
    groups = list(curves.groupby("run", sort=False)) if columns else []
    return [(str(run), _draw_curve(rows, columns)) for run, rows in groups[:MAX_CURVES]]


def _draw_curve(rows: pd.DataFrame, columns: list[str]) -> Markup:
    """Draw the curve of one run."""
    last, top = int(rows.epoch.max()), float(rows[columns].max().max())
    top = top if math.isfinite(top) and top > 0 else 1.0
    lines = [
        f'<polyline fill="none" stroke="currentColor"{CURVE_DASHES[column]} points="{points}"/>'
        for column in columns
        if (points := _format_points(rows, column, last, top))
    ]
    text = f"error from 0 to {top:.1f} points over {last:,} epochs"
    return Markup(
        f'<svg viewBox="-2 -2 {CURVE_WIDTH + 4} {CURVE_HEIGHT + 4}" width="{CURVE_WIDTH}" '
        f'height="{CURVE_HEIGHT}" role="img" aria-label="{text}">'
        f'<path d="M0 0V{CURVE_HEIGHT}H{CURVE_WIDTH}" fill="none" stroke="currentColor" '
        f'opacity=".4"/>{"".join(lines)}</svg> <span class="note">{text}</span>'
    )


def _format_points(rows: pd.DataFrame, column: str, last: int, top: float) -> str:
    """Return the points of a line: epochs from left to right, an error of 0 at the bottom."""
    return " ".join(
        f"{CURVE_WIDTH * (epoch - 1) / max(1, last - 1):.1f},{CURVE_HEIGHT * (1 - error / top):.1f}"
        for epoch, error in zip(rows.epoch, rows[column], strict=True)
        if math.isfinite(error)
    )


# --- Markdown


def render_markdown(report: ReportContext) -> str:
    """Return the page as Markdown, all of index.md but its last line."""
    recommendations = report.best_first
    facts = (f"- {name}: {escape_markdown(value)}" for name, value in list_facts(report))
    parts = [f"# {escape_markdown(report.plan.study.study)}", "## What to ship"]
    parts += [f"**{escape_markdown(report.search_headline)}**"] if report.search_headline else []
    parts += [_format_decision(item, report) for item in recommendations]
    parts += [escape_markdown(describe_best(recommendations))]
    parts += [escape_markdown(report.teacher_text), escape_markdown(describe_scratch(report.plan))]
    parts += [escape_markdown(text) for text in describe_licenses(report.plan)]
    parts += [escape_markdown(" ".join(report.search_sentences))]
    parts += [escape_markdown(report.mixed_code)]
    parts += ["\n".join(f"- {escape_markdown(line)}" for line in report.registration_lines)]
    if report.pairs_table is not None:
        lines = [f"- {escape_markdown(line)}" for line in _describe_undecided(report)]
        parts += ["## A or B?", "\n".join(lines), table_to_markdown(report.pairs_table)]
    parts += ["## What it was compared with, and what it costs"]
    parts += [
        _format_comparisons(item, candidate, bool(report.search_sentences))
        for item in recommendations
        for candidate in list_candidates(item)
    ]
    parts.append(escape_markdown(describe_second_interval(recommendations, report.verdicts)))
    if report.class_table is not None:
        lines = [f"- {escape_markdown(line)}" for line in report.class_sentences]
        parts += ["## Error by class", "\n".join(lines), table_to_markdown(report.class_table)]
    parts += ["## The claims", _format_claims(report), "## Tables"]
    parts += [table_to_markdown(table) for table in report.tables] or [suggest_tables(report.plan)]
    parts += ["\n".join(f"- {escape_markdown(line)}" for line in report.plugin_errors)]
    parts += ["## The study", "\n".join(facts)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _format_decision(recommendation: Recommendation, report: ReportContext) -> str:
    """Return what to ship for one student, and where its weights are."""
    lines = [f"**{escape_markdown(report.get_headline(recommendation))}**"]
    if other_text := describe_other_recommendation(recommendation):
        lines.append(escape_markdown(other_text))
    if exported := report.exported.get(recommendation.student):
        lines.append(
            f"[Files to ship]({exported.link}) ({format_si(exported.size)}B), of the seed that is "
            f"best on validation. {escape_markdown(exported.text)} `{exported.command}`"
        )
    elif recommendation.student in report.weight_paths:
        path = report.weight_paths[recommendation.student]
        commands = "`, then `".join(report.list_export_commands(Path(path).parts[1]))
        where = ", in the folder of results" if report.results is None else ""
        lines.append(
            f"Weights of the seed that is best on validation{where}: {escape_markdown(path)}. "
            f"{describe_publication(report)}Files to ship: `{commands}`"
        )
    return "\n\n".join(lines)


def _format_comparisons(
    recommendation: Recommendation, candidate: Candidate, is_searched: bool
) -> str:
    """Return the comparisons and the costs of the best of one side of a student."""
    lines = [f"### {escape_markdown(describe_candidate(recommendation, candidate))}", ""]
    text = describe_choice(candidate, is_searched, recommendation.metric)
    lines += [escape_markdown(text), ""]
    if gain_text := describe_decision_gain(recommendation, candidate):
        lines += [f"- {escape_markdown(gain_text)}"]
    for gain in candidate.gains:
        difference = gain.difference
        size = format_estimate(difference.mean, difference.half_width, sign="+")
        lines.append(
            f"- {escape_markdown(gain.baseline)}: {size} points, {gain.mark} (n {difference.n}); "
            f"images too: {escape_markdown(format_interval(gain.image_interval))}"
            f"{describe_other_difference(recommendation, candidate, gain)}"
        )
    lines += [
        f"- not in this study: {escape_markdown(text)}" for text in candidate.missing_baselines
    ]
    lines += ["", "What it costs, the student alone and with its teacher:", ""]
    lines += [
        f"- {escape_markdown(cost.name)}: {format_cost(cost.student_alone, cost.unit)}"
        + (f"; {format_cost(cost.with_teacher, cost.unit)}" if cost.has_teacher_cost else "")
        for cost in candidate.costs
    ]
    if candidate is recommendation.taught and recommendation.break_even:
        lines += ["", escape_markdown(describe_break_even(recommendation.break_even))]
    return "\n".join(lines)


def _format_claims(report: ReportContext) -> str:
    """Return the table of the claims, and how to read it."""
    rows, has_registered = [], _has_registered(report.verdicts)
    for verdict in report.verdicts:
        shown = verdict.shown
        interval = shown.images
        p, corrected = get_deciding_p(shown)
        row = {
            "": f"{verdict.id}{get_family_mark(verdict)}",
            "claim": verdict.title,
            "verdict": NOT_REGISTERED if has_registered and verdict.explored else shown.words,
            "effect": format_effect(shown.effect, shown.low, shown.high, shown.unit)
            if shown.n
            else "-",
            "images too": "-" if not interval or "why" in interval else format_interval(interval),
            "n": shown.n or "-",
            "p": format_p_value(p),
            "corrected": format_p_value(corrected),
        }
        if has_registered:
            row[f"by rules {registration.RULES}, explored"] = format_explored(verdict)
        rows.append(row | {"other evaluation point": describe_other_verdict(shown)})
    differences = [describe_rules_difference(v) for v in report.verdicts]
    sizes = [(v.id, v.size_interval) for v in report.verdicts if v.size_interval is not None]
    parts = [frame_to_markdown(pd.DataFrame(rows))]
    if sizes:
        lines = [f"- {key}: {describe_size_range(size)}." for key, size in sizes]
        parts.append("\n".join([f"{SIZE_NOTE}", "", *lines]))
    if any(differences):
        parts.append(" ".join(f"{text}." for text in differences if text))
    parts.append(
        "Effects are signed so that positive is as claimed, and are those of the contrast that "
        "decides; p is the larger one of two tests, over seeds, and over seeds and images. ◆ "
        "are the primary claims, corrected (Holm, both directions at once) for their "
        f"number, the others for theirs{_describe_explored(report.verdicts)}. C: of the paper; "
        "M: of the field's methods; E and D: of how long and on how many images one trains; N: of "
        "what a student takes over from its teacher; Q: a reader's. "
        "Reasons: claims.json."
    )
    parts.append(f"How often is this page wrong? {describe_error_rate(report)}")
    return "\n\n".join(parts)


# --- Facts about the study


def list_facts(report: ReportContext) -> list[tuple[str, str]]:
    """Return the study in numbers: data, seeds, runs, time, machines and versions, by name."""
    plan, frame = report.plan, report.frame
    study, data = plan.study, plan.study.data
    has_choice = any(recommendation.shipped for recommendation in report.recommendations)
    runs = frame.loc[~frame.kind.isin(["ensemble", *POST_HOC_KINDS])].drop_duplicates("run")
    finished = runs.loc[runs.status == "done"]
    train_size = f"{data.train_size or plan.card.train - data.validation:,} training images"
    if study.lists_sizes:
        sizes = {size for block in study.experiments for size in block.train_size or ()}
        train_size += f" (nested subsets of {join_names(f'{n:,}' for n in sorted(sizes))})"
    validation_size = plan.card.count_validation(data.validation)
    noise = f", {data.label_noise:.0%} of their labels redrawn" if data.label_noise else ""
    if noise and study.lists_sizes:
        noise += " (for each size anew: labels are not nested)"
    ensembles = f"; {len(plan.ensembles):,} ensembles" if plan.ensembles else ""
    probes = f", {len(plan.probes):,} probes on other data" if plan.probes else ""
    macs = [run.train_multiply_adds + run.teacher_multiply_adds for run in plan.runs.values()]
    eval_points = filter(None, [describe_eval_points(study), report.missing_eval_points])
    facts = [
        (
            "Data",
            f"{plan.card.title}: {train_size}{noise}, {validation_size:,} for "
            f"validation, {plan.card.test:,} for test{_describe_unlabelled(plan)}",
        ),
        ("Seeds", _describe_seeds(study)),
        *([("Errors are by", metric_text)] if (metric_text := describe_metric(study)) else []),
        ("Smallest difference worth having", f"{study.smallest_effect:g} points"),
        ("Runs", f"{count_states(report.run_states)}{ensembles}{probes}"),
        *_describe_images(plan),
        ("Multiply-adds of the plan", format_si(sum(macs))),
        ("Time of the finished runs", _format_hours(finished.seconds.sum())),
        ("Machines", _count_values(finished, "device")),
        ("torch", _count_values(finished, "torch")),
        ("kdpipe of the runs", _count_values(finished, "kdpipe")),
        ("Networks are evaluated at", "; ".join(eval_points)),
    ]
    if report.teacher_rounding:
        facts.append(("Teachers that answer in bfloat16", report.teacher_rounding))
    if has_choice and report.class_table is None:
        facts.append(("Error by class", MISSING_OUTPUTS_TEXT))
    if report.stale_runs:
        stale = f"{len(report.stale_runs):,}, which kdpipe status names: "
        facts.append(
            (
                "Outdated: computed from weights that have since been trained again",
                stale + join_names(report.stale_runs),
            )
        )
    return facts


def describe_publication(report: ReportContext) -> str:
    """Return that weights are not published, where a page stands beside its records."""
    if report.results is None:
        return ""
    return "Weights are not published: the first command trains them by the recorded spec. "


def describe_study(report: ReportContext) -> str:
    """Return data, number of seeds and states of the runs, in a sentence or two."""
    data, study = list_facts(report)[0][1], report.plan.study
    seeds = format_count(len(study.due_seeds), "seed")
    looks = f" (look {study.look} of {len(study.looks)})" if study.looks else ""
    splits = f", {len(study.splits)} splits" if len(study.splits) > 1 else ""
    return f"{data}. {seeds}{looks}{splits}; {count_states(report.run_states)}."


def describe_registration_status(report: ReportContext) -> str:
    """Return whether the study was registered, and the number of its deviations."""
    if not report.registration_lines:
        return ""
    first_line, *deviations = report.registration_lines
    text = re.split(r"[:;]|, with ", first_line, maxsplit=1)[0]
    return f"{text}; {format_count(len(deviations), 'deviation')}." if deviations else f"{text}."


def count_states(states: dict[str, str]) -> str:
    """Return how many runs are in which state, as `145 runs, all done`."""
    counts = Counter(states.values())
    if len(counts) == 1:
        return f"{format_count(len(states), 'run')}, all {next(iter(counts))}"
    text = ", ".join(f"{count:,} {state}" for state, count in counts.most_common())
    return f"{format_count(len(states), 'run')}: {text}" if text else "no runs"


def list_lost_runs(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return name, state and reason of each run without a result."""
    runs = frame.loc[frame.status != "done"].drop_duplicates("run")
    reasons = runs.reason.fillna("") if len(runs) else []
    return list(zip(runs.run, runs.status, reasons, strict=True))


def suggest_tables(plan: Plan) -> str:
    """Return what to write into a study that lists no tables."""
    block = plan.study.experiments[0].name if plan.study.experiments else "EXPERIMENT"
    return (
        f"No tables were asked for. Write into the study, for instance, tables: {{teacher_size: "
        f"[{block}]}}; config.yaml names them all. results.csv has every number."
    )


def _describe_seeds(study: Study) -> str:
    """Return the seeds of the current interim analysis, and the splits where there are others."""
    text = ", ".join(map(str, study.due_seeds))
    if study.looks:
        level = 100 * get_current_interim(study).compute_level()
        text += (
            f" (look {study.look} of {len(study.looks)}, which are after {join_names(study.looks)} "
            f"seeds and share the 5 %: this one's level is {level:.2g} %, and corrected p-values, "
            "intervals and marks of differences are those of all looks)"
        )
    return text + (f"; splits {join_names(study.splits)}" if study.splits != [0] else "")


def _describe_unlabelled(plan: Plan) -> str:
    """Return how many images only the teacher's terms see, where a run has some."""
    methods = (run.spec.method or {} for run in plan.runs.values())
    image_counts = {method["unlabelled_images"] for method in methods if method.get("unlabelled")}
    source = f"of {plan.unlabelled.source}" if plan.unlabelled else "of the training images left"
    return "".join(f"; {count:,} without labels, {source}" for count in image_counts)


def _describe_images(plan: Plan) -> list[tuple[str, str]]:
    """Return the class names and the scaling of a custom data set."""
    card, data = plan.card, plan.study.data
    if not card.class_names and not card.scaled:
        return []
    side = f", then scaled to {data.resize} x {data.resize}" if data.resize else ""
    normalization = (
        f"mean {data.mean or list(card.mean)} and deviation {data.std or list(card.std)}"
    )
    source = "of the study" if data.mean and data.std else "of all training images"
    return [
        ("Classes", ", ".join(card.class_names) or "numbered"),
        (
            "Images",
            f"{card.scaled}{side}; {normalization} {source}, and in each record those that it took",
        ),
    ]


def describe_licenses(plan: Plan) -> list[str]:
    """Return a line for each of the study's weights whose license restricts derivatives."""
    return origin.describe_restrictions(plan.study.pretrained, plan.study.starts)


def describe_scratch(plan: Plan) -> str:
    """Return a line for networks that begin at random on few natural images; empty otherwise."""
    study, card = plan.study, plan.card
    sizes = [size for block in study.experiments for size in block.train_size or ()]
    images = max(sizes, default=study.data.train_size or card.train - study.data.validation)
    is_natural = card.shape[0] == 3 and card.name not in UNNATURAL_DATASETS
    if study.starts or study.pretrained or not is_natural or images >= FEW_IMAGES:
        return ""
    return (
        f"All networks of this study started at random, on {images:,} training images. With fewer "
        "than a few thousand natural images, networks that start from ImageNet weights are usually "
        "much better: try that first (kdpipe init proposes a study; in this one, use `starts`)."
    )


def _format_hours(seconds: float) -> str:
    """Return a duration in hours and minutes, or in minutes and seconds."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _count_values(runs: pd.DataFrame, column: str) -> str:
    """Return the values of a column, with the number of runs of each where they differ."""
    counts = runs[column].dropna().value_counts() if column in runs else pd.Series(dtype=int)
    if len(counts) == 1:
        return str(counts.index[0])
    return "; ".join(f"{name} ({count:,} runs)" for name, count in counts.items()) or "not recorded"


# --- Sentences about the results


def describe_eval_points(study: Study) -> str:
    """Return the evaluation point of all networks, and the one that is shown beside it."""
    point, other = (
        name_eval_point(point, study.reading, study.metric)
        for point in (study.reading, other_eval_point(study.reading))
    )
    return f"{point}, all arms alike; beside it at {other}"


def describe_metric(study: Study) -> str:
    """Return by which metric errors are, and what is by top-1 nevertheless."""
    if study.metric == "top1":
        return ""
    text = (
        f"{METRIC_TEXT[study.metric]}: errors are 100 minus it, in points. Top-1 stands beside "
        "them in a table of its own. By top-1 are training images, learning curves and the claim "
        "about them (C5), probes, and exported files"
    )
    if study.reading == "last":
        text += "; so are the best epochs of runs"
    return text


def describe_error_rate(report: ReportContext) -> str:
    """Return how often a page as this one is wrong."""
    text, interim = ERROR_RATE_NOTE, get_current_interim(report.plan.study)
    if len(interim.counts) > 1:
        text += (
            f" The 5 % are those of all {len(interim.counts)} looks together; at look "
            f"{interim.number} or before it is at most "
            f"{100 * interim.compute_alpha_so_far():.2g} %."
        )
    if _has_registered(report.verdicts):
        text += (
            " These rates are those of the registered verdicts. The verdicts by rules "
            f"{registration.RULES} were computed after the results had been seen, and have none."
        )
    if any(verdict.explored for verdict in report.verdicts):
        text += f" Claims with {EXPLORED_MARK} were not registered and have no error rate either."
    if len(report.registration_lines) > 1:  # a line for each deviation after the first
        text += (
            " This study deviates from its registration, so its own error rate is unknown: the 5 % "
            "hold for what was registered."
        )
    return f"{text} {describe_marks(report)}".rstrip()


def describe_marks(report: ReportContext) -> str:
    """Return how many marks of differences stand in tables, and that each family has its 5 %."""
    tables = list_tables(report)
    counts = [
        sum(
            int(table.data[column].isin(MARKS_OF_DIFFERENCES).sum())
            for column in table.data
            if str(column).endswith("_mark")
        )
        for table in tables
    ]
    if not (total := sum(counts)):
        return ""
    return (
        f"Besides the claims, {sum(map(bool, counts))} tables mark {total} differences (better, "
        "worse, cannot tell). Each family of differences has 5 % of its own. A family is a table, "
        "or a group of its rows where its caption says so, or the differences of one answer."
    )


def describe_components(images: dict | None) -> str:
    """Return the components of a difference's variance, of a study with several splits.

    Parameters
    ----------
    images : dict or None
        The second interval (see `stats.error_provenance`).

    Returns
    -------
    str
        What each adds to the standard error of the mean; empty with one split.
    """
    if not images or "split" not in images.get("levels", {}):
        return ""
    levels = images["levels"]
    parts = []
    for name, variance in images["components"].items():
        count = math.prod(levels[factor] for factor in name.split(" x "))
        parts.append(f"{name} {math.sqrt(variance / count):.2f}")
    counts = ", ".join(f"{count:,} {name}s" for name, count in levels.items())
    return f"standard error of the mean by {', '.join(parts)} ({counts})"


def describe_second_interval(recommendations: list[Recommendation], verdicts: list[Verdict]) -> str:
    """Return what the second interval is, or why this report has none."""
    candidates = [
        gain.image_interval
        for recommendation in recommendations
        for candidate in list_candidates(recommendation)
        for gain in candidate.gains
    ]
    candidates += [item.decision.image_interval for item in recommendations if item.decision]
    candidates += [verdict.images for verdict in verdicts]
    reported = [interval for interval in candidates if interval is not None]
    intervals = [interval for interval in reported if "why" not in interval]
    if intervals:
        counts = sorted({interval["levels"]["image"] for interval in intervals})
        images = f"the {counts[0]:,} test images"
        if len(counts) > 1:
            images = (
                f"the {' or '.join(f'{count:,}' for count in counts)} images of validation or test"
            )
        return (
            "Images too: the second interval, Student's t with variance components of the seed, of "
            f"{images}, and of both together; choices are held fixed. It covers what other seeds "
            "and another test set of this size would have shown, the first interval other seeds "
            "alone. The wider of the two decides."
        )
    reasons = Counter(interval["why"] for interval in reported).most_common(1)
    reason = reasons[0][0] if reasons else "nothing to compare yet"
    text = f"There is no second interval, over seeds and test images: {reason}."
    if "outputs" not in reason:
        return text
    return (
        f"{text} It needs the outputs beside the records, or an archive that was made of them "
        "(kdpipe archive)."
    )


SIZE_NOTE = (
    "Direction and size are two statements. The size of a difference is read from an interval that "
    "holds jointly for all tested claims of its family (Bonferroni) and has 5 % of its own: worth "
    "having if all of it is beyond the smallest effect, less than worth having if all of it is "
    "within. For which smallest effects it would be the one or the other:"
)


def describe_size(verdict: Verdict) -> str:
    """Return how large the difference of a claim is, and what that was read from."""
    size = verdict.size_interval
    if size is None:
        return ""
    low, high = _format_bounds(size)
    where = {WORTH_HAVING: "beyond", LESS: "within"}.get(verdict.size)
    delta = f"the smallest effect, {size.delta:g} {size.unit}"
    text = f"{where} {delta}" if where else f"neither beyond {delta}, nor within"
    n_contrasts = sum(contrast["needed"] for contrast in verdict.contrasts)
    over = f" over {n_contrasts} contrasts" if n_contrasts > 1 else ""
    if over and verdict.verdict == "contradicts" and verdict.size == WORTH_HAVING:
        text = f"one of them {text}, at its share of the level"
    level = f"{100 * size.level:.3g} %"
    interval = f"{low} to {high} {size.unit}{over} at {level}"
    return f"Size: {interval}, {text}; {describe_size_range(size)}."


def describe_size_range(size: SizeInterval) -> str:
    """Return for which smallest effects a difference would be worth having, or less than that."""
    less = f"less than worth having above {_round_up(size.less_above, 2)} {size.unit}"
    if not size.worth_below > 0:
        return less
    return f"worth having below {_round_down(size.worth_below, 2)} {size.unit}, {less}"


def draw_size_strip(size: SizeInterval) -> Markup:
    """Draw for which smallest effects a difference is worth having, and for which it is less.

    From left to right the smallest effect: filled where the difference would be worth having,
    dotted where it would be less than that, empty where neither could be said. The line is the
    smallest effect of the study.
    """
    end = 1.25 * max(size.less_above, size.delta)
    worth, less, delta = (
        f"{STRIP_WIDTH * value / end:.1f}"
        for value in (size.worth_below, size.less_above, size.delta)
    )
    middle = STRIP_HEIGHT / 2
    return Markup(
        f'<svg class="strip" viewBox="-1 -1 {STRIP_WIDTH + 2} {STRIP_HEIGHT + 2}" '
        f'width="{STRIP_WIDTH}" height="{STRIP_HEIGHT}" role="img" '
        f'aria-label="{escape(describe_size_range(size))}">'
        f'<rect width="{worth}" height="{STRIP_HEIGHT}" fill="currentColor" opacity=".6"/>'
        f'<path d="M{less} {middle}H{STRIP_WIDTH}" stroke="currentColor" '
        f'stroke-dasharray="2 3" stroke-width="{STRIP_HEIGHT / 2}"/>'
        f'<path d="M0 0V{STRIP_HEIGHT}H{STRIP_WIDTH}V0" fill="none" stroke="currentColor" '
        f'opacity=".4"/><path d="M{delta} -1V{STRIP_HEIGHT + 1}" stroke="currentColor" '
        f'stroke-width="2"/></svg>'
    )


def _format_bounds(size: SizeInterval) -> tuple[str, str]:
    """Return the bounds of an interval, rounded outwards so that none is on another side."""
    digits = 2
    return f"{_round_down(size.low, digits)}", f"{_round_up(size.high, digits)}"


def _round_down(value: float, digits: int) -> str:
    """Return a number rounded down to significant digits."""
    if not value or not math.isfinite(value):
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return f"{math.floor(value / step + 1e-9) * step:.{digits + 1}g}"


def _round_up(value: float, digits: int) -> str:
    """Return a number rounded up to significant digits."""
    text = _round_down(-value, digits)
    return text[1:] if text.startswith("-") else text if text == "0" else f"-{text}"


def count_verdicts(verdicts: list[Verdict]) -> str:
    """Return how many claims have which verdict, the registered ones apart from explored ones."""
    texts, explored = [], [verdict.verdict for verdict in verdicts if verdict.explored]
    listed = [verdict for verdict in verdicts if not verdict.explored]
    for prefix, words in (
        (
            "As registered: ",
            [verdict.registered.verdict for verdict in listed if verdict.registered],
        ),
        (f"By rules {registration.RULES}: ", [verdict.verdict for verdict in listed]),
        (f"Not registered ({EXPLORED_MARK}): ", explored),
    ):
        counts = ", ".join(f"{words.count(word)} {word}" for word in VERDICT_MARKS)
        texts += [f"{prefix}{counts}."] if words else []
    return " ".join(texts) if len(texts) > 1 else texts[0].partition(": ")[2]


def get_family_mark(verdict: Verdict) -> str:
    """Return the mark of a claim that is primary, or that the registration does not list."""
    if verdict.explored:
        return f" {EXPLORED_MARK}"
    return f" {PRIMARY_MARK}" if verdict.shown.primary else ""


def _describe_explored(verdicts: list[Verdict]) -> str:
    """Return how claims are marked that the registration does not list, if there are any."""
    if not any(verdict.explored for verdict in verdicts):
        return ""
    return (
        f"; {EXPLORED_MARK} are claims that the registration does not list: explored, and a "
        "family of their own"
    )


def get_deciding_p(verdict: Verdict) -> tuple[float, float]:
    """Return the p-value of the test that decides, or would support, raw and corrected."""
    if verdict.verdict == "contradicts":
        return verdict.p_against, verdict.p_against_corrected
    return verdict.p, verdict.p_corrected


def format_explored(verdict: Verdict) -> str:
    """Return a verdict by the current rules beside a registered one, with its corrected p."""
    _, corrected = get_deciding_p(verdict)
    p = f", p {format_p_value(corrected)} corrected" if verdict.n else ""
    differs = "differs: " if verdict.differs_from_registered else ""
    return f"{differs}{verdict.words}{p}"


def describe_rules_difference(verdict: Verdict) -> str:
    """Return both verdicts where the registered rules and the current ones give different ones."""
    if not verdict.differs_from_registered:
        return ""
    why = f" ({verdict.reason})" if verdict.verdict == "not tested" else ""
    return (
        f"{verdict.id}: {verdict.shown.verdict} by the registered rules, {verdict.words} by "
        f"rules {registration.RULES}{why}"
    )


def _has_registered(verdicts: list[Verdict]) -> bool:
    """Return whether some claim has a verdict by rules that are not those of this code."""
    return any(verdict.registered is not None for verdict in verdicts)


def _is_tested(verdict: Verdict) -> bool:
    """Return whether a claim was tested, by the registered rules or by the current ones."""
    return not verdict.verdict == verdict.shown.verdict == "not tested"


def describe_uncertainty(verdict: Verdict) -> str:
    """Return what is missing where a claim cannot be decided."""
    text = f"Half-width {verdict.half_width:.2g} {verdict.unit}"
    if not math.isnan(verdict.detectable):
        text += (
            f"; only an effect of {verdict.detectable:.2g} or more would be found with probability "
            "0.8, and smaller ones count too: that none was found says little"
        )
    if verdict.seeds_needed:
        text += (
            f"; if the effect is as large as measured, about {verdict.seeds_needed:,} seeds would "
        )
        text += "settle it, corrected for all claims of its family"
    else:
        text += (
            "; if the effect is as large as measured, no number of seeds would settle it on these "
        )
        text += "images"
    return f"{text}."


def describe_other_verdict(verdict: Verdict) -> str:
    """Return the verdict at the other evaluation point, marked where it is another one."""
    other = verdict.beside
    if other is None or not (verdict.n or other.n):
        return "-"
    word = f"differs: {other.words_alone}" if other.differs else other.words_alone
    if not other.n:
        return word
    return f"{word}, {format_effect(other.effect, other.low, other.high, verdict.unit)}"


def list_candidates(recommendation: Recommendation) -> list[Candidate]:
    """Return what a student is compared by: what ships, and the best distilled one."""
    shipped, taught = recommendation.shipped, recommendation.taught
    others = [] if taught is shipped else [taught]
    return [item for item in (shipped, *others) if item is not None]


def describe_candidate(recommendation: Recommendation, candidate: Candidate) -> str:
    """Return the heading of the best of one side."""
    text = describe_entrant(candidate.entrant, recommendation.student)
    if candidate is not recommendation.shipped:
        return f"{text}, the best distilled one"
    return f"{text}, to ship" if recommendation.is_settled else f"{text}, preferred on validation"


def describe_choice(
    candidate: Candidate, is_searched: bool, metric: DecisionMetric = "top1"
) -> str:
    """Return the errors of the best of one side, and how it was chosen."""
    test, validation = candidate.entrant.test, candidate.entrant.validation
    text = (
        f"Test error {format_estimate(test.mean, test.half_width)} % ({name_accuracy(metric)} "
        f"{100 - test.mean:.2f} %), n {test.n}{format_few_seeds(test.n)}; validation error "
        f"{format_estimate(validation.mean, validation.half_width)} %."
    )
    if candidate.n_options == 1:
        is_found = is_searched and candidate.entrant.side == "taught"
        found = "The search found it, without these seeds."
        only = "It is the only one of its kind, so nothing was chosen."
        return f"{text} {found if is_found else only}"
    side = "ways of distilling" if candidate.entrant.side == "taught" else "ways on labels alone"
    text += f" Best of {candidate.n_options} {side} on validation"
    text += f"{format_winner_rank(candidate.rank)}."
    if test.n > 1:
        how = "With each seed left out in turn, the others make the same choice"
        how = (
            "Each half of the seeds chose for the other half, and chose the same"
            if candidate.is_by_halves
            else how
        )
        text += f" {how} for {candidate.n_agreeing_seeds} of {test.n} seeds."
    return text


def describe_decision_gain(recommendation: Recommendation, candidate: Candidate) -> str:
    """Return the difference that decides, from the view of what ships; else an empty text."""
    gain = recommendation.decision
    if gain is None or candidate is not recommendation.shipped or not gain.difference.n:
        return ""
    is_taught = candidate.entrant.side == "taught"
    rival = "the best on labels alone" if is_taught else "the best distilled one"
    rival += (
        " that costs no more to train" if recommendation.preferred == "taught" and is_taught else ""
    )
    mark = (
        gain.mark if is_taught else {"better": "worse", "worse": "better"}.get(gain.mark, gain.mark)
    )
    mean = gain.difference.mean * (1 if is_taught else -1)
    low_high = gain.image_interval
    if low_high is not None and "why" not in low_high and not is_taught:
        low_high = low_high | {"low": -low_high["high"], "high": -low_high["low"]}
    return (
        f"{rival} (both chosen without the tested seed; this one decides, by an interval of "
        f"{100 * gain.level:.3g} % of its own): "
        f"{format_estimate(mean, gain.difference.half_width, '+')} points, {mark} (n "
        f"{gain.difference.n}); images too: {format_interval(low_high)}"
    )


def describe_other_recommendation(recommendation: Recommendation) -> str:
    """Return the recommendation at the other evaluation point, if it is another one."""
    other = recommendation.other
    if other is None or other.shipped is None or recommendation.shipped is None:
        return ""
    is_same = recommendation.shipped.entrant.key == other.shipped.entrant.key
    if is_same or not recommendation.has_comparable_points:
        return ""
    point = name_eval_point(other.eval_point, recommendation.eval_point, recommendation.metric)
    return f"The evaluation points differ: at {point}: {format_headline(other)}"


def describe_other_difference(
    recommendation: Recommendation, candidate: Candidate, gain: PairedGain
) -> str:
    """Return the difference to the same baseline at the other evaluation point."""
    other_gain = recommendation.find_other_gain(candidate, gain)
    if other_gain is None or recommendation.other is None:
        return ""
    difference = other_gain.difference
    size = format_estimate(difference.mean, difference.half_width, sign="+")
    is_conflict = other_gain.mark != gain.mark and recommendation.has_comparable_points
    differs = " (the evaluation points differ)" if is_conflict else ""
    point = name_eval_point(
        recommendation.other.eval_point, recommendation.eval_point, recommendation.metric
    )
    return f"; at {point}: {size}, {other_gain.mark}{differs}"
