"""Images that stream from their files: listed once, decoded as torchvision does, exact."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms
from torchvision.datasets import ImageFolder

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import cache, cards, splits, streaming
from kdpipe.data.arrays import hash_arrays
from kdpipe.data.augmentations.random_crop import Crop
from kdpipe.data.batches import to_device
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.errors import DataError, InterruptedRun, KdpipeError, StudyError
from kdpipe.jobs import validate
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner, render
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.store import Store
from kdpipe.training import loop
from kdpipe.training.objective import Objective
from kdpipe.training.teachers import cached as teacher_tables
from kdpipe.workflow.rule_context import RuleContext

CLASSES = ["ant", "bee", "cat"]
CROP = Crop(scale=[0.3, 1.0], ratio=[0.75, 4 / 3])
SIDE = 16
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]


@pytest.fixture(scope="module")
def photographs(shared):
    """A folder of photographs with its card; nobody changes it."""

    def build(new: Path) -> None:
        synthetic_data.photographs(new / "photos", CLASSES, 60, 24)

    folder = tiny_study.once(shared / "photographs", build) / "photos"
    if not cards.get_card_path(folder).exists():
        make_card(folder, "photos", None, stream=SIDE)
    return folder


@pytest.fixture
def folder(photographs, tmp_path):
    """The same, to be spoilt."""
    shutil.copytree(photographs.parent, tmp_path / "own")
    return tmp_path / "own" / "photos"


def study(folder, **of_data):
    expected = {"validation": 12, "crop": {"scale": [0.3, 1.0]}, "flip": True}
    return {
        "study": "photos",
        "seeds": [0],
        "data": {"name": "photos", "path": str(folder), "mean": MEAN, "std": STD}
        | expected
        | of_data,
        "recipe": {"epochs": 2, "batch_size": 10, "lr": 0.05},
        "methods": {"kd": {}},
        "experiments": [
            {"name": "a", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
        ],
    }


def planned(folder, **of_data):
    return planner.build_plan(load.validate_study(study(folder, **of_data), "photos"))


def prepared(folder, store):
    prepare_dataset("photos", store, str(folder))
    return store


def loaded(folder, root, **of_data):
    """The split, and the whole training part with some view."""
    store = prepared(folder, Store(root / "results"))
    spec = next(iter(planned(folder, **of_data).runs.values())).spec
    return spec, splits.load_split(spec.data, store)


# --- decoding, against torchvision


def pixels_of(x):
    """uint8 (H, W, C) of a normalised image."""
    mean, std = np.array(MEAN), np.array(STD)
    return ((x.numpy().transpose(1, 2, 0) * std + mean) * 255).round().astype(np.uint8)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_as_it_is_is_resized_and_cropped_as_torchvision_does(
    workers, photographs, tmp_path
):
    _, split = loaded(photographs, tmp_path)
    actual = streaming.create_batches(split.test, IDENTITY_VIEWS, split, workers=workers)
    oracle = ImageFolder(
        photographs / "test",
        transforms.Compose([transforms.Resize(18), transforms.CenterCrop(SIDE)]),  # 16 * 256 / 224
    )
    assert len(actual) == len(oracle) == 24
    x = torch.cat(list(actual.unaugmented_batches(10)))
    assert x.shape == (24, 3, SIDE, SIDE) and x.is_contiguous(memory_format=torch.channels_last)
    for image, (reference, _) in zip(x, oracle, strict=True):
        assert np.array_equal(pixels_of(image), np.asarray(reference))
    assert split.test.labels.tolist() == oracle.targets


def test_the_field_resizes_to_256_before_224():
    assert [round(side * streaming.RESIZE_RATIO) for side in (224, 112, 64)] == [256, 128, 73]


@pytest.mark.parametrize("flip", [False, True])
def test_a_random_view_is_torchvisions_crop_of_its_seed(flip, photographs, tmp_path):
    _, split = loaded(photographs, tmp_path)
    images = streaming.create_batches(
        split.test, Views.from_spec({"flip": flip, "crop": CROP.model_dump()}), split
    )
    oracle = ImageFolder(photographs / "test")
    order = torch.arange(len(oracle)).repeat(3)
    seeds = torch.randint(2**63 - 1, (len(order),), generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    ((index, view, x),) = images.batches(order, seeds, 1000)
    assert list(images.unaugmented_batches(24))
    assert torch.equal(index, order) and torch.equal(view, seeds)
    assert torch.equal(torch.get_rng_state(), before)
    flipped = 0
    for image, store, seed in zip(x, order.tolist(), seeds.tolist(), strict=True):
        photograph = oracle[store][0]
        torch.manual_seed(seed)
        # The parameters by the older transforms, the pixels by PIL alone.
        top, left, height, width = transforms.RandomResizedCrop.get_params(
            photograph, list(CROP.scale), list(CROP.ratio)
        )
        box = (left, top, left + width, top + height)
        expected = photograph.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        if flip and torch.rand(1) < 0.5:
            flipped += 1
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert np.array_equal(pixels_of(image), np.asarray(expected))
    assert flip == (len(order) / 4 < flipped < len(order) * 3 / 4)


def test_without_a_crop_there_is_the_centre_and_its_mirror(photographs, tmp_path):
    _, split = loaded(photographs, tmp_path, crop=None)
    images = streaming.create_batches(split.test, Views.from_spec({"flip": True}), split)
    assert images.views.count == 2
    order = torch.arange(len(images))
    ((_, _, plain),) = images.batches(order, torch.zeros_like(order), 1000)
    ((_, _, mirrored),) = images.batches(order, torch.ones_like(order), 1000)
    assert torch.equal(mirrored, plain.flip(3))
    assert torch.equal(plain, torch.cat(list(images.unaugmented_batches(7))))


def test_batches_from_the_middle_are_those_of_the_whole(photographs, tmp_path):
    spec, split = loaded(photographs, tmp_path)
    views = Views.from_spec(spec.data.views)
    images = streaming.create_batches(split.train, views, split)
    assert views == Views.from_spec({"flip": True, "crop": CROP.model_dump()}) and len(images) == 48
    order, view = loop._draw_order_and_views(spec, 0, len(images), views)
    whole = list(images.batches(order, view, 10))
    assert [len(x) for _, _, x in whole] == [10, 10, 10, 10, 8]
    rest = list(images.batches(order, view, 10, 3))
    assert len(rest) == 2
    for one, other in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert list(images.batches(order, view, 10, 5)) == []


class Copies(TorchDispatchMode):
    """Counts what goes over to another device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default and "device" in (kwargs or {})
        return func(*args, **(kwargs or {}))


