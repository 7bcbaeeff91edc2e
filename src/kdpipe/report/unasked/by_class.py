"""Error by class, as a table and in words: the choice of each student beside labels alone."""

import pandas as pd

from kdpipe.evidence.advice.by_class import ByClass, OfClass
from kdpipe.report.table import Sheet
from kdpipe.report.text import rounded, span
from kdpipe.statistics.intervals import Summary

CAPTION = (
    "Test error of the choice in % of the images of a class, beside the same network on labels "
    "alone; mean ± half of the 95 % t interval over n seeds. Differences are paired by seed, and "
    "those of one student hold together (Bonferroni over its classes). This describes the test set "
    "and tests nothing: the choice saw these seeds on validation, and the worst of many classes "
    "owes some of its error to luck. What a class is taken for is in % of its images."
)
NAME, TITLE = "by_class", "Error by class"
SHOWN = 2  # classes for which one is taken; the CSV has all
COLUMNS = (
    *("student", "class", "images", "n", "error", "scratch", "difference", "images_low"),
    *("taken_for", "scratch_taken_for"),
)


def sheet(found: list[ByClass], names: tuple[str, ...]) -> Sheet | None:
    """The classes as a table of a report; None where nothing is known. names: of the classes."""
    each = [(known.student, one) for known in found for one in known.classes]
    if not each:
        return None
    data = pd.DataFrame([_row(student, one, names) for student, one in each])
    display = pd.DataFrame([_shown(student, one, names) for student, one in each])
    return Sheet(NAME, TITLE, CAPTION, data, display, list(COLUMNS))


def said(found: ByClass, names: tuple[str, ...]) -> str:
    """The worst class of a student, and its balanced error where classes differ in size."""
    if found.why:
        return f"{found.student}: its errors by class are {found.why}."
    worst = found.classes[0]
    text = f"{found.student}, taught, is worst on class {_name(worst.number, names)}: "
    text += f"{_error(worst.error)} % error"
    text += f", from scratch {_error(worst.scratch)} %" if worst.scratch else ""
    if worst.taken:
        text += f"; most often taken for {_listed(worst.taken, names, 1)}"
        if worst.scratch_taken:
            text += f", from scratch for {_listed(worst.scratch_taken, names, 1)}"
    text += "."
    if found.differ_in_size and found.balanced:
        images = [one.images for one in found.classes]
        text += f" Balanced error (the mean over classes, of {min(images):,} to {max(images):,} "
        text += f"test images each): {_error(found.balanced)} %"
        if found.balanced_scratch and found.balanced_scratch.n:
            text += f", from scratch {_error(found.balanced_scratch)} %"
        if found.balanced_difference and found.balanced_difference.n:
            text += f", difference {_error(found.balanced_difference, '+')} points"
        text += "."
    return text


def _row(student: str, one: OfClass, names: tuple[str, ...]) -> dict:
    facts = one.over_images or {}
    return {
        **{"student": student, "class": one.number, "name": _name(one.number, names)},
        **{"images": one.images, "n": one.error.n},
        **_numbers("error", one.error),
        **_numbers("scratch", one.scratch),
        **_numbers("difference", one.difference),
        **{"images_low": facts.get("low"), "images_high": facts.get("high"), "level": one.level},
        "taken_for": _listed(one.taken, names),
        "scratch_taken_for": _listed(one.scratch_taken, names),
    }


def _numbers(name: str, found: Summary | None) -> dict:
    keys = (name, f"{name}_sd", f"{name}_low", f"{name}_high")
    values = (found.mean, found.sd, found.low, found.high) if found else (None,) * 4
    return dict(zip(keys, values, strict=True))


def _shown(student: str, one: OfClass, names: tuple[str, ...]) -> dict:
    facts = one.over_images
    return {
        "student": student,
        "class": _name(one.number, names),
        "images": one.images,
        "n": one.error.n,
        "error": _error(one.error),
        "from scratch": _error(one.scratch),
        "difference": _error(one.difference, "+"),
        "images too": "-" if facts is None or "why" in facts else span(facts),
        "taken for": _listed(one.taken, names, SHOWN) or "-",
        "from scratch taken for": _listed(one.scratch_taken, names, SHOWN) or "-",
    }


def _error(found: Summary | None, sign: str = "") -> str:
    return rounded(found.mean, found.half_width, sign) if found and found.n else "-"


def _listed(taken: dict[int, float], names: tuple[str, ...], most: int | None = None) -> str:
    """`7 (2.4 %), 1 (0.81 %)`: the classes for which one is taken, the first ones of them."""
    first = list(taken.items())[:most]
    return ", ".join(f"{_name(other, names)} ({share:.2g} %)" for other, share in first)


def _name(number: int, names: tuple[str, ...]) -> str:
    return names[number] if number < len(names) else str(number)
