"""A student's error by its number of training images, taught and on labels alone."""

import pandas as pd

from kdpipe.report.table import TableData, TableSpec
from kdpipe.report.training_axes import TRAIN_SIZES, build_axis_table


def build_train_sizes_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each way of training a student and each number of images."""
    return build_axis_table(
        frame,
        TRAIN_SIZES,
        "Each way of training by its number of images. Smaller sets are subsets of larger ones, "
        "and validation is the same; label noise is drawn anew at each number. Fewer images are "
        "fewer steps at the same epochs.",
    )


TABLE = TableSpec("Numbers of training images", 13, build_train_sizes_table)
