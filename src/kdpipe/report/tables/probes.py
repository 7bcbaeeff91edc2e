"""How networks begin on labels: from weights with a probe, or fine-tuned, and at random."""

import pandas as pd

from kdpipe.analysis.contest import WHOLE_STOPS
from kdpipe.analysis.dataframe import (
    FINE_TUNED,
    PARTLY_TUNED,
    PROBED,
    START_AT_RANDOM,
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
)
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    summarize_cell,
)

STARTS = (PROBED, PARTLY_TUNED, FINE_TUNED)  # in the order of the rows


def build_probes_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each network on labels that begins from weights, and for it at random."""
    frame = normalize_frame(frame)
    measures = [get_other_error_column(frame)]
    if "start" not in frame:
        frame = frame.assign(start=float("nan"), network=float("nan"))
    rows = _select_runs_on_labels(frame)
    table_rows = []
    initialized = rows.loc[rows.start.isin(STARTS)]
    for key, cells in group_rows(initialized, "network", "length", "train_size"):
        architecture = key.pop("network")
        at_random = _select_at_random(rows, architecture, key)
        errors = {
            cell_key["name"]: get_series_by_seed(cell)
            for cell_key, cell in group_rows(cells, "name")
        }
        tuned = next(iter(cells.name[cells.start == FINE_TUNED]), None)
        for start in STARTS:
            for cell_key, cell in group_rows(cells.loc[cells.start == start], "name"):
                series = {"vs_random": get_series_by_seed(at_random)} if len(at_random) else {}
                if tuned is not None and cell_key["name"] != tuned:
                    series["vs_tuned"] = errors[tuned]
                entry = {"trained_network": cell_key["name"], "start": start}
                table_rows.append(entry | summarize_cell(cell, measures, **series))
        if len(at_random):
            entry = {"trained_network": at_random.name.iloc[0], "start": START_AT_RANDOM}
            table_rows.append(entry | summarize_cell(at_random, measures))
    caption = (
        f"{HOW_TO_READ} Networks on labels alone, among them teachers, that begin from weights: "
        "with only the classifier trained on frozen features (a probe), and with more of the "
        "network trained; against the fine-tuned one, and against the same network that begins at "
        "random."
    )
    return build_table_data(
        caption,
        table_rows,
        f"trained_network start error {measures[0]} vs_tuned vs_random parameters",
        trained_network="network",
        vs_tuned="against fine-tuned",
        vs_random="against at random",
    )


def _select_at_random(rows: pd.DataFrame, architecture: str, key: dict) -> pd.DataFrame:
    """Select the runs of a network that begins at random: as it is, or by a start of its own."""
    plain = filter_rows(rows, name=architecture, **key)
    if len(plain):
        return plain
    begun = filter_rows(rows, network=architecture, start=START_AT_RANDOM, **key)
    return begun.loc[begun.name == begun.name.iloc[0]] if len(begun) else begun


def _select_runs_on_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each whole run on labels, with the name of its network as `name`.

    A network that teaches and is a scratch run too is there once.
    """
    scratch = filter_rows(frame, kind="scratch")
    teachers = filter_rows(frame, kind="teacher")
    teachers = teachers.loc[teachers.stop_kind.isin(WHOLE_STOPS)]
    scratch = scratch.assign(name=scratch.student)
    teachers = teachers.assign(name=teachers.teacher)
    return pd.concat([scratch, teachers], ignore_index=True).drop_duplicates("run")


TABLE = TableSpec("Probed and fine-tuned", 68, build_probes_table)
