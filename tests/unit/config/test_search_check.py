"""What a search is refused for, and that a sound one is not."""

import copy

import pytest

from kdpipe.config import load
from kdpipe.errors import StudyError

SOUND = {
    "study": "sought",
    "seeds": [0, 1, 2, 3, 4],
    "data": {"name": "digits", "train_size": 64, "validation": 40, "pad": 1},
    "recipe": {"epochs": 2, "batch_size": 16, "lr": 0.05, "drop_epochs": [1]},
    "methods": {"kd": {}, "eskd": {"stop_epoch": 1}},
    "experiments": [
        {
            "name": name,
            "teachers": ["wrn10-1"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "eskd"],
        }
        for name in ("grid", "other")
    ],
    "search": {"blocks": ["grid"]},
}


def get_message(change) -> str:
    content = copy.deepcopy(SOUND)
    change(content)
    with pytest.raises(StudyError) as refused:
        load.validate_study(content, "sought")
    return str(refused.value)


def test_a_sound_one_is_taken():
    study = load.validate_study(copy.deepcopy(SOUND), "sought")
    assert study.search_seeds == [0, 1]
    assert study.is_search_cell("grid", 1)
    assert not study.is_search_cell("grid", 2) and not study.is_search_cell("other", 1)


def test_an_unknown_block_is_named_with_the_nearest():
    assert "no experiment gird" in get_message(lambda c: c["search"].update(blocks=["gird"]))
    assert "is listed twice" in get_message(lambda c: c["search"].update(blocks=["grid", "grid"]))


def test_there_have_to_be_seeds_to_choose_by():
    message = get_message(lambda c: c.update(seeds=[0, 1, 2]))
    assert "search.fresh_seeds: 3 of 3 seeds (0, 1, 2) leave none" in message
    assert "fresh_seeds" in get_message(lambda c: c["search"].update(fresh_seeds=2))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c["experiments"][0].update(seeds=[0, 1]), "its own seeds"),
        (
            lambda c: c["experiments"][1].update(teachers=["grid"], methods=["kd"]),
            "is a teacher in",
        ),
        (lambda c: c.update(tables={"eskd": ["grid"]}), "tables.eskd: grid is searched"),
        (lambda c: c.update(claims={"C6": ["other", "grid"]}), "claims.C6: grid is searched"),
        (lambda c: c.update(looks=[3, 5]), "remove one of the two"),
        (lambda c: c["search"].update(latency=2), "also set `export: true`"),
        (lambda c: c["search"].update(latency=0), "search.latency"),
        (lambda c: c["search"].update(hours=0), "search.hours"),
        (lambda c: c.update(splits=[0, 1]), "there are 2: keep one"),
        (lambda c: c["data"].update(validation=0), "hold some out (data.validation)"),
        (lambda c: c.update(ensembles={"team": {"block": "grid"}}), "averaged by the ensemble"),
    ],
)
def test_what_needs_every_cell_or_cannot_choose_is_refused(change, words):
    assert words in get_message(change)
