"""D1. [err(L) - err(smaller T)] with few images - the same with all > 0; likewise earlier stopped.

Few and all are the smallest and the largest number of training images of a student. L is the
largest fully trained teacher of both, the smaller one and the earlier stop those that validation
prefers with few images (for each seed by other seeds), and the same with all. Where some teachers
were trained on their student's images and others on all of the study's, the former are read. What a
study has of the two is needed; mean over students. The regime is that of openreview FUahLuyWLU.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import filter_rows, group_rows, pivot_by_seed
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    choose_on_validation,
    describe_choice,
    take_choice,
)
from kdpipe.analysis.teacher_quality import select_taught_cells
from kdpipe.stats.replicates import merge_halves


def evaluate_few_images(evidence: Evidence) -> Finding:
    """Compare what smaller and earlier stopped teachers gain with few images and with all."""
    rows = select_taught_cells(evidence.frame)
    rows = rows.loc[rows.stop_kind != "longer"]
    effects: dict[str, dict[str, pd.Series]] = {"smaller": {}, "earlier stopped": {}}
    halves, used, parts = {"smaller": [], "earlier stopped": []}, [], []
    for key, cells in group_rows(rows, "student_network", "epochs"):
        sizes = sorted(cells.train_size.dropna().unique())
        if len(sizes) < 2:
            continue
        few, all_images = (
            _select_own_teachers(filter_rows(cells, train_size=size))
            for size in (sizes[0], sizes[-1])
        )
        ranks = filter_rows(few, stop_kind="full").set_index("teacher_label").teacher_rank
        ranks = ranks.groupby(level=0).min()
        if ranks.empty:
            continue
        largest = ranks.idxmax()
        full = [filter_rows(part, stop_kind="full") for part in (few, all_images)]
        of_largest = [filter_rows(part, teacher_label=largest) for part in (few, all_images)]
        smaller = set(ranks.index[ranks < ranks.max()])
        earlier = set(of_largest[0].stop) - {"full"}
        arms = {
            "smaller": (full, "teacher_label", smaller, largest),
            "earlier stopped": (of_largest, "stop", earlier, "full"),
        }
        for name, (part, column, options, reference) in arms.items():
            tables = [pivot_by_seed(cell, column) for cell in part]
            known = [option for option in tables[0] if option in options and option in tables[1]]
            if not known or any(reference not in table for table in tables):
                continue
            validation = pivot_by_seed(part[0], column, column="val_error")
            choice = choose_on_validation(
                part[0], validation.loc[:, known], tables[0].loc[:, known]
            )
            gains = [table[reference] - take_choice(table, choice) for table in tables]
            student = f"{key['student_network']}, {sizes[0]:g} and {sizes[-1]:g} images"
            effects[name][student] = (gains[0] - gains[1]).dropna()
            halves[name].append(choice.halves)
            parts.append(f"{student}: {describe_choice(choice)} against {reference} of {largest}")
            used += part
    contrasts = [
        Contrast(
            f"gain of the {name} teacher with few images - with all",
            average_parts(by_student),
            delta=evidence.delta,
            halves=merge_halves(*halves[name]),
        )
        for name, by_student in effects.items()
        if by_student
    ]
    if not contrasts:
        raise UntestableClaim(
            "no student is trained on two numbers of images by teachers of two sizes, or by one "
            "both fully trained and stopped early"
        )
    return build_finding(contrasts, "; ".join(parts), pd.concat(used))


def _select_own_teachers(cells: pd.DataFrame) -> pd.DataFrame:
    """Select the cells whose teacher was trained on its student's images, if there are any."""
    sizes = cells.teacher_train_size
    is_own = sizes.isna() | (sizes == cells.train_size)
    return cells.loc[is_own] if is_own.any() else cells


CLAIM = Claim(
    "With fewer images smaller and earlier-stopped teachers are better",
    evaluate_few_images,
    question="difference",
)
