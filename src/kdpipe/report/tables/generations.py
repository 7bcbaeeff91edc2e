"""A network distilled by itself again and again, and the ensemble of its generations."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    select_scratch_ensembles,
)
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    summarize_cell,
)


def build_generations_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each generation, and for ensembles of generations and of scratch runs."""
    frame = normalize_frame(frame)
    students = filter_rows(frame, kind="student")
    students = students.loc[~students.method.str.contains(PATH_SEPARATOR, regex=False)]
    measures = ["test_nll", "test_ece"]
    rows = []
    for key, cells in group_rows(students, "student", "block", "method", "teacher", "stop", "via"):
        if cells.generation.max() < 2:
            continue
        network = {"student": key["student"]}
        scratch = filter_rows(frame, kind="scratch", **network)
        base = get_series_by_seed(scratch)
        rows.append(key | {"what": "scratch"} | summarize_cell(scratch, measures))
        for step, cell in group_rows(cells.sort_values("generation", kind="stable"), "generation"):
            label = {"what": f"generation {step['generation']:g}"}
            rows.append(key | step | label | summarize_cell(cell, measures, vs_scratch=base))
        pool = filter_rows(frame, kind="ensemble", **network)
        sequences = filter_rows(pool, of=[key["block"], f"{key['block']}: {key['student']}"])
        path = {"method": key["method"], "stop": key["stop"]}
        path["teacher"] = cells.teacher_label.iloc[0]
        sequences = filter_rows(sequences, size=cells.generation.max(), **path)
        for ensemble_key, sequence in group_rows(sequences, "ensemble", "size"):
            equal = filter_rows(
                select_scratch_ensembles(frame, key["student"]), size=ensemble_key["size"]
            )
            for name, rival in list(group_rows(equal, "ensemble", "size")) or [({}, equal)]:
                partners = {"vs_scratch": base, "vs_scratch_ensemble": get_series_by_seed(rival)}
                if name:
                    label = {"what": f"{name['ensemble']}, {name['size']:g} scratch runs"}
                    rows.append(
                        key | name | label | summarize_cell(rival, measures, vs_scratch=base)
                    )
                label = {
                    "what": f"{ensemble_key['ensemble']}, {ensemble_key['size']:g} generations"
                }
                rows.append(
                    key | ensemble_key | label | summarize_cell(sequence, measures, **partners)
                )
    columns = "student method teacher what error vs_scratch vs_scratch_ensemble test_nll test_ece"
    return build_table_data(
        HOW_TO_READ, rows, columns, vs_scratch_ensemble="against an equal ensemble"
    )


TABLE = TableSpec("Generations of one network", 80, build_generations_table)
