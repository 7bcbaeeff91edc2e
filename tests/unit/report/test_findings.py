"""The ends of figures' titles, which say what was found, against differences worked out by hand.

With three seeds a 95 % interval is 2.48 standard deviations to each side.
"""

import functools
import operator
from types import SimpleNamespace

import pandas as pd
import pytest
from helpers.synthetic_frames import SCRATCH, cell, frame

from kdpipe.analysis.dataframe import normalize_frame, select_export_rows
from kdpipe.report.figure import load_figures

ERRORS = [10.0, 11.0, 12.0]
TEACHERS = {"mid": 0.4, "large": 0.5}


def find(name, *cells, **more):
    finding = load_figures()[name].find
    assert finding is not None
    return finding(normalize_frame(frame(*cells)), pd.DataFrame(), *more.values())


def lengths(*differences):
    """A student on labels alone and taught at several lengths, by the differences of each."""
    for length, difference in zip((30, 60, 120), differences, strict=False):
        axes = {"length": length, "epochs": length}
        yield cell(ERRORS, kind="scratch", **axes)
        taught = map(operator.add, ERRORS, difference)
        yield cell(list(taught), teacher="large", teacher_train_size=None, **axes)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([(-2.0, -2.1, -1.9), (1.0, -1.0, 0.5)], "distilling is better in 1, worse in 0 of 2"),
        ([(-2.0, -2.1, -1.9), (2.0, 2.1, 1.9)], "distilling is better in 1, worse in 1 of 2"),
        ([(0.5, -0.5, 0.1), (1.0, -1.0, 0.5)], "no difference to labels alone can be told in 2"),
    ],
)
def test_lengths(differences, expected):
    assert find("lengths", *lengths(*differences)) == f"at an equal length, {expected} comparisons"


def test_differences_hold_jointly():
    """1.0 ± .99 for itself; of two such ones each has an interval of 97.5 %."""
    barely = (0.6, 1.0, 1.4)
    assert find("lengths", *lengths(barely, barely)).endswith("can be told in 2 comparisons")


def teacher(name, confidences, errors=(4.0, 4.0, 4.0)):
    rows = cell(list(errors), kind="teacher", teacher=name, test_confidence=confidences)
    return [row | {"student": "", "teacher_rank": 0} for row in rows]


def test_confidence():
    """+.1, +.1, +.11: .103 ± .014."""
    mid = teacher("mid", [0.8, 0.81, 0.82])
    found = find("confidence", mid, teacher("large", [0.9, 0.91, 0.93]))
    assert found == "large is more confident than mid (+0.103 ± 0.014 on test)"
    found = find("confidence", mid, teacher("large", [0.9, 0.7, 0.8]))
    assert found == "no difference between the smallest and the largest can be told"


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([10.0, 10.1, 10.3], "better than a single step in 0, worse in 1 of 1 path"),
        ([8.0, 8.1, 8.3], "better than a single step in 1, worse in 0 of 1 path"),
        ([8.0, 10.1, 9.3], "no difference to a single step can be told in 1 path"),
    ],
)
@pytest.mark.parametrize("step", [{"via": "mid"}, {"generation": 3}])
def test_paths(ends, expected, step):
    single = cell([9.0, 9.1, 9.2], teacher="large")
    assert find("paths", single, cell(ends, teacher="large", **step)) == expected


def taught_cells(errors_by_nll):
    """Four stops with the NLL of the teacher, and the student's errors by seed."""
    stops = ("full", "checkpoint 12", "checkpoint 20", "checkpoint 30")
    for stop, (nll, errors) in zip(stops, errors_by_nll.items(), strict=True):
        yield cell(errors, teacher="mid", stop=stop, train_kl=[nll] * 3, train_nll=errors)
        runs = [f"teacher-mid-s{seed}" for seed in range(3)]
        rows = cell([4.0] * 3, "teacher", teacher="mid", stop=stop, run=runs, val_nll=[nll] * 3)
        yield [row | {"student": ""} for row in rows]