def test_on_a_device_the_next_images_are_on_their_way_and_the_rest_is_there(photographs, tmp_path):
    """On `meta`, a device that is not the CPU and has no numbers."""
    spec, split = loaded(photographs, tmp_path)
    images = streaming.create_batches(split.train, Views.from_spec(spec.data.views), split, "meta")
    order, view = loop._draw_order_and_views(spec, 0, len(images), images.views)
    decoded, load = [], images.load_pixels
    images.load_pixels = lambda *requests: (decoded.append(x) or x for x in load(*requests))
    batches = images.batches(order, view, 10)
    with Copies() as copies:
        for number, batch in enumerate(batches, start=1):
            assert {x.device.type for x in batch} == {"meta"}
            assert [len(x) for x in batch] == [len(decoded[number - 1])] * 3
            assert len(decoded) == min(number + 1, 5), "one ahead"
            # Index and view once, then the pixels of each batch and nothing else.
            assert copies.count == 2 + len(decoded)
    assert number == 5


def test_what_goes_over_to_a_gpu_is_pinned_and_not_waited_for():
    finished_runs = []

    class Tensor:
        def pin_memory(self):
            finished_runs.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            finished_runs.append((device.type, non_blocking))

    to_device(Tensor(), torch.device("cuda"))
    assert finished_runs == ["pinned", ("cuda", True)]


