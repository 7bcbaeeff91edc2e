"""Networks and weights of timm: its folders, a repository of the Hub, and what timm itself says."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from helpers import synthetic_data, tiny_study

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.models.config import PretrainedTeacher
from kdpipe.models.custom import validate
from kdpipe.models.pretrained import hub, input_transform, weights, weights_info
from kdpipe.plan import planner
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store

timm = pytest.importorskip("timm", reason="timm is not installed")
from huggingface_hub import constants as hub_constants  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402
from timm.models import get_pretrained_cfg, list_pretrained  # noqa: E402
from timm.models._hub import save_config_for_hf, save_for_hf  # noqa: E402

NAME, REPOSITORY, COMMIT = "test_resnet", "somebody/test_resnet.tuned", "c" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of timm with four classes, as timm saves it, and the network."""
    torch.manual_seed(3)
    network = timm.create_model(NAME, num_classes=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one batch says it all: untrained, it would see no difference
    with torch.no_grad():
        network(torch.from_numpy(pixels()) / 127.5 - 1)
        network.get_classifier().weight *= 30
    path = tmp_path_factory.mktemp("timm") / "tuned"
    save_for_hf(network.eval(), path, safe_serialization=True)
    return SimpleNamespace(path=path, network=network, sha256=sha256(path / "model.safetensors"))


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pixels(count=8, side=40):
    """Smooth ones, so that scaling says something."""
    coarse = torch.rand((count, 3, 5, 5), generator=torch.Generator().manual_seed(1)) * 255
    large = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return large.clamp(0, 255).to(torch.uint8).numpy()


def study(store, **changes) -> dict:
    """On coloured images of four classes, beside its card in `place`; timm's as `small`."""
    synthetic_data.mine(store, pixels(), 4)
    networks = {"small": {"build": f"timm.models.{NAME}"}}
    content = tiny_study.study(code=".", networks=networks, **json.loads(json.dumps(changes)))
    content["data"] = {"name": "mine", "path": "mine.npz", **changes.get("data", {})}
    content["recipe"] = {"epochs": 1, "batch_size": 4, "lr": 0.01}
    (store / "study.yaml").write_text(yaml.safe_dump(content))
    return content


def kdpipe(store, *words):
    """As typed there, in this process: the exit code, and all that was said."""
    message = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(store))
        stack.enter_context(contextlib.redirect_stdout(message))
        stack.enter_context(contextlib.redirect_stderr(message))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(hub_constants, "HF_HUB_CACHE", str(store / "hub"))
        code = main([*words])
    return code, message.getvalue()


# --- what timm itself says


def test_a_network_of_timm_is_tried_again_for_another_version_alone(tmp_path, monkeypatch):
    """Its card names the version, which stands for its code."""
    study(tmp_path)
    assert kdpipe(tmp_path, "check", "study.yaml", "--write")[0] == 0
    (path,) = tmp_path.glob("small-*.network.json")
    card = json.loads(path.read_text())
    assert card["libraries"] == {"timm": timm.__version__} and not card.get("code")

    def refuse(*_):
        raise KdpipeError("tried")

    monkeypatch.setattr(validate, "validate_model", refuse)
    assert kdpipe(tmp_path, "check", "study.yaml")[0] == 0
    for libraries in ({"timm": "0.1"}, {}):
        older = hashing.add_checksum(card | {"libraries": libraries})
        path.write_text(json.dumps(older))
        code, message = kdpipe(tmp_path, "check", "study.yaml")
        assert code == 2 and message.endswith("tried\n"), message


def test_a_config_says_what_timm_makes_of_it(tmp_path):
    """Of every network that timm has weights for: size, numbers, and its own eval transform."""
    for name in list_pretrained():
        inputs = get_pretrained_cfg(name)
        model = SimpleNamespace(pretrained_cfg=inputs.to_dict(), num_classes=inputs.num_classes)
        model.num_features = 1
        save_config_for_hf(model, str(tmp_path / "config.json"))
        known = hub.parse_config(tmp_path / "config.json")
        expected = resolve_data_config({}, pretrained_cfg=model.pretrained_cfg)
        assert known["size"] == expected["input_size"][1:], name
        assert (known["mean"], known["std"]) == (expected["mean"], expected["std"]), name
        assert known["interpolation"] == expected["interpolation"], name
        assert known["outputs"] == inputs.num_classes, name
        resize, cut, *_ = create_transform(**expected).transforms
        if expected["crop_mode"] == "center":
            assert known["resize"] == resize.size and known["size"] == tuple(cut.size), name
        else:
            assert known["resize"] is None, name


