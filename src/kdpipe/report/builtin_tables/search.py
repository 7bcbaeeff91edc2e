"""The search: how the field narrowed, who won, how sure that is, and what more would bring."""

import math

import pandas as pd

from kdpipe.analysis.recommendation import Recommendation
from kdpipe.analysis.search import elimination_rule, forecast, search_space
from kdpipe.analysis.search.search_space import Arm, ArmKey
from kdpipe.analysis.search.state import STUDENTS, TEACHERS, SearchState, describe_latency
from kdpipe.analysis.search.uncertainty import Uncertainty
from kdpipe.plan.nodes import Plan
from kdpipe.plan.resources import format_duration
from kdpipe.report import style
from kdpipe.report.figure import RenderedFigure
from kdpipe.report.format import format_stop
from kdpipe.report.table import RenderedTable
from kdpipe.runs.decision_metric import name_error
from kdpipe.stats.posterior import CONFIDENCE

NAME, TITLE = "search", "The search, cell by cell"
CAPTION = (
    "Every cell of {blocks}, best first: the mean of its validation errors in points over the "
    "seeds that it was trained with before it was dropped. Do not compare by this mean cells "
    "that were trained with different numbers of seeds. The probabilities come from a model that "
    "knows how many seeds each cell had, that cells of one teacher are alike and, where outcomes "
    "on single images are known, what other images would change. What the page says of the "
    "winner rests on the fresh seeds alone, which took no part in the choice."
)
MAX_LIKELY_SHARE = 0.5  # of the cells: if more may be the best, they were not told apart
MAX_NAMED = 4  # cells
FIGURE_NAME, FIGURE_TITLE = "search", "How the field narrowed"


def render_search_table(
    plan: Plan, search_state: SearchState, uncertainties: list[Uncertainty]
) -> RenderedTable:
    """Render every cell of a search, with the uncertainty about the winner of each student."""
    by_student = {item.student: item for item in uncertainties}
    rows, display_rows = [], []
    for student, competing in search_state.competing.items():
        uncertainty = by_student.get(student) or Uncertainty(student, competing[0].key)
        for item in sorted(competing, key=lambda item: _sort_key(item.key, search_state)):
            row = _build_row(item, search_state, uncertainty)
            rows.append(row)
            display_rows.append(
                {
                    "teacher": item.key.teacher,
                    "stop": format_stop(item.key.stop),
                    "through": item.key.via,
                    "method": item.key.method,
                    "generation": item.key.generation,
                    "NLL of the teacher": _format_number(row["nll"], 3),
                    "seeds": row["seeds"],
                    "error on validation": _format_number(row["error"], 2),
                    "best of all": _format_percent(row["first"]),
                    f"within {plan.study.smallest_effect:g} of it": _format_percent(row["close"]),
                    "its end": row["end"],
                    "student": student,
                }
            )
    caption = CAPTION.format(
        blocks=", ".join(plan.study.search.blocks if plan.study.search else ())
    )
    display = pd.DataFrame(display_rows)
    columns = ["teacher", "stop", "via", "method", "generation", "nll", "seeds", "error"]
    columns += ["first", "close", "end", "student"]
    for name, column, plain in (("through", "via", ""), ("generation", "generation", 1)):
        if (display[name] == plain).all():
            display = display.drop(columns=name)
            columns.remove(column)
    return RenderedTable(NAME, TITLE, caption, pd.DataFrame(rows), display, columns)


def format_search_headline(search_state: SearchState) -> str:
    """Return the headline of a study whose search goes on; empty once it has ended."""
    progress = forecast.format_progress(search_state)
    return f"No answer yet: {progress}." if progress else ""


def drop_searched(
    recommendations: list[Recommendation], search_state: SearchState
) -> list[Recommendation]:
    """Return the recommendations without those that have no result since a search goes on."""
    if search_state.current_round is None:
        return recommendations
    networks = {
        cell.run.network
        for competing in search_state.competing.values()
        for arm in competing
        for cell in arm.cells.values()
    }
    return [item for item in recommendations if item.shipped or item.student not in networks]


def describe_search(search_state: SearchState, uncertainties: list[Uncertainty]) -> list[str]:
    """Return who won a search, and whether good teachers had good students."""
    lines = []
    for student, latency in search_state.slow_students.items():
        lines.append(f"{student} does not compete: {describe_latency(latency)}.")
    if search_state.slow_students.keys() == search_state.competing.keys():
        lines.append("So no student competes: allow more milliseconds, or use smaller students.")
    for uncertainty in uncertainties:
        lines += _describe_winner(search_state, uncertainty)
    for student, correlation in search_state.correlations.items():
        number = f"{correlation:.2f}" if math.isfinite(correlation) else "undefined"
        lines.append(
            f"{student}: NLL of the teachers and error of their students have a rank correlation "
            f"of {number}; below {elimination_rule.MIN_CORRELATION:g} no cell stays set aside for "
            "its teacher."
        )
    return lines


