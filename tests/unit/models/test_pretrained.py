"""Teachers that bring their weights: put in whole, verified, refused by name, never executed."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from helpers import tiny_study
from safetensors.torch import save_file

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.models.factory import build_named_model
from kdpipe.models.pretrained import weights
from kdpipe.plan import planner
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.files import read_arrays
from kdpipe.runs.spec import PretrainedSpec
from kdpipe.runs.store import Store


def network(name="wrn10-1"):
    torch.manual_seed(5)
    model = build_named_model(name, num_classes=10, in_channels=1)
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    return model


def saved(path, state=None):
    state = network().state_dict() if state is None else state
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def study(path, sha256, name="wrn10-1", **changes):
    source = {"network": name, "path": str(path), "sha256": sha256}
    return tiny_study.study(
        pretrained={"mine": source}, teacher_outputs="live", main={"teachers": ["mine"]}, **changes
    )


@pytest.mark.parametrize("form", ["w.safetensors", "w.pt", "nested.pth", "parallel.pth"])
def test_a_file_teaches_as_it_is(form, store, tmp_path):
    path, state = tmp_path / form, network().state_dict()
    if form.startswith("nested"):
        state = {"epoch": 3, "state_dict": state}
    elif form.startswith("parallel"):
        state = {f"module.{key}": value for key, value in state.items()}
    sha256 = saved(path, state)
    plan = planner.build_plan(load.validate_study(study(path, sha256), "s"))
    teacher, *_ = (run for run in plan.runs.values() if run.spec.pretrained)
    assert teacher.name.startswith("wrn10-1-pretrained-s0-")
    assert plan.weights == {teacher.name: str(path)}
    train_run(teacher.spec, [], store, ExecutionOptions(weights=path))
    written, _ = read_arrays(store.run(teacher.name) / "weights.safetensors")
    for key, value in network().state_dict().items():
        assert np.array_equal(written[key], value.numpy()), key
    path.unlink()  # a student needs the run alone
    for run in plan.runs.values():
        train_run(run.spec, [], store)
        assert tiny_study.record(store, run)["status"] == "done"
    record = tiny_study.record(store, teacher)
    outputs, _ = read_arrays(store.run(teacher.name) / "outputs.safetensors")
    hits = (outputs["test_logits"].argmax(1) == outputs["test_labels"]).mean()
    assert record["last"]["test"]["accuracy"] == pytest.approx(hits)
    assert record["last"]["epoch"] == 0 and record["best"] is None


def test_one_run_serves_all_seeds_and_its_file_is_in_the_name(tmp_path):
    sha256 = saved(tmp_path / "w.pt")
    plan = planner.build_plan(
        load.validate_study(study(tmp_path / "w.pt", sha256, seeds=[0, 1, 2]), "s")
    )
    assert [run.name for run in plan.runs.values() if run.spec.pretrained] == list(plan.weights)
    assert len(plan.weights) == 1
    assert len({run.name for run in plan.runs.values() if run.spec.teacher}) == 3
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "w.pt", tmp_path / "elsewhere" / "v.pt")
    moved = study(tmp_path / "elsewhere" / "v.pt", sha256, seeds=[0, 1, 2])
    assert list(planner.build_plan(load.validate_study(moved, "s")).runs) == list(plan.runs)


def test_paths_are_seen_from_the_study(tmp_path):
    sha256 = saved(tmp_path / "w.pt")
    (tmp_path / "studies").mkdir()
    path = tiny_study.write(tmp_path / "studies" / "s.yaml", study("../w.pt", sha256))
    assert list(planner.build_plan(load.load_study(path)).weights.values()) == [
        str(tmp_path / "w.pt")
    ]


# --- refused


def attempt(path, sha256, store, name="wrn10-1"):
    plan = planner.build_plan(load.validate_study(study(path, sha256, name), "s"))
    run = next(run for run in plan.runs.values() if run.spec.pretrained)
    with pytest.raises(KdpipeError) as error:
        train_run(run.spec, [], store, ExecutionOptions(weights=path))
    assert not (store.run(run.name) / "record.json").exists()
    return str(error.value)


def test_another_file_under_its_name_is_refused(store, tmp_path):
    sha256 = saved(tmp_path / "w.pt")
    saved(tmp_path / "w.pt", {**network().state_dict(), "linear.bias": torch.ones(10)})
    assert "not the file given in the study" in attempt(tmp_path / "w.pt", sha256, store)


def test_weights_of_another_network_are_refused_by_name(store, tmp_path):
    path = tmp_path / "w.safetensors"
    sha256 = saved(path)
    message = attempt(path, sha256, store, name="wrn16-1")
    assert "does not fit wrn16-1" in message and "groups.0.1" in message
    message = attempt(path, sha256, store, name="wrn10-2")
    assert "has shape (16, 16, 3, 3), not (32, 16, 3, 3)" in message


def test_weights_that_are_not_finite_are_refused(store, tmp_path):
    state = network().state_dict() | {"linear.bias": torch.full((10,), float("nan"))}
    sha256 = saved(tmp_path / "w.pt", state)
    assert "linear.bias is not finite" in attempt(tmp_path / "w.pt", sha256, store)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("was-executed",)


@pytest.mark.parametrize("content", [{"linear.bias": Hostile()}, Hostile(), [1, 2], "text"])
def test_a_pickle_of_something_else_is_not_executed(content, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sha256 = saved(tmp_path / "w.pt", content)
    message = attempt(tmp_path / "w.pt", sha256, store)
    assert "cannot be read" in message or "does not contain a state dict" in message
    assert not (tmp_path / "was-executed").exists()


def test_a_damaged_file_is_refused(store, tmp_path):
    path = tmp_path / "w.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:-100])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert "cannot be read as safetensors" in attempt(path, sha256, store)


def test_mistakes_are_found_before_any_job(tmp_path):
    sha256 = saved(tmp_path / "w.pt")

    def get_message(**source):
        content = study(tmp_path / "w.pt", sha256)
        content["pretrained"]["mine"] |= source
        content["pretrained"]["mine"] = {
            key: value for key, value in content["pretrained"]["mine"].items() if value is not None
        }
        with pytest.raises(StudyError) as error:
            load.validate_study(content, "s")
        return str(error.value)

    assert f"missing required key; that of the existing file is {sha256}" in get_message(
        sha256=None
    )
    assert "there is no file" in get_message(path=str(tmp_path / "v.pt"), sha256=None)
    assert "give either weights" in get_message(path=None, sha256=None)
    assert "there is no network 'wrn'" in get_message(network="wrn")
    assert "torchvision has none for wrn10-1" in get_message(weights="IMAGENET1K_V1", sha256=None)
    assert "sha256: 'abc': a SHA-256 has 64 hexadecimal digits" in get_message(sha256="abc")
    content = study(tmp_path / "w.pt", sha256)
    content["experiments"][0]["stops"] = ["checkpoint 1"]
    with pytest.raises(StudyError, match="is pretrained, so it has only the stop full"):
        load.validate_study(content, "s")
    content = study(tmp_path / "w.pt", sha256)
    content["experiments"][0]["teachers"] = ["min"]
    with pytest.raises(StudyError, match="did you mean mine"):
        load.validate_study(content, "s")


# --- torchvision's, on images of 224


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5"])
def test_a_network_of_torchvision_teaches_with_weights_it_brings(name, tmp_path, monkeypatch):
    """Made weights stand in for the download: 1,000 classes, 3 x 224 x 224, one epoch."""
    rng = np.random.RandomState(0)
    result = {
        "train_images": rng.randint(0, 256, (1000, 3, 4, 4)).astype(np.uint8),
        "train_labels": np.arange(1000),
        "test_images": rng.randint(0, 256, (4, 3, 4, 4)).astype(np.uint8),
        "test_labels": np.arange(4),
    }
    np.savez(tmp_path / "many.npz", **result)
    make_card(tmp_path / "many.npz", None, None)
    reference = build_named_model(name, num_classes=1000, in_channels=3).network
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    requests = []

    def fetch(url, target, prefix, progress):
        requests.append((url, prefix))
        os.link(tmp_path / "w.pth", target)

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    content = tiny_study.study(
        pretrained={"big": {"network": name, "weights": "IMAGENET1K_V1"}},
        main={"teachers": ["big"], "students": [name]},
        teacher_outputs="live",
    )
    content["data"] = {"name": "many", "path": "many.npz", "train_size": 8, "resize": 224}
    made_plan = planner.build_plan(load.validate_study(content, "s", tmp_path))
    run = next(run for run in made_plan.runs.values() if run.spec.pretrained)
    assert run.spec.pretrained.to_dict() == {"weights": "IMAGENET1K_V1", "sha256": "f707e7126e"}
    store = Store(tmp_path / "results")
    prepare_dataset("many", store, str(tmp_path / "many.npz"))
    with pytest.raises(KdpipeError, match="not the file given in the study"):
        train_run(run.spec, [], store)
    assert requests == [(requests[0][0], "f707e7126e")] and requests[0][0].startswith("https://")
    model = build_named_model(name, num_classes=1000, in_channels=3)
    inputs = PretrainedSpec(weights="IMAGENET1K_V1", sha256=digest[:10])
    spec = replace(run.spec, pretrained=inputs)
    weights.load_pretrained(model, spec, None, [0.5] * 3, [0.5] * 3)
    assert torch.equal(model.network.fc.weight, reference.fc.weight)
    scratch = next(r for r in made_plan.runs.values() if not r.spec.pretrained)
    assert ": done, " in train_run(scratch.spec, [], store)  # without validation images


# --- what `kdpipe check` compares, before anything runs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"sha256": "ab" * 32}, "is not the file given in the study: its sha256 is"),
        ({"network": "wrn10-2"}, "has shape (16, 16, 3, 3), not (32, 16, 3, 3)"),
        ({"network": "wrn16-1"}, "does not fit wrn16-1"),
    ],
)
def test_check_compares_a_file_with_what_the_study_says(change, message, tmp_path, capsys):
    path = tmp_path / "w.pt"
    content = study(path, saved(path))
    content["pretrained"]["mine"] |= change
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    code = main(["check", str(tmp_path / "study.yaml")])
    assert code == (0 if message is None else 2)
    assert message is None or message in capsys.readouterr().err
