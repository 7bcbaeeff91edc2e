"""C6. For every fully trained teacher: err(full KD) - err(ESKD) > 0.

Where ESKD stops is chosen on validation. Beside it: against scratch, and the trade of CE for the
KD loss on train.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    filter_rows,
    group_rows,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    build_trade_off_contrasts,
    choose_on_validation,
    get_method_settings,
    pivot_scratch_errors,
    select_students_of_full_teachers,
    take_choice,
)
from kdpipe.stats.replicates import merge_halves


def evaluate_eskd(evidence: Evidence) -> Finding:
    """Compare full KD with ESKD from each full teacher."""
    full_kd_rows = select_students_of_full_teachers(evidence, "kd")
    eskd_rows = filter_rows(
        select_label_trained_teachers(select_direct_students(evidence.frame)),
        method_kind="eskd",
        stop_kind="full",
    )
    eskd_rows = filter_rows(eskd_rows, **get_method_settings(full_kd_rows))
    if eskd_rows.empty:
        raise UntestableClaim(
            f"no ESKD method shares temperature and weights with {full_kd_rows.method.iloc[0]}"
        )
    scratch_errors = pivot_scratch_errors(evidence.frame)
    columns = ("test_error", "val_error", "train_nll", "train_kl")
    kd = {c: pivot_by_seed(full_kd_rows, "student", "teacher", column=c) for c in columns}
    main_contrasts, gains, lines = [], {}, {"train_nll": {}, "train_kl": {}}
    halves = []
    for pair, cell in group_rows(eskd_rows, "student", "teacher"):
        key = (pair["student"], pair["teacher"])
        if key not in kd["test_error"]:
            continue
        arms = {c: pivot_by_seed(cell, "method", column=c) for c in columns}
        choice = choose_on_validation(cell, arms["val_error"], arms["test_error"])
        halves.append(choice.halves)
        errors = take_choice(arms["test_error"], choice)
        text = f"error of {key[0]} from {key[1]}: full KD - ESKD"
        gain = (kd["test_error"][key] - errors).dropna()
        main_contrasts.append(Contrast(text, gain, "above", evidence.delta, halves=choice.halves))
        gains[key] = scratch_errors[key[0]] - errors
        for column, line in lines.items():
            line[key] = kd[column][key] - take_choice(arms[column], choice)
    secondary_contrasts = [
        Contrast(
            "error, scratch - ESKD",
            average_parts(gains),
            "above",
            evidence.delta,
            is_needed=False,
            halves=merge_halves(*halves),
        ),
        *build_trade_off_contrasts(evidence, lines, "train", False, merge_halves(*halves)),
    ]
    description = (
        f"{full_kd_rows.method.iloc[0]} against {', '.join(eskd_rows.method.unique())}, "
        "fully trained teachers"
    )
    return build_finding(
        main_contrasts + secondary_contrasts, description, pd.concat([full_kd_rows, eskd_rows])
    )


CLAIM = Claim(
    "KD stopped early (ESKD) beats KD to the end",
    evaluate_eskd,
    primary=True,
    question="difference",
)
