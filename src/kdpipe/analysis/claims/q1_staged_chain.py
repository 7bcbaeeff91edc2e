"""Q1. err(plain chain) - err(staged) > 0 and err(direct student) - err(staged) > 0.

A reader's question: a staged chain has a method of its own for each step, the plain one the last
step's all along. Where there are several, the staged one is chosen on validation.
"""

import pandas as pd

from kdpipe.analysis.claim import Claim, Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    filter_rows,
    get_series_by_seed,
    group_rows,
    pivot_by_seed,
    select_direct_students,
)
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    choose_on_validation,
    take_choice,
)
from kdpipe.stats.replicates import merge_halves


def evaluate_staged_chain(evidence: Evidence) -> Finding:
    """Compare staged chains with plain chains and direct students."""
    students = filter_rows(evidence.frame, kind="student")
    staged = students.loc[
        students.method.str.contains(PATH_SEPARATOR, regex=False) & (students.via != "")
    ]
    if staged.empty:
        raise UntestableClaim("no chain of this study has a method of its own for each step")
    path = ("student", "teacher", "stop", "via", "generation")
    plain_gain, direct_gain, used, halves = {}, {}, [], []
    for key, cells in group_rows(staged, *path):
        arms = {c: pivot_by_seed(cells, "method", column=c) for c in ("test_error", "val_error")}
        choice = choose_on_validation(cells, arms["val_error"], arms["test_error"])
        halves.append(choice.halves)
        gains = {"plain": {}, "direct": {}}
        for arm in arms["test_error"]:
            last = arm.split(PATH_SEPARATOR)[-1]
            plain = filter_rows(students, **key, method=last)
            direct_cell = filter_rows(
                select_direct_students(students), **{**key, "via": "", "generation": 1}, method=last
            )
            used += [filter_rows(cells, method=arm), plain, direct_cell]
            for name, partner in (("plain", plain), ("direct", direct_cell)):
                gains[name][arm] = get_series_by_seed(partner) - arms["test_error"][arm]
        for name, gain_by_path in (("plain", plain_gain), ("direct", direct_gain)):
            table = pd.DataFrame(gains[name]).reindex(choice.chosen.index)
            gain_by_path[tuple(key.values())] = take_choice(table, choice)
    contrasts = [
        Contrast(
            f"error, {name} - staged chain",
            average_parts(gains),
            "above",
            evidence.delta,
            halves=merge_halves(*halves),
        )
        for name, gains in (("plain chain", plain_gain), ("direct student", direct_gain))
    ]
    method_names = ", ".join(staged.method.unique())
    description = f"staged by {method_names} (chosen on validation where there are several)"
    return build_finding(contrasts, description, pd.concat(used))


CLAIM = Claim(
    "Another temperature or label smoothing at each stage makes a chain worth while",
    evaluate_staged_chain,
    question="difference",
)
