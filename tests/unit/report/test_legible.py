"""Figures that can be read: a legend within its figure, colours that no control swallows."""

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
    style.add_legend(figure, list(axes))
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 9
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
    assert mesh.get_clim() == pytest.approx((-2, 0))


def test_an_untrained_teacher_does_not_set_the_scale(drawn):
    figure, caption = drawn("early_stopped")
    assert figure.axes[0].get_ylim()[1] < 20 and "An untrained teacher, a control" in caption
