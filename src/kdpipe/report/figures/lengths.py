"""A student's error by the length of its training, and what distilling changes at each."""

import pandas as pd

from kdpipe.report.axis_figure import find_gains, plot_axis
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.report.training_axes import LENGTHS


def plot_lengths(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw two panels for each student that is trained at several lengths."""
    return plot_axis(frame, LENGTHS, "Each way of training, by its length.")


def find_lengths(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return in how many comparisons distilling is better and worse."""
    return find_gains(frame, LENGTHS, "at an equal length")


FIGURE = FigureSpec("Error against the length of training", 6, plot_lengths, find=find_lengths)
