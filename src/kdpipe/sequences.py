"""Tables of networks that are distilled one after another: generations, chains, better teachers.

Each compares the end of a path with its shorter ways, and with the student on labels alone. In
the frame a path is `teacher`, then the networks of `via`, then the student, `generation` times.
"""

import pandas as pd

from kdpipe.cells import STEP, by_seed, direct, groups, networks, teacher_errors, tidy, where
from kdpipe.formats import HOW_TO_READ, Table, made
from kdpipe.rows import difference, row, scratch_of

__all__ = ["chains", "generations", "improved_teacher", "staged"]


def generations(frame: pd.DataFrame) -> Table:
    """A network taught by itself again and again, and what its generations make together."""
    frame = tidy(frame)
    taught = where(frame, kind="student")
    taught = taught[~taught.method.str.contains(STEP, regex=False)]
    measures = ["test_nll", "test_ece"]
    rows = []
    for key, cells in groups(taught, "student", "block", "method", "teacher", "stop", "via"):
        if cells.generation.max() < 2:
            continue
        network = {"student": key["student"]}
        alone = where(frame, kind="scratch", **network)
        base = by_seed(alone)
        rows.append(key | {"what": "scratch"} | row(alone, measures))
        for step, cell in groups(cells.sort_values("generation", kind="stable"), "generation"):
            what = {"what": f"generation {step['generation']:g}"}
            rows.append(key | step | what | row(cell, measures, vs_scratch=base))
        pool = where(frame, kind="ensemble", **network)
        sequences = where(pool, of=[key["block"], f"{key['block']}: {key['student']}"])
        path = {"method": key["method"], "stop": key["stop"]}
        path["teacher"] = cells.teacher_label.iloc[0]
        sequences = where(sequences, size=cells.generation.max(), **path)
        for team, sequence in groups(sequences, "ensemble", "size"):
            equal = where(pool, of=["", key["student"]], size=team["size"])
            for name, rival in list(groups(equal, "ensemble", "size")) or [({}, equal)]:
                against = {"vs_scratch": base, "vs_scratch_ensemble": by_seed(rival)}
                if name:
                    what = {"what": f"{name['ensemble']}, {name['size']:g} scratch runs"}
                    rows.append(key | name | what | row(rival, measures, vs_scratch=base))
                what = {"what": f"{team['ensemble']}, {team['size']:g} generations"}
                rows.append(key | team | what | row(sequence, measures, **against))
    columns = "student method teacher what error vs_scratch vs_scratch_ensemble test_nll test_ece"
    return made("generations", "Generations of one network", HOW_TO_READ, rows, columns)


def chains(frame: pd.DataFrame) -> Table:
    """Large to medium to small against large to small and medium to small (Table 6)."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    plain = frame[~frame.method.str.contains(STEP, regex=False)]
    chained = where(plain, kind="student")
    chained = chained[(chained.via != "") & (chained.generation <= 1)]
    rows = {}  # by path, since chains share their direct students
    for key, cell in groups(chained, "student", "method", "teacher", "stop", "via"):
        base = scratch[key["student"]]
        large = key | {"via": ""}
        block = key["teacher"].removeprefix(cell.teacher_label.iloc[0])  # nearly always ""
        medium = large | {"teacher": key["via"].split(STEP)[-1] + block, "stop": "full"}
        against = {}
        for name, path in (("vs_direct", large), ("vs_medium", medium)):
            part = where(direct(plain), **path)
            rows[tuple(path.values())] = _path(path) | row(part, vs_scratch=base)
            against[name] = by_seed(part)
        rows[tuple(key.values())] = _path(key) | row(cell, vs_scratch=base, **against)
    columns = "path stop method error vs_direct vs_medium vs_scratch"
    return made("chains", "Chains", HOW_TO_READ, list(rows.values()), columns)


def improved_teacher(frame: pd.DataFrame) -> Table:
    """Students of a teacher that was itself distilled, beside those of its plain network."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), stop_kind="full")
    taught = taught[taught.teacher_network != ""]  # an ensemble is no network
    labels_alone = networks(taught)
    improved = taught.drop(labels_alone.index)
    rows = []
    for key, cells in groups(improved, "student", "method", "teacher_network"):
        base = scratch[key["student"]]
        plain = where(labels_alone, **key)
        label = plain.teacher.iloc[0] if len(plain) else key["teacher_network"]
        plain = where(plain, teacher=label)
        rows.append(key | {"teacher": label} | row(plain, vs_scratch=base))
        for name, cell in groups(cells, "teacher"):
            found = row(cell, vs_scratch=base, vs_plain=by_seed(plain))
            found |= difference("teacher_vs_plain", teacher_errors(cell), teacher_errors(plain))
            rows.append(key | name | found)
    columns = (
        "student method teacher teacher_network teacher_error teacher_vs_plain error vs_plain "
        "vs_scratch"
    )
    return made("improved_teacher", "Improved teachers", HOW_TO_READ, rows, columns)


def staged(frame: pd.DataFrame) -> Table:
    """Chains with a method for each step, against one method all along and against direct."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(frame, kind="student")
    mixed = taught[taught.method.str.contains(STEP, regex=False)]
    mixed = mixed[(mixed.via != "") | (mixed.generation > 1)]
    rows = {}  # by path, since staged chains share their partners
    for key, cell in groups(mixed, "student", "teacher", "stop", "via", "generation", "method"):
        base = scratch[key["student"]]
        chain = key | {"method": key["method"].split(STEP)[-1]}
        short = chain | {"via": "", "generation": 1}
        plain, straight = where(taught, **chain), where(direct(taught), **short)
        for path, part in ((short, straight), (chain, plain)):
            rows[tuple(path.values())] = _path(path) | row(part, vs_scratch=base)
        against = {"vs_plain": by_seed(plain), "vs_direct": by_seed(straight)}
        rows[tuple(key.values())] = _path(key) | row(cell, vs_scratch=base, **against)
    columns = "path stop generation method error vs_plain vs_direct vs_scratch"
    caption = f"{HOW_TO_READ} The plain chain and the direct student use the last step's method."
    title = "Chains with a method for each step"
    return made("staged", title, caption, list(rows.values()), columns)


def _path(key: dict) -> dict:
    networks = [key["teacher"], *key["via"].split(STEP), key["student"]]
    return {"path": STEP.join(name for name in networks if name), **key}
