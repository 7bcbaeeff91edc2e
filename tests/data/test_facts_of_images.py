"""Class names, mean and deviation, and how images were scaled: in the record and on the page."""

import made_data
import numpy as np
import pandas as pd
import pytest

from kdpipe.data import splits
from kdpipe.data.own.card import make_card
from kdpipe.jobs.prepare import prepare
from kdpipe.jobs.train import train
from kdpipe.plan import planner
from kdpipe.report.pages import facts
from kdpipe.report.pages.found import Found
from kdpipe.results.store import Store
from kdpipe.study import checking


def test_they_are_in_the_record_and_on_the_page(tmp_path):
    made = made_data.arrays((3, 12, 12), 4, 48, 16)
    folder = made_data.class_folders(tmp_path / "mine", made)
    make_card(folder, None, None, resize=10)
    content = {
        "study": "mine",
        "seeds": [0],
        "data": {"name": "mine", "path": str(folder), "validation": 8, "resize": 8},
        "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "experiments": [{"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"]}],
    }
    plan = planner.make(checking.validate(content, "s"))
    place = Store(tmp_path / "results")
    prepare("mine", place, str(folder))
    run = next(iter(plan.runs.values()))
    train(run.spec, [], place)
    said = place.records("runs")[run.name]["images"]
    assert said["classes"] == ["class-0", "class-1", "class-2", "class-3"]
    assert said["scaled"] == (
        "each stretched to 10 x 10 (PIL, bilinear), then scaled to 8 x 8 (bilinear, antialiased)"
    )
    pixels = np.asarray(splits.load(run.spec["data"], place).train.images) / 255
    assert said["mean"] == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-6)
    assert said["std"] == pytest.approx(pixels.std((0, 2, 3)), abs=1e-6)
    columns = ["kind", "run", "status", "seconds", "device", "torch", "kdpipe"]
    found = dict(facts.facts(Found(plan, pd.DataFrame(columns=columns), [], [], [], [])))
    assert found["Classes"] == "class-0, class-1, class-2, class-3"
    assert found["Images"].startswith("each stretched to 10 x 10 (PIL, bilinear), then scaled to 8")
    assert str(plan.card.mean[0]) in found["Images"]
