"""Networks of one's own: tried before they are trained, and priced by what was found."""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_study
from helpers.custom_networks import CODE, GROUPED, NETWORKS, Folder, forget, study, trained
from helpers.snakemake_sandbox import Lab
from safetensors.torch import load_file, save_file

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.errors import KdpipeError
from kdpipe.jobs.train import train_run
from kdpipe.jobs.validate import read_spec
from kdpipe.models import factory
from kdpipe.models.custom import fingerprint
from kdpipe.plan import planner
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.store import Store
from kdpipe.training import linear_probe, loop

# --- what they cost


def test_costs_by_hand(folder, capsys):
    runs = {run.network: run for run in folder.plan().runs.values() if not run.spec.teacher}
    # convolution 1 -> 6 with bias on 8 x 8, normalisation, linear 24 -> 10
    assert runs["small"].cost == (6 * 9 + 6 + 2 * 6 + 24 * 10 + 10, 6 * 9 * 64 + 24 * 10)
    # 1x1 convolution 1 -> 32 on 8 x 8; 3x3, 32 -> 64 in four groups, on 4 x 4; linear 64 -> 10
    assert runs["grouped"].cost == (
        32 + 64 * 8 * 9 + 64 * 10 + 10,
        32 * 64 + 64 * 8 * 9 * 16 + 64 * 10,
    )
    # three forwards for each of 64 images in each of 2 epochs
    assert runs["small"].train_multiply_adds == 3 * (6 * 9 * 64 + 24 * 10) * 64 * 2
    assert folder.card("grouped")["groups"] == [[32, 8, 8], [64, 4, 4]]
    assert folder.card("small")["groups"] == []
    assert folder.kdpipe("check") == 0 and folder.kdpipe("plan") == 0
    assert "no errors" in capsys.readouterr().out


def test_the_memory_format_follows_the_narrowest_convolution(folder):
    assert folder.card("small")["layout"] == "contiguous"  # 6 channels
    assert folder.card("grouped")["layout"] == "channels_last"
    folder.change("second.mean((2, 3))", "second.view(len(x), -1)[:, :64]")
    folder.kdpipe("network")
    assert folder.card("grouped")["layout"] == "contiguous", "view refuses channels_last"


