"""Q1. err(plain chain) - err(staged) > 0 and err(direct student) - err(staged) > 0.

A reader's question: a staged chain has a method of its own for each step, the plain one the last
step's all along. Where there are several, the staged one is chosen on validation.
"""

import pandas as pd

from kdpipe.evidence.choices import chosen, finding, pick, pool
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import STEP, by_seed, direct, groups, where, wide
from kdpipe.evidence.verdicts import Finding, Untested


def staged_chain(evidence: Evidence) -> Finding:
    students = where(evidence.frame, kind="student")
    staged = students.loc[students.method.str.contains(STEP, regex=False) & (students.via != "")]
    if staged.empty:
        raise Untested("no chain of this study has a method of its own for each step")
    path = ("student", "teacher", "stop", "via", "generation")
    plain_gain, direct_gain, used = {}, {}, []
    for key, cells in groups(staged, *path):
        arms = {c: wide(cells, "method", column=c) for c in ("test_error", "val_error")}
        choice = chosen(arms["val_error"], arms["test_error"])
        gains = {"plain": {}, "direct": {}}
        for arm in arms["test_error"]:
            last = arm.split(STEP)[-1]
            plain = where(students, **key, method=last)
            straight = where(direct(students), **{**key, "via": "", "generation": 1}, method=last)
            used += [where(cells, method=arm), plain, straight]
            for name, partner in (("plain", plain), ("direct", straight)):
                gains[name][arm] = by_seed(partner) - arms["test_error"][arm]
        for name, into in (("plain", plain_gain), ("direct", direct_gain)):
            table = pd.DataFrame(gains[name]).reindex(choice.index)
            into[tuple(key.values())] = pick(table, choice)
    contrasts = [
        Contrast("error, plain chain - staged chain", pool(plain_gain), "above", evidence.delta),
        Contrast(
            "error, direct student - staged chain", pool(direct_gain), "above", evidence.delta
        ),
    ]
    arms_of = ", ".join(staged.method.unique())
    how = f"staged by {arms_of} (chosen on validation where there are several)"
    return finding(contrasts, how, pd.concat(used))


CLAIM = Claim(
    "Another temperature or label smoothing at each stage makes a chain worth while",
    staged_chain,
)
