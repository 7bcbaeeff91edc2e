"""Images without labels: not there, asked for by nobody, or of which a term cannot learn."""

import pytest
from helpers import synthetic_data, tiny_study
from helpers.rich_study import assert_named, mistakes_of, rich, said_of

from kdpipe.config import load
from kdpipe.losses import method

LABELLED = [name for name, term in method.load_terms().items() if term.labelled]


def content(method=None, **data) -> dict:
    more = {"unlabelled": 64} | (method or {})
    return tiny_study.study(data={"unlabelled": "rest"} | data, methods={"kd": {}, "more": more})


def test_it_is_no_mistake():
    load.validate_study(content(), "tiny")
    load.validate_study(content({"unlabelled": 993}), "tiny")  # of 1,097 all that 64 and 40 leave
    blind = {f"{name}_weight": 1.0 for name in method.load_terms() if name not in LABELLED}
    only_logits = {k: v for k, v in blind.items() if method.load_terms()[k[:-7]].needs == "logits"}
    load.validate_study(content(only_logits), "tiny")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"train_size": 1057},
            "data.unlabelled: rest: none of the 1,097 training images of digits",
        ),
        ({"train_size": None}, "is left over: reduce data.train_size"),
        ({"unlabelled": "all"}, "data.unlabelled: the images have no card yet at "),
        ({"unlabelled": ""}, "data.unlabelled: "),
        ({"unlabelled": None}, "methods.more.unlabelled: the data have no unlabelled images"),
        ({"method": {"unlabelled": 994}}, "methods.more.unlabelled: 994 per batch, but there"),
        ({"method": {"unlabelled": 0}}, "data.unlabelled: rest: no method uses them"),
        ({"method": {"unlabelled": -1}}, "methods.more.unlabelled: "),
        ({"method": {"unlabelled": 1.5}}, "methods.more.unlabelled: "),
        *[
            ({"method": {f"{name}_weight": 1.0}}, f"methods.more.{name}_weight: ")
            for name in LABELLED
        ],
    ],
)
def test_each_mistake_is_named(changes, says):
    (mistake,) = mistakes_of(content(**changes))
    assert says in mistake
    if "_weight" in says:
        assert "uses the label of each image, and unlabelled images have none" in mistake


def test_those_of_ones_own_are_enough_and_of_this_study(tmp_path):
    path = tmp_path / "more"
    synthetic_data.unlabelled_card(path, 64)
    load.validate_study(content(unlabelled=str(path), train_size=None), "tiny")
    (mistake,) = mistakes_of(content({"unlabelled": 65}, unlabelled=str(path)))
    assert mistake == "methods.more.unlabelled: 65 per batch, but there are only 64: use at most 64"
    (mistake,) = mistakes_of(content({"unlabelled": 0}, unlabelled=str(path)))
    assert f"data.unlabelled: {path}: no method uses them" in mistake
    synthetic_data.unlabelled_card(path, 64, of="0" * 64)
    (mistake,) = mistakes_of(content(unlabelled=str(path)))
    assert "was created for other images of digits" in mistake
    assert "run once: kdpipe check study.yaml --write" in mistake


def test_a_path_is_seen_from_the_study_file(tmp_path):
    synthetic_data.unlabelled_card(tmp_path / "more", 64)
    actual = load.validate_study(content(unlabelled="more"), "tiny", tmp_path)
    assert actual.data.unlabelled == str(tmp_path / "more")
    synthetic_data.unlabelled_card(tmp_path / "rest", 64)
    actual = load.validate_study(content(unlabelled="./rest"), "tiny", tmp_path)
    assert actual.data.unlabelled == str(tmp_path / "rest")
    assert load.validate_study(content(), "tiny", tmp_path).data.unlabelled == "rest"


def test_a_probe_has_no_use_for_them():
    assert_named(
        said_of("transfers.clothes.data.unlabelled", "rest"),
        "transfers.clothes: ",
        "a probe is fitted on labelled images only",
    )
    assert "unlabelled" not in rich()["data"]