def test_planning_imports_no_torch(folder):
    code = (
        "import sys; from kdpipe.cli.main import main; "
        f"code = main(['plan', {str(folder.study)!r}]); "
        "sys.exit(code or 'torch' in sys.modules or 'mine' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_what_is_counted_names_no_run_and_a_job_counts_without_a_card(folder, store):
    before = folder.plan()
    for name in NETWORKS:  # as another torch would count
        path = folder.path / f"{name}-1x8x8-10.network.json"
        counted = folder.card(name) | {"parameters": 5, "multiply_adds": 7}
        path.write_text(json.dumps(hashing.add_checksum(counted)))
    after = folder.plan()
    assert list(after.runs) == list(before.runs)
    run = next(r for r in after.runs.values() if r.network == "grouped" and not r.spec.teacher)
    assert run.cost == (5, 7)
    for path in folder.path.glob("*.json"):
        path.unlink()
    trained(run, store, folder)
    record = tiny_study.record(store, run)
    counted = (32 + 64 * 8 * 9 + 64 * 10 + 10, 32 * 64 + 64 * 8 * 9 * 16 + 64 * 10)
    assert (record["parameters"], record["multiply_adds"]) == counted


def test_which_parameters_are_learned_is_part_of_a_run(folder, capsys):
    before = set(folder.plan().runs)
    fixed = "self.stem.weight.requires_grad = False\n        self.conv = nn"
    folder.change("self.conv = nn", fixed)
    assert folder.kdpipe("check") == 2
    assert "stem.weight float32 32x1x1x1 -> float32 32x1x1x1 fixed" in capsys.readouterr().err
    assert folder.kdpipe("network") == 0
    gone = {name.partition("-s0")[0] for name in before - set(folder.plan().runs)}
    assert len(gone) == 3 and all("grouped" in name for name in gone)


# --- what is said of one that cannot be used

WRAPPED = """
import random
import numpy as np

class Wrapped(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.net = Grouped(num_classes, in_channels)

    def forward(self, x):
        return {forward}

    def features(self, x):
        return {features}

def changed(num_classes, in_channels):
    model = Wrapped(num_classes, in_channels)
    {built}
    return model
"""


def wrapped(forward="self.net(x)", features="self.net.features(x)", built="pass"):
    return CODE + WRAPPED.format(forward=forward, features=features, built=built)


COUNTING = "import itertools; model.count = itertools.count(1).__next__"
BATCH = "nn.BatchNorm2d(1, track_running_stats=False)"
FAILURES = {
    "no module": ({"build": "mine2.small"}, CODE, "there is no module mine2 in "),
    "no package": ({"build": "mine.sub.small"}, CODE, "there is no module mine.sub in "),
    "Python's own": ({"build": "json.loads"}, CODE, "json is a standard library module"),
    "no attribute": ({"build": "mine.smal"}, CODE, "mine.py has no smal; did you mean small?"),
    "no callable": ({"build": "mine.F"}, CODE, "mine.F is of type module, which is not callable"),
    "no path": ({"build": "mine"}, CODE, "'mine': write module.callable"),
    "bad syntax": ({}, CODE + "\ndef changed(:\n", "importing mine failed: SyntaxError"),
    "import fails": ({}, "import no_such\n" + CODE, "No module named 'no_such' ({path}, line 1)"),
    "import exits": ({}, "import sys\nsys.exit(0)\n" + CODE, "SystemExit: 0 ({path}, line 2)"),
    "import exits at once": (
        {},
        "import os\nos._exit(0)\n" + CODE,
        "SystemExit: os._exit(0) ({path}, line 2)",
    ),
    "exits at once": (
        {},
        "import os\n" + wrapped("os._exit(0)"),
        "SystemExit: os._exit(0) ({path}, line",
    ),
    "signature": ({}, CODE + "\ndef changed(): pass\n", "unexpected keyword argument"),
    "raises": (
        {},
        CODE + "\ndef changed(num_classes, in_channels):\n    raise ValueError('no\\nway')\n",
        "(num_classes=10, in_channels=1) failed: ValueError: no way ({path}, line 55)",
    ),
    "no network": ({}, CODE + "\ndef changed(**_): return 3\n", "returned int"),
    "no parameters": (
        {},
        CODE + "\ndef changed(**_): return nn.Flatten()\n",
        "no trainable parameters",
    ),
    "lazy": ({}, CODE + "\ndef changed(**_): return nn.LazyLinear(10)\n", "weight in its state"),
    "double": ({}, wrapped(built="model.double()"), "is torch.float64 on cpu"),
    "one shape": ({}, wrapped("self.net(x)[0]"), "of shape (10,) for images of 2 x 1 x 8 x 8"),
    "classes": ({}, wrapped("self.net(x)[:, :9]"), "of shape (2, 9)"),
    "probabilities": ({}, wrapped("self.net(x).softmax(1)"), "it returns probabilities: remove"),
    "a tuple": ({}, wrapped("(self.net(x), x)"), "it returns tuple"),
    "forward fails": ({}, wrapped("self.net(x) @ x"), "failed on images of 2 x 1 x 8 x 8: Runtime"),
    "only in training": ({}, wrapped("self.net(x[:1] if self.training else x)"), "training mode"),
    "not finite": ({}, wrapped("self.net(x) / 0"), "its logits are not finite"),
    "random in eval": (
        {},
        wrapped("self.net(x) + torch.rand(1)"),
        "in eval mode it gives different",
    ),
    "random in numpy": (
        {},
        wrapped("self.net(x) + float(np.random.rand())"),
        "in eval mode it gi",
    ),
    "counts its calls": (
        {},
        wrapped("self.net(x) * (self.count() if self.training else 1)", built=COUNTING),
        "in training mode it gives different outputs for the same images a second time",
    ),
    "batch statistics": (
        {},
        wrapped("self.net(self.norm(x))", built=f"model.norm = {BATCH}"),
        "in eval mode its output for an image depends on the other images of the batch",
    ),
    "batch mean, of many": (
        {},
        wrapped("self.net(x) - (self.net(x).mean(0) if len(x) > 2 else 0)"),
        "in eval mode its output for an image depends on the other images of the batch",
    ),
    "a hundredth of the batch mean": (
        {},
        wrapped("self.net(x - x.mean(0) / 100)"),
        "in eval mode its output for an image depends on the other images of the batch",
    ),
    "batch mean": (
        {},
        wrapped("self.net(x) - self.net(x).mean(0)"),
        "in eval mode its output for an image depends on the other images of the batch",
    ),
    "detached": ({}, wrapped("self.net(x).detach()"), "its gradient cannot be computed"),
    "in place": ({}, wrapped("self.net(x.relu_())"), "it modifies its input"),
    "numpy's start": (
        {},
        wrapped(built="model.net.linear.bias.data[0] = np.random.rand()"),
        "net.linear.bias differs each time it is built",
    ),
    "not in its state": (
        {},
        wrapped("self.more[0](self.net(x))", built="model.more = [nn.Linear(10, 10)]"),
        "depend on more than its state_dict",
    ),
    "features raise": ({}, wrapped(features="self.nothing"), "features(x) failed: AttributeError"),
    "other features": ({}, wrapped(features="(self.net(x) + 1, [x])"), "give different logits"),
    "flat groups": ({}, wrapped(features="(self.net(x), [x[0]])"), "must be (B, C, H, W) each"),
}


MAIN = {"teachers": ["own"], "students": ["own"]}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_message(case, tmp_path, capsys):
    network, code, output = FAILURES[case]
    networks = {"own": {"build": "mine.changed"} | network}
    folder = Folder(tmp_path, study(networks=networks, main=MAIN), code)
    assert folder.kdpipe("network") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 2 and "networks.own.build: " in message
    assert output.format(path=tmp_path / "mine.py") in message


@pytest.mark.parametrize("case", [case for case in FAILURES if FAILURES[case][0] == {}])
def test_check_finds_what_has_come_since_the_card(case, tmp_path, capsys):
    _, code, output = FAILURES[case]
    networks = {"own": {"build": "mine.changed"}}
    folder = Folder(tmp_path, study(networks=networks, main=MAIN), CODE + "\nchanged = small\n")
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0
    folder.code(code)
    capsys.readouterr()
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 2 and "networks.own.build: " in message
    assert output.format(path=tmp_path / "mine.py") in message


def test_all_failures_are_in_one_answer(tmp_path, capsys):
    networks = {f"n{i}": {"build": f"mine.{name}"} for i, name in enumerate(["a", "b", "small"])}
    folder = Folder(
        tmp_path, study(networks=networks, main={"teachers": ["n0"], "students": ["n2"]})
    )
    assert folder.kdpipe("network") == 2
    message = capsys.readouterr().err
    assert (
        "2 errors" in message and "networks.n0.build" in message and "networks.n1.build" in message
    )
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("verb", ["check", "plan", "status"])
def test_without_cards_the_message_has_the_command(verb, tmp_path, capsys):
    folder = Folder(tmp_path)
    assert folder.kdpipe(verb) == 2
    message = capsys.readouterr().err
    assert message.count(f"run: kdpipe check {folder.study}") == 2
    assert message.count(" errors") == 1 and "2 errors" in message


@pytest.mark.parametrize(
    "errors",
    [
        {"parameters": "many"},
        {"layout": "odd"},
        {"linear": 1},
        {"groups": [[1, 2, "3"]]},
        {"more": 1},
        [],
    ],
)
def test_a_card_that_is_none_is_refused(errors, folder, capsys):
    text = folder.card("small") | errors if isinstance(errors, dict) else errors
    (folder.path / "small-1x8x8-10.network.json").write_text(json.dumps(text))
    assert folder.kdpipe("plan") == 2
    assert "is not a card of a network" in capsys.readouterr().err
    assert folder.kdpipe("network") == 0 and folder.kdpipe("plan") == 0


@pytest.mark.parametrize("name", ["wrn16-2", "wrn16-02", "resnet26", "resnet18", "self", "main"])
def test_a_name_that_means_something_else_is_refused(name, folder, capsys):
    folder.write(study(networks=NETWORKS | {name: {"build": "mine.small"}}))
    assert folder.kdpipe("network") == 2
    assert f"networks.{name}: " in capsys.readouterr().err


def test_the_folder_of_the_code_must_be_there(folder, capsys):
    folder.write(study(code="x" * 3000))
    assert folder.kdpipe("plan") == 2
    assert "code: there is no folder " in capsys.readouterr().err
    content = tiny_study.study(code=".")
    folder.write(content)
    assert folder.kdpipe("plan") == 2
    assert "code: only for custom networks, terms, tables or figures" in capsys.readouterr().err


def test_a_misspelt_one_is_answered_with_the_right_one(folder, capsys):
    folder.write(study(main={"students": ["smal"]}))
    assert folder.kdpipe("check") == 2
    assert "of one's own: small, grouped; did you mean small?" in capsys.readouterr().err


# --- one that a probe cannot be made of

OTHER = {
    "data": {"name": "fashion-mnist", "resize": 8, "train_size": 200, "validation": 50},
    "blocks": ["main"],
}
POOLED = "nn.Linear(64, 40), nn.Unflatten(1, (10, 4)), nn.AvgPool1d(4), nn.Flatten()"
HEADS = {
    "linear": (wrapped(), True),
    "scaled": (wrapped("self.net(x) * 2", "x"), False),
    "no layer": (wrapped(built=f"model.net.linear = nn.Sequential({POOLED})"), False),
    "by hand": (wrapped("F.linear(x.flatten(1), self.net.linear.weight)", "x"), False),
    "its last": (wrapped("self.more(self.net(x))", "x", "model.more = nn.Linear(10, 10)"), True),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_card_says_whether_a_probe_can_be_made(case, tmp_path, capsys):
    """The same as a probe itself finds."""
    code, linear = HEADS[case]
    content = study(networks={"own": {"build": "mine.changed"}}, main=MAIN)
    folder = Folder(tmp_path, content, code)
    assert folder.kdpipe("network") == 0
    assert ("it cannot be probed" in capsys.readouterr().out) is not linear
    assert folder.card("own")["linear"] is linear
    run = next(iter(folder.plan().runs.values()))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    images = ImageBatches(pixels, IDENTITY_VIEWS, [0.5], [0.5])
    with contextlib.nullcontext() if linear else pytest.raises(KdpipeError, match="linear"):
        linear_probe.extract_features(
            factory.build_model(run.spec.network, tmp_path), run.spec.network, images
        )


@pytest.mark.parametrize("role", ["student", "self", "teacher", "pretrained", "block", "elsewhere"])
def test_a_planned_probe_of_it_is_refused_before_any_training(role, tmp_path, capsys):
    networks = {"own": {"build": "mine.changed"}, "small": {"build": "mine.small"}}
    plain = {"teachers": ["small"], "students": ["wrn10-0.5"]}
    first = tiny_study.study()["experiments"][0] | {"name": "first", **plain}
    main, more, actual = plain, {}, "teacher"
    if role == "student":
        main, actual = plain | {"students": ["own"]}, "student"
    if role == "self":
        main, actual = MAIN | {"teachers": ["self"]}, "student"
    if role == "teacher":
        main = plain | {"teachers": ["own"]}
    if role == "pretrained":
        main = plain | {"teachers": ["brought"]}
        weights = tmp_path / "weights.safetensors"
        save_file({f"net.{name}": torch.zeros(shape) for name, shape in GROUPED.items()}, weights)
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        source = {"network": "own", "path": weights.name, "sha256": sha256}
        more = {"pretrained": {"brought": source}}
    if role in ("block", "elsewhere"):
        first |= {"students": ["own"]}
    if role == "block":
        main = plain | {"teachers": ["first"]}
    content = study(networks=networks, main=main, transfers={"other": OTHER}, **more)
    content["experiments"] = [first, *content["experiments"]]
    content = json.loads(json.dumps(content))  # YAML would point at what is listed twice
    folder = Folder(tmp_path, content, wrapped("self.net(x) * 2", "x"))
    assert folder.kdpipe("network") == 0
    capsys.readouterr()
    if role == "elsewhere":  # in a block that is not probed
        assert folder.kdpipe("check") == 0 and folder.plan().probes
        return
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert "1 error\n" in message
    assert f"transfers.other.blocks: own, a {actual} of main, does not end in a linear" in message
    folder.code(wrapped(features="x"))
    assert folder.kdpipe("network") == 2, "another computation under one revision"
    content["networks"]["own"]["revision"] = 2
    folder.write(content)
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0


def test_a_card_from_before_is_written_anew(folder, capsys):
    old = folder.card("small")
    old.pop("linear")
    (folder.path / "small-1x8x8-10.network.json").write_text(json.dumps(old))
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert "1 error" in message and "it lacks its linear classifier" in message
    assert f"run: kdpipe check {folder.study}" in message
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0


# --- code that was changed after its card


def test_a_changed_structure_is_listed(folder, capsys):
    folder.change("6 * 4, num_classes", "6 * 4, num_classes, bias=False")
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert "networks.small.build: mine.small is not as in its card" in message
    assert "parameters 322 -> 312; 5.bias float32 10 -> not there" in message
    before = set(folder.plan().runs)
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0
    assert {name.partition("-")[0] for name in before & set(folder.plan().runs)} == {
        "grouped",
        "wrn10",
    }


def test_a_changed_computation_needs_another_revision(folder, capsys):
    folder.change("nn.ReLU(inplace=True)", "nn.GELU()")
    assert folder.kdpipe("check") == 2
    assert "its outputs have changed, with the same parameters" in capsys.readouterr().err
    assert folder.kdpipe("network") == 2
    assert "networks.small.revision: the outputs of mine.small have" in capsys.readouterr().err
    folder.write(study(networks=NETWORKS | {"small": {"build": "mine.small", "revision": 2}}))
    assert folder.kdpipe("check") == 2
    assert "networks.small.revision: 2, and the card" in capsys.readouterr().err
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0


def test_a_comment_and_a_refactoring_change_nothing(folder):
    before = list(folder.plan().runs)
    folder.change("import torch\n", "# a comment\nimport torch\n\n\nPOOL = nn.AvgPool2d\n")
    folder.code("from torch import nn\n" + (folder.path / "mine.py").read_text())
    folder.change("nn.AvgPool2d(4)", "POOL(2 + 2)")
    assert folder.kdpipe("check") == 2, "its author says so"
    assert folder.kdpipe("network", "--same") == folder.kdpipe("check") == 0
    assert list(folder.plan().runs) == before


def epoch_is_over(monkeypatch):
    """A run is asked to stop after its first epoch."""

    keep = loop._save_checkpoint

    def interrupt(folder, digest, model, epoch, remaining):
        keep(folder, digest, model, epoch, remaining)
        if epoch == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop, "_save_checkpoint", interrupt)


EDITS = {
    "another computation": ("nn.ReLU(inplace=True)", "nn.GELU()"),
    "only in training": ("nn.BatchNorm2d(6)", "nn.BatchNorm2d(6, momentum=0.5)"),
}


@pytest.mark.parametrize("edit", ["another computation", "only in training"])
@pytest.mark.parametrize("use", ["trained", "resumed", "replayed"])
def test_edited_code_under_an_old_revision_is_not_mixed_in(
    use, edit, folder, store, capsys, monkeypatch
):
    """Seed 1 beside seed 0 of the old code, a run cut off in the middle, one more checkpoint."""
    folder.write(study(seeds=[0, 1]))
    runs = [run for run in folder.plan().runs.values() if run.network == "small"]
    first, other = [run for run in runs if not run.spec.teacher]
    if use == "trained":
        trained(first, store, folder)
        first = other
    elif use == "replayed":
        trained(first, store, folder)
    else:
        with monkeypatch.context() as patch:
            epoch_is_over(patch)
            assert (
                main([*tiny_study.train(first, (), str(store.root)), f"--code={folder.path}"]) == 75
            )
    folder.change(*EDITS[edit])
    forget()
    capsys.readouterr()
    command = [*tiny_study.train(first, [0], str(store.root)), f"--code={folder.path}"]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "networks.small.build: the outputs of mine.small have changed since this run" in message
    assert "restore its code, or raise networks.small.revision and run: kdpipe check" in message
    folder.change(*reversed(EDITS[edit]))
    trained(first, store, folder, [0])


GROUPS = {
    "before the ReLU": ("[first, second]", "[first, self.conv(first)]"),
    "other channels": ("[first, second]", "[first.flip(1), second]"),
    "in training": ("[first, second]", "[first + self.stem.weight.mean(), second]"),
}


@pytest.mark.parametrize("edit", GROUPS)
def test_group_outputs_that_were_edited_are_not_mixed_in(edit, folder, store, capsys):
    """The logits are the same: terms that learn from groups alone would see it."""
    run = next(run for run in folder.plan().runs.values() if run.network == "grouped")
    folder.change(*GROUPS[edit])
    assert folder.kdpipe("check") == 2 and folder.kdpipe("network") == 2
    message = capsys.readouterr().err
    assert "networks.grouped.build: mine.Grouped is not as in its card" in message
    assert "networks.grouped.revision: the outputs of mine.Grouped have changed" in message
    command = [*tiny_study.train(run, (), str(store.root)), f"--code={folder.path}"]
    assert main(command) == 2
    assert "the outputs of mine.Grouped have changed since this" in capsys.readouterr().err


def test_a_card_that_says_nothing_of_groups_names_its_runs_as_ever(folder, store, capsys):
    """Until it is typed again, or its revision is raised."""
    path = folder.path / "grouped-1x8x8-10.network.json"
    facts = folder.card("grouped")
    message = facts.pop("of_groups")
    assert len(message) == 2 * 2 * 2 and "of_groups" not in folder.card("small")
    path.write_text(json.dumps(hashing.add_checksum(facts)))
    before = folder.plan()
    run = next(run for run in before.runs.values() if run.network == "grouped")
    assert run.spec.network.answer == [*facts["answer"], *facts["trained"]]
    assert folder.kdpipe("check") == 0
    trained(run, store, folder)
    capsys.readouterr()
    assert folder.kdpipe("network") == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["missing in its old card" in line for line in lines] == [False, True]
    again = [run for run in folder.plan().runs.values() if run.network == "grouped"]
    assert not {run.name for run in again} & before.runs.keys()
    assert all(run.spec.network.answer[-8:] == message for run in again)


def test_what_only_training_shows_is_a_changed_computation(folder, capsys):
    folder.change(*EDITS["only in training"])
    assert folder.kdpipe("check") == 2 and folder.kdpipe("network") == 2
    message = capsys.readouterr().err
    assert "its outputs have changed, with the same parameters" in message
    assert "networks.small.revision: the outputs of mine.small have changed" in message


def test_an_answer_is_kept_where_it_agrees(folder, store):
    """Another machine rounds differently: neither its card nor its runs are another's."""
    path = folder.path / "small-1x8x8-10.network.json"
    rounded = [value + 1e-5 for value in folder.card("small")["answer"]]
    path.write_text(json.dumps(hashing.add_checksum(folder.card("small") | {"answer": rounded})))
    before, names = path.read_bytes(), list(folder.plan().runs)
    assert folder.kdpipe("network") == 0 and folder.kdpipe("check") == 0
    assert json.loads(path.read_bytes()) == json.loads(before)
    assert list(folder.plan().runs) == names
    trained(next(r for r in folder.plan().runs.values() if r.network == "small"), store, folder)


def test_two_projects_whose_networks_differ_share_no_run(folder, tmp_path):
    """The same names, revisions and parameters, and results in one folder."""
    other = tmp_path / "other"
    other.mkdir()
    reference = Folder(other, code=CODE.replace("nn.ReLU(inplace=True)", "nn.GELU()"))
    sys.path.remove(str(tmp_path))
    assert reference.kdpipe("network") == 0
    shared = set(folder.plan().runs) & set(reference.plan().runs)
    assert {name.partition("-")[0] for name in shared} == {"grouped", "wrn10"}
    assert not any("small" in name for name in shared)


# --- identity


def test_a_revision_renames_its_runs_and_what_descends_from_them(folder):
    before = folder.plan()
    folder.write(study(networks=NETWORKS | {"grouped": {"build": "mine.Grouped", "revision": 2}}))
    folder.kdpipe("network")
    gone = set(before.runs) - set(folder.plan().runs)
    assert gone == {
        name
        for name, run in before.runs.items()
        if "grouped" in (run.network, *(parent.network for parent in run.parents))
    }
    assert len(gone) == 3


def test_where_the_code_lies_is_no_part_of_a_run(folder, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (folder.path / "mine.py").rename(elsewhere / "mine.py")
    before = list(folder.plan().runs)
    folder.write(study(code="else where"))
    assert folder.kdpipe("network") == 0
    assert load.load_study(folder.study).code == str(elsewhere)
    assert list(folder.plan().runs) == before
    assert str(tmp_path) not in json.dumps(
        [run.spec.to_dict() for run in folder.plan().runs.values()]
    )


def test_the_plan_of_a_study_as_snakemake_hands_it_on_is_the_same(folder):
    content = json.loads(load.load_study(folder.study).model_dump_json(exclude_defaults=True))
    handed = planner.build_plan(load.validate_study(content, "standard input"))
    assert list(handed.runs) == list(folder.plan().runs)


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "../x"), ("build", "os"), ("state", "x"), ("layout", "z"), ("parameters", 1),
     ("revision", None), ("classes", "10"), ("channels", 0), ("size", [8]), ("answer", ["x"])],
)  # fmt: skip
def test_a_spec_that_names_no_network_is_refused(key, value, folder, tmp_path):
    run = next(r for r in folder.plan().runs.values() if r.network == "small")
    spec = run.spec.to_dict()
    spec["network"][key] = value
    with pytest.raises(KdpipeError, match="--spec"):
        train_run(
            read_spec("run", spec),
            [],
            Store(tmp_path / "results"),
            ExecutionOptions(code=folder.path),
        )


