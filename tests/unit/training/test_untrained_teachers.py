"""A teacher that knows nothing, `checkpoint 0`, beside every term: the control of a method."""

import json

import numpy as np
import pytest
import torch
from helpers import tiny_study

from kdpipe.data import splits
from kdpipe.jobs.train import train_run
from kdpipe.losses import method
from kdpipe.models import factory
from kdpipe.runs.files import read_arrays
from kdpipe.training.teachers import cached

ALL = method.load_terms()
# Together, since each method is a run: what comes from a table, and what needs a live teacher.
TOGETHER = {
    "table": [name for name, term in ALL.items() if term.needs == "logits"],
    "live": [name for name, term in ALL.items() if term.needs != "logits"],
}


def together(names):
    return {"ce_weight": 1.0, "kd_weight": 0.0} | {f"{name}_weight": 1.0 for name in names}


@pytest.mark.parametrize("way", TOGETHER)
def test_it_teaches_by_every_term(way, store):
    names = TOGETHER[way]
    assert names
    plan = tiny_study.planned(
        teacher_outputs="table",
        methods={"kd": together(names)},
        main={"stops": ["checkpoint 0"]},
        recipe={"epochs": 1, "drop_epochs": []},
    )
    (cell,) = plan.cells
    ((teacher, epoch),) = cell.teacher.members
    assert epoch == 0 and cell.run.spec.teacher.members[0].epoch == 0
    train_run(teacher.spec, [0], store)
    for table in plan.logit_caches.values():
        cached.build_logit_cache(table.spec, store)
    assert bool(plan.logit_caches) == (way == "table")
    train_run(cell.run.spec, [], store)
    (line,) = map(json.loads, (store.run(cell.run.name) / "curve.jsonl").open())
    for name in names:
        assert np.isfinite(line["train"][ALL[name].part]), name
    record = tiny_study.record(store, cell.run)
    assert record["status"] == "done"
    # It agrees with the network as it is before any training, and with nothing else.
    split = splits.load_split(cell.run.spec.data, store)
    pixels = (split.test.images / 255 - split.mean[:, None, None]) / split.std[:, None, None]
    with torch.no_grad():
        reference = factory.create_model(teacher.spec).eval()(
            torch.tensor(pixels, dtype=torch.float32)
        )
    actual = read_arrays(store.run(cell.run.name) / "outputs.safetensors")[0]["test_logits"]
    expected = (reference.argmax(1).numpy() == actual.argmax(1)).mean()
    assert record["last"]["test"]["agreement"] == pytest.approx(expected, abs=2e-3)