def test_grey_images_have_one_channel(tmp_path):
    arrays = synthetic_data.arrays((1, 20, 24), 3, 12, 6)
    synthetic_data.class_folders(tmp_path / "photos", arrays)
    make_card(tmp_path / "photos", None, None, stream=SIDE)
    of_data = {"mean": [0.5], "std": [0.5], "validation": 0}
    _, split = loaded(tmp_path / "photos", tmp_path, **of_data)
    x = torch.cat(
        list(streaming.create_batches(split.train, IDENTITY_VIEWS, split).unaugmented_batches(5))
    )
    assert x.shape == (12, 1, SIDE, SIDE) and x.std() > 0.1


# --- the listing


@pytest.mark.parametrize("changed", [{"stream": SIDE + 4}, {"channels": 1}])
def test_what_is_made_of_a_file_is_in_the_name_of_a_run(folder, changed):
    before = set(planned(folder).runs)
    make_card(folder, "photos", None, **({"stream": SIDE} | changed))
    content = study(folder)
    for key in ("mean", "std"):
        content["data"][key] = content["data"][key][: changed.get("channels", 3)]
    assert before.isdisjoint(planner.build_plan(load.validate_study(content, "photos")).runs)


def test_a_card_names_the_listing(photographs, folder):
    card = cards.read_card(cards.get_card_path(photographs))
    assert (card.train, card.test, card.classes, card.shape) == (60, 24, 3, (3, SIDE, SIDE))
    arrays = cache.read_index(card, photographs)
    assert card.sha256 == hash_arrays(arrays, cache.INDEX_NAMES)
    oracle = ImageFolder(photographs / "train")
    paths = [os.fsdecode(path) for path in arrays["train_paths"]]
    assert [str(photographs / path) for path in paths] == [path for path, _ in oracle.samples]
    assert arrays["train_sizes"].tolist() == [os.path.getsize(path) for path, _ in oracle.samples]

    def name_after(change):
        shutil.copytree(photographs, folder.parent / "changed" / "photos")
        change(folder.parent / "changed" / "photos")
        make_card(folder.parent / "changed" / "photos", None, None, stream=SIDE)
        actual = cards.read_card(folder.parent / "changed" / "photos.card.json").sha256
        shutil.rmtree(folder.parent / "changed")
        return actual

    assert name_after(lambda _: None) == card.sha256  # wherever it lies
    first = "train/ant/00000.JPEG"
    assert name_after(lambda new: (new / first).rename(new / "train/ant/z.JPEG")) != card.sha256
    assert name_after(lambda new: (new / first).rename(new / "train/bee/z.JPEG")) != card.sha256
    assert name_after(lambda new: (new / first).unlink()) != card.sha256


def test_the_command_says_what_the_study_wants(folder, capsys):
    assert main(["data", str(folder), "--stream", "24"]) == 0
    message = capsys.readouterr().out
    assert "60 training and 24 test images of 3 x 24 x 24, read from their files" in message
    assert f"data: {{name: photos, path: {folder}, mean: [0.5" in message
    assert cards.read_card(cards.get_card_path(folder)).shape == (3, 24, 24)


def test_a_changed_folder_is_refused_when_it_is_prepared(folder, tmp_path):
    next(folder.glob("train/ant/*")).unlink()
    with pytest.raises(DataError, match=r"not match its card .*: recreate its card"):
        prepared(folder, Store(tmp_path / "results"))


def test_mistakes_are_said_by_file_all_at_once(folder):
    (folder / "train" / "bee" / "x.jpg").write_text("no image")
    (folder / "test" / "cat" / "y.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 errors(.|\n)*bee/x.jpg(.|\n)*cat/y.png"):
        make_card(folder, "photos", None, stream=SIDE)


def test_the_same_file_in_train_and_test_is_refused(folder):
    shutil.copy(folder / "train/ant/00000.JPEG", folder / "test/ant/again.JPEG")
    with pytest.raises(DataError, match=r"ant/again.JPEG is the same file as .*ant/00000.JPEG"):
        make_card(folder, "photos", None, stream=SIDE)


