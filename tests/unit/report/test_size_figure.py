"""The paper's Figure 2: which teacher stands in which panel, at which place."""

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.report.figure import load_figures, render_figure

SCRATCH = cell([10.0, 11.0, 12.0], kind="scratch")


def panels(*cells):
    """By title and label of the x axis: {label of a line: [(x, y), ...]}, x to two digits."""
    rows = frame(SCRATCH, *cells).assign(test_n=700)
    spec = load_figures()["teacher_size"]
    drawing, actual = render_figure("teacher_size", spec, rows, pd.DataFrame()), {}
    for axis in drawing.figure.axes if drawing else []:
        lines = {}
        for bars in axis.containers:
            x, y = bars.lines[0].get_data()
            lines[bars.get_label()] = list(zip(x, y, strict=True))
        actual[axis.get_title(), axis.get_xlabel()] = lines
    return actual


def taught(network, errors, **labels):
    size = {"wrn": 100.0, "res": 50.0}[network[:3]]
    sizes = {"teacher_network": network, "teacher_multiply_adds": size, "teacher_parameters": size}
    return cell(errors, teacher=network, **(sizes | labels))


def test_depth_and_width_have_a_panel_each():
    actual = panels(
        taught("wrn16-1", [9.0, 9.0, 9.0]),
        taught("wrn40-1", [8.0, 8.0, 8.0]),
        taught("wrn16-8", [7.0, 7.0, 7.0]),
        taught("wrn28-8", [1.0, 1.0, 1.0], stop="schedule 4/14"),
    )
    depth = actual["small", "depth of the teacher, K of wrnK-1"]
    width = actual["small", "width of the teacher, K of wrn16-K"]
    assert len(actual) == 2
    assert depth["kd"] == [(pytest.approx(16), 9.0), (pytest.approx(40), 8.0)]
    assert width["kd"] == [(pytest.approx(1), 9.0), (pytest.approx(8), 7.0)]


def test_lines_of_several_widths_are_told_apart():
    errors = {"wrn16-1": 9.0, "wrn40-1": 8.0, "wrn16-2": 7.0, "wrn40-2": 6.0}
    actual = panels(*(taught(name, [error] * 3) for name, error in errors.items()))
    depth = actual["small", "depth of the teacher, K"]
    assert {label: [y for _, y in line] for label, line in depth.items()} == {
        "kd, wrnK-1": [9.0, 8.0],
        "kd, wrnK-2": [7.0, 6.0],
    }


def test_other_families_stand_by_their_parameters():
    actual = panels(
        taught("wrn16-1", [9.0, 9.0, 9.0]),
        taught("wrn40-1", [8.0, 8.0, 8.0]),
        taught("resnet20", [7.0, 7.0, 7.0], teacher_parameters=300),
        taught("resnet56", [6.0, 6.0, 6.0], teacher_parameters=900),
    )
    assert set(actual) == {
        ("small", "depth of the teacher, K of wrnK-1"),
        ("small", "parameters of the teacher"),
    }
    line = actual["small", "parameters of the teacher"]["kd"]
    assert np.allclose(line, [(300, 7.0), (900, 6.0)])


def test_teachers_that_share_neither_depth_nor_width_are_not_lost():
    actual = panels(taught("wrn10-1", [9.0] * 3), taught("wrn16-2", [8.0] * 3))
    assert set(actual) == {("small", "parameters of the teacher")}


def test_teachers_of_one_size_stand_side_by_side_without_a_line():
    """One network as three teachers, and a larger one."""
    sizes = {"tuned": 300, "probed": 300, "random": 300, "large": 900}
    cells = [
        cell([error] * 3, teacher=name, teacher_network=name, teacher_parameters=sizes[name])
        for name, error in zip(sizes, (7.0, 8.0, 9.0, 6.0), strict=True)
    ]
    line = panels(*cells)["small", "parameters of the teacher"]["kd"]
    places = [(300 / 1.3, 8.0), (300, 9.0), (300 * 1.3, 7.0), (900, 6.0)]  # by size, then name
    assert np.allclose(line, places)
    rows = frame(SCRATCH, *cells).assign(test_n=700)
    drawing = render_figure("teacher_size", load_figures()["teacher_size"], rows, pd.DataFrame())
    (axis,) = drawing.figure.axes
    assert [text.get_text() for text in axis.get_xticklabels()] == [
        *("probed", "random", "tuned", "large")
    ]
    (bars,) = axis.containers
    assert bars.lines[0].get_linestyle() == "None"
    assert "Teachers of one size stand side by side." in drawing.caption


def test_attention_transfer_is_named_in_the_legend():
    at = {"method": "mine", "method_kind": "at+kd"}
    actual = panels(
        *(taught(name, [9.0] * 3) for name in ("wrn16-1", "wrn40-1")),
        *(taught(name, [8.0] * 3, **at) for name in ("wrn16-1", "wrn40-1")),
    )
    assert set(actual["small", "depth of the teacher, K of wrnK-1"]) == {"kd", "mine (AT + KD)"}


def test_one_teacher_is_no_figure():
    assert panels(taught("wrn16-1", [9.0] * 3)) == {}
