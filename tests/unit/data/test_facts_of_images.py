"""Class names, mean and deviation, and how images were scaled: in the record and on the page."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic_data

from kdpipe import hashing
from kdpipe.config import load
from kdpipe.data import cards, splits
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.report.page import ReportContext, list_facts
from kdpipe.runs.store import Store


@pytest.fixture
def folder(tmp_path):
    folder = synthetic_data.class_folders(
        tmp_path / "mine", synthetic_data.arrays((3, 12, 12), 4, 48, 16)
    )
    make_card(folder, None, None)
    return folder


@pytest.mark.parametrize(
    "errors",
    [
        {"class_names": ["class-1", "class-0", "class-2", "class-3"]},
        {"mean": [0.1, 0.2, 0.3]},
        {"std": [0.1, 0.2, 0.3]},
    ],
    ids=lambda errors: next(iter(errors)),
)
def test_those_of_a_card_are_compared_with_the_images(errors, folder, tmp_path):
    """They are in no digest; a card with other ones may have been sealed by hand."""
    path = cards.get_card_path(folder)
    card = json.loads(path.read_text())
    path.write_text(json.dumps(hashing.add_checksum(card | errors)))
    (key,) = errors
    with pytest.raises(DataError, match=f"its card has {key} .*, found .*recreate its card"):
        prepare_dataset("mine", Store(tmp_path / "results"), str(folder))


def test_those_of_a_prepared_card_are_sealed(folder, tmp_path):
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(folder))
    (path,) = store.root.glob("data/mine-*/card.json")
    whole = json.loads(path.read_text())
    assert cards.read_card(path).class_names[0] == "class-0"
    for errors in ({"scaled": "not at all"}, {"class_names": whole["class_names"][::-1]}):
        path.write_text(json.dumps(whole | errors))
        with pytest.raises(DataError, match="it was modified after its creation"):
            cards.read_card(path)
    del whole["seal"]  # as earlier versions wrote it
    path.write_text(json.dumps(whole))
    assert cards.read_card(path).class_names[0] == "class-0"


def test_they_are_in_the_record_and_on_the_page(tmp_path):
    arrays = synthetic_data.arrays((3, 12, 12), 4, 48, 16)
    folder = synthetic_data.class_folders(tmp_path / "mine", arrays)
    make_card(folder, None, None, resize=10)
    content = {
        "study": "mine",
        "seeds": [0],
        "data": {"name": "mine", "path": str(folder), "validation": 8, "resize": 8},
        "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "experiments": [{"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"]}],
    }
    plan = planner.build_plan(load.validate_study(content, "s"))
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(folder))
    run = next(iter(plan.runs.values()))
    train_run(run.spec, [], store)
    values = store.load_records("runs")[run.name]["images"]
    assert values["classes"] == ["class-0", "class-1", "class-2", "class-3"]
    assert values["scaled"] == (
        "each stretched to 10 x 10 (PIL, bilinear), then scaled to 8 x 8 (bilinear, antialiased)"
    )
    pixels = np.asarray(splits.load_split(run.spec.data, store).train.images) / 255
    assert values["mean"] == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-6)
    assert values["std"] == pytest.approx(pixels.std((0, 2, 3)), abs=1e-6)
    columns = ["kind", "run", "status", "seconds", "device", "torch", "kdpipe"]
    actual = dict(list_facts(ReportContext(plan, pd.DataFrame(columns=columns), [], [], [], [])))
    assert actual["Classes"] == "class-0, class-1, class-2, class-3"
    assert actual["Images"].startswith(
        "each stretched to 10 x 10 (PIL, bilinear), then scaled to 8"
    )
    assert str(plan.card.mean[0]) in actual["Images"]
