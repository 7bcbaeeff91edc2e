"""An export that is damaged or a stranger's: one message, exit code 2, and nothing hangs."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.snakemake_sandbox import ROOT
from onnx import TensorProto, helper
from PIL import Image

import kdpipe
from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.errors import DataError, KdpipeError
from kdpipe.export import classifier, graph_scan

CLASSES = ["cat", "dog", "owl"]
INPUT = {
    "channels": 1,
    "height": 4,
    "width": 4,
    "mean": [0.5],
    "std": [0.25],
    "by_mode_alone": False,
    "steps": [{"as_it_is": [4, 4]}],
}


@pytest.fixture(autouse=True)
def no_hang():
    """End a test that hangs."""
    signal.alarm(60)
    yield
    signal.alarm(0)


def constant(name: str, values, dtype: type = np.float32) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, dtype), name)


def graph(nodes=(), initializers=(), weights=None, outputs=3, **fields) -> onnx.ModelProto:
    """A linear classifier of 4 x 4 images; further nodes compute from its logits `linear`."""
    weights = np.eye(16, outputs) if weights is None else weights
    value = helper.make_tensor_value_info
    content = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("Cast", ["flat"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "w"], ["linear"]),
            *(nodes or [helper.make_node("Identity", ["linear"], ["logits"])]),
        ],
        "g",
        [value("pixels", TensorProto.UINT8, ["batch", 1, 4, 4])],
        [value("logits", TensorProto.FLOAT, ["batch", outputs])],
        [constant("w", weights), *initializers],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(content, opset_imports=opsets, ir_version=9, **fields)


def write_export(folder: Path, proto: onnx.ModelProto | bytes | None = None, **changes) -> Path:
    """An export with its checksums right, whatever is in it."""
    folder.mkdir(exist_ok=True)
    proto = graph() if proto is None else proto
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    config = {
        "format": 1,
        "run": "x",
        "model": "model.onnx",
        "network": {"name": "wrn10-1"},
        "classes": CLASSES,
        "input": INPUT,
        "files": {"model.onnx": facts},
        "a key of a later version": [1, {"x": None}],
    }
    config = hashing.add_checksum(config | changes)
    (folder / "config.json").write_text(json.dumps(config))
    Image.fromarray(np.full((4, 4), 3, np.uint8)).save(folder / "a.png")
    return folder


def refused(capsys, folder: Path, *arguments: str) -> str:
    """The one line of `kdpipe predict`, which ends with code 2."""
    assert main(["predict", str(folder), *(arguments or [str(folder / "a.png")])]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    assert captured.err.startswith("kdpipe: ") and captured.err.rstrip("\n").isprintable()
    return captured.err


def test_a_sound_export_answers(tmp_path, capsys):
    folder = write_export(tmp_path / "e")
    assert main(["predict", str(folder), str(folder / "a.png")]) == 0
    assert capsys.readouterr().out.endswith("a.png  cat 0.3333  dog 0.3333  owl 0.3333\n")


# --- the config


def with_input(**changes):
    return {"input": INPUT | changes}


BAD_CONFIGS = {
    "classes": ({"classes": 3}, "classes: expected a list of names"),
    "no class": ({"classes": []}, "classes: expected a list"),
    "a number": ({"classes": ["a", 1, "b"]}, "classes: expected a list of names"),
    "twice": ({"classes": ["a", "b", "a"]}, "classes: 'a' occurs twice"),
    "two of three": ({"classes": ["a", "b"]}, "does not fit config.json beside it"),
    "run": ({"run": None}, "run: expected a name"),
    "network": ({"network": []}, "network: expected a mapping"),
    "files": ({"files": ["model.onnx"]}, "files: expected a mapping"),
    "fact": ({"files": {"model.onnx": 7}}, "files.'model.onnx': expected a mapping"),
    "size": (
        {"files": {"model.onnx": {"bytes": 2**40, "sha256": "0" * 64}}},
        "files.'model.onnx'.bytes: expected at most 2,147,483,648",
    ),
    "true": ({"files": {"model.onnx": {"bytes": True, "sha256": "0" * 64}}}, "bytes: expected"),
    "digest": ({"files": {"model.onnx": {"bytes": 9, "sha256": "z" * 64}}}, "64 hexadecimal"),
    "up": ({"model": "../model.onnx"}, "model: expected model.onnx or model.int8.onnx"),
    "list": ({"model": ["model.onnx"]}, "model: expected model.onnx"),
    "lacking": ({"model": "model.int8.onnx"}, "model: expected model.onnx"),
    "temperature": ({"temperature": {"model.onnx": 0}}, "temperature: expected numbers above 0"),
    "hot": ({"temperature": {"model.onnx": 10**400}}, "temperature: expected numbers"),
    "input": ({"input": None}, "input: expected a mapping"),
    "channels": (with_input(channels=2), "input.channels: expected 1 or 3"),
    "one": (with_input(channels=True), "input.channels: expected 1 or 3"),
    "height": (with_input(height=4097), "input.height: expected 1 to 4,096 pixels"),
    "width": (with_input(width=-4), "input.width: expected 1 to 4,096 pixels"),
    "mean": (with_input(mean=[0.5, 0.5]), "input.mean: expected one number for each channel"),
    "std": (with_input(std=[0]), "input.std: expected one number for each channel, above 0"),
    "mode": (with_input(by_mode_alone="no"), "input.by_mode_alone: expected a boolean"),
    "steps": (with_input(steps={}), "input.steps: expected at most 8 steps"),
    "many": (with_input(steps=[{"centre": 4}] * 9), "input.steps: expected at most 8 steps"),
    "two steps": (with_input(steps=[{"centre": 4, "scale": 4}]), "input.steps: expected {step"),
    "unknown": (with_input(steps=[{"\x1b[2Jopen": 4}]), "input.steps: unknown step"),
    "huge": (with_input(steps=[{"stretch": 10**9}]), "stretch: expected 1 to 4,096 pixels"),
    "nothing": (with_input(steps=[{"scale": 0}]), "scale: expected 1 to 4,096 pixels"),
    "half": (with_input(steps=[{"centre": 3.5}]), "centre: expected 1 to 4,096 pixels"),
    "pair": (with_input(steps=[{"as_it_is": 4}]), "as_it_is: expected 1 to 4,096 pixels"),
    "other pixels": (with_input(steps=[{"stretch": 5}]), "the steps of input give pixels of shape"),
    "other images": (with_input(height=5), "does not fit config.json beside it"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_config_that_no_export_has_is_refused(tmp_path, capsys, case):
    changes, message = BAD_CONFIGS[case]
    assert message in refused(capsys, write_export(tmp_path / "e", None, **changes))


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "[]", "{", '{"format": NaN}', '{"seal": 1}', "\ufeff{}", '"\\ud800"'),
        *("[" * 100_000, '{"a": ' * 50_000, "1" * 5000, '{"format": 1e999}', "\x00\x1b[31m"),
    ],
    ids=range(13),
)
def test_a_config_that_is_no_config_is_refused(tmp_path, capsys, text):
    folder = write_export(tmp_path / "e")
    (folder / "config.json").write_text(text)
    assert "is not as kdpipe export has written it" in refused(capsys, folder)


def test_an_older_export_with_few_keys_is_read(tmp_path):
    folder = write_export(tmp_path / "e")
    config = json.loads((folder / "config.json").read_text())
    for key in ("a key of a later version", "seal"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(hashing.add_checksum(config)))
    assert len(kdpipe.load(folder)(folder / "a.png")) == 3


def test_onnx_runtime_sends_nothing(tmp_path):
    """It would send usage data, by an identifier that it keeps in the cache of the user."""
    folder, home = write_export(tmp_path / "e"), tmp_path / "home"
    home.mkdir()
    code = "import sys, kdpipe; print(len(kdpipe.load(sys.argv[1])(sys.argv[2])))"
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(folder / "a.png")],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert process.stdout == "3\n" and process.stderr == ""
    assert list(home.iterdir()) == []


# --- files


def link(target: str):
    return lambda path: path.symlink_to(target)


SPECIAL_FILES = {
    "fifo": (os.mkfifo, "it is not a regular file"),
    "folder": (Path.mkdir, "it is not a regular file"),
    "endless": (link("/dev/zero"), "it is a link to a file outside the export"),
    "elsewhere": (link("/etc/passwd"), "it is a link to a file outside the export"),
    "loop": (lambda path: path.symlink_to(path.name), "cannot be read"),
}


@pytest.mark.parametrize("name", ["config.json", "model.onnx"])
@pytest.mark.parametrize("case", SPECIAL_FILES)
def test_special_files_are_not_read(tmp_path, capsys, name, case):
    create, message = SPECIAL_FILES[case]
    folder = write_export(tmp_path / "e")
    (folder / name).unlink()
    create(folder / name)
    assert message in refused(capsys, folder)


def test_the_cache_of_the_hub_has_links_to_its_blobs(tmp_path):
    snapshot = write_export(tmp_path / "e").rename(tmp_path / "a")
    (tmp_path / "models--x" / "blobs").mkdir(parents=True)
    (tmp_path / "models--x" / "snapshots").mkdir()
    folder = snapshot.rename(tmp_path / "models--x" / "snapshots" / "1")
    for name in ("config.json", "model.onnx"):
        (folder / name).rename(tmp_path / "models--x" / "blobs" / name)
        (folder / name).symlink_to(f"../../blobs/{name}")
    assert len(kdpipe.load(folder)(folder / "a.png")) == 3


def test_large_files_are_not_read(tmp_path, capsys):
    folder = write_export(tmp_path / "e")
    os.truncate(folder / "model.onnx", 2**40)  # a hole: no disk is needed
    assert "is not the file that config.json beside it names" in refused(capsys, folder)
    os.truncate(folder / "config.json", 2**40)
    assert "config.json cannot be read: it has more than 1,000,000 bytes" in refused(capsys, folder)


@pytest.mark.parametrize("case", ["fifo", "endless", "loop", "folder"])
def test_special_images_are_not_read(tmp_path, capsys, case):
    folder, image = write_export(tmp_path / "e"), tmp_path / "image.png"
    SPECIAL_FILES[case][0](image)
    if case == "folder":
        (image / "more.png").mkdir()
        os.mkfifo(image / "fifo.png")
        assert "has no image files" in refused(capsys, folder, str(image))
        with pytest.raises(DataError, match="it is not a regular file"):
            kdpipe.load(folder)(image)
    elif case == "loop":
        assert "there is no image file or folder" in refused(capsys, folder, str(image))
    else:
        assert "it is not a regular file" in refused(capsys, folder, str(image))


def test_an_image_that_would_become_huge_is_refused(tmp_path, capsys):
    steps = [{"shorter": 4096}, {"centre": 4}]
    folder = write_export(tmp_path / "e", None, **with_input(steps=steps))
    Image.fromarray(np.zeros((1, 60_000), np.uint8)).save(folder / "narrow.png")
    message = refused(capsys, folder, str(folder / "narrow.png"))
    assert "has 60000 x 1 pixels: it is too narrow" in message


# --- the graph


def loop() -> onnx.ModelProto:
    """A loop of 2^62 rounds."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["y"], ["z"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("y", TensorProto.FLOAT, None),
        ],
        [value("go_on", TensorProto.BOOL, []), value("z", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("Loop", ["n", "true", "linear"], ["logits"], body=body)
    return graph([node], [constant("n", 2**62, np.int64), constant("true", True, bool)])


def external() -> onnx.ModelProto:
    model = graph()
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("length", "192")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    return model


def external_attribute() -> onnx.ModelProto:
    value = constant("c", [1.0])
    value.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Constant", [], ["c"], value=value)
    return graph([node, helper.make_node("Add", ["linear", "c"], ["logits"])])


def branch() -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["linear"], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["t"], ["logits"], then_branch=inner, else_branch=inner)
    return graph([node], [constant("t", True, bool)])


def function() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 18)]
    nodes = [helper.make_node("Identity", ["a"], ["b"])]
    content = helper.make_function("mine", "F", ["a"], ["b"], nodes, opsets)
    return graph(functions=[content])


