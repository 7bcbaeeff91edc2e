"""Cards of one's own data: each field changed alone is found out, before it makes a number."""

import json
import shlex

import pytest
from helpers import synthetic_data
from helpers.synthetic_data import resealed

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import cards, splits
from kdpipe.data.config import CardOptions
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError, KdpipeError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.plan import planner
from kdpipe.runs.store import Store

OTHERS = [0, 1, -1, 7, 40, 10**12, 1.5, float("nan"), True, None, "", "x", "ab" * 32, [], [1], {}]
OTHERS += [{"a": "b"}, [3, 8, 8], [1, 16, 16], {"stream": 16}]


def study(folder, **of_data):
    block = {"name": "a", "teachers": ["self"], "students": ["wrn10-0.5"], "methods": ["kd"]}
    return {
        "study": "mine",
        "seeds": [0],
        "data": {"name": "mine", "path": str(folder), "validation": 8, **of_data},
        "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "methods": {"kd": {}},
        "experiments": [block],
    }


def planned(folder, **of_data):
    return planner.build_plan(load.validate_study(study(folder, **of_data), "s"))


@pytest.fixture(params=["array", "stream"])
def mine(request, tmp_path):
    """The data, their card as JSON, and what a study says besides."""
    arrays = synthetic_data.arrays((3, 16, 16), 4, 48, 16)
    folder = synthetic_data.class_folders(tmp_path / "mine", arrays)
    streams = request.param == "stream"
    make_card(folder, "mine", None, **({"stream": 16} if streams else {}))
    keys = {"mean": [0.5] * 3, "std": [0.2] * 3} if streams else {}
    return folder, json.loads(cards.get_card_path(folder).read_text()), keys


def changed(facts):
    """(field, the card with that field changed or left out), one at a time, made.* among them."""
    for key in facts:
        for value in OTHERS:
            yield key, facts | {key: value}
        yield key, {other: facts[other] for other in facts if other != key}
    for key in facts["made"]:
        for value in OTHERS:
            yield f"made.{key}", facts | {"made": facts["made"] | {key: value}}


def test_every_field_of_a_card_that_is_changed_is_refused(mine):
    folder, facts, keys = mine
    text = list(planned(folder, **keys).runs)
    for _, other in changed(facts):
        cards.get_card_path(folder).write_text(json.dumps(other))
        if other == facts:
            assert list(planned(folder, **keys).runs) == text
            continue
        with pytest.raises(KdpipeError, match=r"not a card|is the card of|has no checksum"):
            planned(folder, **keys)


COUNTS = ("shape", "classes", "train", "test", "sha256")


def test_a_card_without_a_seal_is_to_be_made_again_and_is_then_the_same(mine):
    """As kdpipe wrote it once; the message has the command."""
    folder, facts, keys = mine
    text = list(planned(folder, **keys).runs)
    store = cards.get_card_path(folder)
    store.write_text(json.dumps({key: facts[key] for key in facts if key != "seal"}))
    with pytest.raises(KdpipeError, match="has no checksum") as error:
        planned(folder, **keys)
    typed = shlex.split(str(error.value).partition("run once: ")[2])
    assert typed[0] == "kdpipe" and main(typed[1:]) == 0
    assert json.loads(store.read_text()) == facts and list(planned(folder, **keys).runs) == text


def test_a_card_that_was_sealed_again_is_compared_with_the_arrays(mine, tmp_path):
    """What it says wrong ends before there is a result of it."""
    folder, facts, keys = mine
    facts = facts | {"counts": []}  # or the card itself would say that train is another
    plan = planned(folder, **keys)
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(folder))
    labels = splits.load_split(next(iter(plan.runs.values())).spec.data, store).train.labels
    passed = {key: 0 for key in COUNTS}
    for field, other in changed(facts):
        other = other if field == "seal" else resealed(other)
        cards.get_card_path(folder).write_text(json.dumps(other))
        try:
            run = next(iter(planned(folder, **keys).runs.values()))
        except KdpipeError:
            continue
        if field in COUNTS and {**other, "seal": 0} != {**facts, "seal": 0}:
            passed[field] += 1
            with pytest.raises(DataError, match=r"its card has|not match its card"):
                prepare_dataset("mine", Store(tmp_path / "other"), str(folder))
        try:  # what was prepared before
            split = splits.load_split(run.spec.data, store)
            split.check_network(run.spec.network)
        except KdpipeError:
            continue
        assert len(split.train) == run.spec.data.train_size
        if field != "train":  # fewer are a subset, and the run is another and says so
            assert run.digest in {each.digest for each in plan.runs.values()}, (field, other)
            assert split.train.labels.tolist() == labels.tolist()
    assert all(passed[key] for key in ("train", "test", "sha256")), passed  # names count classes


def test_every_field_of_a_prepared_card_that_is_changed_is_found_or_does_not_matter(mine, tmp_path):
    folder, _, keys = mine
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(folder))
    run = next(iter(planned(folder, **keys).runs.values()))
    labels = splits.load_split(run.spec.data, store).train.labels.tolist()
    path = store.data(planned(folder, **keys).card.folder) / "card.json"
    facts = json.loads(path.read_text())
    for field, other in changed(facts):
        path.write_text(json.dumps(other))
        try:
            split = splits.load_split(run.spec.data, store)
        except KdpipeError:
            continue
        if field in (*COUNTS, "name", "files"):
            assert other.get(field, {}) == facts[field], (field, other)
        assert split.train.labels.tolist() == labels
        assert split.test.images.shape[-2:] == (16, 16)


def test_files_that_were_invented_do_not_skip_the_comparison(mine, tmp_path):
    folder, facts, _ = mine
    facts = resealed(facts | {"files": {"a.tar": "0" * 32}, "sha256": "ab" * 32})
    cards.get_card_path(folder).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"files: .* are only allowed for built-in data sets"):
        prepare_dataset("mine", Store(tmp_path / "results"), str(folder))


def test_a_card_is_not_bound_to_how_its_file_is_laid_out(mine):
    folder, facts, keys = mine
    expected = list(planned(folder, **keys).runs)
    turned = dict(reversed(facts.items()))
    cards.get_card_path(folder).write_text(json.dumps(turned, indent=8))
    assert list(planned(folder, **keys).runs) == expected


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "null", "[]", '"x"', "", "\\ud800"])
def test_what_is_no_card_is_said_in_one_message(text, mine):
    folder, _, keys = mine
    cards.get_card_path(folder).write_text(text)
    with pytest.raises(KdpipeError, match="is missing or not a card") as error:
        planned(folder, **keys)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("options", [cards.BuildOptions, CardOptions])
def test_a_boolean_is_no_number_of_channels(options):
    assert options.model_validate({"channels": 1}).channels == 1
    with pytest.raises(ValueError, match="channels"):
        options.model_validate({"channels": True})
