"""Networks that begin from weights: what is taken over, what is new and what stays."""

import hashlib
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from kdpipe.errors import KdpipeError
from kdpipe.models import factory
from kdpipe.models.config import InitFrom
from kdpipe.models.pretrained import weights, weights_info
from kdpipe.runs.spec import ModelSpec

BASE = ModelSpec(name="wrn10-0.5", revision=1, classes=10, channels=1)


def spec(path, base=BASE, **keys) -> ModelSpec:
    """The network of a spec that begins from a file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    requests = InitFrom.model_validate(
        {"network": base.name, "path": str(path), "sha256": sha256, **keys}
    )
    return replace(base, name="warm", start=weights_info.build_init_spec(requests))


def saved(path, classes=10, **changes):
    torch.manual_seed(7)
    state = factory.build_named_model("wrn10-0.5", num_classes=classes, in_channels=1).state_dict()
    state = {key: value.clone() for key, value in state.items()}
    state |= changes.pop("more", {})
    save_file({key: v for key, v in state.items() if key not in changes.pop("less", ())}, path)
    return state


def fresh(network):
    torch.manual_seed(1)
    return factory.build_model(network)


def test_all_is_taken_over_where_all_is_there(tmp_path):
    state, network = saved(tmp_path / "w.safetensors"), spec(tmp_path / "w.safetensors")
    model = fresh(network)
    backbone = weights.load_init(model, network, tmp_path / "w.safetensors")
    assert backbone.init_report == (len(state), (), 0)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])


def test_a_classifier_of_other_classes_is_new(tmp_path):
    state = saved(tmp_path / "w.safetensors", classes=4)
    network = spec(tmp_path / "w.safetensors")
    model, random = fresh(network), fresh(BASE)
    backbone = weights.load_init(model, network, tmp_path / "w.safetensors")
    head = ("linear.weight", "linear.bias")
    assert backbone.init_report == (len(state) - 2, head, 0)
    for key, value in model.state_dict().items():
        origin = random.state_dict() if key in head else state
        assert torch.equal(value, origin[key]), key
    message = str(weights.match_init_weights(network, tmp_path / "w.safetensors"))
    assert message.endswith("arrays loaded, new, at random: linear.weight, linear.bias")


def test_where_all_is_new_nothing_is_loaded(tmp_path):
    state = saved(tmp_path / "w.safetensors")
    network = spec(tmp_path / "w.safetensors", new=["*"])
    model, random = fresh(network), fresh(BASE)
    weights.load_init(model, network, tmp_path / "w.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, random.state_dict()[key]), key
    message = str(weights.match_init_weights(network, tmp_path / "w.safetensors"))
    assert message == f"nothing is loaded: all {len(state)} arrays are new, at random"


def test_what_is_new_by_pattern_is_not_taken_over(tmp_path):
    state = saved(tmp_path / "w.safetensors")
    network = spec(tmp_path / "w.safetensors", new=["groups.2.*"])
    model, random = fresh(network), fresh(BASE)
    weights.load_init(model, network, tmp_path / "w.safetensors")
    for key, value in model.state_dict().items():
        origin = random.state_dict() if key.startswith("groups.2.") else state
        assert torch.equal(value, origin[key]), key


def refused(network, path) -> str:
    with pytest.raises(KdpipeError) as error:
        weights.match_init_weights(network, path)
    with pytest.raises(KdpipeError) as other:
        weights.load_init(fresh(network), network, path)
    assert str(other.value) == str(error.value)
    return str(error.value)


def test_what_is_missing_or_too_much_is_named_unless_allowed(tmp_path):
    path = tmp_path / "w.safetensors"
    more = {"aux.weight": torch.ones(3), "aux.bias": torch.ones(1)}
    saved(path, more=more, less=["stem.weight"])
    message = refused(spec(path), path)
    assert (
        "stem.weight is missing" in message and "aux.bias is not one of its parameters" in message
    )
    assert "starts.warm.new" in message and "starts.warm.unused" in message
    begun = weights.match_init_weights(spec(path, new=["stem.*"], unused=["aux.*"]), path)
    assert begun.new == ("stem.weight",)
    wider = {"stem.weight": torch.ones(16, 3, 3, 3)}
    saved(path, more=wider)
    assert "stem.weight has shape (16, 3, 3, 3), not" in refused(spec(path), path)
    assert weights.match_init_weights(spec(path, new=["stem.weight"]), path).new == ("stem.weight",)
    saved(path, more={"linear.bias": torch.full((10,), float("nan"))})
    assert "linear.bias is not finite" in refused(spec(path), path)


@pytest.mark.parametrize("key", ["new", "unused", "freeze"])
def test_a_pattern_that_matches_nothing_is_refused(key, tmp_path):
    path = tmp_path / "w.safetensors"
    saved(path)
    message = refused(spec(path, **{key: ["linaer.*"]}), path)
    assert f"starts.warm.{key}: 'linaer.*' matches none of" in message


def test_another_file_is_refused(tmp_path):
    saved(tmp_path / "w.safetensors")
    network = spec(tmp_path / "w.safetensors")
    saved(tmp_path / "w.safetensors", classes=4)
    assert "not the file given in the study" in refused(network, tmp_path / "w.safetensors")


def test_what_is_frozen_neither_learns_nor_counts(tmp_path):
    path = tmp_path / "w.safetensors"
    saved(path)
    network = spec(path, freeze=["stem.*", "groups.0.*"], backbone_lr=0.1)
    model = fresh(network)
    backbone = weights.load_init(model, network, path)
    backbone.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    nn.functional.cross_entropy(model(torch.randn(4, 1, 8, 8)), torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        stays = name.startswith(("stem.", "groups.0."))
        assert (parameter.grad is None) == stays, name
        assert backbone.lr_factors.get(name, 1) == (
            0.1 if not stays and "linear" not in name else 1
        )
    moved = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved and not [key for key in moved if key.startswith(("stem.", "groups.0."))]
    assert any(key.startswith("groups.1.") for key in moved)  # statistics of what learns


def test_all_of_the_backbone_can_stay_but_something_must_learn(tmp_path):
    path = tmp_path / "w.safetensors"
    saved(path)
    model = fresh(network := spec(path, freeze=["*"]))
    weights.load_init(model, network, path)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == ["linear.weight", "linear.bias"]


def test_a_network_without_a_linear_classifier_that_all_stays_is_refused():
    model = nn.Sequential(OrderedDict(only=nn.Conv2d(1, 10, 1)))
    requests = InitFrom(network="own", path="x", sha256="0" * 64, freeze=["*"])
    network = replace(BASE, name="warm", start=weights_info.build_init_spec(requests))
    with pytest.raises(KdpipeError, match="no trainable parameters of own are left"):
        weights.Backbone(model, network)


def test_torchvisions_names_are_those_of_its_files(tmp_path):
    """As somebody has fine-tuned it, and saved it with torch alone."""
    base = ModelSpec(name="shufflenet_v2_x0_5", revision=1, classes=10, channels=3)
    torch.manual_seed(3)
    reference = get_model("shufflenet_v2_x0_5", num_classes=6)
    torch.save({"state_dict": reference.state_dict()}, tmp_path / "w.pth")
    network = spec(tmp_path / "w.pth", base, freeze=["conv1.*", "stage2.*"])
    assert weights.match_init_weights(network, tmp_path / "w.pth").new == ("fc.weight", "fc.bias")
    model = fresh(network)
    backbone = weights.load_init(model, network, tmp_path / "w.pth")
    for key, value in reference.state_dict().items():
        same = torch.equal(model.state_dict()[f"network.{key}"], value)
        assert same != key.startswith("fc.") or value.numel() == 0, key
    backbone.train()
    assert not model.network.stage2[0].branch2[1].training
    assert model.network.stage3[0].branch2[1].training


def test_files_of_old_lack_counts_that_nobody_reads(tmp_path):
    path = tmp_path / "w.safetensors"
    state = saved(path)
    save_file({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    assert weights.match_init_weights(spec(path), path).new == ()


def test_weights_that_are_nowhere(tmp_path):
    requests = InitFrom.model_validate({"network": "wrn10-0.5", "path": "x", "sha256": "0" * 64})
    network = replace(BASE, name="warm", start=weights_info.build_init_spec(requests))
    with pytest.raises(KdpipeError, match="--weights is missing"):
        weights.load_init(fresh(network), network, None)
    with pytest.raises(KdpipeError, match="there is no file"):
        weights.load_init(fresh(network), network, tmp_path / "gone")
