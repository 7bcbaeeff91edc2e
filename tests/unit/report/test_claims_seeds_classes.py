"""Claims, seeds and classes as figures: what stands where, and what their titles say."""

from types import SimpleNamespace

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.claim import Verdict
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.analysis.per_class import ClassErrors, PerClassErrors
from kdpipe.report import style
from kdpipe.report.figure import Analysis, describe_best
from kdpipe.report.figures import by_class, claims, seeds
from kdpipe.stats.intervals import summarize

NO_CURVES = pd.DataFrame()


def contrast(effect, smallest=0.5, needed=True):
    images = {"low": effect - 1, "high": effect + 1}
    ends = {"low": effect - 0.5, "high": effect + 0.5}
    return {"effect": effect, "smallest": smallest, "needed": needed, "images": images} | ends


def verdict(key, word, *contrasts):
    return Verdict(key, f"Title of {key}", True, word, "", contrasts=list(contrasts))


def test_a_contrast_stands_at_its_effect_in_smallest_effects():
    verdicts = [
        verdict("C1", "supports", contrast(1.0), contrast(9.0, needed=False)),
        verdict("C2", "cannot tell", contrast(0.25), contrast(-20.0)),
        verdict("C3", "not tested", contrast(2.0)),
    ]
    analysis = Analysis(verdicts=verdicts)
    drawing = claims.plot_claims(pd.DataFrame(), NO_CURVES, analysis)
    assert drawing is not None
    (axis,) = drawing[0].axes
    marks = {
        (line.get_xdata()[0], line.get_ydata()[0]): line.get_markerfacecolor()
        for line in axis.lines
        if line.get_marker() != "None"
    }
    assert marks == {(2.0, 0): "#000000", (0.5, 2): "white"}, "open: cannot tell"
    texts = [text.get_text() for text in axis.texts]
    assert "\u2190 -40" in texts and "\u2713 supports" in texts and "? cannot tell" in texts
    spans = [list(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert [1.0, 3.0] in spans and [0.0, 4.0] in spans, "over seeds, and over images too"
    assert claims.find_claims(pd.DataFrame(), NO_CURVES, analysis) == "1 supported, 1 undecided"


def compare_seeds(taught):
    key = {"kind": "student", "method": "kd", "teacher": "mid"}
    shipped = SimpleNamespace(entrant=SimpleNamespace(key=key))
    rows = normalize_frame(
        frame(cell([10.0, 11.0, 12.0, 13.0], kind="scratch"), cell(taught, teacher="mid"))
    )
    chosen = [SimpleNamespace(student="small", taught=shipped)]
    return seeds.plot_seeds(rows, NO_CURVES, chosen), seeds.find_difference(rows, NO_CURVES, chosen)


def test_each_seed_is_a_line_from_scratch_to_taught(monkeypatch):
    entrants = lambda rows: rows.assign(contest="small", row_student=rows.student)  # noqa: E731
    monkeypatch.setattr(seeds, "select_entrants", entrants)
    drawing, finding = compare_seeds([9.0, 10.0, 11.0, 14.0])
    assert drawing is not None
    lines = drawing[0].axes[0].lines
    ends = {tuple(line.get_ydata()): line.get_color() for line in lines}
    taught, scratch = (style.ROLE_STYLES[role]["color"] for role in ("taught", "scratch"))
    assert ends == {
        **{(10.0, 9.0): taught, (11.0, 10.0): taught, (12.0, 11.0): taught},
        **{(13.0, 14.0): scratch, (11.5, 11.0): "#000000"},
    }
    assert finding == "small, no difference can be told (taught is better in 3 of 4 seeds)"
    _, finding = compare_seeds([7.0, 8.1, 8.9, 10.0])
    assert finding.startswith("small, taught is better in all 4 seeds (-3.0")


def test_two_seeds_are_too_few(monkeypatch):
    entrants = lambda rows: rows.assign(contest="small", row_student=rows.student)  # noqa: E731
    monkeypatch.setattr(seeds, "select_entrants", entrants)
    assert compare_seeds([9.0, 10.0])[1] == "small, 2 seeds are too few to tell"


def class_errors(index, error, scratch, low, high, images):
    difference = summarize([error - scratch] * 3)
    difference = type(difference)(3, error - scratch, 1.0, low, high, error - scratch)
    errors = summarize([error] * 3), summarize([scratch] * 3)
    return ClassErrors(index, 100, errors[0], {}, errors[1], {}, difference, images)


def test_a_class_is_better_only_where_both_intervals_say_so():
    told, untold = {"low": -3, "high": -1}, {"low": -5, "high": 1}
    classes = [
        class_errors(2, 30.0, 32.0, -3, -1, told),
        class_errors(0, 20.0, 22.0, -3, -1, untold),
        class_errors(1, 10.0, 9.0, -1, 3, untold),
    ]
    analysis = Analysis(
        class_errors=[PerClassErrors("small", "taught", classes)], class_names=("a", "b", "c")
    )
    drawing = by_class.plot_classes(pd.DataFrame(), NO_CURVES, analysis)
    assert drawing is not None
    (axis,) = drawing[0].axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["c", "a", "b"]
    dots = {line.get_label(): list(line.get_xdata()) for line in axis.lines[3:]}
    assert dots == {"from scratch": [32.0, 22.0, 9.0], "taught": [30.0, 20.0, 10.0]}
    widths = [line.get_linewidth() for line in axis.lines[:3]]
    assert widths[0] > widths[1] == widths[2]
    finding = by_class.find_classes(pd.DataFrame(), NO_CURVES, analysis)
    assert finding == "small, better on 1, worse on 0 of 3 classes"


@pytest.mark.parametrize(
    ("errors", "finding"),
    [
        ({"a": [1.0, 1.1, 0.9], "b": [5.0, 5.2, 4.9]}, "a is the best of 2 teachers"),
        ({"a": [1.0, 3, 5], "b": [2.0, 1, 6]}, "no difference can be told between 2 teachers"),
        (
            {"a": [1.0, 1.1, 0.9, 1.0], "b": [1.1, 0.9, 1.2, 1.0], "c": [9.0, 9.1, 9.2, 9]},
            "a is better than 1 of 2 other teachers",
        ),
        ({"a": [1.0, 1.1, 0.9]}, ""),
    ],
)
def test_a_title_says_best_only_where_that_can_be_told(errors, finding):
    assert describe_best({name: pd.Series(e) for name, e in errors.items()}, "teacher") == finding
