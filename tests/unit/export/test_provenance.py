"""What an export says of its origin: license, teachers and their licenses, study and commands."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from helpers import exported_study, tiny_study
from safetensors.numpy import load_file, save_file

import kdpipe
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.export import exporter, onnx_graph, provenance
from kdpipe.jobs.train import train_run
from kdpipe.models.pretrained import kdpipe_export
from kdpipe.models.pretrained.origin import find_origin
from kdpipe.plan import planner
from kdpipe.report import page
from kdpipe.runs.execution_options import ExecutionOptions


def read_config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def read_front_matter(folder: Path) -> dict:
    _, matter, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(matter)


@pytest.fixture
def quick(copied, monkeypatch):
    """The graphs of the export that is there, in place of new ones."""
    names = ("model.onnx", "model.int8.onnx")
    known = {name: (copied / "export" / name).read_bytes() for name in names}
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: known["model.onnx"])
    monkeypatch.setattr(onnx_graph, "quantize", lambda *_: known["model.int8.onnx"])


def test_a_license_is_the_one_that_was_asked_for(copied, quick, capsys):
    assert read_config(copied / "export")["license"] == "not stated"
    assert read_front_matter(copied / "export")["license"] == "unknown"
    assert "License: not stated" in (copied / "export/README.md").read_text()
    assert main(["export", "study.yaml", "--license", "MIT", "--to", "mit"]) == 0
    assert "license: MIT\n" in capsys.readouterr().out
    assert read_config(Path("mit"))["license"] == "MIT"
    assert read_front_matter(Path("mit"))["license"] == "mit"
    command = read_config(Path("mit"))["commands"][1]
    assert command.endswith("--license MIT") and command in Path("mit/README.md").read_text()
    assert main(["export", "study.yaml", "--license", "House rules 2", "--to", "house"]) == 0
    facts = read_front_matter(Path("house"))
    assert (facts["license"], facts["license_name"]) == ("other", "House rules 2")
    for wrong in ("", " ", "a\nb"):
        with pytest.raises(SystemExit):
            main(["export", "study.yaml", "--license", wrong, "--to", "none"])
        assert "write a name such as mit" in capsys.readouterr().err


def test_the_study_and_the_commands_are_named(copied, quick):
    """The commands are the ones to type, and the digest is that of sha256sum."""
    assert main(["export", "study.yaml", "--smallest", "--to", "small"]) == 0
    config = read_config(Path("small"))
    digest = hashlib.sha256(Path("study.yaml").read_bytes()).hexdigest()
    assert config["study_file"] == {"name": "study.yaml", "sha256": digest}
    train, export = config["commands"]
    assert train == f"kdpipe run study.yaml --cores 2 results/runs/{config['run']}/record.json"
    assert export == f"kdpipe export study.yaml {config['run']} --smallest"
    assert main([*shlex.split(export)[1:], "--to", "again"]) == 0
    again = read_config(Path("again"))
    assert again["files"] == config["files"] and again["model"] == config["model"]
    (data,) = config["datasets"]
    assert data["name"] == "digits" and data["sha256"] in data["sha256"]


def test_the_hub_and_transformers_js_find_the_graphs(built):
    """Under their names, as the same files: a link to a file of the folder takes no space."""
    folder = built / "export"
    pairs = {"onnx/model.onnx": "model.onnx", "onnx/model_quantized.onnx": "model.int8.onnx"}
    assert read_config(folder)["copies"] == pairs
    for copy, name in pairs.items():
        assert (folder / copy).samefile(folder / name) and not (folder / copy).is_symlink()
        assert f"`{copy}`: the same file as `{name}`" in (folder / "README.md").read_text()


def test_without_hard_links_the_graphs_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    exporter.write_folder(tmp_path / "out", {"model.onnx": b"graph"}, {"onnx/a": "model.onnx"})
    assert (tmp_path / "out/onnx/a").read_bytes() == b"graph"
    assert not (tmp_path / "out/onnx/a").samefile(tmp_path / "out/model.onnx")


def test_the_card_passes_the_checks_of_huggingface_hub(copied, quick):
    """Offline: its own classes read the card, and write the same front matter again."""
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    assert main(["export", "study.yaml", "--license", "apache-2.0", "--to", "out"]) == 0
    card = hub.ModelCard(Path("out/README.md").read_text(), ignore_metadata_errors=False)
    assert card.data.license == "apache-2.0" and card.data.datasets == ["digits"]
    float_result, int8_result = card.data.eval_results
    rows = read_config(Path("out"))["measured"]["files"]
    for result, row in zip((float_result, int8_result), rows.values(), strict=True):
        assert result.metric_value == pytest.approx(row["accuracy"][0] / 100, abs=1e-6)
        assert (result.task_type, result.dataset_type) == ("image-classification", "digits")
    kept, written = card.data.to_dict(), read_front_matter(Path("out"))
    del kept["model-index"], written["model-index"]  # it joins the two results: see above
    assert kept == written
    broken = Path("out/README.md").read_text().replace("task:", "tusk:")
    with pytest.raises(ValueError, match="task"):  # it does look
        hub.ModelCard(broken, ignore_metadata_errors=False)


def test_front_matter_has_only_what_the_hub_accepts(built):
    card = planner.build_plan(load.load_study(built / "study.yaml")).card
    entries = [{"repository": "timm/resnet18.a1_in1k"}, {}, {"repository": "timm/resnet18.a1_in1k"}]
    config = {"license": "Apache-2.0", "base_model": entries}
    assert provenance.describe_front_matter(config, card) == {
        "license": "apache-2.0",
        "base_model": ["timm/resnet18.a1_in1k"],
        "datasets": ["digits"],
    }


@pytest.fixture
def taught(copied, monkeypatch):
    """A student of a file under a license that restricts, exported; and the study's plan.

    The file is the weights of the first export: their graphs are those of the student, so the
    check of the graph against the network is left out.
    """
    arrays = load_file("export/model.safetensors")
    save_file(arrays, "stranger.safetensors", {"license": "cc-by-nc-4.0"})
    digest = hashlib.sha256(Path("stranger.safetensors").read_bytes()).hexdigest()
    source = {"network": "wrn10-0.5", "path": "stranger.safetensors", "sha256": digest}
    content = exported_study.STUDY | {
        "starts": {"warm": source},
        "pretrained": {"stranger": dict(source)},
        "experiments": [
            {"name": "main", "teachers": ["stranger"], "students": ["warm"], "methods": ["kd"]}
        ],
    }
    tiny_study.write(Path("study.yaml"), content)
    plan = planner.build_plan(load.load_study("study.yaml"))
    store = exporter.Store(Path("results"))
    for run in plan.runs.values():
        path = plan.weights.get(run.name)
        options = ExecutionOptions(weights=Path(path) if path else None)
        train_run(run.spec, sorted(plan.checkpoints_to_keep.get(run.name, ())), store, options)
    return plan, digest


def test_teachers_and_initial_weights_are_named_with_checksum_and_license(taught, capsys):
    plan, digest = taught
    (run,) = [run for run in plan.runs.values() if run.spec.teacher]
    assert main(["export", "study.yaml", run.name, "--license", "mit", "--to", "out"]) == 0
    message = capsys.readouterr().out
    entry = {
        "network": "wrn10-0.5",
        "source": "stranger.safetensors",
        "sha256": digest,
        "license": "cc-by-nc-4.0",
        "license_stated_by": "the header of its file",
    }
    assert read_config(Path("out"))["base_model"] == [
        {"role": "initial weights", **entry},
        {"role": "teacher", **entry},
    ]
    card = Path("out/README.md").read_text()
    assert f"- teacher: wrn10-0.5, stranger.safetensors; sha256 {digest}; license" in card
    for text in (message, card):
        assert "(teacher), cc-by-nc-4.0, says by its name that it forbids commercial use" in text
    # The page names it too.
    (line, other) = page.describe_licenses(plan)
    assert "pretrained.stranger: the license of" in line and "starts.warm" in other
    # An export made from this one inherits what it was made from.
    found = find_origin(plan.study.pretrained["stranger"].model_copy(update={"path": "out"}))
    assert found.stated_by == "its config.json"
    assert found.license == "mit" and found.source == f"the export of {run.name}"
    assert [item["license"] for item in found.base_models] == 2 * ["cc-by-nc-4.0"]


def test_a_teacher_of_the_study_is_named_by_its_run(copied, quick, monkeypatch):
    monkeypatch.setattr(exporter.verify, "check_agreement", lambda *_: None)  # another's graph
    (name,) = [path.name for path in Path("results/runs").glob("wrn10-0.5-from-*")]
    assert main(["export", "study.yaml", name, "--to", "out"]) == 0
    (teacher,) = Path("results/runs").glob("wrn10-1-*")
    digest = hashlib.sha256((teacher / "weights.safetensors").read_bytes()).hexdigest()
    (item,) = read_config(Path("out"))["base_model"]
    assert (item["role"], item["network"], item["sha256"]) == ("teacher", "wrn10-1", digest)
    assert item["source"] == f"run {teacher.name} of this study, after epoch 4"
    assert not re.search("says by its name", Path("out/README.md").read_text())


@pytest.mark.parametrize(
    "keys",
    [{"license": ""}, {"license": 3}, {"base_model": "x"}, {"base_model": [{"role": "teacher"}]}],
)
def test_an_origin_that_no_export_has_is_refused(copied, keys):
    config = read_config(Path("export")) | keys
    config.pop("checksum", None)
    Path("export/config.json").write_bytes(
        exporter.to_json_bytes(exporter.hashing.add_checksum(config))
    )
    with pytest.raises(KdpipeError, match=f"{next(iter(keys))}: expected a "):
        kdpipe_export.read_export_config(Path("export"))


def test_an_export_without_an_origin_is_read(copied):
    """As an earlier version wrote it."""
    config = read_config(Path("export"))
    for key in ("license", "base_model", "datasets", "study_file", "commands", "copies"):
        del config[key]
    Path("export/config.json").write_bytes(
        exporter.to_json_bytes(exporter.hashing.add_checksum(config))
    )
    assert kdpipe.load("export") is not None