def test_logits_are_those_of_timms_own_transforms(folder, tmp_path, monkeypatch, capsys):
    """`card: true` and the card's own `resize`: what timm's eval transform shows its network."""
    card = weights_info.load_weights_info(
        PretrainedTeacher(network="small", path=str(folder.path), sha256="0" * 64)
    )
    assert card is not None and card.resize == 168 and card.size == (160, 160)
    source = {"network": "small", "path": str(folder.path), "sha256": folder.sha256}
    source["input"] = {"card": True, "resize": card.resize}
    content = study(tmp_path, pretrained={"tuned": source}, main={"teachers": ["tuned"]})
    monkeypatch.chdir(tmp_path)
    assert main(["network", "study.yaml"]) == 0 and main(["check", "study.yaml"]) == 0
    assert f"timm's config of {folder.path}" in capsys.readouterr().out
    plan, store = (
        planner.build_plan(load.validate_study(content, "s", tmp_path)),
        Store(tmp_path / "r"),
    )
    prepare_dataset("mine", store, str(tmp_path / "mine.npz"))
    run = next(run for run in plan.runs.values() if run.spec.pretrained)
    path = folder.path / "model.safetensors"
    assert plan.weights == {run.name: str(path)}
    train_run(run.spec, [], store, ExecutionOptions(weights=path, code=tmp_path))
    arrays, _ = read_arrays(store.run(run.name) / "outputs.safetensors")

    target = resolve_data_config({}, pretrained_cfg=folder.network.pretrained_cfg)
    resize, cut, _, normalise = create_transform(**target).transforms
    with torch.no_grad():
        x = torch.from_numpy(255 - pixels()).float() / 255
        # Of floats bicubic overshoots; of pictures that is cut off.
        expected = folder.network(normalise(cut(resize(x).clamp(0, 1))))
        whole = folder.network(normalise(resize(x).clamp(0, 1)))
    assert expected.std(0).min() > 0.1 and (whole - expected).abs().max() > 0.1
    actual = torch.from_numpy(arrays["test_logits"])
    assert torch.allclose(actual, expected, rtol=0, atol=1e-3)


# --- a folder of timm's


@pytest.mark.slow
def test_a_student_begins_from_a_folder(folder, tmp_path):
    begun = {"network": "small", "path": str(folder.path), "sha256": folder.sha256}
    studied = {"starts": {"tuned": begun}, "main": {"students": ["tuned"]}}
    study(tmp_path, **studied)
    assert kdpipe(tmp_path, "network", "study.yaml")[0] == 0
    code, message = kdpipe(tmp_path, "check", "study.yaml")
    arrays = len(folder.network.state_dict())
    assert code == 0 and f"{arrays} arrays loaded, nothing is new" in message, message
    assert "was trained on images of 160 x 160, normalized by mean [0.5, 0.5, 0.5]" in message
    study(tmp_path, **studied, data={"mean": [0.5] * 3, "std": [0.5] * 3})
    assert "note: starts" not in kdpipe(tmp_path, "check", "study.yaml")[1]


def test_what_timm_saves_without_safetensors_is_found(folder, tmp_path):
    save_for_hf(folder.network, tmp_path / "bin")
    begun = PretrainedTeacher(network="small", path=str(tmp_path / "bin"), sha256="0" * 64)
    file = weights_info.find_weights_file(begun)
    assert file == str(tmp_path / "bin" / "pytorch_model.bin")
    state = weights.read_weights(tmp_path / "bin" / "pytorch_model.bin", "", "small")
    assert all(torch.equal(state[key], v) for key, v in folder.network.state_dict().items())


def changed(folder, to, change):
    """The folder with another config."""
    shutil.copytree(folder.path, to)
    config = json.loads((to / "config.json").read_text())
    change(config)
    (to / "config.json").write_text(json.dumps(config))
    return {"network": "small", "path": str(to), "sha256": folder.sha256}