# --- trained


def test_it_trains_teaches_live_and_as_a_table(folder, store):
    """By the commands that the rules call; its weights and outputs are those of its own module."""
    actual = {}
    for way in ("live", "table"):
        folder.write(study(teacher_outputs=way))
        plan = folder.plan()
        for table in plan.logit_caches.values():
            trained(table.parent, store, folder)
            options = ["--spec", hashing.canonical_json(table.spec), "--results", str(store.root)]
            assert main(["tabulate", *options, f"--code={folder.path}"]) == 0
        for run in plan.runs.values():
            trained(run, store, folder, keep=[0])
            actual[way, run.name.rsplit("-", 1)[0]] = tiny_study.record(store, run)
    assert {record["status"] for record in actual.values()} == {"done"}
    record = actual["live", "small-from-grouped-e2-s0"]
    assert (record["parameters"], record["multiply_adds"]) == (322, 3696)
    for (way, name), record in actual.items():
        if way == "table":  # as near as half precision is
            loss = actual["live", name]["last"]["test"]["nll"]
            assert record["last"]["test"]["nll"] == pytest.approx(loss, abs=2e-3)

    import mine  # pyright: ignore

    run = next(r for r in folder.plan().runs.values() if r.name.startswith("small-from-grouped"))
    path = store.run(run.name)
    split = splits.load_split(run.spec.data, store)
    images = ImageBatches(split.val.images, IDENTITY_VIEWS, split.mean, split.std)
    model = mine.small(num_classes=10, in_channels=1)
    model.load_state_dict(load_file(path / "weights.safetensors"))
    with torch.no_grad():
        own_value = model.eval()(images.unaugmented_batch(0, len(images))).numpy()
    stored = load_file(path / "outputs.safetensors")["val_logits"].numpy()
    np.testing.assert_allclose(own_value, stored, atol=1e-5)
    # and it began where its own initialisation puts it, from the stream of its name
    torch.manual_seed(hashing.derive_seed(0, 0, 0, "small", "init"))
    start = mine.small(num_classes=10, in_channels=1).state_dict()
    remaining = load_file(path / "checkpoints" / "epoch-0000.safetensors")
    assert all(torch.equal(start[key], remaining[key]) for key in start)