def test_a_share_is_held_out(folder, tmp_path):
    shutil.move(folder / "train", tmp_path / "photos")
    make_card(tmp_path / "photos", None, None, stream=SIDE, test_share=0.25)
    _, split = loaded(tmp_path / "photos", tmp_path)
    assert np.bincount(split.test.labels).tolist() == [5, 5, 5]
    assert (len(split.train), len(split.val)) == (33, 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": 8}, "16 to 1024"),
        ({"stream": 32, "resize": 32}, "without --resize"),
    ],
)
def test_options_that_do_not_fit(options, message, folder):
    with pytest.raises(DataError, match=message):
        make_card(folder, "photos", None, **options)


def test_the_split_is_as_of_arrays(photographs, tmp_path):
    _, split = loaded(photographs, tmp_path, train_size=30, label_noise=0.5)
    files = [split.train.images, split.val.images]
    paths, _ = files[0].open_index()
    named = [[os.fsdecode(paths[i]) for i in each.indices] for each in files]
    assert not set(named[0]) & set(named[1])
    true = [CLASSES.index(path.split("/")[1]) for path in named[0]]
    assert np.bincount(true).tolist() == [10, 10, 10]
    assert 0 < (np.array(true) != split.train.labels).sum() <= 15
    assert [CLASSES.index(path.split("/")[1]) for path in named[1]] == split.val.labels.tolist()


# --- the same bytes


@pytest.fixture(scope="module")
def finished_runs(photographs, tmp_path_factory):
    """Teacher, scratch and student, read by one process of their own."""
    store = prepared(photographs, Store(tmp_path_factory.mktemp("done") / "results"))
    for run in planned(photographs).runs.values():
        train_run(run.spec, [], store, ExecutionOptions(workers=1))
    return store


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_does_not_matter(workers, photographs, finished_runs, tmp_path):
    store = prepared(photographs, Store(tmp_path / "results"))
    for run in list(planned(photographs).runs.values())[: 3 if workers == 0 else 1]:
        train_run(run.spec, [], store, ExecutionOptions(workers=workers))
        assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(
            finished_runs.run(run.name)
        )
        assert tiny_study.exact(store.run(run.name)).keys() >= {
            "weights.safetensors",
            "curve.jsonl",
        }


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_within_an_epoch_and_resumed(
    workers, photographs, finished_runs, tmp_path, monkeypatch
):
    store = prepared(photographs, Store(tmp_path / "results"))
    run = next(iter(planned(photographs).runs.values()))
    steps = []
    loss = Objective.compute_terms

    def killed(*inputs):
        steps.append(1)
        if len(steps) in (3, 9):
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(*inputs)

    monkeypatch.setattr(Objective, "compute_terms", killed)
    for _ in range(2):
        with pytest.raises(InterruptedRun):
            train_run(run.spec, [], store, ExecutionOptions(workers=workers))
    train_run(run.spec, [], store, ExecutionOptions(workers=workers))
    assert len(steps) == 2 * 5  # no step was made twice
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(finished_runs.run(run.name))


PRELOADING = """
import sys
from kdpipe.data import streaming

code = "import json, sys; json.dump(list(sys.modules), open(sys.argv[-1], 'w'))"
worker = streaming.get_worker_context().Process(target=exec, args=(code,))
worker.start()
worker.join()
"""


def test_a_worker_is_forked_with_all_that_it_needs(tmp_path):
    """A server swallows an import that fails: every worker would spend seconds on its own."""
    actual = tmp_path / "modules.json"
    subprocess.run([sys.executable, "-c", PRELOADING, str(actual)], check=True, timeout=120)
    modules = set(json.loads(actual.read_text()))
    assert streaming.PRELOADED_MODULES[0] == "kdpipe.data.streaming"
    assert {"torch", "PIL.Image", *streaming.PRELOADED_MODULES} <= modules


def children_of(pid):
    """Processes below one, by /proc."""
    actual, parents = [], {pid}
    lines = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            lines.append((int(entry.parent.name), int(fields[1]), fields[0]))
        except OSError:
            continue
    while below := [p for p, parent, state in lines if parent in parents and state != "Z"]:
        actual, parents = actual + below, set(below)
    return actual