@pytest.mark.parametrize(
    ("name", "rising"),
    [("teacher_nll", "the error rises with it"), ("losses", "CE rises with the KD loss")],
)
def test_orders(name, rising):
    """In two seeds the order is the same, in the third two neighbours are swapped: rho .8."""
    errors = {0.1: [1.0, 1.0, 2.0], 0.2: [2.0, 2.0, 1.0], 0.3: [3.0] * 3, 0.4: [4.0] * 3}
    assert find(name, *taught_cells(errors)) == f"for small {rising} (rho +0.93 ± 0.29)"
    same = {nll: [10 * nll] * 3 for nll in errors}
    assert find(name, *taught_cells(same)) == "for small rho is +1 in every seed"
    none = {0.1: [1.0, 4.0, 2.0], 0.2: [2.0, 3.0, 1.0], 0.3: [3.0, 2.0, 4.0], 0.4: [4.0, 1.0, 3.0]}
    assert find(name, *taught_cells(none)).startswith("for small no order can be told (rho +0.2")


def test_kd_against_eskd():
    """-.2, -.3, -.2: -.23 ± .14."""
    kd = cell(ERRORS, teacher="large", val_error=[9.0, 9.1, 9.2])
    stopped = {"method": "eskd", "method_kind": "eskd", "kd_epochs": 9, "teacher": "large"}
    eskd = cell(ERRORS, **stopped, val_error=[8.8, 8.8, 9.0])
    expected = "eskd has a lower validation error than kd (-0.23 ± 0.14 points)"
    assert find("loss_curves", kd, eskd) == expected
    eskd = cell(ERRORS, **stopped, val_error=[8.8, 9.5, 9.0])
    assert find("loss_curves", kd, eskd).startswith("no difference in validation error can be told")


def test_the_front_of_prices():
    """By price 10, 20 and 30: accuracies 85, 89 and 88, so the last is beaten by the second."""
    macs = functools.partial(dict, teacher_macs=0.0, ancestor_macs=0.0)
    cells = [
        cell([15.0] * 3, kind="scratch", train_macs=10.0, **macs()),
        cell([11.0] * 3, kind="scratch_long", epochs=80, train_macs=20.0, **macs()),
        cell([12.0] * 3, teacher="large", train_macs=10.0, **macs(ancestor_macs=20.0)),
    ]
    expected = "2 of 3 cells are beaten by nothing cheaper to train (1 scratch; 1 scratch, longer)"
    assert find("cost", *cells) == expected


def test_files():
    def gauged(int8, float32, of, **labels):
        rows = cell(int8, "student" if of == "student" else "scratch", **labels)
        for row, exact in zip(rows, float32, strict=True):
            row |= {"kind": "gauge", "of": of, "own_error": exact, "own_val_error": exact}
        return rows

    finding = load_figures()["files"].find
    assert finding is not None
    taught = gauged([9.5, 9.4, 12.5], [9.0, 10.0, 12.0], "student", teacher="large")
    for int8, expected in (
        ([11.0, 12.1, 13.0], "in int8 1 of 2 networks is worse, 0 better"),
        ([11.0, 10.1, 13.0], "no difference between int8 and float32 can be told in 2 networks"),
    ):
        rows = frame(SCRATCH, gauged(int8, [10.0, 11.0, 12.0], "scratch"), taught)
        assert finding(select_export_rows(rows), pd.DataFrame()) == expected


def test_the_price_of_the_answer():
    cells = [
        cell(ERRORS, kind="scratch", train_macs=1.0, teacher_macs=0.0, ancestor_macs=0.0),
        cell(ERRORS, teacher="large", train_macs=1.0, teacher_macs=1.0, ancestor_macs=4.0),
    ]
    answer = SimpleNamespace(
        student="small", is_settled=True, price_ratio=6.0, side="labels", shipped=None
    )
    expected = "labels alone ship for small (the best distilled one costs 6 times as much to train)"
    assert find("training_price", *cells, answers=[answer]) == expected
    answer.side = "taught"
    expected = "a distilled one ships for small (it costs 6 times as much to train as labels alone)"
    assert find("training_price", *cells, answers=[answer]) == expected
    answer.is_settled = False
    assert find("training_price", *cells, answers=[answer]) == ""


@pytest.mark.parametrize(
    ("name", "better", "none"),
    [
        ("options", "for small large, kd is the best of 2 ways", "for small no difference can be"),
        ("students", "small, taught, is the best of 2 networks", "no difference can be told"),
    ],
)
def test_the_best_one(name, better, none):
    own = {"own_val_error": [5.0, 5.0, 5.0], "val_error": [5.0, 5.0, 5.0], "train_macs": 1.0}
    taught = functools.partial(cell, teacher="large", **own)
    assert find(name, SCRATCH, taught([5.0, 6.1, 7.0])) == better
    assert find(name, SCRATCH, taught([9.0, 12.0, 11.0])).startswith(none)
