"""Probed and fine-tuned, on a made frame whose numbers are worked out by hand."""

import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame

from kdpipe.report.table import render_table_by_name


def begun(name: str, start: str, errors: list, **labels) -> list[dict]:
    """Scratch runs of a network that begins from weights of `small`."""
    labels = {"kind": "scratch", "student": "warm", "network": "small"} | labels
    rows = cell(errors, start=start, teacher="", method="", stop="", **labels)
    return [row | {"student": name, "run": f"{name}-s{row['seed']}"} for row in rows]


PROBE = begun("probed", "probed", [7.0, 8.0, 6.0])
TUNED = begun("tuned", "fine-tuned", [5.0, 7.0, 6.0])
PART = begun("half", "partly fine-tuned", [5.0, 5.0, 5.0])


def rows_of(*cells) -> list[dict]:
    table = render_table_by_name("probes", frame(*cells).sample(frac=1, random_state=1))
    return table.data.to_dict("records")


def test_by_hand():
    rows = rows_of(SCRATCH, TUNED, PART, PROBE)
    assert [(row["trained_network"], row["start"]) for row in rows] == [
        ("probed", "probed"),
        ("half", "partly fine-tuned"),
        ("tuned", "fine-tuned"),
        ("small", "at random"),
    ]
    assert [row["error"] for row in rows] == pytest.approx([7, 5, 6, 11])
    assert rows[0]["vs_tuned"] == pytest.approx((2 + 1 + 0) / 3)
    assert rows[1]["vs_tuned"] == pytest.approx((0 - 2 - 1) / 3)
    assert rows[2]["vs_random"] == pytest.approx((-5 - 4 - 6) / 3)
    assert rows[0]["vs_random"] == pytest.approx((-3 - 3 - 6) / 3)


def test_a_teacher_is_there_too_and_once():
    """Also where it is a scratch run of the study as well."""
    teacher = [
        row | {"kind": "teacher", "teacher": "probed", "stop": "full", "stop_kind": "full"}
        for row in PROBE
    ]
    early = [row | {"stop": "checkpoint 3", "stop_kind": "checkpoint"} for row in teacher]
    early = [row | {"run": f"{row['run']}-early"} for row in early]
    for cells in ([teacher, TUNED], [teacher, PROBE, TUNED], [teacher, early, TUNED]):
        rows = rows_of(*cells)
        assert [row["trained_network"] for row in rows] == ["probed", "tuned"]
        assert rows[0]["error"] == pytest.approx(7)
        assert rows[0]["vs_tuned"] == pytest.approx(1)


def test_the_same_network_may_begin_at_random_by_a_start_of_its_own():
    at_random = begun("cold", "at random", [9.0, 9.0, 9.0])
    rows = rows_of(PROBE, at_random)
    assert [row["trained_network"] for row in rows] == ["probed", "cold"]
    assert rows[0]["vs_random"] == pytest.approx((-2 - 1 - 3) / 3)


def test_a_study_that_begins_at_random_has_no_row():
    assert not rows_of(SCRATCH)
