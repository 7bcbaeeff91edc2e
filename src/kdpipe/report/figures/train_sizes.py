"""A student's error by its number of training images, and what distilling changes at each."""

import pandas as pd

from kdpipe.report.axis_figure import find_gains, plot_axis
from kdpipe.report.figure import FigureSpec, FigureWithCaption
from kdpipe.report.training_axes import TRAIN_SIZES


def plot_train_sizes(frame: pd.DataFrame, curves: pd.DataFrame) -> FigureWithCaption:
    """Draw two panels for each student that is trained on several numbers of images."""
    return plot_axis(frame, TRAIN_SIZES, "Each way of training, by its number of images.")


def find_train_sizes(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Return in how many comparisons distilling is better and worse."""
    return find_gains(frame, TRAIN_SIZES, "with as many images")


FIGURE = FigureSpec(
    "Error against the number of images", 7, plot_train_sizes, find=find_train_sizes
)
