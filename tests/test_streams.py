"""Images that stream from their files: listed once, decoded as torchvision does, exact."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import made_data
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from kdpipe import cards, checking, cli, data, identity, jobs, listing, own, plan, streams, training
from kdpipe.errors import DataError, Interrupted, StudyError
from kdpipe.store import Store
from kdpipe.views import Crop, Views

CLASSES = ["ant", "bee", "cat"]
CROP = Crop((0.3, 1.0), (0.75, 4 / 3))
SIDE = 16
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]


@pytest.fixture(scope="module")
def photographs(shared):
    """A folder of photographs with its card; nobody changes it."""

    def build(new: Path) -> None:
        made_data.photographs(new / "photos", CLASSES, 60, 24)

    folder = tiny.once(shared / "photographs", build) / "photos"
    if not cards.beside(folder).exists():
        own.make_card(folder, "photos", None, stream=SIDE)
    return folder


@pytest.fixture
def folder(photographs, tmp_path):
    """The same, to be spoilt."""
    shutil.copytree(photographs.parent, tmp_path / "own")
    return tmp_path / "own" / "photos"


def study(folder, **of_data):
    wanted = {"validation": 12, "crop": {"scale": [0.3, 1.0]}, "flip": True}
    return {
        "study": "photos",
        "seeds": [0],
        "data": {"name": "photos", "path": str(folder), "mean": MEAN, "std": STD}
        | wanted
        | of_data,
        "recipe": {"epochs": 2, "batch_size": 10, "lr": 0.05},
        "methods": {"kd": {}},
        "experiments": [
            {"name": "a", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
        ],
    }


def planned(folder, **of_data):
    return plan.make(checking.validate(study(folder, **of_data), "photos"))


def prepared(folder, place):
    jobs.prepare("photos", place, str(folder))
    return place


def loaded(folder, root, **of_data):
    """The split, and the whole training part with some view."""
    place = prepared(folder, Store(root / "results"))
    spec = next(iter(planned(folder, **of_data).runs.values())).spec
    return spec, data.load(spec["data"], place)


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
    found = streams.images(split.test, Views(0, "zero", False), split, workers=workers)
    oracle = ImageFolder(
        photographs / "test",
        transforms.Compose([transforms.Resize(18), transforms.CenterCrop(SIDE)]),  # 16 * 256 / 224
    )
    assert len(found) == len(oracle) == 24
    x = torch.cat(list(found.centres(10)))
    assert x.shape == (24, 3, SIDE, SIDE) and x.is_contiguous(memory_format=torch.channels_last)
    for image, (theirs, _) in zip(x, oracle, strict=True):
        assert np.array_equal(pixels_of(image), np.asarray(theirs))
    assert split.test.labels.tolist() == oracle.targets


def test_the_field_resizes_to_256_before_224():
    assert [round(side * streams.LARGER) for side in (224, 112, 64)] == [256, 128, 73]


@pytest.mark.parametrize("flip", [False, True])
def test_a_random_view_is_torchvisions_crop_of_its_seed(flip, photographs, tmp_path):
    _, split = loaded(photographs, tmp_path)
    images = streams.images(split.test, Views(0, "zero", flip, CROP), split)
    oracle = ImageFolder(photographs / "test")
    order = torch.arange(len(oracle)).repeat(3)
    seeds = torch.randint(2**63 - 1, (len(order),), generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    ((index, view, x),) = images.batches(order, seeds, 1000)
    assert list(images.centres(24))
    assert torch.equal(index, order) and torch.equal(view, seeds)
    assert torch.equal(torch.get_rng_state(), before)
    flipped = 0
    for image, place, seed in zip(x, order.tolist(), seeds.tolist(), strict=True):
        photograph = oracle[place][0]
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
    images = streams.images(split.test, Views(0, "zero", True), split)
    assert images.views.count == 2
    order = torch.arange(len(images))
    ((_, _, plain),) = images.batches(order, torch.zeros_like(order), 1000)
    ((_, _, mirrored),) = images.batches(order, torch.ones_like(order), 1000)
    assert torch.equal(mirrored, plain.flip(3))
    assert torch.equal(plain, torch.cat(list(images.centres(7))))


def test_batches_from_the_middle_are_those_of_the_whole(photographs, tmp_path):
    spec, split = loaded(photographs, tmp_path)
    views = Views.of(spec["data"]["views"])
    images = streams.images(split.train, views, split)
    assert views.crop == Crop((0.3, 1.0), (0.75, 4 / 3)) and len(images) == 48
    order, view = training._presentation(spec, 0, len(images), views)
    whole = list(images.batches(order, view, 10))
    assert [len(x) for _, _, x in whole] == [10, 10, 10, 10, 8]
    rest = list(images.batches(order, view, 10, 3))
    assert len(rest) == 2
    for one, other in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert list(images.batches(order, view, 10, 5)) == []


def test_grey_images_have_one_channel(tmp_path):
    made = made_data.arrays((1, 20, 24), 3, 12, 6)
    made_data.class_folders(tmp_path / "photos", made)
    own.make_card(tmp_path / "photos", None, None, stream=SIDE)
    of_data = {"mean": [0.5], "std": [0.5], "validation": 0}
    _, split = loaded(tmp_path / "photos", tmp_path, **of_data)
    x = torch.cat(list(streams.images(split.train, Views(0, "zero", False), split).centres(5)))
    assert x.shape == (12, 1, SIDE, SIDE) and x.std() > 0.1


# --- the listing


def test_a_card_names_the_listing(photographs, folder):
    card = cards.read(cards.beside(photographs))
    assert (card.train, card.test, card.classes, card.shape) == (60, 24, 3, (3, SIDE, SIDE))
    arrays = listing.read(card, photographs)
    assert card.sha256 == data.digest(arrays, listing.NAMES)
    oracle = ImageFolder(photographs / "train")
    paths = [os.fsdecode(path) for path in arrays["train_paths"]]
    assert [str(photographs / path) for path in paths] == [path for path, _ in oracle.samples]
    assert arrays["train_sizes"].tolist() == [os.path.getsize(path) for path, _ in oracle.samples]

    def name_after(change):
        shutil.copytree(photographs, folder.parent / "changed" / "photos")
        change(folder.parent / "changed" / "photos")
        own.make_card(folder.parent / "changed" / "photos", None, None, stream=SIDE)
        found = cards.read(folder.parent / "changed" / "photos.card.json").sha256
        shutil.rmtree(folder.parent / "changed")
        return found

    assert name_after(lambda _: None) == card.sha256  # wherever it lies
    first = "train/ant/00000.JPEG"
    assert name_after(lambda new: (new / first).rename(new / "train/ant/z.JPEG")) != card.sha256
    assert name_after(lambda new: (new / first).rename(new / "train/bee/z.JPEG")) != card.sha256
    assert name_after(lambda new: (new / first).unlink()) != card.sha256


def test_a_changed_folder_is_refused_when_it_is_prepared(folder, tmp_path):
    next(folder.glob("train/ant/*")).unlink()
    with pytest.raises(DataError, match=r"not those of its card .*: make its card again"):
        prepared(folder, Store(tmp_path / "results"))


def test_mistakes_are_said_by_file_all_at_once(folder):
    (folder / "train" / "bee" / "x.jpg").write_text("no image")
    (folder / "test" / "cat" / "y.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 mistakes(.|\n)*bee/x.jpg(.|\n)*cat/y.png"):
        own.make_card(folder, "photos", None, stream=SIDE)


def test_the_same_file_in_train_and_test_is_refused(folder):
    shutil.copy(folder / "train/ant/00000.JPEG", folder / "test/ant/again.JPEG")
    with pytest.raises(DataError, match=r"ant/again.JPEG is the same file as .*ant/00000.JPEG"):
        own.make_card(folder, "photos", None, stream=SIDE)


def test_a_share_is_held_out(folder, tmp_path):
    shutil.move(folder / "train", tmp_path / "photos")
    own.make_card(tmp_path / "photos", None, None, stream=SIDE, test_share=0.25)
    _, split = loaded(tmp_path / "photos", tmp_path)
    assert np.bincount(split.test.labels).tolist() == [5, 5, 5]
    assert (len(split.train), len(split.val)) == (33, 12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stream": 8}, "16 to 1024"),
        ({"stream": 32, "resize": 32}, "no --resize beside it"),
    ],
)
def test_options_that_do_not_fit(options, said, folder):
    with pytest.raises(DataError, match=said):
        own.make_card(folder, "photos", None, **options)


def test_the_split_is_as_of_arrays(photographs, tmp_path):
    _, split = loaded(photographs, tmp_path, train_size=30, label_noise=0.5)
    files = [split.train.images, split.val.images]
    paths, _ = files[0].opened()
    named = [[os.fsdecode(paths[i]) for i in each.chosen] for each in files]
    assert not set(named[0]) & set(named[1])
    true = [CLASSES.index(path.split("/")[1]) for path in named[0]]
    assert np.bincount(true).tolist() == [10, 10, 10]
    assert 0 < (np.array(true) != split.train.labels).sum() <= 15
    assert [CLASSES.index(path.split("/")[1]) for path in named[1]] == split.val.labels.tolist()


# --- the same bytes


@pytest.fixture(scope="module")
def done(photographs, tmp_path_factory):
    """Teacher, scratch and student, read by one process of their own."""
    place = prepared(photographs, Store(tmp_path_factory.mktemp("done") / "results"))
    for run in planned(photographs).runs.values():
        jobs.train(run.spec, [], place, workers=1)
    return place


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_does_not_matter(workers, photographs, done, tmp_path):
    place = prepared(photographs, Store(tmp_path / "results"))
    for run in list(planned(photographs).runs.values())[: 3 if workers == 0 else 1]:
        jobs.train(run.spec, [], place, workers=workers)
        assert tiny.exact(place.run(run.name)) == tiny.exact(done.run(run.name))
        assert len(tiny.exact(place.run(run.name))) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_within_an_epoch_and_resumed(workers, photographs, done, tmp_path, monkeypatch):
    place = prepared(photographs, Store(tmp_path / "results"))
    run = next(iter(planned(photographs).runs.values()))
    steps = []
    loss = training._loss

    def killed(*given):
        steps.append(1)
        if len(steps) in (3, 9):
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(*given)

    monkeypatch.setattr(training, "_loss", killed)
    for _ in range(2):
        with pytest.raises(Interrupted):
            jobs.train(run.spec, [], place, workers=workers)
    jobs.train(run.spec, [], place, workers=workers)
    assert len(steps) == 2 * 5  # no step was made twice
    assert tiny.exact(place.run(run.name)) == tiny.exact(done.run(run.name))


def children_of(pid):
    """Processes below one, by /proc."""
    found, parents = [], {pid}
    lines = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            lines.append((int(entry.parent.name), int(fields[1]), fields[0]))
        except OSError:
            continue
    while below := [p for p, parent, state in lines if parent in parents and state != "Z"]:
        found, parents = found + below, set(below)
    return found


def test_by_the_command_line_killed_and_started_again(photographs, done, tmp_path, warm):
    """The real commands: no process is left over, whatever ended the run."""
    said = warm.run("prepare", "photos", "--path", str(photographs), cwd=tmp_path)
    assert said.code == 0 and "60 training and 24 test images listed" in said.output
    run = next(iter(planned(photographs).runs.values()))
    command = [*tiny.train(run), "--workers", "2"]
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
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny.exact(Store(tmp_path / "results").run(run.name)) == tiny.exact(done.run(run.name))
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
    runs = plan.make(checking.validate(content, "photos")).runs
    place = prepared(photographs, Store(tmp_path / "results"))
    run = next(iter(runs.values()))
    jobs.train(run.spec, [], place)
    curve = (place.run(run.name) / "curve.jsonl").read_text().splitlines()
    losses = [json.loads(line)["train"]["loss"] for line in curve]
    assert losses[-1] < 0.7 * losses[0], losses
    assert tiny.record(place, run)["last"]["test"]["accuracy"] > 0.5  # of three classes
