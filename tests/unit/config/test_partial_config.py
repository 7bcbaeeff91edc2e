"""The valid parts of a malformed study, and what is known to be missing."""

import pytest
from helpers.rich_study import put, rich

from kdpipe.config.partial_config import PartialConfig


def config(**changes):
    return PartialConfig(rich(**changes), "f")


def test_nothing_is_read_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("kdpipe.data.cards.load_card", lambda *_: pytest.fail("a card was read"))
    assert config().named_blocks["again"].generations == 3


@pytest.mark.parametrize(
    ("section", "value", "lost"),
    [
        ("methods", 5, {"method"}),
        ("experiments", {}, {"experiment", "experiment or ensemble"}),
        ("experiments", [{}], {"experiment", "experiment or ensemble"}),
        ("experiments", [{"name": "a b"}], set()),  # known, though malformed
        ("ensembles", 5, {"ensemble", "experiment or ensemble"}),
        ("pretrained", [], {"pretrained"}),
        ("data", 5, set()),
    ],
)
def test_what_is_lost(section, value, lost):
    parsed = config(**{section: value}).is_incomplete
    assert {kind for kind, is_lost in parsed.items() if is_lost} == lost


def test_a_section_that_is_missing_defines_nothing_and_loses_nothing():
    content = rich()
    del content["ensembles"]
    parsed = PartialConfig(content, "f")
    assert not parsed.is_incomplete["ensemble"] and parsed.defined_names["ensemble"] == {}
    assert list(parsed.check_name("x", "three", "ensemble"))


@pytest.mark.parametrize(
    ("teacher", "head"),
    [
        ("self", "wrn10-1"),
        ("wrn16-2", "wrn16-2"),
        ("again", "wrn10-1"),
        ("steps", "wrn10-0.5"),
        ("three", None),
        ("giant", "wrn16-4"),
        ("nobody", "nobody"),
    ],
)
def test_who_teaches_under_a_name(teacher, head):
    pretrained = {"giant": {"network": "wrn16-4", "path": "/w.pt", "sha256": "0" * 64}}
    assert config(pretrained=pretrained).resolve_teacher(teacher, "wrn10-1") == head


@pytest.mark.parametrize(
    ("path", "value", "epochs"),
    [
        ("study", "s", (10, 6)),
        ("recipe.epochs", 12, (12, 6)),
        ("recipe.epochs", "12", (None, 6)),
        ("recipe.lr", "fast", (10, 6)),  # another key is wrong
        ("recipe", 5, (None, 6)),
        ("network_recipes.wrn16-2", {"lr": 1.0}, (10, 10)),
        ("network_recipes.wrn16-2.epochs", 0, (10, None)),
    ],
)
def test_how_long_a_network_trains(path, value, epochs):
    content = rich()
    put(content, path, value)
    parsed = PartialConfig(content, "f")
    assert (parsed.get_epochs("wrn16-1"), parsed.get_epochs("wrn16-2")) == epochs


def test_stops_past_the_end_are_counted_as_one_and_said():
    parsed = config()
    assert parsed.count_stops("every 3", "wrn16-1") == 3
    assert parsed.count_stops("every 30", "wrn16-1") == 1
    assert list(parsed.check_stop("x", "every 30", "wrn16-1"))
