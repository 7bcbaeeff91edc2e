"""A teacher with an input of its own: its logits are those that torchvision's transforms give."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from torchvision.models import get_model
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2 import functional as theirs

from kdpipe import hashing
from kdpipe.config import load
from kdpipe.data.batches import choose_eval_batch_size
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.jobs.validate import read_spec
from kdpipe.models import factory, layers
from kdpipe.models.pretrained import adapter
from kdpipe.plan import planner
from kdpipe.runs import metrics
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.files import read_arrays
from kdpipe.runs.spec import AdapterSpec, ModelSpec
from kdpipe.runs.store import Store
from kdpipe.training.teachers import online

NAME, PICKED = "shufflenet_v2_x0_5", [11, 2, 970, 5]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TOLERANCE = {"rtol": 0, "atol": 2e-5}  # of logits of about 1: of floats alone


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network of torchvision as somebody has saved it, and the file."""
    torch.manual_seed(0)
    network = get_model(NAME, num_classes=1000)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one batch says it all: untrained, it would see no difference
    with torch.no_grad():
        network(theirs.normalize(theirs.resize(floats(images()), [64, 64]), MEAN, STD))
    network.eval()
    with torch.no_grad():  # no class is everybody's
        x = theirs.resize(floats(255 - images()), [224, 224])
        network.fc.bias -= network(theirs.normalize(x, MEAN, STD)).mean(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(network.state_dict(), path)
    return network, path


def images(channels=3, height=30, width=30, count=8):
    """Smooth ones, so that scaling says something, with noise."""
    rng = np.random.RandomState(0)
    coarse = torch.from_numpy(rng.randint(0, 256, (count, channels, 5, 5)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").numpy()
    return (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)


def build(tmp_path, weights, pretrained, main=None, shape=(3, 30, 30), **changes):
    """A study on such images, and where they are prepared; `pretrained` by label, of those weights
    unless it says others.
    """
    pixels = images(*shape)
    synthetic_data.mine(tmp_path, pixels, 4)
    path = str(weights[1])
    digest = hashlib.sha256(weights[1].read_bytes()).hexdigest()
    of_file = {"network": NAME, "path": path, "sha256": digest, "outputs": 1000, "classes": PICKED}
    content = tiny_study.study(
        pretrained={label: of_file | source for label, source in pretrained.items()},
        main={"teachers": list(pretrained)} | (main or {}),
        **changes,
    )
    content["recipe"] = {"epochs": 1, "batch_size": 4, "lr": 0.01}
    content["data"] = {"name": "mine", "path": "mine.npz"} | changes.get("data", {})
    plan = planner.build_plan(load.validate_study(content, "s", tmp_path))
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(tmp_path / "mine.npz"))
    teachers = {run.name: run for run in plan.runs.values() if run.spec.pretrained}
    for run in teachers.values():
        spec = json.loads(hashing.canonical_json(run.spec))  # as a job is told it
        train_run(read_spec("run", spec), [], store, ExecutionOptions(weights=weights[1]))
    return SimpleNamespace(
        plan=plan, store=store, teachers=list(teachers.values()), test=255 - pixels
    )


def outputs(study, run, split="test"):
    arrays, _ = read_arrays(study.store.run(run.name) / "outputs.safetensors")
    return torch.from_numpy(arrays[f"{split}_logits"])


def floats(pixels, channels=3):
    return torch.from_numpy(pixels).float().div(255).expand(-1, channels, -1, -1)


def get_message(network, x, mean=MEAN, std=STD):
    with torch.no_grad():
        return network(theirs.normalize(x, mean, std))[:, PICKED]


# --- the proof: what torchvision itself says of the study's images


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(3, 30, 30), (1, 28, 28), (3, 260, 240)])
def test_logits_are_those_of_torchvisions_own_transforms(shape, interpolation, tmp_path, weights):
    """By its own rule for pictures: the shorter side to 256, the centre of 224."""
    inputs = {"mean": MEAN, "std": STD, "size": 224, "resize": 256, "interpolation": interpolation}
    study = build(tmp_path, weights, {"big": {"input": inputs}}, shape=shape)
    transforms = ImageClassification(
        crop_size=224, resize_size=256, interpolation=InterpolationMode(interpolation)
    )
    with torch.no_grad():
        x = floats(study.test)
        if interpolation == "bicubic":  # of floats, which overshoot; of pictures it is cut off
            x = theirs.resize(x, [256], InterpolationMode.BICUBIC).clamp(0, 1)
            expected = get_message(weights[0], theirs.center_crop(x, [224]))
        else:
            expected = weights[0](transforms(x))[:, PICKED]
    assert expected.std() > 0.1
    assert torch.allclose(outputs(study, study.teachers[0]), expected, **TOLERANCE)


@pytest.mark.parametrize("shape", [(3, 224, 224), (3, 30, 30)])
def test_the_whole_crop_is_scaled_and_at_its_own_size_nothing_is(shape, tmp_path, weights):
    inputs = {"mean": MEAN, "std": STD, "size": 224}
    study = build(tmp_path, weights, {"big": {"input": inputs}}, shape=shape)
    expected = get_message(weights[0], theirs.resize(floats(study.test), [224, 224]))
    assert torch.allclose(outputs(study, study.teachers[0]), expected, **TOLERANCE)


