"""The figure of error against price: one color for each side, and scales that can be read."""

import itertools

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from kdpipe.analysis.contest import select_entrants
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.report import style
from kdpipe.report.figures import training_price
from kdpipe.report.figures.training_price import Point
from kdpipe.stats.intervals import summarize


@pytest.fixture
def axis():
    return Figure().subplots()


def make_point(side: str, way: str, price: float, error: float) -> Point:
    errors = summarize(pd.Series([error - 0.1, error, error + 0.1]))
    prices = dict.fromkeys(training_price.PRICE_LABELS, price)
    return Point((way,), side, way, prices, errors, False)


def test_taught_and_labels_have_a_color_each_however_many_ways_have_lengths(axis):
    points = [make_point("labels", size, price, 9.0) for size in "ab" for price in (1, 2)]
    points += [make_point("taught", f"way {i}", price, 8.0) for i in range(9) for price in (3, 4)]
    points += [make_point("taught", "alone", 5, 8.0)]
    training_price._plot_ways(axis, points, "with_teachers")
    lines = {
        container.get_label(): container.lines[0] for container in axis.containers
    }  # of two sizes on labels the last
    colors = {label: to_hex(line.get_color()).upper() for label, line in lines.items()}
    assert colors.pop("on labels alone") == style.COLORS[0]
    assert len(colors) == training_price.MAX_WAYS + 1 and set(colors.values()) == {style.COLORS[1]}
    assert len(axis.containers) == len(colors) + 2, "sizes are no lengths: a line for each"
    assert len({line.get_marker() for line in lines.values()}) == len(style.MARKERS)


@pytest.mark.parametrize(
    ("errors", "scale", "notes"),
    [
        ([12.0, 13, 14, 15, 16], "linear", []),
        ([14.0, 14.5, 15, 15.5, 21, 30], "linear", []),
        ([14.0, 14.2, 14.4, 14.6, 14.8, 15, 15.2, 18, 21.1], "linear", ["2 above, up to 21.1"]),
        ([4.0, 4.5, 5, 23, 34, 37, 79], "log", []),
    ],
)
def test_outliers_are_cut_off_with_a_note_and_a_wide_range_is_logarithmic(
    axis, errors, scale, notes
):
    axis.plot(range(len(errors)), errors)
    cut_off = style.scale_errors(axis, [summarize([e - 0.01, e, e + 0.01]) for e in errors])
    assert axis.get_yscale() == scale
    assert [text.get_text() for text in axis.texts] == notes
    low, high = axis.get_ylim()
    shown = [error for error in errors if low <= error <= high]
    assert len(cut_off) == len(errors) - len(shown) == (int(notes[0][0]) if notes else 0)


def test_an_interval_of_a_diverged_run_does_not_set_the_scale(axis):
    errors = [summarize([e - 0.01, e, e + 0.01]) for e in (4.0, 5, 6)] + [summarize([1.0, 2, 12])]
    style.scale_errors(axis, errors)
    low, high = axis.get_ylim()
    assert 0 <= low < 4 and 6 < high < 12


def test_names_beside_points_do_not_cover_each_other(axis):
    axis.set(xlim=(0, 1), ylim=(0, 1))
    style.label_points(axis, [(f"point {i}", 0.3, 0.5 + i / 1000) for i in range(6)])
    shifts = sorted(text.xyann[1] + 0.5 for text in axis.texts)
    gaps = [b - a for a, b in itertools.pairwise(shifts)]
    assert len(gaps) == 5 and min(gaps) > style.LABEL_SIZE


def test_a_name_at_the_right_end_stands_left_of_its_point(axis):
    axis.set(xlim=(0, 1), ylim=(0, 1))
    style.label_points(axis, [("a long name of a point", 0.95, 0.5), ("b", 0.05, 0.5)])
    assert [text.get_ha() for text in axis.texts] == ["left", "right"]


def test_two_lengths_of_one_way_have_names_of_their_own():
    cells = [cell([9.0, 9.1, 9.2], teacher="mid", epochs=e, length=e) for e in (40, 80)]
    cells.append(cell([9.5, 9.6, 9.7], kind="scratch", length=40))
    rows = normalize_frame(frame(*cells).assign(train_macs=[1e9] * 3 + [2e9] * 3 + [1e9] * 3))
    points = training_price._collect_points("small", select_entrants(rows), ())
    taught = [point for point in points if point.side == "taught"]
    assert {point.name for point in taught} == {"mid, kd"}
    assert sorted(point.length for point in taught) == [", 40 epochs", ", 80 epochs"]


def test_named_points_of_one_teacher_are_named_without_it():
    taught = [make_point("taught", f"mid, {method}", 2, 8.0) for method in ("kd", "ttm")]
    taught = [point._replace(length=", 40 epochs") for point in taught]
    points = [make_point("labels", "30 epochs on labels", 1, 9.0), *taught]
    of_one = ["30 epochs on labels", "kd, 40 epochs", "ttm, 40 epochs"]
    assert training_price._shorten_names(points) == of_one
    assert training_price._shorten_names(points[:2])[1] == "mid, kd, 40 epochs"
    points.append(make_point("taught", "large, kd", 4, 7.0))
    assert training_price._shorten_names(points)[1] == "mid, kd, 40 epochs"
