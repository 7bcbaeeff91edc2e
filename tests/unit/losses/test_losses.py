"""Losses, against values worked out by hand, torch.distributions, and identities that must hold."""

import math

import pytest
import torch
from helpers import job_specs
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from kdpipe.errors import KdpipeError
from kdpipe.losses import method
from kdpipe.losses.attention import attention
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.config import Method
from kdpipe.losses.kd import kd
from kdpipe.training.forward import ensemble_logits
from kdpipe.training.objective import Objective

STUDENT = torch.tensor(
    [[2, -1, 0.5, 0], [0, 1, 2, -2], [1.5, 1.5, -0.5, 0.25]], dtype=torch.float64
)
TEACHER = torch.tensor([[3, 0, -1, 1], [-1, 2, 2.5, -3], [4, 0.5, -2, 0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1])
STANDARD = {"temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9}


def kd_loss(student, teacher, labels, label_smoothing=0.0, **keys):
    """The parts of a batch's loss, as a run computes them."""
    requests = method.build_method_spec(Method(**keys), epochs=1)
    objective = Objective(job_specs.run_spec({"label_smoothing": label_smoothing}, requests))
    weights = objective.weights(0)
    return objective.compute_terms(
        ModelOutput(student, []), ModelOutput(teacher, []), labels, weights
    )


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


def test_hand_values():
    parts = kd_loss(STUDENT, TEACHER, LABELS, **STANDARD)
    assert parts["ce"].item() == pytest.approx(0.5488646145, abs=1e-10)
    assert parts["kd"].item() == pytest.approx(0.7410657469, abs=1e-10)
    assert parts["loss"].item() == pytest.approx(0.7218456337, abs=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_is_the_divergence_of_teacher_from_student(draw, temperature):
    student, teacher = 3 * draw(8, 10), 3 * draw(8, 10)
    kd = kd_loss(student, teacher, torch.zeros(8).long(), **STANDARD | {"temperature": temperature})
    softened = [Categorical(logits=logits / temperature) for logits in (teacher, student)]
    assert kd["kd"].item() == pytest.approx(temperature**2 * kl_divergence(*softened).mean().item())


def test_label_smoothing_is_part_of_ce():
    parts = kd_loss(STUDENT, TEACHER, LABELS, **STANDARD, label_smoothing=0.2)
    targets = 0.8 * F.one_hot(LABELS, 4) + 0.2 / 4
    by_hand = -(targets * F.log_softmax(STUDENT, 1)).sum(1).mean()
    torch.testing.assert_close(parts["ce"], by_hand)
    torch.testing.assert_close(parts["loss"], 0.1 * parts["ce"] + 0.9 * parts["kd"])


def test_a_copy_of_the_teacher_has_no_kd_loss(draw):
    logits = 5 * draw(16, 10)
    kd = kd_loss(logits, logits, torch.zeros(16).long(), **STANDARD)["kd"]
    assert kd.item() == pytest.approx(0, abs=1e-12)


def test_divergence_and_soft_cross_entropy_have_one_gradient():
    def divergence(student):
        return kd_loss(student, TEACHER, LABELS, **STANDARD)["kd"]

    def soft_cross_entropy(student):
        return 16 * F.cross_entropy(student / 4, F.softmax(TEACHER / 4, 1))

    torch.testing.assert_close(gradient(divergence, STUDENT), gradient(soft_cross_entropy, STUDENT))
    assert divergence(STUDENT).item() < soft_cross_entropy(STUDENT).item()


def test_high_temperature_compares_centred_logits(draw):
    student, teacher = draw(6, 5), draw(6, 5)
    far = kd(student, teacher, temperature=1e4)
    gap = (student - student.mean(1, True)) - (teacher - teacher.mean(1, True))
    assert far.item() == pytest.approx(gap.pow(2).sum(1).mean().item() / (2 * 5), rel=1e-3)


def test_no_gradient_reaches_the_teacher():
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    kd_loss(student, teacher, LABELS, **STANDARD)["loss"].backward()
    assert student.grad is not None and teacher.grad is None

    student, teacher = (torch.ones(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    attention([student], [teacher]).backward()
    assert student.grad is not None and teacher.grad is None


def test_half_precision_is_computed_in_float32():
    exact = kd_loss(STUDENT, TEACHER, LABELS, **STANDARD)
    # These logits are exact in half precision.
    half = kd_loss(STUDENT.float(), TEACHER.half(), LABELS, **STANDARD)
    for part, value in half.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[part].item(), rel=1e-6)
    maps = torch.full((1, 2, 2, 2), 1000.0).half()  # its square is beyond half precision
    assert attention([maps], [maps]).item() == 0


def test_attention_by_hand():
    # One row of two pixels. Student: squares (6, 4) and (0, 4), mean over its two channels (3, 4),
    # at length 1 (0.6, 0.8). Teacher: (0, 5), at length 1 (0, 1).
    student = torch.tensor([[[[6.0**0.5, 2.0]], [[0.0, 2.0]]]])
    teacher = torch.tensor([[[[0.0, 5.0**0.5]]]])
    by_hand = (0.6**2 + 0.2**2) / 2
    assert attention([student], [teacher]).item() == pytest.approx(by_hand)
    assert attention([student] * 3, [teacher] * 3).item() == pytest.approx(3 * by_hand)


def test_attention_ignores_scale_and_number_of_channels(draw):
    student = draw(4, 6, 8, 8)
    teacher = 7 * torch.cat([student, student], 1)
    assert attention([student], [teacher]).item() == pytest.approx(0, abs=1e-20)


def test_attention_is_averaged_over_the_batch(draw):
    student, teacher = draw(4, 6, 8, 8), draw(4, 3, 8, 8)
    each = [attention([student[i : i + 1]], [teacher[i : i + 1]]) for i in range(4)]
    torch.testing.assert_close(attention([student], [teacher]), torch.stack(each).mean())


def test_attention_of_another_size_is_refused():
    with pytest.raises(KdpipeError, match="student has 4 x 4 pixels where the teacher has 1 x 1"):
        attention([torch.ones(2, 3, 4, 4)], [torch.ones(2, 3, 1, 1)])
    with pytest.raises(ValueError, match="shorter"):
        attention([torch.ones(2, 3, 4, 4)] * 2, [torch.ones(2, 3, 4, 4)])


def test_ensemble_averages_probabilities():
    # Two classes: probabilities (0.9, 0.1) and (0.5, 0.5), mean (0.7, 0.3).
    members = torch.tensor([[[math.log(9), 0.0]], [[2.0, 2.0]]])
    torch.testing.assert_close(ensemble_logits(members), torch.tensor([[0.7, 0.3]]).log())
    # At T = 2 the odds 9 become 3: (0.75, 0.25) and (0.5, 0.5), mean (0.625, 0.375).
    at_two = F.softmax(ensemble_logits(members, temperature=2.0) / 2, 1)
    torch.testing.assert_close(at_two, torch.tensor([[0.625, 0.375]]))
    # The conventions differ: odds 7/3 softened, and the mean logit with odds sqrt(9), are others.
    softened_later = F.softmax(ensemble_logits(members) / 2, 1)[0, 0].item()
    assert softened_later == pytest.approx(math.sqrt(7 / 3) / (1 + math.sqrt(7 / 3)))
    assert F.softmax(members.mean(0), 1)[0, 0].item() == pytest.approx(0.75)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_ensemble_of_copies_is_the_member(draw, temperature):
    member = draw(5, 10)
    together = ensemble_logits(member.expand(3, 5, 10), temperature)
    torch.testing.assert_close(F.softmax(together, 1), F.softmax(member, 1))


def test_ensemble_and_average_of_losses_have_one_gradient(draw):
    student, members = draw(6, 5), draw(3, 6, 5)
    labels = LABELS.repeat(2)

    def taught_by(teacher):
        return lambda logits: kd_loss(logits, teacher, labels, **STANDARD)["kd"]

    together = ensemble_logits(members, temperature=4.0)
    one_by_one = torch.stack([gradient(taught_by(member), student) for member in members])
    torch.testing.assert_close(gradient(taught_by(together), student), one_by_one.mean(0))
    of_mean_logits = gradient(taught_by(members.mean(0)), student)
    assert not torch.allclose(of_mean_logits, one_by_one.mean(0), rtol=1e-3)


def test_ensemble_survives_certain_members():
    members = torch.tensor([[[1000.0, 0.0, -1000.0]], [[0.0, 1000.0, -1000.0]]])
    logits = ensemble_logits(members)
    assert logits.isfinite().all()
    torch.testing.assert_close(F.softmax(logits, 1), torch.tensor([[0.5, 0.5, 0.0]]))
    parts = kd_loss(members[0], logits, torch.tensor([2]), **STANDARD)
    assert all(value.isfinite() for value in parts.values())
