"""The methods of the field beside plain KD: what each gains, how sure that is, and at what cost.

Each method has one row, at the setting that validation chose. Its differences to scratch, to plain
KD from the same teacher and, from another stop, to the full teacher hold jointly: intervals and
marks are corrected for their number in a student, teacher and stop (Bonferroni).
"""

import pandas as pd

from kdpipe.analysis import published
from kdpipe.analysis.dataframe import (
    describe_gaps,
    filter_rows,
    get_series_by_seed,
    get_values_by_seed,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.analysis.selection import MethodArm, build_method_arms, find_plain_kd
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    describe_winner_confidence,
    estimate_difference,
    summarize_cell,
)
from kdpipe.stats.error_provenance import ErrorMaskLookup
from kdpipe.stats.intervals import MIN_SEEDS
from kdpipe.stats.power import LEVEL
from kdpipe.stats.ranks import rank_options
from kdpipe.stats.replicates import Halves, merge_halves

MEASURES = ("test_kd_error", "test_nll", "test_ece", "seconds")
# By the name of a difference: errors by seed, and the halves of the seeds that chose.
Partners = dict[str, tuple[pd.Series, Halves | None]]


def build_methods_table(frame: pd.DataFrame, outcomes: ErrorMaskLookup | None = None) -> TableData:
    """Build a row for each method of each student, teacher and stop."""
    frame = normalize_frame(frame)
    rows = []
    for student, student_rows in group_rows(select_direct_students(frame), "student"):
        scratch = filter_rows(frame, kind="scratch", **student)
        label = {
            "method": "scratch",
            "teacher": "",
            "published": published.describe_published_error(scratch),
        }
        rows.append(student | label | _summarize_with_operations(scratch))
        for teacher, stops in group_rows(student_rows, "teacher"):
            full: dict[str, MethodArm] = {}  # by method, the full teacher's: it comes first
            for stop, cells in group_rows(stops, "stop"):
                method_arms = build_method_arms(cells)
                kd = find_plain_kd(method_arms)
                arms = []
                for method_arm in method_arms:
                    partners = {"vs_scratch": (get_series_by_seed(scratch), method_arm.halves)}
                    others = {"vs_full": full[method_arm.name]} if method_arm.name in full else {}
                    if kd is not None and method_arm is not kd:
                        others = {"vs_kd": kd} | others
                    for name, other in others.items():
                        halves = merge_halves(method_arm.halves, other.halves)
                        partners[name] = (other.errors, halves)
                    arms.append((method_arm, partners))
                rows += _summarize_group(student | teacher | stop, arms, outcomes)
                if stop["stop"] == "full":
                    full = {method_arm.name: method_arm for method_arm in method_arms}
    columns = (
        f"student teacher stop method error {get_other_error_column(frame)} vs_scratch vs_kd "
        "vs_full rank ranks p_best test_kd_error test_nll test_ece seconds operations"
    )
    return build_table_data(
        _format_caption({row["compared"] for row in rows if "compared" in row}),
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


def _summarize_group(
    key: dict, arms: list[tuple[MethodArm, Partners]], outcomes: ErrorMaskLookup | None
) -> list[dict]:
    """Return the rows of one student, teacher and stop, the best method first."""
    count = sum(
        len(method_arm.errors.index.intersection(partner.index)) >= MIN_SEEDS
        for method_arm, partners in arms
        for partner, _ in partners.values()
    )
    rank_by_label = rank_options(
        pd.DataFrame({method_arm.label: method_arm.errors for method_arm, _ in arms}, dtype=object),
        outcomes=outcomes,
    )
    rows = []
    for method_arm, partners in arms:
        arm = {"method": method_arm.label, "method_kind": method_arm.kind, "compared": count}
        arm |= {
            "published": published.describe_published_error(method_arm.rows)
        } | _summarize_with_operations(method_arm.cell)
        for name, (partner, halves) in partners.items():
            errors = get_values_by_seed(method_arm.cell, "test_error")
            arm |= estimate_difference(name, errors, partner) | {f"{name}_halves": halves}
        if rank := rank_by_label.get(method_arm.label):
            arm |= {"rank": rank.rank, "rank_of": rank.total, "p_best": round(rank.p_best, 3)}
            arm |= {"rank_from": rank.low, "rank_to": rank.high}
            arm["ranks"] = f"{rank.low:g} to {rank.high:g}" if rank.low == rank.low else ""
        settings_note = ""
        if len(method_arm.settings) > 1:
            confidence = describe_winner_confidence(
                {key["method"]: cell for key, cell in group_rows(method_arm.rows, "method")},
                outcomes,
            )
            settings_note = f"the best on validation of {', '.join(method_arm.settings)}"
            settings_note += f" ({confidence})" if confidence else ""
        rows.append(
            key
            | arm
            | {"notes": "; ".join(filter(None, (settings_note, describe_gaps(method_arm.rows))))}
        )
    return sorted(rows, key=lambda row: (row["error"] != row["error"], row["error"]))  # nan last


def _summarize_with_operations(cell: pd.DataFrame) -> dict:
    """Return the numbers of one cell, and the operations of a run with its teacher."""
    fields = summarize_cell(cell, [get_other_error_column(cell), *MEASURES])
    teacher_macs = fields["teacher_macs"]
    return fields | {
        "operations": fields["train_macs"] + (teacher_macs if teacher_macs == teacher_macs else 0)
    }


def _format_caption(counts: set[int]) -> str:
    """Return the caption, with how many differences hold jointly."""
    number = " or ".join(map(str, sorted(counts))) or "0"
    return (
        f"{HOW_TO_READ} Where a method was tried at several settings, plain KD included, its row "
        f"has the one that validation chose, for each seed by the other seeds. The {number} "
        "differences of a student, teacher and stop hold jointly: each has an interval of level "
        f"1 - {LEVEL:g} / their number (Bonferroni), which decides its mark. Ranks are those of "
        "the mean errors; their range (95 %) and P(best) come from a model over other seeds and, "
        "where the outcomes on single images are known, other images, and need three seeds. KD "
        "error: points in which a student disagrees with its teacher. Operations: multiply-adds "
        "of a run and of its teacher's answers."
    )


TABLE = TableSpec("Methods", 65, build_methods_table, uses_images=True)