@pytest.mark.slow
def test_by_the_command_line_killed_and_started_again(photographs, finished_runs, tmp_path, warm):
    """The real commands: no process is left over, whatever ended the run."""
    message = warm.run("prepare", "photos", "--path", str(photographs), cwd=tmp_path)
    assert message.code == 0 and "60 training and 24 test images listed" in message.output
    run = next(iter(planned(photographs).runs.values()))
    command = [*tiny_study.train(run), "--workers", "2"]
    ends, below, outs = [], set(), []
    for number in (signal.SIGTERM, signal.SIGKILL):
        child = warm.start(*command, cwd=tmp_path)
        until = time.monotonic() + 60
        while len(seen := children_of(child.pid)) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        below |= set(seen)
        # A cluster sends it to every process of a job.
        for pid in [*seen, child.pid] if number == signal.SIGTERM else [child.pid]:
            os.kill(pid, number)
        ends.append(child.wait())
        outs.append(child.output)
    assert ends == [75, None], outs
    assert warm.run(*tiny_study.train(run), cwd=tmp_path).code == 0
    assert tiny_study.exact(Store(tmp_path / "results").run(run.name)) == tiny_study.exact(
        finished_runs.run(run.name)
    )
    assert len(below) >= 8
    until = time.monotonic() + 15
    while (left := [pid for pid in below if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < until
    ):
        time.sleep(0.1)
    assert not left


def test_it_learns(photographs, tmp_path):
    content = study(photographs)
    content["recipe"] |= {"epochs": 8, "lr": 0.1}
    runs = planner.build_plan(load.validate_study(content, "photos")).runs
    store = prepared(photographs, Store(tmp_path / "results"))
    run = next(iter(runs.values()))
    train_run(run.spec, [], store)
    curve = (store.run(run.name) / "curve.jsonl").read_text().splitlines()
    losses = [json.loads(line)["train"]["loss"] for line in curve]
    assert losses[-1] < 0.7 * losses[0], losses
    assert tiny_study.record(store, run)["last"]["test"]["accuracy"] > 0.5  # of three classes


def test_tables_of_the_centre_and_its_mirror_teach_as_a_live_teacher(photographs, tmp_path):
    losses = []
    for outputs in ("table", "live"):
        content = study(photographs, crop=None) | {"teacher_outputs": outputs}
        plan = planner.build_plan(load.validate_study(content, "photos"))
        store = prepared(photographs, Store(tmp_path / outputs))
        for run in plan.runs.values():
            for table in run.logit_caches:
                teacher_tables.build_logit_cache(table.spec, store)
            train_run(run.spec, [], store)
        lines = (store.run(run.name) / "curve.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train"]["kd"] for line in lines])
    assert len(plan.logit_caches) == 0 and losses[0] == pytest.approx(losses[1], rel=2e-2)


# --- what goes wrong later


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("spoil", "output"),
    [
        (lambda path: path.unlink(), "was indexed but can no longer be read (No such file"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes, but"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "cannot be decoded"),
    ],
)
def test_a_file_that_is_spoilt_later_is_one_message(spoil, output, workers, folder, tmp_path):
    store = prepared(folder, Store(tmp_path / "results"))
    run = next(iter(planned(folder).runs.values()))
    victim = folder / "train" / "bee" / "00010.JPEG"
    spoil(victim)
    with pytest.raises(DataError) as error:
        train_run(run.spec, [], store, ExecutionOptions(workers=workers))
    message = str(error.value)
    assert message.startswith(f"{victim} ") and output in message and "\n" not in message
    assert "0x" not in message
    noted = json.loads((store.run(run.name) / "failure.json").read_text())
    assert noted == {"reason": message, "traceback": None}
    servers = [p for p in children_of(os.getpid()) if "forkserver" in command_of(p)]
    assert not any(children_of(server) for server in servers), "a worker outlives its stream"