def _describe_winner(search_state: SearchState, uncertainty: Uncertainty) -> list[str]:
    """Return which cell of a student was chosen, how sure that is, and what more seeds bring."""
    student, count = uncertainty.student, len(search_state.competing[uncertainty.student])
    if uncertainty.all_diverged:
        return [f"{student}: no cell of {count} was completed: all that were run diverged."]
    lines = [f"{student}: of {count} cells, {uncertainty.chosen} was chosen."]
    if not uncertainty.likely:
        return [*lines, "Too few cells were trained with two seeds to say how sure that is."]
    p_best = uncertainty.p_best[uncertainty.chosen]
    lines.append(_describe_likely(uncertainty, count, p_best))
    if (seed_gain := uncertainty.seed_gain) is not None:
        names = " and ".join(map(str, seed_gain.arm_keys))
        jobs = ""
        if seed_gain.hours is not None:
            jobs = f", about {_format_hours(seed_gain.hours)} of jobs"
        lines.append(
            f"{seed_gain.seeds} more seeds of {names} ({seed_gain.student_epochs:,} student-epochs"
            f"{jobs}) would leave {seed_gain.n_likely:.1f} of {count} cells on average."
        )
    return lines


def _describe_likely(uncertainty: Uncertainty, count: int, p_best: float) -> str:
    """Return which cells the best is one of, and how likely it is the chosen one."""
    n_likely = len(uncertainty.likely)
    own = f"the chosen one is the best with a probability of {p_best:.0%}"
    if n_likely > MAX_LIKELY_SHARE * count:
        return (
            "The search could not tell them apart: by the model the best of all is one of "
            f"{n_likely} of the {count} cells with a probability of {CONFIDENCE:.0%}, and {own}."
        )
    names = "; ".join(map(str, uncertainty.likely[:MAX_NAMED]))
    more = f" and {n_likely - MAX_NAMED} more" if n_likely > MAX_NAMED else ""
    which = f"{names}{more}" if n_likely > 1 else f"{names} alone"
    return (
        f"By the model the best of all is one of {n_likely} cells ({which}) with a probability of "
        f"{CONFIDENCE:.0%}; {own}."
    )


def describe_search_cost(plan: Plan, search_state: SearchState) -> list[str]:
    """Return the student-epochs that a search has taken, and those of the whole grid."""
    all_candidates = [
        candidate for competing in search_state.competing.values() for candidate in competing
    ]
    seeds = plan.study.due_seeds
    grid_runs = {
        name: run
        for candidate in all_candidates
        for name, run in candidate.get_students(seeds).items()
    }
    requested_runs = [run for name, run in grid_runs.items() if name in plan.runs]
    part, total = (
        search_space.count_epochs(requested_runs),
        search_space.count_epochs(grid_runs.values()),
    )
    lines = [
        f"The search took {part:,} of the {total:,} student-epochs of the whole grid over all "
        f"{len(seeds)} seeds ({part / total:.0%})."
    ]
    if search_state.hours:
        max_hours = plan.study.search.hours if plan.study.search else None
        limit_text = (
            "" if max_hours is None else f", of {_format_hours(max_hours)} that they may take"
        )
        lines.append(
            "The runs of its rounds, teachers and scratch runs included, took "
            f"{_format_hours(search_state.hours)} in total{limit_text}."
        )
    return lines


def render_search_figure(
    plan: Plan, search_state: SearchState, uncertainties: list[Uncertainty]
) -> RenderedFigure | None:
    """Draw the error of each cell over the seeds, and what was known of its teacher."""
    trained = {option.student for option in search_state.errors}
    students = [student for student in search_state.competing if student in trained]
    if not students:
        return None
    with style.use_style():
        figure, axes = style.make_panels(2 * len(students), width=4.2, across=2)
        for row, student in enumerate(students):
            _plot_narrowing(axes[2 * row], plan, search_state, student)
            _plot_teachers(axes[2 * row + 1], search_state, student)
        style.add_legend(figure, axes)
    caption = (
        "Left: each line is the mean validation error of a cell over the seeds seen so far; it "
        "ends where the cell was dropped. Right: each point is a teacher at its stop, its NLL on "
        "validation against the error of its first cell at the first seed; where the two do not "
        "rise together, no cell stays set aside because of its teacher. All errors are on "
        "validation, so nothing here is evidence for the winner."
    )
    chosen = [
        f"of {len(search_state.competing[item.student])} cells for {item.student} {item.chosen}"
        for item in uncertainties
        if search_state.current_round is None and not item.all_diverged
    ]
    title = f"{FIGURE_TITLE}: {'; '.join(chosen)} was chosen" if chosen else FIGURE_TITLE
    return RenderedFigure(FIGURE_NAME, title, caption, figure)


