"""Mixed images by hand, the teacher's view of them, labels in shares, a run that is cut off."""

import json
import math

import pytest
import torch
from helpers import tiny_study

from kdpipe.cli.main import main
from kdpipe.runs.recipe import Recipe
from kdpipe.training import loop
from kdpipe.training.mixup import BatchMixer
from kdpipe.training.teachers.online import OnlineTeacher

SEED = 2


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 2, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])


def drawn_beta(alpha: float, before: int) -> float:
    """The share that torch's generator gives behind so many whole numbers."""
    torch.manual_seed(SEED)
    torch.randint(before, ())
    return float(torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha])).sample())


def recipe(**keys) -> Recipe:
    return Recipe(epochs=1, lr=0.1, **keys)


def test_mixup_by_hand():
    x, labels = batch()
    mixed, shares = BatchMixer(recipe(mixup=0.4), 3)(x, labels, SEED)
    share = drawn_beta(0.4, 1)
    assert 0.01 < share < 0.99
    hot = torch.eye(3)[labels]
    for one in range(6):
        torch.testing.assert_close(mixed[one], share * x[one] + (1 - share) * x[one - 1])
        torch.testing.assert_close(shares[one], share * hot[one] + (1 - share) * hot[one - 1])


def test_cutmix_by_hand():
    """A rectangle of a share 1 - lambda of the area, cut off at the edges; labels by its pixels."""
    x, labels = batch()
    mixed, shares = BatchMixer(recipe(cutmix=1.0), 3)(x, labels, SEED)
    side = 8 * math.sqrt(1 - drawn_beta(1.0, 1))
    pasted = (mixed != x)[:, 0]
    assert torch.equal(pasted[0], pasted[3]) and 0 < int(pasted[0].sum()) < 64
    rows, columns = pasted[0].any(1).nonzero(), pasted[0].any(0).nonzero()
    assert bool(pasted[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all())
    assert len(rows) <= math.ceil(side) and len(columns) <= math.ceil(side)
    for one in range(6):
        assert torch.equal(mixed[one][:, pasted[one]], x[one - 1][:, pasted[one]])
    remaining = 1 - int(pasted[0].sum()) / 64
    torch.testing.assert_close(
        shares.max(1).values, torch.full((6,), max(remaining, 1 - remaining))
    )


def test_both_take_turns_and_none_changes_nothing():
    x, labels = batch()
    both = BatchMixer(recipe(mixup=1.0, cutmix=1.0), 3)
    kinds = [bool((both(x, labels, seed)[0] == x).any()) for seed in range(200)]
    assert 70 < sum(kinds) < 130  # CutMix leaves pixels as they are
    same, again = BatchMixer(recipe(), 3)(x, labels, SEED)
    assert same is x and again is labels


def test_the_teacher_sees_what_the_student_sees_whatever_cut_the_run_off(
    tmp_path, shared, monkeypatch
):
    """And labels are mixed: hits are no whole numbers."""
    recipe = {"mixup": 0.5, "cutmix": 1.0}
    plan = tiny_study.planned(recipe=recipe, teacher_outputs="auto")
    student = next(run for run in plan.runs.values() if run.spec.teacher)
    teacher = next(run for run in plan.runs.values() if run.network == "wrn10-1")
    taught, trained = [], []
    answer, forward = OnlineTeacher.forward, loop.make_train_forward

    def hear(self, x, *most):
        if len(x) == 16:  # a batch; validation and test are asked in others
            taught.append(x.clone())
        return answer(self, x, *most)

    def listen(answers, recipe):
        run = forward(answers, recipe)

        def heard(x, weights):
            trained.append(x.clone())
            return run(x, weights)

        return heard

    ends = []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        assert main(tiny_study.train(teacher, (), str(store.root))) == 0
        command = tiny_study.train(student, (), str(store.root))
        for stop in (1, 2, 3) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                assert main(command) == 75
        with monkeypatch.context() as patch:
            if name == "whole":
                patch.setattr(OnlineTeacher, "forward", hear)
                patch.setattr(loop, "make_train_forward", listen)
            assert main(command) == 0
        ends.append(store.run(student.name))
    assert tiny_study.exact(ends[0]) == tiny_study.exact(ends[1])
    assert len(trained) == 8 and all(map(torch.equal, taught, trained))
    lines = (ends[0] / "curve.jsonl").read_text().splitlines()
    accuracies = [json.loads(line)["train"]["accuracy"] for line in lines]
    assert all(0 <= value <= 1 for value in accuracies)
    assert any(value * 64 != pytest.approx(round(value * 64)) for value in accuracies)


def test_cross_entropy_of_shares_is_the_weighted_sum():
    logits = torch.randn(4, 3)
    one, other, share = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2]), 0.3
    shares = share * torch.eye(3)[one] + (1 - share) * torch.eye(3)[other]
    ce = torch.nn.functional.cross_entropy
    for smoothing in (0.0, 0.1):
        mixed = ce(logits, shares, label_smoothing=smoothing)
        parts = [ce(logits, labels, label_smoothing=smoothing) for labels in (one, other)]
        torch.testing.assert_close(mixed, share * parts[0] + (1 - share) * parts[1])
