"""An export is what it says: the run's weights, graphs that are its network, numbers by hand."""

import dataclasses
import hashlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from helpers import exported_study, tiny_study
from onnx import numpy_helper
from sklearn.metrics import balanced_accuracy_score

import kdpipe
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.export import onnx_graph, verify
from kdpipe.export.select import (
    FILE_RULES,
    ExportBudget,
    ExportFile,
    describe_file_choice,
    select_file,
    select_within_budget,
)
from kdpipe.plan import planner
from kdpipe.runs import records
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store

FILES = {"README.md", "config.json", "model.int8.onnx", "model.onnx", "model.safetensors"}


@pytest.fixture
def quick(copied, monkeypatch):
    """The graphs of the export that is there, in place of new ones: a second, not ten."""
    known = {name: (copied / "export" / name).read_bytes() for name in FILES}
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: known["model.onnx"])
    monkeypatch.setattr(onnx_graph, "quantize", lambda *_: known["model.int8.onnx"])
    return known


def refused(capsys, *arguments: str) -> str:
    """What an export says that is refused, and leaves nothing."""
    before = sorted(Path().rglob("*"))
    assert main(["export", "study.yaml", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    assert sorted(Path().rglob("*")) == before
    return captured.err


def taught(folder: Path) -> Path:
    """The folder of the distilled run."""
    (actual,) = (folder / "results" / "runs").glob("wrn10-0.5-from-*")
    return actual


def student(folder: Path) -> Path:
    """The folder of the run that the study chose: of two the better one on validation."""
    runs = sorted((folder / "results" / "runs").glob("wrn10-0.5-*"), key=lambda p: "from" in p.name)
    assert len(runs) == 2
    accuracy = [
        json.loads((run / "record.json").read_text())["last"]["val"]["accuracy"] for run in runs
    ]
    return runs[accuracy.index(max(accuracy))]


def test_it_holds_the_weights_of_the_choice_and_says_what_every_file_is(built):
    folder, run = built / "export", student(built)
    assert {path.name for path in folder.iterdir()} == {*FILES, "onnx"}
    config = json.loads((folder / "config.json").read_text())
    assert config["run"] == run.name and config["model"] in {"model.onnx", "model.int8.onnx"}
    assert (folder / "model.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert config["files"].keys() == FILES - {"README.md", "config.json"}
    for name, facts in config["files"].items():
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert facts == {"bytes": len(content), "sha256": digest}
    assert config["classes"] == [str(label) for label in range(10)]
    assert config["input"]["mean"] == [0.3] and config["input"]["std"] == [0.35]
    for name in ("README.md", "config.json"):
        assert str(built) not in (folder / name).read_text()


def test_the_graph_says_what_the_run_said_of_every_test_image(built):
    arrays, _ = read_arrays(student(built) / "outputs.safetensors")
    config = json.loads((built / "export" / "config.json").read_text())
    split = splits.load_split(
        planned(built).runs[config["run"]].spec.data, Store(built / "results")
    )
    actual = kdpipe.load(built / "export", "float").logits_from_pixels(
        np.asarray(split.test.images)
    )
    assert np.abs(actual - arrays["test_logits"]).max() < 1e-5
    small = kdpipe.load(built / "export", "int8").logits_from_pixels(np.asarray(split.test.images))
    right, less = (one.argmax(1) == arrays["test_labels"] for one in (actual, small))
    rows = config["measured"]["files"]
    assert rows["model.onnx"]["accuracy"][0] == pytest.approx(100 * right.mean())
    assert rows["model.int8.onnx"]["accuracy"][0] == pytest.approx(100 * less.mean())
    gap = 100 * (less.mean() - right.mean())
    assert rows["model.int8.onnx"]["difference"][0] == pytest.approx(gap)
    same = 100 * (small.argmax(1) == actual.argmax(1)).mean()
    assert rows["model.int8.onnx"]["agreement"][0] == pytest.approx(same)
    record = json.loads((student(built) / "record.json").read_text())
    assert rows["model.onnx"]["accuracy"][0] == pytest.approx(
        100 * record["last"]["test"]["accuracy"]
    )


def planned(folder: Path):
    return planner.build_plan(load.load_study(folder / "study.yaml"))


def test_the_card_has_a_front_matter_and_the_numbers_of_the_config(built):
    text = (built / "export" / "README.md").read_text()
    _, matter, body = text.split("---\n", 2)
    facts = yaml.safe_load(matter)
    config = json.loads((built / "export" / "config.json").read_text())
    assert facts["pipeline_tag"] == "image-classification"
    (model,) = facts["model-index"]
    values = [one["metrics"][0]["value"] for one in model["results"]]
    rows = config["measured"]["files"].values()
    assert values == [pytest.approx(row["accuracy"][0] / 100, abs=1e-6) for row in rows]
    heads = re.findall(r"^## (.*)$", body, re.M)
    assert heads == [
        *["Use", "Measured", "Input", "Data", "Training", "Origin and license", "Limits", "Files"]
    ]
    for row in rows:
        assert f"{row['accuracy'][0]:.2f} (" in body
        assert f"{row['latency']['64']['median']:.3g} (" in body
    assert "on 64 images" in body and "40 validation images" in body and "700 test images" in body
    assert config["measured"]["processor"] in body and "1 thread of ONNX Runtime" in body


# --- what is exported


def test_the_best_reading_is_exported_where_the_study_reads_there(copied, quick, monkeypatch):
    """By the weights that are put into the network: those of the file of that reading."""
    runs = [path.parent for path in Path("results/runs").glob("*/best-weights.safetensors")]
    assert runs, "no run of the tiny study has a best epoch of its own"
    run = sorted(runs)[0]
    taken = []

    def of(name, network, *_):
        taken.append({key: value.numpy() for key, value in network.state_dict().items()})
        raise KdpipeError("far enough")

    monkeypatch.setattr(onnx_graph, "to_onnx", of)
    for reading, file in (("last", "weights"), ("best", "best-weights")):
        tiny_study.write(Path("study.yaml"), exported_study.STUDY | {"reading": reading})
        assert main(["export", "study.yaml", run.name]) == 2
        arrays, _ = read_arrays(run / f"{file}.safetensors")
        assert all(np.array_equal(arrays[key], value) for key, value in taken[-1].items())
    assert any(not np.array_equal(taken[0][key], taken[1][key]) for key in taken[0])


def test_a_run_is_exported_by_its_name_into_a_folder_of_its_name(copied, quick, capsys):
    name = student(copied).name
    assert main(["export", "study.yaml", name]) == 0
    message = capsys.readouterr().out
    assert f"exports/{name}: run {name}, evaluation point last, ships: model." in message
    assert f"kdpipe predict exports/{name} IMAGE" in message
    assert {path.name for path in Path("exports", name).iterdir()} == {*FILES, "onnx"}
    assert f"exports/{name} exists already" in refused(capsys, name)
    assert "export exists already" in refused(capsys, "--best", "--to", "export")


def test_what_is_no_run_is_said_with_the_nearest(copied, capsys):
    name = student(copied).name
    assert f"did you mean {name}?" in refused(capsys, name[:-1])
    assert "not allowed with argument" in exits(capsys, name, "--best")
    name = taught(copied).name
    shutil.rmtree(taught(copied))
    assert f"run {name} has no record yet" in refused(capsys, name)
    assert (
        "the study has no recommendation yet (wrn10-0.5: none of its distilled runs has a result"
        in refused(capsys)
    )


def exits(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(["export", "study.yaml", *arguments])
    return capsys.readouterr().err


def test_weights_that_are_damaged_or_gone_are_not_exported(copied, capsys):
    path = student(copied) / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "weights.safetensors is damaged" in refused(capsys)
    (taught(copied) / "weights.safetensors").unlink()
    assert "no recommendation yet" in refused(capsys)


# --- a wrong normalisation


def test_a_student_of_a_teacher_that_was_made_again_is_said_to_be(
    copied, quick, capsys, monkeypatch
):
    monkeypatch.setattr(verify, "check_agreement", lambda *_: None)  # its graph is another one
    name = taught(copied).name
    assert main(["export", "study.yaml", name, "--to", "whole"]) == 0
    assert "utdated" not in capsys.readouterr().out + Path("whole/README.md").read_text()
    (teacher,) = Path("results/runs").glob("wrn10-1-*")
    record = records.read_record(teacher, None)
    assert record is not None
    record["files"]["weights.safetensors"]["sha256"] = 64 * "a"  # as another machine trained it
    records.publish_record(teacher, record)
    assert main(["export", "study.yaml", name, "--to", "old"]) == 0
    for message in (capsys.readouterr().out, Path("old/README.md").read_text()):
        assert f"This run is outdated: made of {teacher.name} as it was" in message
        assert "--outdated" in message


def test_a_graph_that_normalises_otherwise_is_refused(copied, quick, capsys, monkeypatch):
    """A mean that is off by a fiftieth, in the graph alone."""
    model = onnx.load_from_string(quick["model.onnx"])
    (shift,) = (one for one in model.graph.initializer if one.name == "shift")
    changed = numpy_helper.to_array(shift) + np.float32(0.02)
    shift.CopyFrom(numpy_helper.from_array(changed, "shift"))
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: model.SerializeToString())
    message = refused(capsys, "--to", "other")
    assert (
        "network wrn10-0.5 cannot be exported to ONNX: on the 700 test images the logits of its "
        "graph" in message
    )


def test_a_normalisation_that_is_not_the_runs_is_refused(copied, quick, capsys, monkeypatch):
    """The same in kdpipe itself: graph and PyTorch agree then, and the run said something else."""
    load = splits.load_split

    def otherwise(*arguments):
        split = load(*arguments)
        return dataclasses.replace(split, mean=split.mean + 0.02)

    monkeypatch.setattr(splits, "load_split", otherwise)
    assert "on the test images differ from those stored at its end" in refused(
        capsys, "--to", "other"
    )


# --- what is not said


def test_a_registered_study_before_its_look_is_not_exported(copied, quick, capsys):
    shutil.move("results", "kept")
    three = exported_study.STUDY | {"seeds": [0, 1, 2]}
    tiny_study.write(Path("study.yaml"), three)
    assert main(["register", "study.yaml"]) == 0
    shutil.copytree("kept", "results", dirs_exist_ok=True)
    capsys.readouterr()
    for arguments in ((), (student(copied).name,)):
        message = refused(capsys, *arguments)
        assert "nothing was exported" in message and "the study is registered" in message
    # Under another name its runs are known: the results have a copy of the registration.
    Path("tiny.registration.json").unlink()
    tiny_study.write(Path("study.yaml"), exported_study.STUDY | {"study": "other"})
    assert "are those of the study tiny, which is registered" in refused(capsys)


# --- budgets


def test_the_offer_that_fits_and_is_best_on_validation_ships():
    offers = [
        ExportFile(0, "model.onnx", 4.0, 900, 3.0),
        ExportFile(0, "model.int8.onnx", 4.5, 300, 1.0),
        ExportFile(1, "model.onnx", 5.0, 400, 1.5),
        ExportFile(1, "model.int8.onnx", 5.0, 150, 0.7),
    ]

    def chosen(**budget) -> ExportFile:
        return select_within_budget(offers, ExportBudget(**budget))

    assert chosen(max_milliseconds=5.0) is offers[0]
    assert chosen(max_milliseconds=2.0) is offers[1]
    assert chosen(max_bytes=300) is offers[1]
    assert chosen(max_bytes=299) is offers[3]
    assert select_within_budget(offers[2:], ExportBudget(max_milliseconds=9.0)) is offers[3], (
        "the smaller of equals"
    )
    assert chosen(max_milliseconds=2.0, max_bytes=500) is offers[1]
    with pytest.raises(KdpipeError, match=r"nothing fits one image within 0.5 ms; .* 0.7 ms"):
        chosen(max_milliseconds=0.5)
    with pytest.raises(KdpipeError, match=r"at most 100 bytes; .* 150 bytes"):
        chosen(max_bytes=100)
    unknown = [dataclasses.replace(one, error=float("nan")) for one in offers]
    assert select_within_budget(unknown, ExportBudget(max_milliseconds=2.0)) is unknown[3], (
        "without validation the smallest"
    )


def test_of_the_files_of_a_network_the_faster_ships_that_is_not_shown_to_be_worse():
    """Of 1,000 validation images 8-bit integers get 5 or 50 more wrong than float32 does."""
    right = np.ones(1000, bool)

    def files(more: int, milliseconds: float) -> list[ExportFile]:
        small = right.copy()
        small[:more] = False
        return [
            ExportFile(0, "model.onnx", 0.0, 900, 2.0, right),
            ExportFile(0, "model.int8.onnx", more / 10, 300, milliseconds, small),
        ]

    assert select_file(files(5, 1.0), 0.5).file == "model.int8.onnx"
    assert select_file(files(5, 3.0), 0.5).file == "model.onnx"  # slower
    assert select_file(files(5, 1.8), 0.5).file == "model.int8.onnx"  # 2.0 is 1.11 times as long
    assert select_file(files(5, 1.9), 0.5).file == "model.onnx"  # 1.05 times: the more accurate
    assert select_file(files(0, 1.9), 0.5).file == "model.int8.onnx"  # as accurate: the faster
    assert select_file(files(50, 1.0), 0.5).file == "model.onnx"  # shown to be worse
    assert select_file(files(50, 1.0), 5.0).file == "model.int8.onnx"
    blind = [dataclasses.replace(one, is_right=None) for one in files(5, 1.0)]
    assert select_file(blind, 0.5).file == "model.onnx"
    text = describe_file_choice(files(5, 1.0), files(5, 1.0)[1], 0.5)
    assert text.startswith("model.int8.onnx ships: of the files of the network the fastest on this")


@pytest.mark.parametrize(
    ("rule", "file"),
    [("fastest", "middle"), ("smallest", "tiny"), ("most accurate", "large")],
)
def test_another_rule_for_the_file_is_followed_and_named(rule, file):
    """By hand; validation shows the two smaller files to be far worse."""
    right = np.ones(1000, bool)
    files = [
        ExportFile(0, "large", 1.0, 900, 2.0, right),
        ExportFile(0, "middle", 30.0, 500, 1.0, ~right),
        ExportFile(0, "tiny", 40.0, 300, 1.5, ~right),
    ]
    chosen = select_file(files, 0.5, rule)
    assert chosen.file == file
    text = describe_file_choice(files, chosen, 0.5, rule)
    assert text.startswith(f"{file} ships: of the files of the network the ")
    assert FILE_RULES[rule] in text and ", as asked for (large: " in text
    blind = [dataclasses.replace(one, is_right=None, error=float("nan")) for one in files]
    if rule != "most accurate":
        chosen = select_file(blind, 0.5, rule)
        assert chosen.file == file
        assert "as asked for" in describe_file_choice(blind, chosen, 0.5, rule)


def test_the_card_names_the_rule_of_the_file(copied, quick, capsys):
    assert main(["export", "study.yaml", "--smallest", "--to", "small"]) == 0
    message = capsys.readouterr().out
    assert "model.int8.onnx ships: of the files of the network the smallest, what" in message
    assert json.loads(Path("small/config.json").read_text())["model"] == "model.int8.onnx"
    assert "the smallest, whatever its error, as asked for" in Path("small/README.md").read_text()
    with pytest.raises(SystemExit):
        main(["export", "study.yaml", "--smallest", "--fastest", "--to", "other"])


def test_the_card_says_by_which_metric_the_study_chooses(copied, quick, capsys):
    """Its value on test is that of scikit-learn, from the stored outputs of the run."""
    path = copied / "study.yaml"
    path.write_text(path.read_text() + "metric: balanced\n")
    assert main(["export", "study.yaml", "--to", "balanced"]) == 0
    config = json.loads((copied / "balanced/config.json").read_text())
    outputs, _ = read_arrays(copied / "results/runs" / config["run"] / "outputs.safetensors")
    expected = 100 * balanced_accuracy_score(
        outputs["test_labels"], outputs["test_logits"].argmax(1)
    )
    assert config["metric"] == "balanced"
    assert config["measured"]["files"]["model.onnx"]["metric"] == pytest.approx(expected)
    card = (copied / "balanced/README.md").read_text()
    assert f"chooses by balanced accuracy, on the test images: float32 {expected:.2f} %" in card
    assert "metric" not in json.loads((copied / "export/config.json").read_text())


def test_a_budget_makes_the_file_that_fits_the_one_to_load(copied, quick, capsys):
    sizes = {name: len(content) for name, content in quick.items()}
    between = (sizes["model.onnx"] + sizes["model.int8.onnx"]) // 2
    assert main(["export", "study.yaml", "--at-most", f"{between}B", "--to", "small"]) == 0
    message = capsys.readouterr().out
    assert (
        f"model.int8.onnx of wrn10-0.5 is the best on validation that fits "
        f"at most {between:,} bytes" in message
    )
    image = np.zeros((8, 8), np.uint8)
    assert kdpipe.load("small")(image) == kdpipe.load("export", "int8")(image)
    # The error by which it was compared is that of validation, never that of test.
    (error,) = re.findall(r"bytes: validation error ([\d.]+) %", message)
    run = planned(copied).runs[student(copied).name]
    val = splits.load_split(run.spec.data, Store(Path("results"))).val
    logits = kdpipe.load("small").logits_from_pixels(np.asarray(val.images))
    assert float(error) == pytest.approx(100 * (logits.argmax(1) != val.labels).mean(), abs=0.01)
    assert "nothing fits at most 1,000 bytes; the closest" in refused(capsys, "--at-most", "1kB")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--within", "2"], "2 has no unit: ms, us, s"),
        (["--within", "fastms"], "fastms is not a number of ms"),
        (["--at-most", "-1kB"], "-1 is not a number above 0"),
        (["--at-most", "100kb"], "100kb has no unit: kB, MB, GB, B"),
    ],
)
def test_an_amount_has_a_number_and_a_unit(capsys, typed, message):
    assert message in exits(capsys, f"{typed[0]}={typed[1]}")


# --- calibration


def test_ranges_are_set_on_training_images_alone(copied, quick, monkeypatch):
    taken = []

    def quantised(content, images):
        taken.extend(image.tobytes() for batch in images for image in batch)
        return quick["model.int8.onnx"]

    monkeypatch.setattr(onnx_graph, "quantize", quantised)
    assert main(["export", "study.yaml", "--to", "again"]) == 0
    run = planned(copied).runs[student(copied).name]
    split = splits.load_split(run.spec.data, Store(Path("results")))
    trained = {image.tobytes() for image in np.asarray(split.train.images)}
    assert len(taken) == 64 and set(taken) == trained
    assert not trained & {image.tobytes() for image in np.asarray(split.test.images)}


# --- what may be missing


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(copied, capsys, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    message = refused(capsys)
    assert f"{library} is not installed here: pip install 'kdpipe[export]'" in message


def test_a_graph_that_has_no_int8_is_exported_without(copied, quick, capsys, monkeypatch):
    def fail(*_):
        raise KdpipeError("ONNX Runtime cannot quantize the graph (it is odd)")

    monkeypatch.setattr(onnx_graph, "quantize", fail)
    assert main(["export", "study.yaml", "--to", "float"]) == 0
    assert {path.name for path in Path("float").iterdir()} == {*FILES, "onnx"} - {"model.int8.onnx"}
    assert [path.name for path in Path("float/onnx").iterdir()] == ["model.onnx"]
    assert "cannot quantize the graph (it is odd)" in Path("float/README.md").read_text()
    capsys.readouterr()
    with pytest.raises(KdpipeError, match="has no model int8; it has float"):
        kdpipe.load("float", "int8")


# --- networks of one's own, and what comes after


OWN = """
from torch import nn

def small(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""


def test_a_network_of_ones_own_is_exported_and_may_be_a_start(tmp_path, shared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    content = exported_study.STUDY | {"networks": {"small": {"build": "mine.small"}}}
    content = json.loads(json.dumps(content))
    content["experiments"][0] |= {"students": ["small"]}
    tiny_study.write(Path("study.yaml"), content)
    assert main(["network", "study.yaml"]) == 0
    study_plan = planned(tmp_path)
    store = exported_study.run(tmp_path, shared, content)
    assert main(["export", "study.yaml", "--to", "out"]) == 0
    run = study_plan.runs[json.loads(Path("out/config.json").read_text())["run"]]
    arrays, _ = read_arrays(store.run(run.name) / "outputs.safetensors")
    images = splits.load_split(run.spec.data, store).test.images
    actual = kdpipe.load("out", "float").logits_from_pixels(np.asarray(images))
    assert np.abs(actual - arrays["test_logits"]).max() < 1e-5
    assert "needs its code, the graphs do not" in Path("out/README.md").read_text()
    # Its weights are what a study may name as those of a teacher.
    digest = hashlib.sha256(Path("out/model.safetensors").read_bytes()).hexdigest()
    brought = {"network": "small", "path": "out/model.safetensors", "sha256": digest}
    content["pretrained"] = {"shipped": brought}
    content["experiments"][0] |= {"teachers": ["shipped"], "students": ["wrn10-0.5"]}
    tiny_study.write(Path("next.yaml"), content)
    assert main(["check", "next.yaml"]) == 0
    # So is the export itself, which says how it is to be fed.
    content["pretrained"]["shipped"] |= {"path": "out", "input": {"card": True}}
    tiny_study.write(Path("next.yaml"), content)
    assert main(["check", "next.yaml"]) == 0
    plan = planner.build_plan(load.load_study("next.yaml"))
    (teacher,) = (each for each in plan.runs.values() if each.spec.pretrained)
    assert (
        main([*tiny_study.train(teacher), "--weights", plan.weights[teacher.name], "--code=."]) == 0
    )
    fed, _ = read_arrays(store.run(teacher.name) / "outputs.safetensors")
    assert np.abs(fed["test_logits"] - arrays["test_logits"]).max() < 1e-5
    content["pretrained"]["shipped"] |= {"network": "wrn10-1"}
    Path("out/config.json").write_text(Path("out/config.json").read_text().replace("0.", "1.", 1))
    tiny_study.write(Path("next.yaml"), content)
    with pytest.raises(StudyError, match="is not as kdpipe export has written it"):
        load.load_study("next.yaml")


def test_a_published_study_says_how_its_choice_is_trained_again_and_exported(copied, capsys, quick):
    """A published report has records alone: its choice is exported from where it was trained."""
    name = student(copied).name
    assert main(["archive", "study.yaml", "--to", "published"]) == 0
    capsys.readouterr()
    message = refused(capsys, "--best", "--results", "published")
    assert f"published has the record of {name}, but no weights: `kdpipe run study.yaml" in message
    train, export = (shlex.split(line) for line in re.findall("`(kdpipe [^`]*)`", message))
    assert Path(train[-1]) == Path("results/runs") / name / "record.json"
    assert main([*export[1:], "--to", "again"]) == 0
    capsys.readouterr()
    again = json.loads((copied / "again" / "config.json").read_text())
    assert again["run"] == name
    (copied / "published" / "export" / name).mkdir(parents=True)
    message = refused(capsys, "--best", "--results", "published")
    assert f"exported already: published/export/{name} (`kdpipe predict published/" in message
    shutil.rmtree(copied / "results" / "runs" / name)
    assert f"--trained results: there is no run {name}: `kdpipe run" in refused(capsys, *export[3:])
