"""What a network says beside its logits: its embedding, with the gradient, whoever listens."""

import pytest
import torch

from kdpipe.errors import KdpipeError
from kdpipe.models import factory
from kdpipe.runs.spec import ModelSpec
from kdpipe.training.forward import FeatureExtractor


def spec(name: str, classes: int) -> ModelSpec:
    return ModelSpec(name=name, revision=1, classes=classes, channels=1)


def requests(name, *needs, classes=7):
    torch.manual_seed(0)
    model = factory.build_named_model(name, num_classes=classes, in_channels=1).train()
    return model, FeatureExtractor(model, spec(name, classes), frozenset(needs))


def slopes(model, embedding):
    model.zero_grad()
    embedding.pow(2).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["wrn10-1", "resnet8", "densenet-bc10-8"])
def test_the_embedding_is_what_the_classifier_is_given_with_its_gradient(name):
    """Beside the network taken apart by hand."""
    model, answers = requests(name, "embedding", "groups")
    x = torch.randn(5, 1, 8, 8)
    logits, groups, embedding = answers(x)
    by_hand = model.tail(model.features(x)[1][-1]).mean((2, 3))
    torch.testing.assert_close(embedding, by_hand)
    torch.testing.assert_close(model.linear(by_hand), logits)
    assert len(groups) == 3
    actual, reference = slopes(model, embedding), slopes(model, by_hand)
    assert actual and all(map(torch.allclose, actual, reference))


def test_nothing_is_said_that_nobody_asked_for():
    for needs, has in (((), (False, False)), (("groups",), (True, False))):
        _, answers = requests("wrn10-1", *needs)
        message = answers(torch.randn(2, 1, 8, 8))
        assert (bool(message.groups), message.embedding is not None) == has


def test_no_batch_is_kept_alive_and_the_network_is_left_as_it_was():
    model, answers = requests("wrn10-1", "embedding")
    answers(torch.randn(2, 1, 8, 8))
    assert answers.input_hook is not None and answers.input_hook.last is None
    assert model.linear._forward_hooks
    answers.close()
    assert not model.linear._forward_hooks


def test_a_network_that_goes_on_after_its_linear_layer_is_refused():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 7)

        def forward(self, x):
            return self.linear(x.flatten(1)) * 2

    answers = FeatureExtractor(Scaled(), spec("scaled", 7), {"embedding"})
    with pytest.raises(KdpipeError, match="scaled does not end in its linear classifier"):
        answers(torch.randn(2, 1, 8, 8))
    with pytest.raises(KdpipeError, match="other has no linear layer with 9 outputs"):
        FeatureExtractor(Scaled(), spec("other", 9), {"embedding"})
