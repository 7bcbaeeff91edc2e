"""Images without labels: not there, asked for by nobody, or of which a term cannot learn."""

import pytest
import tiny
from rich_study import assert_named, mistakes_of, rich, said_of

from kdpipe.learning import method
from kdpipe.study import checking

LABELLED = [name for name, term in method.terms().items() if term.labelled]


def content(method=None, **data) -> dict:
    more = {"unlabelled": 64} | (method or {})
    return tiny.study(data={"unlabelled": "rest"} | data, methods={"kd": {}, "more": more})


def test_it_is_no_mistake():
    checking.validate(content(), "tiny")
    checking.validate(content({"unlabelled": 993}), "tiny")  # of 1,097 all that 64 and 40 leave
    blind = {f"{name}_weight": 1.0 for name in method.terms() if name not in LABELLED}
    only_logits = {k: v for k, v in blind.items() if method.terms()[k[:-7]].needs == "logits"}
    checking.validate(content(only_logits), "tiny")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_size": 1057}, "data.unlabelled: rest: of the 1,097 training images of digits"),
        ({"train_size": None}, "none is left over: give data.train_size less"),
        ({"unlabelled": "all"}, "data.unlabelled: "),
        ({"unlabelled": None}, "methods.more.unlabelled: the data have no unlabelled images"),
        ({"method": {"unlabelled": 994}}, "methods.more.unlabelled: 994 in each batch, and there"),
        ({"method": {"unlabelled": 0}}, "data.unlabelled: rest: no method asks for them"),
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
        assert "looks at the label of each image, and unlabelled ones have none" in mistake


def test_a_probe_has_no_use_for_them():
    assert_named(
        said_of("transfers.clothes.data.unlabelled", "rest"),
        "transfers.clothes: ",
        "a probe learns from images with labels alone",
    )
    assert "unlabelled" not in rich()["data"]
