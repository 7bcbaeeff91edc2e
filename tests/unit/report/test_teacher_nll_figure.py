"""The figure of a teacher's NLL and its students' error: what stands where."""

import pandas as pd
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.report.figures import teacher_nll

STOPS = {("mid", "full"): 0.4, ("mid", "checkpoint 12"): 0.5, ("large", "full"): 0.3}
STOPS[("large", "checkpoint 12")] = 0.6
ERRORS = [10.0, 11.0, 12.0]


def cells(stops):
    for (teacher, stop), nll in stops.items():
        labels = {"teacher": teacher, "stop": stop}
        yield cell([10 * nll + error for error in ERRORS], **labels)
        runs = [f"teacher-{teacher}-s{seed}" for seed in range(3)]
        rows = cell([4.0] * 3, kind="teacher", run=runs, val_nll=[nll] * 3, **labels)
        yield [row | {"student": ""} for row in rows]


def draw(stops):
    return teacher_nll.plot_teacher_nll(normalize_frame(frame(*cells(stops))), pd.DataFrame())


def test_each_stop_is_a_point_at_its_nll():
    drawing = draw(STOPS)
    assert drawing is not None
    (axis,) = [axis for axis in drawing[0].axes if axis.get_title() == "small"]
    points = {
        (round(x, 3), round(y, 3))
        for container in axis.containers
        for x, y in zip(*container.lines[0].get_data(), strict=True)
    }
    assert points == {(nll, round(10 * nll + 11, 3)) for nll in STOPS.values()}


def test_three_cells_make_no_figure():
    stops = dict(list(STOPS.items())[:3])
    assert draw(stops) is None
    assert (
        teacher_nll.plot_teacher_nll(
            normalize_frame(frame(cell(ERRORS, kind="scratch"))), pd.DataFrame()
        )
        is None
    )
