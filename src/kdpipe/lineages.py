"""Claims about networks that are distilled one after another: C8, C9, C10 and Q1.

Generations of one network, the ensemble they make, a teacher that was itself distilled, a chain
through a medium network, and a chain with a method of its own for each step.
"""

import pandas as pd

from kdpipe import evidence as of
from kdpipe.cells import STEP, by_seed, direct, groups, networks, where, wide
from kdpipe.evidence import Evidence, chosen, finding, method_of, pool
from kdpipe.verdicts import Contrast, Finding, Untested


def last_generation(evidence: Evidence) -> Finding:
    """C8: per network, err(generation k) - err(scratch) > -delta."""
    method = method_of(evidence.frame, "kd")
    rows = where(evidence.frame, kind="student", via="", method=method, stop_kind="full")
    rows = rows[rows.teacher_network == rows.student]
    alone = of.scratch(evidence.frame)
    contrasts, used = [], []
    for key, cells in groups(rows, "student", "block"):
        last = cells.generation.max()
        if last < 2:
            continue
        cell = where(cells, generation=last)
        used.append(cell)
        effect = (by_seed(cell) - alone[key["student"]]).dropna()
        text = f"error of {key['student']}, generation {last:g} - scratch"
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise Untested("no network of this study is taught by itself for two generations")
    return finding(
        contrasts, f"each generation taught by the one before, {method}", pd.concat(used)
    )


def ensemble_of_generations(evidence: Evidence) -> Finding:
    """C9: err(ensemble of the generations) - err(as many scratch runs, averaged) > -delta."""
    method = method_of(evidence.frame, "kd")
    pool_of = where(evidence.frame, kind="ensemble")
    sequences = where(pool_of, method=method)
    sequences = sequences[
        (sequences.teacher_network == sequences.student) & (sequences["size"] > 1)
    ]
    contrasts, used, why = [], [], []
    for key, sequence in groups(sequences, "student", "ensemble", "of", "size"):
        equal = where(pool_of, of=key["student"], size=key["size"], student=key["student"])
        rivals = list(groups(equal, "ensemble"))
        if not rivals:
            why.append(f"there is no ensemble of {key['size']:g} scratch runs of {key['student']}")
            continue
        name, rival = rivals[0]
        used += [sequence, rival]
        text = (
            f"error, ensemble of {key['size']:g} generations of {key['student']} - "
            f"of as many scratch runs ({name['ensemble']})"
        )
        effect = (by_seed(sequence) - by_seed(rival)).dropna()
        contrasts.append(Contrast(text, effect, "not better", evidence.delta))
    if not contrasts:
        raise Untested("; ".join(why) or "no ensemble of generations stands in this study")
    return finding(contrasts, "members averaged, ensembles of equal size", pd.concat(used))


def improved_teacher(evidence: Evidence) -> Finding:
    """C10: an improved teacher is not a better one; a chain is the same as one step."""
    better, rows, why = _improved(evidence)
    chain, chained = _chained(evidence)
    if not rows.empty or not chained.empty:
        return finding([better, chain], why, pd.concat([rows, chained]))
    raise Untested(f"{why}, and no chain stands beside its direct student")


def _improved(evidence: Evidence) -> tuple[Contrast, pd.DataFrame, str]:
    method = method_of(evidence.frame, "kd")
    rows = where(direct(evidence.frame), stop_kind="full", method=method)
    rows = rows[rows.teacher_network != ""]
    plain = networks(rows)
    parts, used, premises = {}, [], []
    for key, cell in groups(rows.drop(plain.index), "student", "teacher", "teacher_network"):
        base = where(plain, student=key["student"], teacher=key["teacher_network"])
        ours, theirs = (by_seed(c, "teacher_test_error") for c in (cell, base))
        gain = (theirs - ours).dropna()
        if gain.empty:
            premises.append(f"the plain {key['teacher_network']} does not teach {key['student']}")
        elif gain.mean() <= 0:
            premises.append(f"{key['teacher']} is no better than {key['teacher_network']} itself")
        else:
            premises.append(
                f"{key['teacher']} is better than {key['teacher_network']} by {gain.mean():.2g} "
                "points"
            )
            parts[tuple(key.values())] = by_seed(cell) - by_seed(base)
            used += [cell, base]
    why = "; ".join(premises) or "no teacher of this study was itself distilled"
    text = "(a) not better: error with the improved teacher - with the plain one"
    contrast = Contrast(text, pool(parts), "not better", evidence.delta)
    return contrast, pd.concat(used) if used else rows[:0], why


def _chained(evidence: Evidence) -> tuple[Contrast, pd.DataFrame]:
    method = method_of(evidence.frame, "kd")
    rows = where(evidence.frame, kind="student", method=method, stop_kind="full", generation=1)
    parts, used = {}, []
    for key, cell in groups(rows[rows.via != ""], "student", "teacher", "via"):
        straight = where(rows, student=key["student"], teacher=key["teacher"], via="")
        if not straight.empty:
            parts[tuple(key.values())] = by_seed(cell) - by_seed(straight)
            used += [cell, straight]
    text = "(b) the same: error of the end of the chain - of the direct student"
    contrast = Contrast(text, pool(parts), "same", evidence.delta)
    return contrast, pd.concat(used) if used else rows[:0]


def staged_chain(evidence: Evidence) -> Finding:
    """Q1: err(plain chain) - err(staged) > 0 and err(direct) - err(staged) > 0."""
    students = where(evidence.frame, kind="student")
    staged = students[students.method.str.contains(STEP, regex=False) & (students.via != "")]
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
            into[tuple(key.values())] = of.pick(table, choice)
    contrasts = [
        Contrast("error, plain chain - staged chain", pool(plain_gain), "above", evidence.delta),
        Contrast(
            "error, direct student - staged chain", pool(direct_gain), "above", evidence.delta
        ),
    ]
    arms_of = ", ".join(staged.method.unique())
    how = f"staged by {arms_of} (chosen on validation where there are several)"
    return finding(contrasts, how, pd.concat(used))