def sparse() -> onnx.ModelProto:
    model = graph()
    values = constant("s", [1.0])
    indices = constant("s_indices", [0], np.int64)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**12]))
    return model


def training() -> onnx.ModelProto:
    model = graph()
    model.training_info.add()
    return model


BAD_GRAPHS = {
    "loop": (loop, "it has control flow (Loop)"),
    "if": (branch, "it has control flow (If)"),
    "external": (external, "its weights are in another file (external data)"),
    "attribute": (external_attribute, "its weights are in another file (external data)"),
    "function": (function, "it defines functions"),
    "training": (training, "it has training information"),
    "sparse": (sparse, "it has sparse tensors"),
    "domain": (
        lambda: graph([helper.make_node("Gelu", ["linear"], ["logits"], domain="com.microsoft")]),
        "it has an operator of the domain com.microsoft",
    ),
    "control": (
        lambda: graph([helper.make_node("X", ["linear"], ["logits"], domain="\x1b[2Jx")]),
        r"of the domain \x1b[2Jx",
    ),
    "empty": (lambda: b"", "it is not an ONNX graph"),
    "noise": (lambda: bytes(range(256)) * 40, "it is not an ONNX graph"),
    "cut": (lambda: graph().SerializeToString()[:-3], "it is not an ONNX graph"),
    "varint": (lambda: b"\x3a" + b"\xff" * 30, "it is not an ONNX graph"),
    "two graphs": (lambda: graph().SerializeToString() * 2, "it is not an ONNX graph"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_a_graph_that_no_export_has_is_refused(tmp_path, capsys, case, monkeypatch):
    make, message = BAD_GRAPHS[case]
    folder = write_export(tmp_path / "e", make())
    (folder / "weights.bin").write_bytes(bytes(192))
    monkeypatch.chdir(folder)  # from where ONNX Runtime would load external data
    error = refused(capsys, folder)
    assert "is not a graph of kdpipe export: " in error and message in error


def test_the_scan_reads_what_protobuf_reads():
    """Every prefix of a graph is refused, or a graph for the onnx package too."""
    content = graph().SerializeToString()
    graph_scan.check_graph(content)
    for end in range(len(content)):
        try:
            graph_scan.check_graph(content[:end])
        except KdpipeError:
            continue
        onnx.ModelProto.FromString(content[:end])


UNUSABLE_GRAPHS = {
    "inputs": (lambda: graph(outputs=4), "expected [('pixels', 'tensor(uint8)', [1, 4, 4]), "),
    "type": (
        lambda: graph([helper.make_node("Cast", ["linear"], ["logits"], to=TensorProto.INT8)]),
        "ONNX Runtime cannot load the graph: ",
    ),
    "operator": (
        lambda: graph([helper.make_node("\x1b]0;Nothing\x07", ["linear"], ["logits"])]),
        r"ONNX Runtime cannot load the graph: ",
    ),
    "shape": (
        lambda: graph(
            [helper.make_node("Reshape", ["linear", "s"], ["logits"])],
            [constant("s", [7, 3], np.int64)],
        ),
        "ONNX Runtime cannot run the graph: ",
    ),
    "memory": (
        lambda: graph(
            [
                helper.make_node("Expand", ["linear", "s"], ["large"]),
                helper.make_node("ReduceSum", ["large", "axis"], ["logits"], keepdims=0),
            ],
            [constant("s", [10**7, 10**7, 1, 3], np.int64), constant("axis", [0, 1], np.int64)],
        ),
        "ONNX Runtime cannot run the graph: ",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE_GRAPHS)
def test_an_exception_of_onnx_runtime_is_one_message(tmp_path, case):
    make, message = UNUSABLE_GRAPHS[case]
    folder = write_export(tmp_path / "e", make())
    with pytest.raises(KdpipeError) as error:
        kdpipe.load(folder)(folder / "a.png")
    assert message in str(error.value) and str(error.value).isprintable()


def broken_name() -> bytes:
    """A name that is not UTF-8: ONNX Runtime's Python prints the error and tries again."""
    content = graph([helper.make_node("Odd", ["linear"], ["logits"])]).SerializeToString()
    return content.replace(b"Odd", b"\xffdd")


@pytest.mark.parametrize("make", [UNUSABLE_GRAPHS["operator"][0], broken_name])
def test_onnx_runtime_prints_nothing_of_the_file(tmp_path, make):
    """Its log would go to the terminal by itself, with the escape sequences of names."""
    folder = write_export(tmp_path / "e", make())
    process = predict(folder)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.count("\n") == 1 and process.stderr.strip().isprintable()


@pytest.mark.parametrize(
    ("value", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")], ids=str
)
def test_logits_that_are_not_finite_are_named(tmp_path, capsys, value, name):
    weights = np.eye(16, 3)
    weights[:, 1] = value
    folder = write_export(tmp_path / "e", graph(weights=weights))
    for arguments in ((), ("--json",)):
        image = str(folder / "a.png")
        message = refused(capsys, folder, image, *arguments)
        assert f"{image}: the logits of the network are not finite for dog ({name})" in message


def test_names_cannot_control_the_terminal(tmp_path, capsys):
    folder = write_export(tmp_path / "e", classes=["cat\n/b.png  dog 1.0000", "\x1b[2J", "\u202e"])
    assert main(["predict", str(folder), str(folder / "a.png")]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1 and captured.out.strip().isprintable()


@pytest.mark.parametrize("case", ["temperature", "large", "exif"])
def test_what_is_odd_and_allowed_is_answered_without_a_warning(tmp_path, case):
    """A temperature of almost 0, an image of 96 million pixels, and EXIF that is cut off."""
    weights = np.outer(np.ones(16), [1, 2, 3])
    changes = with_input(steps=[{"stretch": 4}]) | {"temperature": {"model.onnx": 1e-320}}
    folder = write_export(tmp_path / "e", graph(weights=weights), **changes)
    image = Image.fromarray(np.full((9600, 10_000) if case == "large" else (4, 4), 3, np.uint8))
    exif = b"Exif\0\0MM\0*" + b"\xff" * 500 if case == "exif" else b""
    image.save(folder / "a.png", exif=exif)
    process = predict(folder)
    assert process.stderr == "" and process.returncode == 0
    assert process.stdout.endswith("a.png  owl 1.0000  cat 0.0000  dog 0.0000\n")


def test_the_memory_of_a_graph_has_a_limit(tmp_path, monkeypatch):
    """Also where a product of two weights would be folded while it is loaded."""
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["linear", "sum"], ["logits"]),
    ]
    side = 5000  # 100 MB as float32
    columns = [constant("a", np.ones((side, 1))), constant("b", np.ones((1, side)))]
    folder = write_export(tmp_path / "e", graph(nodes, columns))
    assert len(kdpipe.load(folder)(folder / "a.png")) == 3
    monkeypatch.setattr(classifier, "_memory_limit", lambda: 50_000_000)
    with pytest.raises(KdpipeError, match=r"ONNX Runtime cannot run .* Available memory of"):
        kdpipe.load(folder)(folder / "a.png")
    monkeypatch.undo()
    assert len(kdpipe.load(folder)(folder / "a.png")) == 3


def slow() -> onnx.ModelProto:
    """A graph of a minute and more, which ONNX Runtime would compute while it loads it."""
    nodes = [helper.make_node("ConstantOfShape", ["side"], ["a0"])]
    nodes += [helper.make_node("MatMul", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(150)]
    nodes += [helper.make_node("ReduceSum", ["a150"], ["sum"], keepdims=0)]
    nodes += [helper.make_node("Add", ["linear", "sum"], ["logits"])]
    return graph(nodes, [constant("side", [2000, 2000], np.int64)])


def slow_run() -> onnx.ModelProto:
    """The same, computed for each batch."""
    nodes = [
        helper.make_node("ReduceSum", ["linear"], ["one"], keepdims=0),
        helper.make_node("Expand", ["one", "side"], ["a0"]),
        *(helper.make_node("MatMul", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(150)),
        helper.make_node("ReduceSum", ["a150"], ["sum"], keepdims=0),
        helper.make_node("Add", ["linear", "sum"], ["logits"]),
    ]
    return graph(nodes, [constant("side", [2000, 2000], np.int64)])


def predict(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kdpipe", "predict", str(folder), str(folder / "a.png")]
    return subprocess.run(
        [*command, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("make", [slow, slow_run])
def test_a_graph_that_takes_too_long_is_given_up(tmp_path, make):
    folder = write_export(tmp_path / "e", make())
    process = predict(folder, "--time-limit", "0.5")
    assert process.returncode == 2
    assert "ONNX Runtime took longer than 0.5 seconds" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_a_time_limit_is_a_number_of_seconds(capsys, text):
    with pytest.raises(SystemExit) as end:
        main(["predict", "e", "a.png", f"--time-limit={text}"])
    assert end.value.code == 2
    assert "is not a number of seconds above 0" in capsys.readouterr().err