def test_a_wrong_normalisation_is_another_error(tmp_path, weights):
    """The labels are what the network says of the images when it is fed as it wants."""
    right = {"mean": MEAN, "std": STD, "size": 224}
    errors = right | {"mean": [0.9, 0.1, 0.5], "std": [1.0, 0.05, 0.3]}
    study = build(tmp_path, weights, {"right": {"input": right}, "wrong": {"input": errors}})
    actual, other = (outputs(study, run) for run in study.teachers)
    truth = get_message(weights[0], theirs.resize(floats(study.test), [224, 224])).argmax(1).numpy()
    assert metrics.compute_metrics(actual.numpy(), truth)["accuracy"] == 1
    assert metrics.compute_metrics(other.numpy(), truth)["accuracy"] < 1
    remaining = [
        tiny_study.record(study.store, run)["last"]["test"]["accuracy"] for run in study.teachers
    ]
    assert remaining[0] == (truth == np.arange(8) % 4).mean()


def test_a_coloured_crop_becomes_a_grey_one_as_pil_makes_it():
    inputs = {"channels": 1, "classes": 2, "size": [8, 8], "resize": None, "picked": None}
    inputs |= {"mean": [0.5], "std": [0.25], "interpolation": "bilinear"}
    model = adapter.InputAdapter(
        torch.nn.Identity(), 3, AdapterSpec(input_revision=1, **inputs), torch.contiguous_format
    )
    adapter.set_normalization(model, [0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    pixels = floats(images(height=8, width=8))
    x = theirs.normalize(pixels, [0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    expected = (theirs.rgb_to_grayscale(pixels) - 0.5) / 0.25
    assert torch.allclose(model(x), expected, rtol=0, atol=2e-3)  # torchvision: 0.2989, not 0.299
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose(model(x), ((pixels * weights).sum(1, True) - 0.5) / 0.25, atol=1e-5)


# --- wherever it is asked


def test_several_with_several_inputs_teach_together(tmp_path, weights):
    """An ensemble of two inputs, live and from tables, gives the mean of what each says."""
    one = {"input": {"mean": MEAN, "std": STD, "size": 224}}
    other = {"input": {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 224, "resize": 240}}
    for way in ("live", "table"):
        (tmp_path / way).mkdir()
        study = build(
            tmp_path / way,
            weights,
            {"one": one, "other": other},
            main={"teachers": ["both"]},
            ensembles={"both": {"networks": ["one", "other"]}},
            teacher_outputs=way,
        )
        assert len(study.teachers) == 2
        for table in study.plan.logit_caches.values():
            cache_logits(table.spec, study.store)
        (cell,) = study.plan.cells
        train_run(cell.run.spec, [], study.store)
        assert tiny_study.record(study.store, cell.run)["status"] == "done"
        if way == "live":
            teacher = online.load_online_teacher(cell.run.spec, study.store)
            x = theirs.normalize(floats(study.test), *measured(255 - study.test))
            actual = teacher.forward(x).softmax(1)
            apart = [outputs(study, run).softmax(1) for run in study.teachers]
            assert torch.allclose(actual, (apart[0] + apart[1]) / 2, atol=1e-5)
            assert (apart[0] - apart[1]).abs().max() > 0.05


def measured(pixels):
    """Mean and deviation as a run measures them."""
    x = pixels / 255
    return x.mean((0, 2, 3)).tolist(), x.std((0, 2, 3)).tolist()


def test_a_probe_hears_what_its_classifier_is_given(weights):
    inputs = {"channels": 3, "classes": 1000, "size": [64, 64], "resize": None, "picked": PICKED}
    inputs |= {"mean": MEAN, "std": STD, "interpolation": "bilinear"}
    adapter_spec = AdapterSpec(input_revision=1, **inputs)
    network = ModelSpec(name=NAME, revision=1, classes=4, channels=1, input=adapter_spec)
    model = factory.build_model(network)
    adapter.unwrap(model).network.load_state_dict(weights[0].state_dict())
    x, seen = floats(images(1), 1), []
    weights[0].fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    get_message(weights[0], theirs.resize(x.expand(-1, 3, -1, -1), [64, 64]))
    with layers.record_head_input(model, 4, NAME) as heard:
        assert torch.allclose(heard(x), seen[0], atol=1e-5)
    parts = adapter.forward_in_chunks(
        model, torch.cat([x] * 5), choose_eval_batch_size
    )  # 40: 32, and the rest
    assert torch.allclose(parts, model(x).repeat(5, 1), **TOLERANCE)


def test_a_gpu_is_shown_as_many_as_it_would_be_of_what_the_network_wants():
    """Not of the study's small images. `meta` is no CPU either, and has no numbers to compute."""
    inputs = {"channels": 3, "classes": 1000, "size": [224, 224], "resize": None, "picked": PICKED}
    inputs |= {"mean": MEAN, "std": STD, "interpolation": "bilinear"}
    adapter_spec = AdapterSpec(input_revision=1, **inputs)
    network = ModelSpec(name=NAME, revision=1, classes=4, channels=1, input=adapter_spec)
    model, seen = factory.build_model(network).to("meta").eval(), []
    adapter.unwrap(model).network.register_forward_pre_hook(
        lambda _, inputs: seen.append(tuple(inputs[0].shape))
    )
    adapter.forward_in_chunks(
        model, torch.zeros(200, 1, 8, 8, device="meta"), choose_eval_batch_size
    )
    assert seen == [(83, 3, 224, 224), (83, 3, 224, 224), (34, 3, 224, 224)]
