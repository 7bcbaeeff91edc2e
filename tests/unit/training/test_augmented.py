"""Runs on views without end: cut off they end in the same bytes; their teachers answer live."""

import torch
from helpers import tiny_study

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data.batches import ImageBatches
from kdpipe.plan import planner, render

DATA = {"flip": True, "augment": {"policy": "rand"}, "erase": {"probability": 0.5}}


def test_cut_off_it_ends_in_the_same_bytes_and_no_two_epochs_are_alike(
    tmp_path, shared, monkeypatch
):
    recipe = {"ema": 0.5, "mixup": 0.2}
    run = next(iter(tiny_study.planned(recipe=recipe, data=DATA).runs.values()))
    seen, whole = [], ImageBatches._apply_augmentations

    def batch(self, index, values):
        x = whole(self, index, values)
        if self.views.is_infinite:
            seen.append((index.clone(), x.clone()))
        return x

    ends = []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        command = tiny_study.train(run, (), str(store.root))
        for stop in (1, 2, 3) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                assert main(command) == 75
        with monkeypatch.context() as patch:
            if name == "whole":
                patch.setattr(ImageBatches, "_apply_augmentations", batch)
            assert main(command) == 0
        ends.append(store.run(run.name))
    assert tiny_study.exact(ends[0]) == tiny_study.exact(ends[1])
    first, second = (dict(displayed(seen[half : half + 4])) for half in (0, 4))
    assert first.keys() == second.keys() == set(range(64))
    assert sum(torch.equal(first[one], second[one]) for one in first) < 3


def displayed(batches):
    for index, x in batches:
        yield from zip(index.tolist(), x, strict=True)


def test_teachers_answer_live_which_is_priced_and_no_table_is_taken():
    for data in ({"augment": {"policy": "trivial"}}, {"erase": {}}):
        study = tiny_study.study(recipe={"epochs": 50}, data=data, teacher_outputs="auto")
        plan = planner.build_plan(load.validate_study(study, "tiny"))
        (student,) = (run for run in plan.runs.values() if run.spec.teacher)
        assert student.spec.teacher.outputs == "live" and not plan.logit_caches
        text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
        price = f"{student.teacher_multiply_adds:.2e} mult-adds live"
        assert f"teacher outputs: {price} (infinitely many views cannot be cached)" in text


def test_mistakes_are_named():
    for key, value in (("augment", {"policy": "trivial"}), ("erase", {})):
        study = tiny_study.study(data={key: value}, teacher_outputs="table")
        (message,) = [str(each) for each in mistakes(study)]
        assert (
            f"teacher_outputs: table caches a finite number of views per image, and data.{key}"
            in message
        )
    for key, value, says in (
        ("augment", {"policy": "auto"}, "data.augment.policy"),
        ("augment", {"policy": "trivial", "magnitude": 1}, "apply only to policy: rand"),
        ("augment", {"policy": "rand", "operations": 0}, "data.augment.operations"),
        ("erase", {"scale": [0.5, 0.1]}, "scale: must be in ascending order, got [0.5, 0.1]"),
        ("erase", {"probability": 0}, "data.erase.probability"),
    ):
        (message,) = [str(each) for each in mistakes(tiny_study.study(data={key: value}))]
        assert says in message, message


def mistakes(study):
    try:
        load.validate_study(study, "tiny")
    except Exception as error:
        return [error]
    return []
