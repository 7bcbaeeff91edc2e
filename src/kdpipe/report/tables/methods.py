"""The field's methods beside plain KD: what each gains, how sure that is, and at what price.

One row a method, at the setting that validation chose. Its differences to scratch, to plain KD from
the same teacher and, from another stop, to the full teacher hold together: each interval is as much
wider as their number in a student, teacher and stop asks for (Bonferroni), and so are the marks.
"""

import pandas as pd

from kdpipe.evidence import published
from kdpipe.evidence.choices import Contender, contenders, plain
from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, notes, tidy, values, where, wide
from kdpipe.report.rows import difference, first, row
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.ranks import ranks

MEASURES = ("test_kd_error", "test_nll", "test_ece", "seconds")
Partners = dict[str, pd.Series]  # by the name of a difference: errors by seed


def methods(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    rows = []
    for student, taught in groups(direct(frame), "student"):
        alone = where(frame, kind="scratch", **student)
        label = {"method": "scratch", "teacher": "", "published": published.beside(alone)}
        rows.append(student | label | _measured(alone))
        for teacher, stops in groups(taught, "teacher"):
            full: dict[str, pd.Series] = {}  # by method, the full teacher's: it comes first
            for stop, cells in groups(stops, "stop"):
                found = contenders(cells)
                kd = plain(found)
                arms = []
                for one in found:
                    partners = {"vs_scratch": by_seed(alone)}
                    if kd is not None and one is not kd:
                        partners["vs_kd"] = kd.errors
                    if one.name in full:
                        partners["vs_full"] = full[one.name]
                    arms.append((one, partners))
                rows += _group(student | teacher | stop, arms)
                if stop["stop"] == "full":
                    full = {one.name: one.errors for one in found}
    columns = (
        f"student teacher stop method error {beside(frame)} vs_scratch vs_kd vs_full rank ranks "
        "p_best test_kd_error test_nll test_ece seconds operations"
    )
    return made(
        _caption({row["compared"] for row in rows if "compared" in row}),
        rows,
        columns,
        vs_kd="against plain KD",
        ranks="range of the rank",
        p_best="P(best)",
        test_kd_error="KD error, test",
        test_nll="NLL, test",
        seconds="seconds of a run",
        operations="operations to train",
    )


def _group(key: dict, arms: list[tuple[Contender, Partners]]) -> list[dict]:
    """The rows of one student, teacher and stop, the best method first."""
    count = sum(_paired(one, partner) for one, against in arms for partner in against.values())
    places = ranks(pd.DataFrame({one.label: one.errors.astype(float) for one, _ in arms}))
    rows = []
    for one, against in arms:
        arm = {"method": one.label, "method_kind": one.kind, "compared": count}
        arm |= {"published": published.beside(one.rows)} | _measured(one.cell)
        for name, partner in against.items():
            errors = values(one.cell, "test_error")
            arm |= difference(name, errors, partner)
        if place := places.get(one.label):
            arm |= {"rank": place.rank, "rank_of": place.of, "p_best": round(place.best, 3)}
            arm |= {"rank_from": place.low, "rank_to": place.high}
            arm["ranks"] = f"{place.low:g} to {place.high:g}" if place.low == place.low else ""
        tried = ""
        if len(one.tried) > 1:
            sure = first(wide(one.rows, "method", column="val_error"))
            tried = f"the best on validation of {', '.join(one.tried)}"
            tried += f" ({sure})" if sure else ""
        rows.append(key | arm | {"notes": "; ".join(filter(None, (tried, notes(one.rows))))})
    return sorted(rows, key=lambda row: (row["error"] != row["error"], row["error"]))  # nan last


def _measured(cell: pd.DataFrame) -> dict:
    """The numbers of one cell, and the operations of a run with what its teacher answers."""
    found = row(cell, [beside(cell), *MEASURES])
    taught = found["teacher_macs"]
    return found | {"operations": found["train_macs"] + (taught if taught == taught else 0)}


def _paired(one: Contender, partner: pd.Series) -> bool:
    """Whether there are seeds enough for an interval of this difference."""
    return len(one.errors.index.intersection(partner.index)) >= FEWEST_SEEDS


def _caption(counts: set[int]) -> str:
    number = " or ".join(map(str, sorted(counts))) or "0"
    return (
        f"{HOW_TO_READ} A method that was tried at several settings, plain KD too, stands at the "
        f"one that validation chose, for each seed by the other seeds. The {number} differences of "
        f"a student, teacher and stop hold together: each has the interval of 1 - {LEVEL:g} / "
        f"their number (Bonferroni) and its mark by that. Ranks are those of the mean "
        "errors; their range (95 %) and P(best) are of seeds drawn again, of which five are needed."
        " KD error: in how many points a student disagrees with its teacher. Operations: "
        "multiply-adds of a run with what its teacher answers."
    )


TABLE = Table("Methods", 65, methods)
