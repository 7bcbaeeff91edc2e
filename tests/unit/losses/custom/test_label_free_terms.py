"""Whether a term of one's own looks at labels: it says so, and its trial sees if it is true."""

import json
import sys

import pytest
import torch

from kdpipe.errors import KdpipeError
from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.losses.config import Method
from kdpipe.losses.custom import card as term_card
from kdpipe.losses.custom import study_cards
from kdpipe.losses.custom.study_cards import CustomTerms
from kdpipe.losses.custom.validate import TermValidator
from kdpipe.pydantic_base import StrictModel


def apart(student, teacher, labels, keys):
    return (to_float32(student.logits) - to_float32(teacher.logits).detach()).pow(2).mean()


def with_labels(student, teacher, labels, keys):
    return torch.nn.functional.cross_entropy(student.logits.float(), labels)


def where_there_are(student, teacher, labels, keys):
    return apart(student, teacher, labels, keys) * (1 if labels is None else 2)


def tried(loss, **message):
    term = LossTerm(
        title="t", short_title="T", part="tt", revision=1, keys=StrictModel, loss=loss, **message
    )
    return TermValidator("here", "mine.TERM", term).card()


def test_a_term_that_says_nothing_is_taken_to_look_at_them():
    assert tried(apart).labelled is True
    assert tried(apart, labelled=False).labelled is False
    assert tried(with_labels).labelled is True


@pytest.mark.parametrize(
    ("loss", "labelled", "message"),
    [
        (with_labels, False, "labelled=False, and without labels its loss failed: TypeError"),
        (where_there_are, False, "labelled=False, but without labels its value differs"),
        (apart, "no", "labelled 'no': must be True or False"),
    ],
)
def test_what_it_says_is_tried(loss, labelled, message):
    with pytest.raises(KdpipeError, match=message):
        tried(loss, labelled=labelled)


CODE = """
from kdpipe.losses.base import LossTerm
from kdpipe.pydantic_base import StrictModel
from {module} import apart

TERM = LossTerm(
    title="t", short_title="T", part="tt", revision=1, keys=StrictModel, loss=apart{said}
)
"""


def test_saying_it_later_renames_no_run(tmp_path, monkeypatch):
    """Answers are in the names of runs: those of another machine stay, rounded as they are."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    method = Method.model_validate({"term": "looks.TERM", "kd_weight": 0.0})
    own = CustomTerms("study.yaml", {"mine": method}, str(tmp_path))

    def write(message: str) -> None:
        (tmp_path / "looks.py").write_text(CODE.format(module=__name__, said=message))
        sys.modules.pop("looks", None)

    write("")
    study_cards.write_term_cards(own)
    store = term_card.term_card_path(tmp_path, "looks.TERM")
    old = json.loads(store.read_text())
    del old["labelled"], old["seal"]  # as an earlier version wrote it, elsewhere
    old["answer"][0] *= 1.00001
    store.write_text(json.dumps(term_card.hashing.add_checksum(old)))
    before = term_card.read_term_card(store, "")
    assert before.labelled
    study_cards.check_term_cards(own)
    write(", labelled=False")
    sys.modules.pop("looks", None)
    with pytest.raises(KdpipeError, match="does not match its card"):
        study_cards.check_term_cards(own)
    study_cards.write_term_cards(own, same=True)
    after = term_card.read_term_card(store, "")
    assert not after.labelled
    assert after.spec(1.0, {}) == before.spec(1.0, {})
    sys.modules.pop("looks", None)