def test_without_its_code_or_with_other_code_a_job_says_so(folder, store, capsys):
    plan = folder.plan()
    teacher = next(r for r in plan.runs.values() if r.network == "grouped")
    forget()
    # Its own folder, and that of another test that has a module of the same name.
    sys.path[:] = [path for path in sys.path if not (Path(path) / "mine.py").exists()]
    assert main(tiny_study.train(teacher, (), str(store.root))) == 2
    assert "there is no module mine (no folder was given: --code)" in capsys.readouterr().err
    trained(teacher, store, folder)
    student = next(
        r for r in plan.runs.values() if teacher in r.parents and r.network == "wrn10-0.5"
    )
    folder.change("(64, num_classes)", "(64, num_classes, bias=False)")
    command = [*tiny_study.train(student, (), str(store.root)), f"--code={folder.path}"]
    assert main(command) == 2
    assert "have changed since this run was planned" in capsys.readouterr().err


def says_otherwise(command, folder, capsys):
    forget()
    assert main([*command, f"--code={folder.path}"]) == 2
    message = capsys.readouterr().err
    assert "the outputs of mine.small have changed since " in message
    assert "restore its code, or raise networks.small.revision" in message


@pytest.mark.parametrize("found_by", ["the spec", "the outputs"])
@pytest.mark.parametrize("stop", ["full", "checkpoint 1"])
def test_code_under_an_old_revision_does_not_teach(
    stop, found_by, folder, store, capsys, monkeypatch
):
    """The same parameters, another computation: neither live, nor as a table, nor for a probe.

    What made weights do not show is found by the outputs that were stored.
    """
    if found_by == "the outputs":
        monkeypatch.setattr(fingerprint, "logits_match", lambda old, new: True)
    block = {"teachers": ["small"], "students": ["wrn10-0.5"], "stops": [stop]}
    commands = {}
    for way in ("live", "table"):
        folder.write(study(teacher_outputs=way, main=block, transfers={"other": OTHER}))
        plan = folder.plan()
        student = next(run for run in plan.runs.values() if run.parents)
        commands[way] = tiny_study.train(student, (), str(store.root))
    trained(student.parents[0], store, folder, keep=[1])
    (table,) = plan.logit_caches.values()
    (context,) = (p for p in plan.probes.values() if p.run.network == "small")
    results = ["--results", str(store.root)]
    tabulate = ["tabulate", "--spec", hashing.canonical_json(table.spec), *results]
    spec = replace(
        context.spec, data=context.run.spec.data
    )  # another set would have to be prepared
    probe = ["probe", "--spec", hashing.canonical_json(spec), *results]

    text = (folder.path / "mine.py").read_text()
    folder.change("nn.ReLU(inplace=True)", "nn.GELU()")
    for command in (commands["live"], tabulate, probe):
        says_otherwise(command, folder, capsys)
    folder.code(text)
    assert main([*tabulate, f"--code={folder.path}"]) == 0
    folder.change("nn.ReLU(inplace=True)", "nn.GELU()")
    says_otherwise(commands["table"], folder, capsys)

    folder.code(text.replace("nn.ReLU(inplace=True)", "nn.ReLU()"))  # computes the same
    for command in (commands["live"], commands["table"], probe):
        forget()
        assert main([*command, f"--code={folder.path}"]) == 0


