"""A search: how the field narrowed, who won, how sure that is, and what more would bring."""

import math

import pandas as pd

from kdpipe.plan.items import Plan
from kdpipe.plan.prices import as_duration
from kdpipe.report import style
from kdpipe.report.figure import Drawing
from kdpipe.report.table import Sheet
from kdpipe.report.text import stop_of
from kdpipe.search import candidates, rule
from kdpipe.search.candidates import Candidate, Option
from kdpipe.search.doubt import Doubt
from kdpipe.search.searched import STUDENTS, TEACHERS, Searched, speed
from kdpipe.statistics.beliefs import SURE

NAME, TITLE = "search", "The search, cell by cell"
CAPTION = (
    "Every cell of {blocks}, best first: the mean of its validation errors in points over the "
    "seeds it was seen with before it was dropped. Cells that were not seen equally often are not "
    "to be compared by it: the chances are those of a model that knows how often each was seen, "
    "and that cells of one teacher are alike. What is claimed of the winner rests on the fresh "
    "seeds alone, which chose nothing."
)
FIGURE, DRAWN = "search", "How the field narrowed"


def sheet(plan: Plan, searched: Searched, doubts: list[Doubt]) -> Sheet:
    """The table. doubts: of the students that have a winner."""
    known = {one.student: one for one in doubts}
    rows, shown = [], []
    for student, competing in searched.competing.items():
        about = known.get(student) or Doubt(student, competing[0].option)
        for one in sorted(competing, key=lambda one: _place(one.option, searched)):
            row = _row(one, searched, about)
            rows.append(row)
            shown.append(
                {
                    "teacher": one.option.teacher,
                    "stop": stop_of(one.option.stop),
                    "through": one.option.via,
                    "method": one.option.method,
                    "generation": one.option.generation,
                    "NLL of the teacher": _number(row["nll"], 3),
                    "seeds": row["seeds"],
                    "error on validation": _number(row["error"], 2),
                    "best of all": _percent(row["first"]),
                    f"within {plan.study.smallest_effect:g} of it": _percent(row["close"]),
                    "its end": row["end"],
                    "student": student,
                }
            )
    caption = CAPTION.format(
        blocks=", ".join(plan.study.search.blocks if plan.study.search else ())
    )
    display = pd.DataFrame(shown)
    columns = ["teacher", "stop", "via", "method", "generation", "nll", "seeds", "error"]
    columns += ["first", "close", "end", "student"]
    for name, column, plain in (("through", "via", ""), ("generation", "generation", 1)):
        if (display[name] == plain).all():
            display = display.drop(columns=name)
            columns.remove(column)
    return Sheet(NAME, TITLE, caption, pd.DataFrame(rows), display, columns)


def sentences(searched: Searched, doubts: list[Doubt]) -> list[str]:
    """How far it is, how sure it is of each winner, whether good teachers had good students."""
    said = []
    if (due := searched.due) is not None:
        said.append(f"The search goes on: round {due.number}, {due}.")
    for student, taken in searched.slow.items():
        said.append(f"{student} does not compete: {speed(taken)}.")
    if searched.slow.keys() == searched.competing.keys():
        said.append("So nobody competes: allow more milliseconds, or take smaller students.")
    for one in doubts:
        number = len(searched.competing[one.student])
        said.append(f"{one.student}: {one.chosen} is chosen of {number} cells.")
        if one.lost:
            said[-1] = (
                f"{one.student}: no cell of {number} came to an end, all that were run diverged."
            )
            continue
        if one.within is None:
            said.append("Too little was seen twice to say how sure that is.")
            continue
        said.append(
            f"By the model it is within {one.within:.2f} points of the best of them with "
            f"{SURE:.0%}, and is the best itself with {one.first[one.chosen]:.0%}."
        )
        if (more := one.more) is not None:
            names = " and ".join(map(str, more.options))
            jobs = "" if more.hours is None else f", about {_duration(more.hours)} of jobs"
            said.append(
                f"{more.seeds} more seeds of {names} ({more.student_epochs:,} student-epochs"
                f"{jobs}) would make that {more.within:.2f} points on average."
            )
    for student, held in searched.correlations.items():
        number = f"{held:.2f}" if math.isfinite(held) else "undefined"
        said.append(
            f"{student}: NLL of the teachers and error of their students have a rank correlation "
            f"of {number}; below {rule.HOLDS:g} no cell stays set aside for its teacher."
        )
    return said


def price(plan: Plan, searched: Searched) -> list[str]:
    """Student-epochs that it asked for so far, and those of the whole grid."""
    ones = [one for competing in searched.competing.values() for one in competing]
    seeds = plan.study.due_seeds
    whole = {name: run for one in ones for name, run in one.students(seeds).items()}
    asked = [run for name, run in whole.items() if name in plan.runs]
    part, all_ = candidates.epochs(asked), candidates.epochs(whole.values())
    said = [
        f"It asked for {part:,} student-epochs of the {all_:,} of the whole grid over all "
        f"{len(seeds)} seeds ({part / all_:.0%})."
    ]
    if searched.hours:
        most = plan.study.search.hours if plan.study.search else None
        of = "" if most is None else f", of {_duration(most)} that they may take"
        said.append(
            f"The runs of its rounds took {_duration(searched.hours)}, each counted apart, "
            f"teachers and scratch runs included{of}."
        )
    return said