DATA = input_transform.DataShape((3, 40, 40), 4)
CHANGES = {
    "nearest": (
        lambda c: c["pretrained_cfg"].update(interpolation="nearest"),
        "has the interpolation 'nearest', which is none of bilinear, bicubic",
    ),
    "grey": (
        lambda c: c["model_args"].update(in_chans=1),
        "does not specify mean and std for the channels of its network: set both",
    ),
    "no size": (lambda c: c["pretrained_cfg"].pop("input_size"), "does not specify the input"),
    "no crop": (lambda c: c["pretrained_cfg"].update(crop_pct=0), "does not specify the input"),
    "no list": (lambda c: c["pretrained_cfg"].update(mean=0.5), "does not specify the input"),
    "no number": (
        lambda c: c["pretrained_cfg"].update(std=[1, 1, "x"]),
        "does not specify the input",
    ),
    "ten classes": (
        lambda c: c.update(num_classes=10),
        "outputs: it has 10 classes, but the data have 4",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_config_that_says_it_not_is_refused(case, folder, tmp_path):
    change, message = CHANGES[case]
    source = changed(folder, tmp_path / "other", change) | {"input": {"card": True}}
    with pytest.raises(KdpipeError) as error:
        input_transform.resolve_input(PretrainedTeacher.model_validate(source), DATA)
    assert message in str(error.value)


def test_its_names_of_classes_are_known_and_so_is_their_number(folder, tmp_path):
    def named(config):
        config.update(num_classes=3, label_names=["ant", "bee", "cat"])

    source = changed(folder, tmp_path / "named", named) | {"classes": ["cat", "ant"]}
    inputs = input_transform.resolve_input(
        PretrainedTeacher.model_validate(source), input_transform.DataShape((3, 40, 40), 2)
    )
    assert inputs is not None and (inputs.classes, inputs.class_indices) == (3, (2, 0))
    source = changed(folder, tmp_path / "plain", lambda c: None) | {"classes": [3, 1]}
    inputs = input_transform.resolve_input(
        PretrainedTeacher.model_validate(source), input_transform.DataShape((3, 40, 40), 2)
    )
    assert inputs is not None and (inputs.classes, inputs.class_indices) == (4, (3, 1))


# --- a repository of the Hub


@pytest.fixture
def hub_of(tmp_path):
    """A pretended Hub, asked by the real huggingface_hub: its address, and what it was asked."""

    @contextlib.contextmanager
    def started(folder):
        requests = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(b"")

            def do_GET(self):
                requests.append(self.path)
                self.answer(None)

            def answer(self, body):
                actual = re.fullmatch(f"/{REPOSITORY}/resolve/[^/]+/([^/]+)", self.path)
                path = folder / actual[1] if actual else None
                if path is None or not path.exists():
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{sha256(path)}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if body is None else body)

            def log_message(self, *words):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            server.server_close()

    return started


def of_the_hub(store, folder, **more):
    """A study whose student begins from the repository, and whose teacher brings it."""
    source = {"network": "small", "weights": REPOSITORY} | more
    study(
        store,
        starts={"tuned": source},
        pretrained={"big": source},
        main={"students": ["tuned"], "teachers": ["big"]},
    )


@pytest.mark.slow
def test_jobs_fetch_what_is_not_in_the_cache(folder, hub_of, tmp_path, monkeypatch):
    of_the_hub(tmp_path, folder, sha256=folder.sha256)
    with hub_of(folder.path) as (address, requests):
        monkeypatch.setattr(hub_constants, "ENDPOINT", address)
        assert kdpipe(tmp_path, "network", "study.yaml")[0] == 0
        code, message = kdpipe(tmp_path, "check", "study.yaml")
        assert code == 0, message
        assert not [path for path in requests if REPOSITORY in path], "a check fetches nothing"
        line = [sys.executable, "-m", "kdpipe", "run", "study.yaml", "--cores", "1"]
        there = {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "hub")}
        env = os.environ | there
        process = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr
        assert len([path for path in requests if path.endswith("model.safetensors")]) == 1
    (run,) = (tmp_path / "results/runs").glob("small-pretrained-*")
    written, _ = read_arrays(run / "weights.safetensors")
    for key, value in folder.network.state_dict().items():
        assert np.array_equal(written[key], value.numpy()), key
    code, message = kdpipe(tmp_path, "check", "study.yaml")  # in the cache, without the Hub
    assert code == 0 and "arrays loaded" in message, message


