"""Error by class, as a table and in words: the chosen student beside labels alone."""

import pandas as pd

from kdpipe.analysis.per_class import ClassErrors, PerClassErrors
from kdpipe.report.format import format_estimate, format_interval
from kdpipe.report.table import RenderedTable
from kdpipe.stats.intervals import Summary

CAPTION = (
    "Test error of what ships, in % of the images of a class, beside that of the same network "
    "from scratch (where that is what ships, the best distilled one stands in its place); mean ± "
    "half of the 95 % t interval over n seeds. Differences are paired by seed, and those of one "
    "student hold jointly (Bonferroni over its classes). This describes the test set and tests "
    "nothing: these seeds took part in the choice on validation, and the worst of many classes "
    "owes some of its error to luck. The last columns give the classes that images were taken "
    "for, in % of the images of the class."
)
NAME, TITLE = "by_class", "Error by class"
MAX_CONFUSIONS = 2  # classes for which one is taken; the CSV has all
COLUMNS = (
    *("student", "class", "images", "n", "error", "scratch", "difference", "images_low"),
    *("taken_for", "scratch_taken_for"),
)


def render_class_table(
    results: list[PerClassErrors], names: tuple[str, ...]
) -> RenderedTable | None:
    """Render the errors by class of all students; None where none is known."""
    entries = [(result, class_errors) for result in results for class_errors in result.classes]
    if not entries:
        return None
    data = pd.DataFrame(
        [_build_data_row(result, class_errors, names) for result, class_errors in entries]
    )
    display = pd.DataFrame(
        [_build_display_row(result, class_errors, names) for result, class_errors in entries]
    )
    values = [class_errors.values for _, class_errors in entries]
    return RenderedTable(NAME, TITLE, CAPTION, data, display, list(COLUMNS), values)


def describe_worst_class(result: PerClassErrors, names: tuple[str, ...]) -> str:
    """Return the worst class of a student, and its balanced error where classes differ in size."""
    if result.reason:
        return f"{result.student}: its errors by class are {result.reason}."
    worst = result.classes[0]
    name = _get_class_name(worst.class_index, names)
    text = f"{result.student}, {result.how}, is worst on class {name}: "
    text += f"{_format_error(worst.error)} % error"
    text += f", from scratch {_format_error(worst.scratch)} %" if worst.scratch else ""
    if worst.confusions:
        text += f"; most often taken for {_format_confusions(worst.confusions, names, 1)}"
        if worst.scratch_confusions:
            text += f", from scratch for {_format_confusions(worst.scratch_confusions, names, 1)}"
    text += "."
    if result.has_unequal_classes and result.balanced:
        images = [class_errors.n_images for class_errors in result.classes]
        text += f" Balanced error (the mean over classes, of {min(images):,} to {max(images):,} "
        text += f"test images each): {_format_error(result.balanced)} %"
        if result.balanced_scratch and result.balanced_scratch.n:
            text += f", from scratch {_format_error(result.balanced_scratch)} %"
        if result.balanced_difference and result.balanced_difference.n:
            text += f", difference {_format_error(result.balanced_difference, '+')} points"
        text += "."
    return text


def _build_data_row(
    result: PerClassErrors, class_errors: ClassErrors, names: tuple[str, ...]
) -> dict:
    """Return all numbers on one class."""
    interval = class_errors.image_interval or {}
    return {
        **{
            "student": result.student,
            "how": result.how,
            "class": class_errors.class_index,
            "name": _get_class_name(class_errors.class_index, names),
        },
        **{"images": class_errors.n_images, "n": class_errors.error.n},
        **_summary_fields("error", class_errors.error),
        **_summary_fields("scratch", class_errors.scratch),
        **_summary_fields("difference", class_errors.difference),
        **{
            "images_low": interval.get("low"),
            "images_high": interval.get("high"),
            "level": class_errors.level,
        },
        "taken_for": _format_confusions(class_errors.confusions, names),
        "scratch_taken_for": _format_confusions(class_errors.scratch_confusions, names),
    }


def _summary_fields(name: str, summary: Summary | None) -> dict:
    """Return a summary as columns of that name."""
    keys = (name, f"{name}_sd", f"{name}_low", f"{name}_high")
    values = (summary.mean, summary.sd, summary.low, summary.high) if summary else (None,) * 4
    return dict(zip(keys, values, strict=True))


def _build_display_row(
    result: PerClassErrors, class_errors: ClassErrors, names: tuple[str, ...]
) -> dict:
    """Return the displayed fields on one class."""
    interval = class_errors.image_interval
    return {
        "student": f"{result.student}, {result.how}",
        "class": _get_class_name(class_errors.class_index, names),
        "images": class_errors.n_images,
        "n": class_errors.error.n,
        "error": _format_error(class_errors.error),
        "from scratch": _format_error(class_errors.scratch),
        "difference": _format_error(class_errors.difference, "+"),
        "images too": "-" if interval is None or "why" in interval else format_interval(interval),
        "taken for": _format_confusions(class_errors.confusions, names, MAX_CONFUSIONS) or "-",
        "from scratch taken for": _format_confusions(
            class_errors.scratch_confusions, names, MAX_CONFUSIONS
        )
        or "-",
    }


def _format_error(summary: Summary | None, sign: str = "") -> str:
    """Return a mean with its uncertainty, `-` where there is none."""
    return format_estimate(summary.mean, summary.half_width, sign) if summary and summary.n else "-"


def _format_confusions(
    shares: dict[int, float], names: tuple[str, ...], most: int | None = None
) -> str:
    """Return the classes that one is taken for, as `7 (2.4 %), 1 (0.81 %)`."""
    first = list(shares.items())[:most]
    return ", ".join(
        f"{_get_class_name(class_number, names)} ({share:.2g} %)" for class_number, share in first
    )


def _get_class_name(number: int, names: tuple[str, ...]) -> str:
    """Return the name of a class, or its number."""
    return names[number] if number < len(names) else str(number)