def _plot_narrowing(axis, plan: Plan, search_state: SearchState, student: str) -> None:
    """Plot the mean error of each cell over the seeds until it was dropped."""
    order = plan.study.search_seeds
    winner = search_state.winners.get(student)
    counts = [0] * len(order)
    for candidate in search_state.competing[student]:
        errors = search_state.errors.get(candidate.key, {})
        mean_errors, so_far = [], []
        for index, seed in enumerate(order):
            if seed in errors:
                so_far.append(errors[seed])
                mean_errors.append((index + 1, math.fsum(so_far) / len(so_far)))
                counts[index] += 1
        finite = [(x, y) for x, y in mean_errors if math.isfinite(y)]
        if not finite:
            continue
        xs, ys = zip(*finite, strict=True)
        if candidate.key == winner:
            axis.plot(xs, ys, label="the winner", zorder=3, **style.get_series_style(0))
        else:
            line_style = {"color": "#777777", "linewidth": 0.8, "marker": "o", "markersize": 2.5}
            axis.plot(xs, ys, label="dropped", **line_style)
    used_indices = [index for index, count in enumerate(counts) if count]
    labels = [f"{index + 1}\n{counts[index]} cells" for index in used_indices]
    axis.set_xticks([index + 1 for index in used_indices], labels)
    axis.margins(x=0.15)
    number = len(search_state.competing[student])
    axis.set(title=f"{student}: {number} cells", xlabel="seeds seen, and by how many cells")
    axis.set_ylabel(name_error("top-1 error on validation, %", search_state.plan.study.metric))


def _plot_teachers(axis, search_state: SearchState, student: str) -> None:
    """Plot each stop by its first cell: went on, set aside but tested, or recalled."""
    kinds = ("went on", "set aside, but tested", "called back")
    points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    options_by_stop = {}
    for item in search_state.competing[student]:
        options_by_stop.setdefault(item.stop, []).append(item.key)
    at_first = next((item.arm_keys for item in search_state.rounds if item.phase == STUDENTS), ())
    cut = elimination_rule.screen_stops(
        {stop: search_state.nll[stop] for stop in options_by_stop if stop in search_state.nll}
    )
    for stop, options in options_by_stop.items():
        errors = search_state.errors.get(options[0])
        if stop not in search_state.nll or not errors:
            continue
        kind_index = 0 if stop in cut.selected else 1 if stop in cut.probed else 2
        kind = kinds[kind_index if any(option in at_first for option in options) else 2]
        point = search_state.nll[stop], next(iter(errors.values()))
        if all(map(math.isfinite, point)):
            points[kind].append(point)
    for i, (kind, kind_points) in enumerate(points.items()):
        if kind_points:
            xs, ys = zip(*kind_points, strict=True)
            axis.plot(xs, ys, label=kind, **style.get_series_style(i + 1) | {"linestyle": ""})
    correlation = search_state.correlations.get(student, math.nan)
    title = (
        f"rank correlation {correlation:.2f}"
        if math.isfinite(correlation)
        else "no rank correlation"
    )
    back_note = " without what was called back" if points["called back"] else ""
    axis.set(title=f"{title}{back_note}", xlabel="NLL of the teacher on validation, nat")
    axis.set_ylabel("error of its first cell, %")


def _build_row(candidate: Arm, search_state: SearchState, uncertainty: Uncertainty) -> dict:
    """Return all numbers of one cell."""
    option = candidate.key
    errors = search_state.errors.get(option, {})
    return option._asdict() | {
        "seeds": len(errors),
        "error": search_state.get_mean_error(option) if errors else math.nan,
        "nll": search_state.nll.get((option.teacher, option.stop), math.nan),
        "first": uncertainty.p_best.get(option, math.nan),
        "close": uncertainty.p_close.get(option, math.nan),
        "end": _describe_end(option, search_state),
    }


def _describe_end(option: ArmKey, search_state: SearchState) -> str:
    """Return what became of a cell."""
    if option in search_state.winners.values():
        return "chosen"
    if option.student in search_state.slow_students:
        return f"too slow: {describe_latency(search_state.slow_students[option.student])}"
    if option in search_state.unaffordable:
        return "not paid for by the budget"
    if (dropped_round := search_state.find_dropping_round(option)) is None:
        return "competes"
    reason = "set aside for its teacher" if dropped_round.phase == TEACHERS else "dropped"
    return f"{reason} in round {dropped_round.number}"


def _sort_key(option: ArmKey, search_state: SearchState) -> tuple:
    """Return a key that sorts winners first, then cells by seeds and error."""
    n_seen, mean = len(search_state.errors.get(option, {})), search_state.get_mean_error(option)
    nll = search_state.nll.get((option.teacher, option.stop), math.inf)
    return option not in search_state.winners.values(), -n_seen, mean, nll


def _format_hours(hours: float) -> str:
    """Return hours as a duration."""
    return format_duration(3600 * hours)


def _format_number(value: float, digits: int) -> str:
    """Return a number, `-` where it is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _format_percent(value: float) -> str:
    """Return a share in %, `-` where it is not finite."""
    return f"{value:.0%}" if math.isfinite(value) else "-"
