"""Figures that can be read: a legend within its figure, colours that no control swallows."""

from itertools import pairwise

import pandas as pd
import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.report import style
from kdpipe.report.figure import load_figures


@pytest.mark.parametrize("letters", [1, 12, 200])
def test_a_legend_has_as_many_columns_as_fit(letters):
    figure, axes = style.make_panels(1)
    for number in range(9):
        axes[0].plot([0, 1], [0, number], label=f"{number}{letters * 'm'}")
    height = figure.get_figheight()
    style.add_legend(figure, list(axes))
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 9
    plot_height = figure.get_figheight() - legend.get_window_extent().height / figure.dpi
    assert plot_height == pytest.approx(height), "the figure grows by its legend"
    if letters < 200:
        assert legend.get_window_extent().width <= figure.bbox.width


@pytest.fixture
def drawn():
    """A figure of a study with an untrained teacher, a control, and its caption."""
    stops = {"checkpoint 0": 30.0, "checkpoint 10": 10.0, "checkpoint 20": 9.0, "full": 8.0}
    cells = [cell([e, e + 1, e + 2], teacher="mid", stop=stop) for stop, e in stops.items()]
    tidied = normalize_frame(frame(SCRATCH, *cells))
    return lambda name: load_figures()[name].function(tidied, pd.DataFrame())


def test_an_untrained_teacher_does_not_set_the_colours(drawn):
    figure, _ = drawn("checkpoints")
    (mesh,) = figure.axes[0].collections
    assert mesh.get_clim() == pytest.approx((-2, 2)), "centered on 0, without the control"


def test_an_untrained_teacher_does_not_set_the_scale(drawn):
    figure, caption = drawn("early_stopped")
    assert figure.axes[0].get_ylim()[1] < 20 and "An untrained teacher, a control" in caption


@pytest.mark.parametrize("make", [style.get_series_style, style.get_method_style])
def test_no_two_series_are_alike(make):
    looks = {(one["color"], one["marker"]) for one in map(make, range(49))}
    assert len(looks) == 49


def test_methods_have_no_color_of_labels_alone_or_of_teachers():
    taken = {style.ROLE_STYLES[role]["color"] for role in ("scratch", "teacher", "ensemble")}
    assert not taken & set(style.METHOD_COLORS)
    assert style.METHOD_COLORS[0] == style.ROLE_STYLES["taught"]["color"]


def test_one_thing_has_one_color_in_every_figure():
    methods = {"kd": "kd", "mine": "eskd", "other": "dist"}
    cells = [
        cell([e, e + 1, e + 2], teacher=teacher, method=name, method_kind=kind,
             train_kl=[e, e, e], train_nll=[e, e, e])
        for e, (name, kind) in enumerate(methods.items(), 5)
        for teacher in ("mid", "large")
    ]  # fmt: skip
    tidied = normalize_frame(frame(SCRATCH, *cells))
    looks: dict[str, set] = {}
    for name in ("losses", "teacher_size"):
        figure, _ = load_figures()[name].function(tidied, pd.DataFrame())
        for axis in figure.axes:
            for bars in axis.containers:
                label = bars.get_label().split(" ")[0]
                looks.setdefault(label, set()).add(bars.lines[0].get_color())
    assert set(looks) == set(methods) and all(len(colors) == 1 for colors in looks.values())
    assert len(set.union(*looks.values())) == 3


def test_the_map_says_how_many_cells_can_be_told_from_scratch():
    told = [cell([e, e + 1.1, e + 2], teacher="mid", stop="full") for e in (5.0,)]
    untold = [cell([9.0, 12.0, 12.5], teacher="mid", stop="checkpoint 10")]
    tidied = normalize_frame(frame(SCRATCH, *told, *untold))
    finding = load_figures()["checkpoints"].find
    assert finding is not None
    assert finding(tidied, pd.DataFrame()) == "better than scratch in 1, worse in 0 of 2 cells"


@pytest.mark.parametrize(
    "name, cells, expected",
    [
        # Differences to the full teacher by hand: -4 ± .3, and one that 98.75 % do not tell.
        (
            "early_stopped",
            [
                cell([9.0, 10.0, 11.0], teacher="mid"),
                cell([5.0, 6.1, 7.0], teacher="mid", stop="schedule 5/20"),
                cell([9.0, 12.0, 10.0], teacher="mid", stop="checkpoint 10"),
                cell([1.0, 2.0, 3.0], teacher="mid", stop="checkpoint 0"),
            ],
            "better than the full teacher at 1, worse at 0 of 2 stops",
        ),
        (
            "mimicry",
            [
                cell([9.0, 9.0, 9.0], teacher="mid", test_kd_error=[4.0, 5.0, 6.0]),
                cell([9.0, 9.0, 9.0], teacher="large", test_kd_error=[6.0, 7.1, 8.0]),
            ],
            "small is farther from large than mid (+2.03 ± 0.14 points)",
        ),
        (
            "temperature",
            [
                cell([9.0, 10.0, 11.0], teacher="mid", method="kd"),
                cell([5.0, 6.1, 7.0], teacher="mid", method="hot", temperature=8),
            ],
            "for small from mid T 8 is the best of 2 temperatures",
        ),
    ],
)
def test_titles_say_what_was_found(name, cells, expected):
    finding = load_figures()[name].find
    assert finding is not None
    assert finding(normalize_frame(frame(SCRATCH, *cells)), pd.DataFrame()) == expected


def test_long_names_of_options_do_not_cover_each_other():
    methods = [f"a_method_of_a_long_name_{number} with_a_second_line" for number in range(6)]
    cells = [cell([9.0, 9.1, 9.3], teacher="mid", method=name) for name in methods]
    rows = normalize_frame(frame(SCRATCH, *cells).assign(train_macs=1e9, teacher_macs=1e9))
    figure, _ = load_figures()["options"].function(rows, pd.DataFrame())
    figure.canvas.draw()
    boxes = sorted(
        (label.get_window_extent() for label in figure.axes[0].get_yticklabels()),
        key=lambda box: box.y0,
    )
    assert len(boxes) == 7
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))