def test_attention_transfer_to_a_network_with_group_outputs(folder, store, capsys):
    methods = {"kd": {}, "at": {"ce_weight": 1.0, "kd_weight": 0.0, "attention_weight": 10.0}}
    errors = {"teachers": ["wrn10-1"], "students": ["grouped", "small"], "methods": ["at"]}
    folder.write(study(methods=methods, main=errors))
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert "wrn10-1 has 8x8, 4x4, 2x2 where grouped has 8x8, 4x4" in message
    assert "where small has no groups" in message
    folder.write(
        study(methods=methods, main={**errors, "teachers": ["self"], "students": ["grouped"]})
    )
    for run in folder.plan().runs.values():
        trained(run, store, folder)
    assert tiny_study.record(store, run)["last"]["val"]["at"] > 0


def test_the_manuals_network_that_gives_more_than_logits_trains(tmp_path, store, capsys):
    """As it stands in docs/: torchvision's GoogLeNet on grey images of another size."""
    torch.set_num_threads(1)
    page = (Path(__file__).parents[4] / "docs/how-to/network.md").read_text()
    (code,) = [part for part in page.split("```python\n") if "class Adapted" in part]
    networks = {"own": {"build": "mine.google"}}
    folder = Folder(tmp_path, study(networks=networks, main=MAIN), code.split("```")[0])
    assert folder.kdpipe("network") == 0, capsys.readouterr().err
    assert "random in training mode" in capsys.readouterr().out
    folder.code(code.split("```")[0].replace('getattr(said, "logits", said)', "said"))
    assert folder.kdpipe("network") == 2
    assert "in training mode it returns GoogLeNetOutputs, expected" in capsys.readouterr().err


