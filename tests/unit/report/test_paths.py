"""The figure of chains: each network of a path has its own error, whatever the axes of a study."""

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.report.figures import paths


def chain(**axes):
    """A frame of large -> mid -> small, and of small's direct counterpart."""
    labels = {"teacher": "large"} | axes
    return normalize_frame(
        frame(
            cell([5.0, 5.0, 5.0], student="mid", **labels),
            cell([9.0, 9.0, 9.0], **labels),
            cell([8.0, 8.0, 8.0], via="mid", **labels),
        )
    )


@pytest.mark.parametrize(
    ("axes", "suffix"),
    [({}, ""), ({"train_size": 600.0, "teacher_train_size": 600.0}, " (600 images)")],
)
def test_a_network_on_the_way_has_its_error_also_where_sizes_are_an_axis(axes, suffix):
    lines = paths._collect_paths(chain(**axes))
    teacher = (f"large{suffix}", "3 ± 0 %")
    small = f"small{suffix}"
    assert lines == [
        ("kd", [teacher, (small, "9 ± 0 %")]),
        ("kd", [teacher, (f"mid{suffix}", "5 ± 0 %"), (small, "8 ± 0 %")]),
    ]


def test_a_part_of_a_longer_path_is_no_path_of_its_own():
    axes = {"train_size": 600.0, "teacher_train_size": 600.0}
    labels = {"teacher": "large"} | axes
    longer = cell([7.0, 7.0, 7.0], student="warm", via="mid > small", **labels)
    whole = normalize_frame(
        frame(
            cell([5.0, 5.0, 5.0], student="mid", **labels),
            cell([8.0, 8.0, 8.0], via="mid", **labels),
            longer,
        )
    )
    lengths = [len(nodes) for _, nodes in paths._collect_paths(whole)]
    assert lengths == [2, 4]


def test_a_figure_is_drawn_where_there_is_a_path():
    assert paths.plot_paths(chain(), pd.DataFrame()) is not None
    direct = normalize_frame(frame(cell([9.0, 9.0, 9.0], teacher="large")))
    assert paths.plot_paths(direct, pd.DataFrame()) is None