def drawing(plan: Plan, searched: Searched) -> Drawing | None:
    """Mean error after each seed of all that competed, and what was known of their teachers."""
    trained = {option.student for option in searched.errors}
    students = [student for student in searched.competing if student in trained]
    if not students:
        return None
    with style.applied():
        figure, axes = style.panels(2 * len(students), width=4.2, across=2)
        for row, student in enumerate(students):
            _narrowing(axes[2 * row], plan, searched, student)
            _teachers(axes[2 * row + 1], searched, student)
        style.legend(figure, axes)
    caption = (
        "Left: each line is a cell, its mean validation error over the seeds seen so far; it ends "
        "where the cell was dropped. Right: a point is a teacher at its stop, its NLL on "
        "validation against the error of its first cell at the first seed; where the two do not "
        "rise together, no cell stays set aside for its teacher. All on validation: nothing here "
        "is evidence for the winner."
    )
    return Drawing(FIGURE, DRAWN, caption, figure)


def _narrowing(axis, plan: Plan, searched: Searched, student: str) -> None:
    order = plan.study.search_seeds
    winner = searched.winners.get(student)
    counts = [0] * len(order)
    for one in searched.competing[student]:
        seen = searched.errors.get(one.option, {})
        means, so_far = [], []
        for place, seed in enumerate(order):
            if seed in seen:
                so_far.append(seen[seed])
                means.append((place + 1, math.fsum(so_far) / len(so_far)))
                counts[place] += 1
        finite = [(x, y) for x, y in means if math.isfinite(y)]
        if not finite:
            continue
        xs, ys = zip(*finite, strict=True)
        if one.option == winner:
            axis.plot(xs, ys, label="the winner", zorder=3, **style.look(0))
        else:
            looks = {"color": "#777777", "linewidth": 0.8, "marker": "o", "markersize": 2.5}
            axis.plot(xs, ys, label="dropped", **looks)
    used = [place for place, count in enumerate(counts) if count]
    labels = [f"{place + 1}\n{counts[place]} cells" for place in used]
    axis.set_xticks([place + 1 for place in used], labels)
    axis.margins(x=0.15)
    number = len(searched.competing[student])
    axis.set(title=f"{student}: {number} cells", xlabel="seeds seen, and by how many cells")
    axis.set_ylabel("top-1 error on validation, %")


def _teachers(axis, searched: Searched, student: str) -> None:
    """Each stop by its first cell: who went on, who was trained to test that, who came back."""
    kinds = ("went on", "set aside, but tested", "called back")
    points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    ones = {}
    for one in searched.competing[student]:
        ones.setdefault(one.stop, []).append(one.option)
    at_first = next((one.asked for one in searched.rounds if one.what == STUDENTS), ())
    cut = rule.cut({stop: searched.nll[stop] for stop in ones if stop in searched.nll})
    for stop, options in ones.items():
        errors = searched.errors.get(options[0])
        if stop not in searched.nll or not errors:
            continue
        here = 0 if stop in cut.kept else 1 if stop in cut.probed else 2
        kind = kinds[here if any(option in at_first for option in options) else 2]
        point = searched.nll[stop], next(iter(errors.values()))
        if all(map(math.isfinite, point)):
            points[kind].append(point)
    for i, (kind, some) in enumerate(points.items()):
        if some:
            xs, ys = zip(*some, strict=True)
            axis.plot(xs, ys, label=kind, **style.look(i + 1) | {"linestyle": ""})
    held = searched.correlations.get(student, math.nan)
    said = f"rank correlation {held:.2f}" if math.isfinite(held) else "no rank correlation"
    back = " without what was called back" if points["called back"] else ""
    axis.set(title=f"{said}{back}", xlabel="NLL of the teacher on validation, nat")
    axis.set_ylabel("error of its first cell, %")


def _row(one: Candidate, searched: Searched, about: Doubt) -> dict:
    option = one.option
    seen = searched.errors.get(option, {})
    return option._asdict() | {
        "seeds": len(seen),
        "error": searched.mean(option) if seen else math.nan,
        "nll": searched.nll.get((option.teacher, option.stop), math.nan),
        "first": about.first.get(option, math.nan),
        "close": about.close.get(option, math.nan),
        "end": _end(option, searched),
    }


def _end(option: Option, searched: Searched) -> str:
    """What became of a cell."""
    if option in searched.winners.values():
        return "chosen"
    if option.student in searched.slow:
        return f"too slow: {speed(searched.slow[option.student])}"
    if option in searched.unpaid:
        return "not paid for by the budget"
    if (one := searched.dropped(option)) is None:
        return "competes"
    what = "set aside for its teacher" if one.what == TEACHERS else "dropped"
    return f"{what} in round {one.number}"


def _place(option: Option, searched: Searched) -> tuple:
    often, mean = len(searched.errors.get(option, {})), searched.mean(option)
    nll = searched.nll.get((option.teacher, option.stop), math.inf)
    return option not in searched.winners.values(), -often, mean, nll


def _duration(hours: float) -> str:
    return as_duration(3600 * hours)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _percent(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "-"