@pytest.mark.slow
def test_a_checksum_and_a_config_are_asked_for_with_the_command(folder, hub_of, tmp_path):
    of_the_hub(tmp_path, folder)
    assert kdpipe(tmp_path, "network", "study.yaml")[0] == 2
    code, message = kdpipe(tmp_path, "check", "study.yaml")
    missing = f"missing required key, and {REPOSITORY} is not on this machine; run: hf download"
    assert code == 2 and f"starts.tuned.sha256: {missing} {REPOSITORY}" in message, message
    of_the_hub(tmp_path, folder, sha256=folder.sha256)
    content = yaml.safe_load((tmp_path / "study.yaml").read_text())
    content["pretrained"]["big"]["input"] = {"card": True}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    code, message = kdpipe(tmp_path, "check", "study.yaml")
    expected = f"input.card: the config of {REPOSITORY} is not on this machine; run: hf download"
    assert code == 2 and expected in message, message

    with hub_of(folder.path) as (address, _):  # what the command does
        get = "import sys, huggingface_hub as hub; hub.hf_hub_download(*sys.argv[1:])"
        there = {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "hub")}
        for name in ("config.json", "model.safetensors"):
            line = [sys.executable, "-c", get, REPOSITORY, name]
            subprocess.run(line, env=os.environ | there, check=True)
    assert kdpipe(tmp_path, "network", "study.yaml")[0] == 0
    code, message = kdpipe(tmp_path, "check", "study.yaml")
    assert code == 0 and f"(timm's config of {REPOSITORY})" in message, message
    of_the_hub(tmp_path, folder)
    code, message = kdpipe(tmp_path, "check", "study.yaml")
    assert code == 2 and f"that of the existing file is {folder.sha256}" in message, message


@pytest.mark.parametrize("why", ["offline", "not installed"])
def test_without_the_hub_a_job_says_what_to_type(why, tmp_path):
    """Of the job, its one call."""
    gone = "sys.modules['huggingface_hub'] = None;" if why == "not installed" else ""
    call = (
        f"import sys; {gone} from kdpipe.models.pretrained import hub; "
        f"hub.download_weights('{REPOSITORY}')"
    )
    there = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-c", call]
    process = subprocess.run(line, env=os.environ | there, capture_output=True, text=True)
    assert (
        f"the weights {REPOSITORY} are not on this machine and cannot be downloaded"
        in process.stderr
    )
    assert f"run: hf download {REPOSITORY}" in process.stderr
    assert ("huggingface_hub is not installed" in process.stderr) is (why == "not installed")
    assert ("'kdpipe[timm]'" in process.stderr) is (why == "not installed")


def test_a_plan_needs_neither_timm_nor_the_hub(folder, tmp_path):
    """Where they are not installed a study is planned, and its report rendered, from cards."""
    of_the_hub(tmp_path, folder, sha256=folder.sha256)
    assert kdpipe(tmp_path, "network", "study.yaml")[0] == 0
    without = (
        "import sys; sys.modules.update(dict.fromkeys(['timm', 'huggingface_hub']));"
        "from kdpipe.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", without, "plan", "study.yaml"]
    process = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"weights": "timm/x", "path": "x.safetensors"}, "remove path"),
        ({"weights": "timm/x y", "sha256": "0" * 64}, "Repo id must use"),
        ({"weights": "timm/x/y", "sha256": "0" * 64}, "timm/x/y"),
        ({"weights": "IMAGENET1K_V1"}, "torchvision has none for small"),
    ],
)
def test_what_cannot_be_is_refused(source, message, tmp_path):
    content = study(
        tmp_path, pretrained={"big": {"network": "small"} | source}, main={"teachers": ["big"]}
    )
    with pytest.raises(StudyError, match=re.escape(message)):
        load.validate_study(content, "s", tmp_path)
