"""Dumbbells by class: the error of what ships on each class, and that of labels alone."""

from typing import Any

import pandas as pd

from kdpipe.analysis.per_class import ClassErrors, PerClassErrors
from kdpipe.report import style
from kdpipe.report.figure import MAX_PANELS, Analysis, FigureSpec, FigureWithCaption
from kdpipe.stats.intervals import describe_interval

MAX_CLASSES = 20  # rows of a panel
ROW_HEIGHT = 0.26  # inches
OPEN = {"markerfacecolor": "white"}


def plot_classes(
    frame: pd.DataFrame, curves: pd.DataFrame, analysis: Analysis
) -> FigureWithCaption:
    """Draw a panel for each recommended student, the class with the most errors on top."""
    results = _select_results(analysis)
    if not results:
        return None
    counts = [min(len(_list_classes(result)), MAX_CLASSES) for result in results]
    heights = [1.0 + ROW_HEIGHT * count for count in counts]
    figure, axes = style.make_panels(len(results), width=4.0, across=1, heights=heights)
    for axis, result, count in zip(axes, results, counts, strict=True):
        classes = _list_classes(result)
        role = "taught" if result.how == "taught" else "scratch, longer"
        for position, errors in enumerate(classes[:count]):
            assert errors.scratch is not None
            ends, is_told = [errors.scratch.mean, errors.error.mean], _compare(errors) != ""
            width = 2.6 if is_told else 0.8
            axis.plot(ends, [position] * 2, zorder=1, color="#777777", linewidth=width)
        scratch = [errors.scratch.mean for errors in classes[:count] if errors.scratch is not None]
        look: dict[str, Any] = style.ROLE_STYLES["scratch"] | {"linestyle": ""} | OPEN
        axis.plot(scratch, range(count), label="from scratch", **look)
        look = style.ROLE_STYLES[role] | {"linestyle": ""}
        shown = [errors.error.mean for errors in classes[:count]]
        axis.plot(shown, range(count), label=result.how, **look)
        names = [_name_class(errors.class_index, analysis.class_names) for errors in classes]
        axis.set_yticks(range(count), names[:count])
        note = f" (the {count} worst of {len(classes)} classes)" if count < len(classes) else ""
        axis.set(title=f"{result.student}{note}", ylim=(count - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
    axes[-1].set_xlabel("test error of the class, %\n\u2190 lower is better")
    style.add_legend(figure, axes)
    return figure, (
        "Means over seeds. A thick line marks a class whose paired difference can be told; the "
        "intervals hold jointly over the classes of a student. The table of the classes has the "
        "intervals, and the classes that images are taken for."
    )


def find_classes(frame: pd.DataFrame, curves: pd.DataFrame, analysis: Analysis) -> str:
    """Return on how many classes what ships is better and worse."""
    texts = []
    for result in _select_results(analysis):
        words = [_compare(errors) for errors in _list_classes(result)]
        better, worse = words.count("better"), words.count("worse")
        if better or worse:
            text = f"better on {better}, worse on {worse} of {len(words)} classes"
        else:
            text = f"no difference can be told on any of {len(words)} classes"
        texts.append(f"{result.student}, {text}")
    return "; ".join(texts)


def _select_results(analysis: Analysis) -> list[PerClassErrors]:
    """Return the students of which errors by class are known, taught or not."""
    return [result for result in analysis.class_errors if _list_classes(result)][:MAX_PANELS]


def _list_classes(result: PerClassErrors) -> list[ClassErrors]:
    """Return the classes of a student that have both errors, the worst one first."""
    return [errors for errors in result.classes if errors.scratch is not None and errors.scratch.n]


def _compare(errors: ClassErrors) -> str:
    """Return whether the class is better or worse than on labels alone; empty: cannot tell.

    Both intervals have to tell: over seeds, and over seeds and images where it is known.
    """
    if errors.difference is None or errors.difference.low != errors.difference.low:
        return ""
    words = {describe_interval(errors.difference.low, errors.difference.high)}
    if (images := errors.image_interval) is not None and "why" not in images:
        words.add(describe_interval(images["low"], images["high"]))
    return words.pop() if len(words) == 1 and "cannot tell" not in words else ""


def _name_class(number: int, names: tuple[str, ...]) -> str:
    """Return the name of a class, or its number."""
    return names[number] if number < len(names) else str(number)


FIGURE = FigureSpec("Error by class", 14, plot_classes, shows_analysis=True, find=find_classes)