def test_a_worker_that_is_killed_is_one_message(folder, tmp_path, monkeypatch):
    store = prepared(folder, Store(tmp_path / "results"))
    parent, loss = os.getpid(), Objective.compute_terms

    def without_workers(*inputs):
        server = next(p for p in children_of(parent) if "forkserver" in command_of(p))
        for pid in children_of(server):
            os.kill(pid, signal.SIGKILL)
        return loss(*inputs)

    monkeypatch.setattr(Objective, "compute_terms", without_workers)
    content = planner.build_plan(load.validate_study(study(folder, train_size=48), "photos"))
    run = next(iter(content.runs.values()))
    recipe = run.spec.recipe.model_copy(update={"batch_size": 3})
    spec = replace(run.spec, recipe=recipe)  # more batches than workers hold ready
    with pytest.raises(DataError, match=r"exited unexpectedly .* fewer `workers`"):
        train_run(spec, [], store, ExecutionOptions(workers=1))


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def test_a_folder_that_moved_is_listed_again(folder, tmp_path):
    store = prepared(folder, Store(tmp_path / "results"))
    spec = next(iter(planned(folder).runs.values())).spec
    card = cards.get_card_path(folder)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"folder .*own/photos.* kdpipe prepare photos --path"):
        splits.load_split(spec.data, store)
    prepare_dataset("photos", store, str(tmp_path / "elsewhere"), str(card))
    split = splits.load_split(spec.data, store)
    assert (
        len(
            list(
                streaming.create_batches(split.test, IDENTITY_VIEWS, split).unaugmented_batches(24)
            )
        )
        == 1
    )


def test_a_listing_that_was_altered_is_refused(folder, tmp_path):
    store = prepared(folder, Store(tmp_path / "results"))
    spec = next(iter(planned(folder).runs.values())).spec
    victim = next(store.root.glob("data/*/train_labels.npy"))
    np.save(victim, 1 - np.load(victim))
    with pytest.raises(DataError, match=r"train_labels.npy is not as in its card"):
        splits.load_split(spec.data, store)


# --- ImageNet, in its true form


