"""Whether a term of one's own looks at labels: it says so, and its trial sees if it is true."""

import json
import sys

import pytest
import torch

from kdpipe.errors import KdpipeError
from kdpipe.learning.keys import Method
from kdpipe.learning.own import card as term_card
from kdpipe.learning.own import changes
from kdpipe.learning.own.changes import Own
from kdpipe.learning.own.trial import Trial
from kdpipe.learning.term import Term, full_precision
from kdpipe.section import Section


def apart(student, teacher, labels, keys):
    return (full_precision(student.logits) - full_precision(teacher.logits).detach()).pow(2).mean()


def with_labels(student, teacher, labels, keys):
    return torch.nn.functional.cross_entropy(student.logits.float(), labels)


def where_there_are(student, teacher, labels, keys):
    return apart(student, teacher, labels, keys) * (1 if labels is None else 2)


def tried(loss, **said):
    term = Term(title="t", short="T", part="tt", revision=1, keys=Section, loss=loss, **said)
    return Trial("here", "mine.TERM", term).card()


def test_a_term_that_says_nothing_is_taken_to_look_at_them():
    assert tried(apart).labelled is True
    assert tried(apart, labelled=False).labelled is False
    assert tried(with_labels).labelled is True


@pytest.mark.parametrize(
    ("loss", "labelled", "message"),
    [
        (with_labels, False, "labelled=False, and without labels its loss failed: TypeError"),
        (where_there_are, False, "labelled=False, and without labels it answers otherwise"),
        (apart, "no", "labelled 'no': True or False"),
    ],
)
def test_what_it_says_is_tried(loss, labelled, message):
    with pytest.raises(KdpipeError, match=message):
        tried(loss, labelled=labelled)


CODE = """
from kdpipe.learning.term import Term
from kdpipe.section import Section
from {module} import apart

TERM = Term(title="t", short="T", part="tt", revision=1, keys=Section, loss=apart{said})
"""


def test_saying_it_later_renames_no_run(tmp_path, monkeypatch):
    """Answers are in the names of runs: those of another machine stay, rounded as they are."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    method = Method.model_validate({"term": "looks.TERM", "kd_weight": 0.0})
    own = Own("study.yaml", {"mine": method}, str(tmp_path))

    def write(said: str) -> None:
        (tmp_path / "looks.py").write_text(CODE.format(module=__name__, said=said))
        sys.modules.pop("looks", None)

    write("")
    changes.make_cards(own)
    place = term_card.place(tmp_path, "looks.TERM")
    old = json.loads(place.read_text())
    del old["labelled"], old["seal"]  # as an earlier version wrote it, elsewhere
    old["answer"][0] *= 1.00001
    place.write_text(json.dumps(term_card.identity.sealed(old)))
    before = term_card.read(place, "")
    assert before.labelled
    changes.compare(own)
    write(", labelled=False")
    sys.modules.pop("looks", None)
    with pytest.raises(KdpipeError, match="not what its card"):
        changes.compare(own)
    changes.make_cards(own)
    after = term_card.read(place, "")
    assert not after.labelled
    assert after.spec(1.0, {}) == before.spec(1.0, {})
    sys.modules.pop("looks", None)
