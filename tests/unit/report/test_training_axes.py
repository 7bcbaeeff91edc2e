"""Tables and figures of lengths and numbers of images, on made cells worked out by hand."""

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.report.figures import lengths, train_sizes
from kdpipe.report.table import render_table_by_name

NOISE = [0.0, 0.1, 0.3]


def student(mean, length, images=None, **labels):
    values = [mean + noise for noise in NOISE]
    axes = {"length": length, "epochs": length or 40, "train_size": images}
    kind = "student" if labels else "scratch"
    rows = cell(values, kind=kind, **axes, steps=(images or 640) // 64 * (length or 40), **labels)
    own = {"teacher_train_size": labels.get("teacher_train_size", images)} if labels else {}
    return [row | own | {"run": f"{row['run']}-{images}"} for row in rows]


def by_length():
    means = {(): (14.0, 12.0, 11.5), ("large", "full"): (12.0, 11.0, 11.6)}
    for key, errors in means.items():
        labels = dict(zip(("teacher", "stop"), key, strict=False))
        for length, error in zip((30, 60, 120), errors, strict=True):
            yield student(error, length, **labels)
    yield student(13.0, 60, teacher="mid", stop="checkpoint 9")


def by_size():
    for images, (scratch, own, everything) in {640: (30, 28, 27), 6400: (12, 13, 13)}.items():
        yield student(scratch, None, images)
        yield student(own, None, images, teacher="large")
        if images == 640:
            yield student(everything, None, images, teacher="large", teacher_train_size=6400)


def test_a_length_stands_beside_labels_alone_and_beside_the_next_shorter():
    table = render_table_by_name("lengths", frame(*by_length()).sample(frac=1, random_state=0))
    rows = {(r["method"], r["teacher"], r["length"]): r for r in table.data.to_dict("records")}
    assert list(rows) == [
        *(("scratch", "", length) for length in (30, 60, 120)),
        ("kd", "mid", 60),
        *(("kd", "large", length) for length in (30, 60, 120)),
    ]
    assert {row["student"] for row in rows.values()} == {"small"}
    assert rows["scratch", "", 60]["error"] == pytest.approx(12 + 0.4 / 3)
    assert rows["scratch", "", 60]["steps"] == 600
    assert rows["scratch", "", 60]["vs_shorter"] == pytest.approx(-2)
    assert pd.isna(rows["scratch", "", 60]["vs_scratch"])
    assert pd.isna(rows["kd", "large", 30]["vs_shorter"])
    assert rows["kd", "large", 120]["vs_shorter"] == pytest.approx(0.6)
    taught = {key: row["vs_scratch"] for key, row in rows.items() if key[0] == "kd"}
    expected = {("kd", "mid", 60): 1, ("kd", "large", 30): -2, ("kd", "large", 60): -1}
    assert taught == pytest.approx(expected | {("kd", "large", 120): 0.1})
    assert {"epochs", "against scratch", "against the next shorter"} <= {*table.display.columns}


def test_numbers_of_images_tell_teachers_of_all_images_apart():
    table = render_table_by_name("train_sizes", frame(*by_size()).sample(frac=1, random_state=0))
    rows = {(r["teacher"], r["train_size"]): r for r in table.data.to_dict("records")}
    assert [key for key in rows if "large" in key[0]] == [
        ("large", 640),
        ("large", 6400),
        ("large (all images)", 640),
    ]
    assert rows["large (all images)", 640]["vs_scratch"] == pytest.approx(-3)
    assert rows["large", 6400]["vs_scratch"] == pytest.approx(1)
    assert rows["large", 6400]["vs_fewer"] == pytest.approx(-15)


@pytest.mark.parametrize("name", ["lengths", "train_sizes"])
def test_one_length_is_no_axis(name):
    table = render_table_by_name(name, frame(student(12.0, None), student(11, None, teacher="mid")))
    assert len(table.data) == 0


@pytest.mark.parametrize(
    ("plot", "cells", "gains"),
    [
        (lengths.plot_lengths, by_length, {30: -2, 60: -1, 120: 0.1}),
        (train_sizes.plot_train_sizes, by_size, {640: -2, 6400: 1}),
    ],
)
def test_differences_are_drawn_at_their_length(plot, cells, gains):
    figure, caption = plot(normalize_frame(frame(*cells())), pd.DataFrame())
    errors, differences = [axis for axis in figure.axes if axis.get_title()]
    lines = {item.get_label(): item for item in differences.containers}
    # A way of one length is no line, and the caption promises none.
    assert list(lines) == ["large, kd"] and "more ways" not in caption
    xs, ys = lines["large, kd"].lines[0].get_data()
    assert list(ys) == pytest.approx(list(gains.values()))
    assert list(xs) == pytest.approx(list(gains), rel=0.1)  # dodged
    assert [item.get_label() for item in errors.containers] == ["scratch", "large, kd"]
    assert errors.get_xscale() == differences.get_xscale() == "log"


def test_a_study_of_one_length_has_no_such_figure():
    cells = normalize_frame(frame(student(12.0, None), student(11.0, None, teacher="mid")))
    assert lengths.plot_lengths(cells, pd.DataFrame()) is None
    assert train_sizes.plot_train_sizes(cells, pd.DataFrame()) is None
