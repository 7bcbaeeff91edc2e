"""A student's error by the length of its training, taught and on labels alone."""

import pandas as pd

from kdpipe.report.table import TableData, TableSpec
from kdpipe.report.training_axes import LENGTHS, build_axis_table


def build_lengths_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each way of training a student and each length."""
    return build_axis_table(
        frame,
        LENGTHS,
        "Each way of training by its length. The run on labels alone beside a taught one is "
        "trained as long.",
    )


TABLE = TableSpec("Lengths of training", 12, build_lengths_table)