# --- the whole


@pytest.mark.slow
def test_a_study_runs_to_its_end(tmp_path, warm):
    """Student, teacher, chain, ensemble and tables, the study and the results in two folders."""
    code = tmp_path / "the code"
    code.mkdir()
    main = {"teachers": ["small", "pair"], "students": ["wrn10-0.5", "small"]}
    content = study(
        networks={"small": {"build": "mine.small"}},
        teacher_outputs="table",
        ensembles={"pair": {"networks": ["small", "wrn10-0.5"]}},
        main=main,
        tables={"teacher_size": ["main"]},
    )
    folder = Folder(code, content)
    assert folder.kdpipe("network") == 0
    lab = Lab(tmp_path / "lab", warm)
    message = lab.run(None, "--configfile", str(folder.study))
    assert "study tiny: all " in message and " runs are done" in message
    records = lab.records()
    planned = folder.plan()
    assert set(records) == {*planned.runs, *planned.ensembles}
    assert {record["status"] for record in records.values()} == {"done"}
    assert "small" in lab.results_csv()
    assert "Nothing to be done" in lab.dry(None, "--configfile", str(folder.study))


@pytest.mark.parametrize(
    "changed",
    [
        {"networks": 3},
        {"networks": None},
        {"networks": []},
        {"networks": {"small": None}},
        {"networks": {"small": {}}},
        {"networks": {"small": {"build": 3, "revision": "x"}}},
        {"networks": {"small": {"build": "\0.x"}}},
        {"networks": {"small": {"build": "mine.small", "revision": 0}}},
        {"networks": {"../x": {"build": "mine.small"}}},
        {"networks": {"small": {"build": "mine.small", "widht": 3}}},
        {"code": 3},
        {"code": "\0"},
        {"code": ""},
        {"data": {"name": "nothing"}},
        {"network_recipes": {"small": {"epoch": 3}}},
        {"main": {"students": ["grouped"], "stops": ["checkpoint 9"]}},
        {"ensembles": {"small": {"networks": ["small"]}}},
    ],
)
@pytest.mark.parametrize("verb", ["network", "plan"])
def test_strange_values_are_refused_in_one_message(verb, changed, folder, capsys):
    folder.write(study(**changed))
    capsys.readouterr()
    assert folder.kdpipe(verb) == 2
    assert " error" in capsys.readouterr().err
