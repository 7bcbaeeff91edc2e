"""Networks as files, in the table and in the figure, against numbers worked out by hand."""

import pandas as pd
import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame

from kdpipe.analysis.dataframe import normalize_frame, restrict_to_blocks
from kdpipe.report.builtin_tables import as_files
from kdpipe.report.figure import load_figures, render_figure

CURVES = pd.DataFrame(columns=pd.Index(["run"]))


def gauged(int8, float32, of="student", kb=(100, 40), ms=(0.2, 0.1), **labels):
    """Rows of one network as a file: errors in both by seed, its sizes and times."""
    rows = cell(int8, "student" if of == "student" else "scratch", **labels)
    for row, exact in zip(rows, float32, strict=True):
        row |= {"kind": "gauge", "of": of, "own_error": exact, "own_val_error": exact}
        row |= {"device": "cpu: a processor", "run": f"file-{row['run']}-{of}"}
        row |= {"float32_bytes": 1000 * kb[0], "int8_bytes": 1000 * kb[1]}
        row |= {"float32_ms": ms[0], "int8_ms": ms[1]}
    return rows


ALONE = gauged([11.0, 12.0, 13.0], [10.0, 11.0, 12.0], of="scratch")
TAUGHT = gauged([9.5, 9.5, 12.5], [9.0, 9.0, 12.0], teacher="large")
LARGE = gauged([5.0, 5.0, 5.0], [4.0, 4.0, 4.0], of="teacher", teacher="large", kb=(900, 300))
FRAME = frame(SCRATCH, cell([9.0, 9.0, 12.0], teacher="large"), ALONE, TAUGHT, LARGE)


def test_what_quantising_costs_and_whether_distilling_survives_it():
    table = as_files.render_export_table(FRAME, 0.75)
    assert table is not None
    scratch, student, teacher = table.data.to_dict("records")
    assert [row["network"] for row in (scratch, student, teacher)] == [
        *("scratch", "student", "teacher")
    ]
    assert (scratch["float32"], scratch["int8"]) == (11.0, 12.0)
    assert scratch["int8_vs_float32"] == pytest.approx(1.0)
    assert (student["float32"], student["int8"]) == (10.0, 10.5)
    assert student["int8_vs_float32"] == pytest.approx(0.5)
    assert student["float32_vs_scratch"] == pytest.approx((-1 - 2 + 0) / 3)
    assert student["int8_vs_scratch"] == pytest.approx((-1.5 - 2.5 - 0.5) / 3)
    assert teacher["int8_vs_float32"] == pytest.approx(1.0)
    assert (teacher["float32_kB"], teacher["int8_kB"]) == (900, 300)
    assert (student["float32_ms"], student["int8_ms"]) == (0.2, 0.1)
    assert "in one thread of a processor." in table.caption


def test_it_says_where_int8_costs_more_than_the_smallest_effect():
    """It costs a point from scratch and the teacher, half a point after distilling."""
    table = as_files.render_export_table(FRAME, 0.75)
    assert table is not None
    notes = {row["network"]: row["notes"] for row in table.data.to_dict("records")}
    too_much = "int8 costs more than the smallest effect"
    assert notes == {"scratch": too_much, "student": "", "teacher": too_much}
    assert "In 2 of 3 rows" in table.caption and "--keep-float 1" in table.caption
    fine = as_files.render_export_table(FRAME, 1.0)
    assert fine is not None and set(fine.data.notes) == {""}
    assert "In no row does int8 cost more than the smallest effect" in fine.caption


def test_a_network_that_was_not_measured_keeps_its_row_with_the_reason():
    lost = gauged(["failed", "failed"], [9.0, 9.0], teacher="large")
    table = as_files.render_export_table(frame(SCRATCH, ALONE, lost), 0.75)
    assert table is not None
    (row,) = [row for row in table.data.to_dict("records") if row["network"] == "student"]
    assert row["n"] == 0 and "failed for a reason" in row["notes"]


def test_there_is_neither_where_none_was_asked_for():
    plain = frame(SCRATCH, cell([9.0, 9.0, 9.0], teacher="large"))
    assert as_files.render_export_table(plain, 0.75) is None
    assert render_figure("files", load_figures()["files"], plain, CURVES) is None


def test_no_other_table_or_claim_sees_them():
    assert set(normalize_frame(FRAME).kind) == {"scratch", "student"}
    assert len(normalize_frame(restrict_to_blocks(FRAME, ["main"]))) == 6


def test_the_figure_has_each_network_twice_and_the_front_of_what_nothing_beats():
    drawing = render_figure("files", load_figures()["files"], FRAME, CURVES)
    assert drawing is not None
    time, size = drawing.figure.axes
    for axis, ends in ((time, (0.2, 0.1)), (size, (100, 40))):
        joined = [line for line in axis.lines if line.get_linewidth() == 0.8]
        (alone, taught, _) = joined  # from scratch, as chosen, the teacher
        assert list(alone.get_xdata()) == list(ends) and list(alone.get_ydata()) == [89.0, 88.0]
        assert list(taught.get_xdata()) == list(ends) and list(taught.get_ydata()) == [90.0, 89.5]
    (front,) = [line for line in size.lines if line.get_drawstyle() == "steps-post"]
    assert list(front.get_xdata()) == [40, 100, 300, 900]
    assert list(front.get_ydata()) == [89.5, 90.0, 95.0, 96.0]
    words = [label.get_text() for label in drawing.figure.legends[0].get_texts()]
    assert "taught, as validation chose, int8" in words and "teacher, float32" in words
