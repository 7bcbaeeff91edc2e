"""A student's error by the length of its training, and what distilling changes at each."""

import pandas as pd

from kdpipe.report.axis_figure import plot_axis
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.report.training_axes import LENGTHS


def plot_lengths(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw two panels for each student that is trained at several lengths."""
    return plot_axis(frame, LENGTHS, "Each way of training, by its length.")


FIGURE = FigureSpec("Error against the length of training", 6, plot_lengths)