WORDNET = ["n01440764", "n01443537", "n01484850"]


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A folder as torchvision unpacks ImageNet, with fewer images, and its card."""
    real = cards.load_known_card("imagenet")
    small = dataclasses.replace(
        real, classes=3, train=30, test=12, shape=(3, SIDE, SIDE), made={"stream": SIDE}
    )
    load = cards.load_known_card
    monkeypatch.setattr(
        cards, "load_known_card", lambda name: small if name == "imagenet" else load(name)
    )
    return synthetic_data.photographs(tmp_path / "imagenet", WORDNET, 30, 12, held="val")


def test_imagenet_is_listed_planned_and_trained_on(imagenet, tmp_path):
    content = study(imagenet, name="imagenet", validation=6)
    run = next(iter(planner.build_plan(load.validate_study(content, "f")).runs.values()))
    assert str(tmp_path) not in hashing.canonical_json(run.spec)
    store = Store(tmp_path / "results")
    message = prepare_dataset("imagenet", store, str(imagenet))
    assert message == "imagenet: 30 training and 12 test images listed"
    train_run(run.spec, [], store)
    assert tiny_study.record(store, run)["last"]["test"]["n"] == 12
    split = splits.load_split(run.spec.data, store)
    assert split.test.labels.tolist() == ImageFolder(imagenet / "val").targets


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: next(folder.glob("train/*/*")).unlink(), "train has 29 images, exp.* 30"),
        (lambda folder: next(folder.glob("val/*/*")).unlink(), "val has 11 images, expected 12"),
        (
            lambda folder: [(folder / part / WORDNET[0]).rename(folder / part / "tench")
                            for part in ("train", "val")],
            "train/tench is not a class name",
        ),
        (lambda folder: shutil.rmtree(folder / "val"), r"val has no class folders; exp"),
        (
            lambda folder: [shutil.rmtree(folder / "train"),
                            (folder / "ILSVRC2012_img_train.tar").write_bytes(b"")],
            r"Extract it once .*: python -c .*ImageNet\('.*imagenet', 'train'\)",
        ),
    ],
)  # fmt: skip
def test_what_is_not_imagenet_is_refused(change, message, imagenet, tmp_path):
    change(imagenet)
    with pytest.raises(DataError, match=message):
        prepare_dataset("imagenet", Store(tmp_path / "results"), str(imagenet))


def test_imagenet_is_not_downloaded(tmp_path):
    with pytest.raises(DataError, match=r"cannot be downloaded: set data.path"):
        prepare_dataset("imagenet", Store(tmp_path / "results"))


# --- a study of them


@pytest.mark.parametrize(
    ("of_data", "message"),
    [
        ({"pad": 2}, "data.pad: streamed images are not padded: remove this key"),
        ({"pad": 2, "crop": None}, "data.pad: .* write crop: {} instead"),
        ({"mean": None}, r"data.mean: missing required key; .* mean: \[0.485, 0.456, 0.406\]"),
        ({"std": None}, "data.std: missing required key"),
        (
            {"crop": {"scale": [0.9, 0.1]}},
            r"data.crop.*scale: must be in ascending order, got \[0.9, 0.1\]",
        ),
        ({"crop": {"scale": [0.0, 0.1]}}, "data.crop.scale"),
        ({"crop": {"size": 3}}, "data.crop.*size"),
    ],
)
def test_mistakes_of_a_study(of_data, message, photographs):
    with pytest.raises(StudyError, match=message):
        planned(photographs, **of_data)


def test_views_without_end_make_no_table(photographs):
    with pytest.raises(StudyError, match=r"teacher_outputs: table caches a finite .* write live"):
        load.validate_study(study(photographs) | {"teacher_outputs": "table"}, "f")
    plan = planned(photographs)
    assert not plan.logit_caches
    taught = [run.spec.teacher for run in plan.runs.values() if run.spec.teacher]
    assert [teacher.outputs for teacher in taught] == ["live"]
    assert "live (infinitely many views cannot be cached)" in render.render_plan_text(
        plan, dict.fromkeys(plan.runs, "to do")
    )
    assert planned(photographs, crop=None).logit_caches


def test_an_array_has_no_crop():
    content = tiny_study.study(data={"crop": {}})
    with pytest.raises(StudyError, match=r"data.crop: only for streamed images.*--stream SIDE"):
        load.validate_study(content, "f")


def test_workers_are_in_no_name(photographs):
    plan = planned(photographs)
    content = study(photographs) | {"workers": 9}
    other = planner.build_plan(load.validate_study(content, "photos"))
    assert list(plan.runs) == list(other.runs)
    requests = RuleContext(other.study, other, frozenset(other.runs), frozenset())
    name = SimpleNamespace(name=next(iter(other.runs)))
    assert requests.job_options(name) == ["--workers=9"] and requests.threads(name) == 1 + 9
    of_digits = tiny_study.planned()
    name = SimpleNamespace(name=next(iter(of_digits.runs)))
    plain = RuleContext(of_digits.study, of_digits, frozenset(), frozenset())
    assert plain.job_options(name) == [] and plain.threads(name) == 1


def test_what_a_view_is_made_of_is_in_the_name(photographs, monkeypatch):
    before = set(planned(photographs).runs)
    assert before.isdisjoint(planned(photographs, crop={"scale": [0.2, 1.0]}).runs)
    assert before.isdisjoint(planned(photographs, crop=None).runs)
    assert before.isdisjoint(planned(photographs, resize=20).runs)
    run = next(iter(planned(photographs).runs.values()))
    monkeypatch.setitem(hashing.REVISIONS, "stream", 99)
    assert before.isdisjoint(planned(photographs).runs)
    with pytest.raises(KdpipeError, match="has revision 1 of stream"):
        validate.validate_spec(run.spec)


def test_resize_is_the_side_of_the_crop(photographs, tmp_path):
    _, split = loaded(photographs, tmp_path, resize=20)
    assert split.test.images.shape == (3, 20, 20)
    x = next(streaming.create_batches(split.test, IDENTITY_VIEWS, split).unaugmented_batches(3))
    assert x.shape == (3, 3, 20, 20)
