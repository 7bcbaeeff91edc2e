"""Published numbers: as they were printed, and beside measured ones only where all is alike."""

import io

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame

from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.analysis.published import (
    describe_published_error,
    get_published_errors_by_pair,
    load_published_entries,
)
from kdpipe.models import registry
from kdpipe.report.table import render_table_by_name, table_to_csv, table_to_markdown

CIFAR = {"data": "cifar10", "student": "wrn16-1", "train_n": 50_000, "multiply_adds": 10}


def measured(errors=(8.3, 8.4, 8.5), kind="student", **labels):
    """Rows of one cell on CIFAR-10."""
    facts = {**CIFAR, **labels}
    sizes = {"teacher_multiply_adds": 100, "teacher_parameters": 100, "parameters": 10}
    known = {key: facts.pop(key) for key in ("student", "multiply_adds")}
    rows = cell(list(errors), kind, **facts)
    return [row | known | (sizes if facts.get("teacher") else {}) for row in rows]


def of_wrn40(**labels):
    return measured(teacher="wrn40-1", teacher_network="wrn40-1", **labels)


def test_a_few_numbers_of_the_paper():
    actual = load_published_entries()
    table = actual["cifar10", "wrn16-1", "wrn250-1", "full"][0]
    assert (table["error"], table["sd"], table["sure"]) == (8.787, 0.173, "V")
    assert (
        actual["imagenet", "torchvision-resnet18", "torchvision-resnet152", "full"][0]["sure"]
        == "Q"
    )
    early = actual["cifar10", "wrn28-1", "wrn28-4", "schedule 15/50"]
    assert [(e["error"], e["statistic"]) for e in early] == [(6.60, "median")]
    assert len(actual["cifar10", "wrn16-1", "wrn16-8", "full"]) == 2  # a mean and a median
    for data, student, teacher, _ in actual:
        for name in (student, teacher):
            if data.startswith("cifar") and name:
                registry.parse_name(name)


def test_it_stands_beside_the_same_cell():
    text = describe_published_error(normalize_frame(frame(of_wrn40())))
    assert text == "8.324 ± 0.111 (appendix table A, printed in the paper, mean ± sd over n - 1)"
    by_f1 = describe_published_error(normalize_frame(frame(of_wrn40(metric="macro_f1"))))
    assert by_f1 == f"top-1 {text}"  # published errors are top-1
    assert describe_published_error(normalize_frame(frame(measured(kind="scratch")))).startswith(
        "8.751 ± 0.129"
    )


def test_it_says_over_what_a_spread_is_and_what_was_inferred():
    wide = {"teacher": "wrn16-3", "teacher_network": "wrn16-3"}
    text = describe_published_error(normalize_frame(frame(measured(stop="schedule 20/65", **wide))))
    median, mean = text.split("); ")
    assert median.startswith("7.42 (") and "the modes 20/65 and 25/80 are inferred" in median
    assert mean.startswith("7.49 ± 0.18 (") and "mean ± sd over n; that this is" in mean
    assert mean.endswith("the teacher of 65 epochs is inferred)")
    assert "inferred" not in describe_published_error(normalize_frame(frame(of_wrn40())))


FIELD = {  # accuracies of some methods on the pairs A to D, typed once more from their sources
    ("resnet8x4", "resnet32x4"): {"kd": 73.33, "dkd, standardised": 77.01, "crd": 75.51},
    ("wrn16-2", "wrn40-2"): {"kd": 74.92, "dist": 75.51, "at": 74.08, "fitnet": 73.58},
    ("wrn40-1", "wrn40-2"): {"ttm": 74.32, "wttm": 74.58, "sp": 72.43, "kd, standardised": 74.37},
    ("resnet20", "resnet56"): {"dkd": 71.97, "rkd": 69.61, "reviewkd": 71.89, "ctkd": 71.19},
}


def test_the_field_on_its_four_pairs():
    actual = get_published_errors_by_pair("cifar100")
    assert set(actual) == set(FIELD)
    for pair, accuracies in FIELD.items():
        assert len(actual[pair]) == 14
        for kind, accuracy in accuracies.items():
            assert actual[pair][kind] == pytest.approx(100 - accuracy, abs=1e-6)
    alone = {"resnet8x4": 27.5, "wrn16-2": 26.74, "wrn40-2": 24.39, "resnet56": 27.66}
    for network, error in alone.items():
        (entry,) = load_published_entries()["cifar100", network, "", ""]
        assert (entry["method"], entry["error"]) == ("scratch", error)
    sure = {
        (pair, e["method"])
        for pair in FIELD
        for e in load_published_entries()["cifar100", *pair, "full"]
        if e["sure"] != "H"
    }
    assert sure == {
        (("wrn16-2", "wrn40-2"), "dist"),
        (("resnet8x4", "resnet32x4"), "ctkd"),
    }


def of_wrn40_2(**labels):
    facts = {"data": "cifar100", "student": "wrn16-2", "teacher_network": "wrn40-2", **labels}
    return normalize_frame(frame(measured(teacher="wrn40-2", **facts)))


def test_a_method_of_the_field_stands_beside_any_setting_of_it_and_says_whose_it_is():
    source = "mdistiller README, read at its source, best epoch on test, as its authors set it"
    assert (
        describe_published_error(of_wrn40_2(method_kind="dkd", kd_weight=0.0))
        == f"23.76 ({source})"
    )
    assert (
        describe_published_error(of_wrn40_2())
        == "25.08 (RepDistiller README, read at its source, best epoch on test)"
    )
    assert (
        describe_published_error(of_wrn40_2(temperature=2.0)) == ""
    )  # KD is judged by its settings
    for kind in ("dkd, stopped", "at+kd", "mine"):
        assert describe_published_error(of_wrn40_2(method_kind=kind)) == ""


@pytest.mark.parametrize(
    "other",
    [
        {"data": "digits"},
        {"student": "wrn16-2"},
        {"stop": "checkpoint 50"},
        {"temperature": 3.0},
        {"kd_weight": 0.1, "ce_weight": 0.9},
        {"method_kind": "eskd", "kd_epochs": 20},
    ],
)
def test_it_does_not_where_anything_differs(other):
    assert describe_published_error(normalize_frame(frame(of_wrn40(**other)))) == ""


def test_another_train_split_is_said():
    text = describe_published_error(normalize_frame(frame(of_wrn40(train_n=45_000))))
    assert text.endswith("on 50,000 training images)")


def test_eskd_of_imagenet_needs_the_papers_stop():
    labels = {
        "data": "imagenet", "student": "torchvision-resnet18", "method_kind": "eskd",
        "epochs": 100, "teacher": "torchvision-resnet34", "train_n": 1_281_167,
        "teacher_network": "torchvision-resnet34",
    }  # fmt: skip
    assert describe_published_error(
        normalize_frame(frame(measured(**labels, kd_epochs=30)))
    ).startswith("29.16 (Table 3")
    assert describe_published_error(normalize_frame(frame(measured(**labels, kd_epochs=60)))) == ""


def test_the_column_is_there_only_with_something_in_it():
    rows = frame(measured(kind="scratch"), of_wrn40())
    result = render_table_by_name("teacher_size", rows)
    assert "published" in result.display and "8.324 ± 0.111" in table_to_markdown(result)
    assert "published" in pd.read_csv(io.StringIO(table_to_csv(result)))
    assert (
        "published" not in render_table_by_name("teacher_size", rows.assign(data="digits")).display
    )
