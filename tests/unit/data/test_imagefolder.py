"""Data of one's own: folders of classes and .npz files, their cards, and every mistake by name."""

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import synthetic_data
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import arrays, cards, splits
from kdpipe.data.arrays import hash_arrays
from kdpipe.data.imagefolder import custom_card, reader
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError, StudyError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store

SHAPE = (3, 12, 12)


@pytest.fixture
def folder(tmp_path):
    return synthetic_data.class_folders(
        tmp_path / "shapes", synthetic_data.arrays(SHAPE, 4, 48, 16)
    )


def save(path, **changed):
    result = synthetic_data.arrays(SHAPE, 4, 48, 16) | changed
    np.savez_compressed(path, **{key: value for key, value in result.items() if value is not None})
    return path


def refused(path, **options):
    with pytest.raises(DataError) as error:
        make_card(path, "mine", None, **options)
    assert not (path.parent / f"{path.name}.card.json").exists()
    return str(error.value)


def study(**of_data):
    return {
        "study": "mine",
        "seeds": [0],
        "data": {"name": "mine", "validation": 8, **of_data},
        "recipe": {"epochs": 2, "batch_size": 16, "lr": 0.05},
        "methods": {"kd": {}},
        "teacher_outputs": "live",
        "experiments": [
            {"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"], "methods": ["kd"]}
        ],
    }


def test_a_folder_is_what_torchvision_reads(folder):
    arrays = reader.read_custom_data(card_of(folder), folder)
    for part in ("train", "test"):
        oracle = ImageFolder(folder / part)
        assert arrays[f"{part}_labels"].tolist() == oracle.targets
        for image, (reference, _) in zip(arrays[f"{part}_images"], oracle, strict=True):
            assert np.array_equal(image.transpose(1, 2, 0), np.asarray(reference))


def card_of(path, **options):
    make_card(path, "mine", None, **options)
    return cards.read_card(cards.get_card_path(path))


def test_the_card_says_what_is_there(folder, tmp_path):
    message = make_card(folder, None, None)
    card = cards.read_card(tmp_path / "shapes.card.json")
    assert (card.name, card.train, card.test, card.classes) == ("shapes", 48, 16, 4)
    assert card.shape == SHAPE
    assert card.sha256 == hash_arrays(reader.read_custom_data(card, folder))
    assert message.endswith(f"In the study: data: {{name: shapes, path: {folder}}}")
    assert "48 training and 16 test images" in message


def test_val_serves_as_test(folder):
    expected = card_of(folder).sha256
    cards.get_card_path(folder).unlink()
    (folder / "test").rename(folder / "val")
    assert "Is val/ for model selection or for the final results?" in refused(folder)
    assert card_of(folder, val_is="test").sha256 == expected


@pytest.mark.parametrize("val_is", [None, "test"])
def test_a_part_that_leads_nowhere_is_not_taken_for_none(folder, tmp_path, val_is):
    """test/ on a disk that is not mounted: else val/ would be the test set without a word."""
    (folder / "test").rename(folder / "val")
    (folder / "test").symlink_to(tmp_path / "unmounted")
    message = refused(folder, val_is=val_is)
    assert f"{folder / 'test'}: a broken link" in message


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path):
    arrays = synthetic_data.arrays((1, 9, 9), 3, 12, 6)
    folder = synthetic_data.class_folders(tmp_path / "grey", arrays)
    assert card_of(folder).shape == (1, 9, 9)
    assert np.array_equal(
        np.sort(reader.read_custom_data(card_of(folder), folder)["train_images"].sum((1, 2, 3))),
        np.sort(arrays["train_images"].sum((1, 2, 3))),
    )
    Image.new("RGB", (9, 9)).save(folder / "train" / "class-0" / "colour.png")
    assert card_of(folder).shape == (3, 9, 9)
    assert card_of(folder, channels=1).shape == (1, 9, 9)


def test_images_of_many_sizes_are_scaled_on_request(folder):
    Image.new("RGB", (30, 20), "red").save(folder / "train" / "class-0" / "large.jpg")
    assert "2 sizes (train/class-0/00000.png is 12 x 12, train/class-0/large.jpg is 30 x 20)" in (
        refused(folder)
    )
    card = card_of(folder, resize=16)
    assert card.shape == (3, 16, 16)
    red = reader.read_custom_data(card, folder)["train_images"][
        12
    ]  # the 13th of its class, after the numbered
    assert red[0].min() > 240 and red[1:].max() < 15


def test_a_share_of_each_class_is_held_out(tmp_path):
    data = synthetic_data.arrays(SHAPE, 4, 40, 4)
    folder = synthetic_data.class_folders(tmp_path, data, parts=["train"]) / "train"
    assert "use --test-share" in refused(folder)
    card = card_of(folder, test_share=0.25)
    arrays = reader.read_custom_data(card, folder)
    assert np.bincount(arrays["train_labels"]).tolist() == [8, 8, 8, 8]
    assert np.bincount(arrays["test_labels"]).tolist() == [2, 2, 2, 2]
    assert card_of(folder, test_share=0.25) == card


@pytest.mark.parametrize("form", ["NHWC", "NCHW", "NHW", "keras"])
def test_npz_files_of_each_form(form, tmp_path):
    shape = (1, 12, 12) if form == "NHW" else SHAPE
    arrays = synthetic_data.arrays(shape, 4, 48, 16)
    file = dict(arrays)
    for part in ("train", "test"):
        images = arrays[f"{part}_images"]
        if form in ("NHWC", "keras"):
            file[f"{part}_images"] = images.transpose(0, 2, 3, 1)
        elif form == "NHW":
            file[f"{part}_images"] = images[:, 0]
        if form == "keras":
            file[f"x_{part}"] = file.pop(f"{part}_images")
            file[f"y_{part}"] = file.pop(f"{part}_labels").astype(np.uint8)[:, None]
    np.savez(tmp_path / "mine.npz", **file)
    actual = reader.read_custom_data(card_of(tmp_path / "mine.npz"), tmp_path / "mine.npz")
    assert all(np.array_equal(actual[key], arrays[key]) for key in arrays)
    assert actual["train_labels"].dtype == np.int64


# --- every mistake, by file


def test_a_corrupt_image_among_many_is_named(folder):
    for name, content in (("00008.png", 300), ("00013.png", 0)):
        file = next(folder.rglob(f"train/*/{name}"))
        file.write_bytes(file.read_bytes()[:content])
    message = refused(folder)  # though only decoding finds the first one
    assert "2 errors" in message
    assert "class-1/00013.png cannot be decoded" in message
    assert "class-0/00008.png cannot be decoded" in message


def test_a_text_with_the_name_of_an_image_is_named(folder):
    (folder / "test" / "class-2" / "notes.jpg").write_text("hello")
    assert "class-2/notes.jpg cannot be decoded" in refused(folder)


def test_a_class_with_no_image_is_named(folder):
    (folder / "train" / "class-9").mkdir()
    (folder / "train" / "class-9" / "readme.txt").write_text("soon")
    assert "train/class-9: a class without images" in refused(folder)


def test_a_class_that_training_has_not_is_named(folder):
    shutil.copytree(folder / "test" / "class-1", folder / "test" / "class-7")
    assert "test/class-7: there is no such class in train" in refused(folder)


def test_an_image_in_train_and_test_is_named(folder):
    twin = next((folder / "train" / "class-3").iterdir())
    shutil.copy(twin, folder / "test" / "class-3" / "twin.png")
    message = refused(folder)
    assert "class-3/twin.png is the same image as" in message and str(twin) in message


def test_a_missing_folder_and_an_empty_one_are_named(tmp_path):
    assert "there is no folder or file" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no folders: its images must be in one folder per class" in refused(
        tmp_path / "empty"
    )
    (tmp_path / "empty" / "train").mkdir()
    (tmp_path / "empty" / "test").mkdir()
    assert "contains no class folder" in refused(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": np.zeros((48, 3, 12, 12), np.float32)}, "train images are float32"),
        ({"train_images": np.zeros((48, 5, 7, 9), np.uint8)}, "1 or 3 channels"),
        ({"train_images": np.zeros((48, 12), np.uint8)}, "have shape"),
        ({"train_images": np.zeros((47, 3, 12, 12), np.uint8)}, "47 images and 48 labels"),
        ({"train_labels": np.arange(48) % 4 * 2}, "class 1 has no training image"),
        ({"train_labels": np.arange(48) - 1}, "train label 0 is -1"),
        ({"train_labels": np.ones(48)}, "labels are float64"),
        ({"test_labels": np.arange(16)}, r"test_labels[4] is 4, but training has 0 to 3"),
        ({"test_images": np.zeros((16, 3, 9, 9), np.uint8)}, "(3, 9, 9) in test"),
        ({"test_labels": None}, "test_labels (or y_test) is missing"),
        ({"train_labels": np.array([{}] * 48)}, "not a plain .npz file"),
        ({"y_train": np.zeros(48, int)}, "it has both train_labels and y_train: remove one"),
    ],
)
def test_mistakes_of_an_npz_are_named(changed, message, tmp_path):
    assert message in refused(save(tmp_path / "mine.npz", **changed))


def test_a_pickle_under_the_name_of_an_npz_is_not_executed(tmp_path, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, ("was-executed",)

    monkeypatch.chdir(tmp_path)
    save(tmp_path / "mine.npz", train_labels=np.array([Hostile()] * 48, dtype=object))
    refused(tmp_path / "mine.npz")
    (tmp_path / "other.npz").write_bytes(b"cposix\nsystem\n(S'mkdir was-executed'\ntR.")
    refused(tmp_path / "other.npz")
    assert not (tmp_path / "was-executed").exists()


@pytest.mark.parametrize("name", ["digits", "a b", "../x", "", "x" * 41])
def test_names_that_are_taken_or_not_plain(name, folder):
    if not name:
        return
    with pytest.raises(DataError, match="in use or invalid"):
        make_card(folder, name, None)


# --- nothing is dropped without a word


def test_links_that_lead_nowhere_or_to_folders_are_named(folder, tmp_path):
    inside = folder / "train" / "class-0"
    (inside / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (inside / "more").symlink_to(folder / "test" / "class-1")
    (folder / "train" / "class-8").symlink_to(tmp_path / "unmounted")
    message = refused(folder)
    for output in (
        "gone.png: a broken link",
        "more: links to folders are not followed",
        "class-8: a broken link",
    ):
        assert output in message
    assert "3 errors" in message


def test_a_class_that_is_a_link_to_a_folder_is_read(folder, tmp_path):
    card = card_of(folder)
    (folder / "train" / "class-0").rename(tmp_path / "elsewhere")
    (folder / "train" / "class-0").symlink_to(tmp_path / "elsewhere")
    assert card_of(folder) == card


def test_what_is_passed_over_is_named(folder):
    assert "passed over" not in make_card(folder, "mine", None)
    some = next((folder / "train" / "class-0").iterdir())
    for name in ("train/class-0/picture", "test/class-1/a.txt", "train/loose.png", "more/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(some, folder / name)
    (folder / "train" / "class-0" / ".hidden").touch()
    message = make_card(folder, "mine", None)
    assert message.endswith(
        ": more/a.png, test/class-1/a.txt, train/class-0/picture, train/loose.png"
    )
    assert "note: skipped files, which are in no class or do not end in one of .jpg" in message


def test_jfif_is_a_picture(folder):
    Image.new("RGB", (12, 12), "red").save(folder / "train" / "class-0" / "x.jfif", "JPEG")
    assert card_of(folder).train == 49


def test_names_of_files_do_not_steer_a_terminal(folder, capsys):
    (folder / "train" / "class-0" / "\x1b[2J\n\u202e.png").write_text("hello")
    (folder / "test" / "class-1" / "\x1b]0;x\a.txt").write_text("hello")
    assert main(["data", str(folder)]) == 2
    message = capsys.readouterr().err
    assert r"\x1b[2J\n\u202e.png cannot be decoded" in message and message.count("\n") == 3
    next(folder.rglob("train/class-0/*[[]2J*")).unlink()
    assert main(["data", str(folder)]) == 0
    message = capsys.readouterr().out
    assert r"\x1b]0;x\x07.txt" in message and "\x1b" not in message


@pytest.mark.parametrize("name", ["my data, {x}: #1", "it's", "on", "$(touch x)"])
def test_hints_can_be_pasted_whatever_a_folder_is_called(name, folder, tmp_path, monkeypatch):
    """Into a shell and into a study."""
    monkeypatch.chdir(tmp_path)
    folder.rename(name)
    with pytest.raises(StudyError) as error:
        load.validate_study(study(path=name), "s", tmp_path)
    command = shlex.split(str(error.value).split("run once: kdpipe ")[1])
    assert main(command) == 0
    keys = said_keys(make_card(Path(name), "mine", None))
    result = load.validate_study(study() | {"data": keys | {"validation": 8}}, "s", tmp_path)
    assert planner.build_plan(result).card.shape == SHAPE


# --- in a study


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_study_of_ones_own_data_runs(kind, tmp_path, folder, capsys, monkeypatch):
    name = "shapes" if kind == "folder" else "mine.npz"
    save(tmp_path / "mine.npz")
    monkeypatch.chdir(tmp_path)
    assert main(["data", name, "--name", "mine"]) == 0
    (tmp_path / "studies").mkdir()
    path = tmp_path / "studies" / "mine.yaml"
    path.write_text(json.dumps(study(path=f"../{name}", resize=10)))
    plan = planner.build_plan(load.load_study(path))
    assert plan.card.shape == (3, 10, 10)
    assert main(["prepare", "mine", f"--path={name}"]) == 0
    for run in plan.runs.values():
        assert main(["train", "--spec", hashing.canonical_json(run.spec)]) == 0
    split = splits.load_split(run.spec.data, Store())
    assert split.train.images.shape == (40, 3, 10, 10)


def said_keys(message):
    """What a card's line says to write under `data`."""
    return yaml.safe_load(message.split("In the study: ")[1].split("\n")[0])["data"]


def test_what_is_said_of_a_card_elsewhere_can_be_pasted(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = said_keys(make_card(Path("shapes"), "mine", "shapes8.json", resize=8))
    result = load.validate_study(study() | {"data": keys | {"validation": 8}}, "s", tmp_path)
    assert planner.build_plan(result).card.shape == (3, 8, 8)


@pytest.mark.parametrize("count", [2000, 30])
def test_mean_and_std_of_images_that_stream_are_measured(count, tmp_path, monkeypatch):
    """Against torchvision's own transforms, on all images, be they a sample or not."""
    folder = synthetic_data.photographs(tmp_path / "photos", ["a", "b"], 60, 4)
    monkeypatch.setattr(custom_card, "SAMPLE_SIZE", count)
    message = make_card(folder, "mine", None, stream=16)
    keys = said_keys(message)
    centre = v2.Compose(
        [
            v2.Resize(round(16 * 256 / 224)),
            v2.CenterCrop(16),
            v2.PILToTensor(),
            v2.ToDtype(torch.float64, scale=True),
        ]
    )
    chosen = sorted(np.random.RandomState(0).permutation(60)[:count])
    oracle = ImageFolder(folder / "train", transform=centre)
    pixels = torch.stack([oracle[index][0] for index in chosen])
    assert np.allclose(keys["mean"], pixels.mean((0, 2, 3)), atol=6e-5)
    assert np.allclose(keys["std"], pixels.std((0, 2, 3), correction=0), atol=6e-5)
    assert ("30 training images drawn at random" in message) == (count == 30)
    assert ("measured on all of train" in message) == (count == 2000)
    result = load.validate_study(study() | {"data": keys | {"validation": 8}}, "s", tmp_path)
    assert planner.build_plan(result).card.shape == (3, 16, 16)


def test_coloured_images_for_grey_networks_are_said_with_the_cure(folder, tmp_path, monkeypatch):
    """The command that the message gives makes them fit."""
    monkeypatch.chdir(tmp_path)
    make_card(Path("shapes"), "mine", None)
    other = {"data": {"name": "mine", "path": "shapes", "validation": 8}, "blocks": ["a"]}
    inputs = study() | {"data": {"name": "digits"}, "transfers": {"t": other}}
    with pytest.raises(StudyError, match=r"--name mine --resize 8 --channels 1") as error:
        load.validate_study(inputs, "s", tmp_path)
    command = shlex.split(str(error.value).split("its card: kdpipe ")[1])
    assert main(command) == 0
    assert planner.build_plan(load.validate_study(inputs, "s", tmp_path)).probes


def test_the_digest_of_a_run_does_not_see_where_the_data_lie(tmp_path, folder):
    card_of(folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.copy(tmp_path / "shapes.card.json", tmp_path / "x.json")
    one = planner.build_plan(load.validate_study(study(path="shapes"), "s", tmp_path))
    other = study(path=str(tmp_path / "elsewhere"), card="x.json")
    assert list(one.runs) == list(
        planner.build_plan(load.validate_study(other, "s", tmp_path)).runs
    )
    resized = planner.build_plan(load.validate_study(study(path="shapes", resize=8), "s", tmp_path))
    assert not set(one.runs) & set(resized.runs)


def test_without_a_card_the_message_has_the_command(tmp_path, folder):
    with pytest.raises(StudyError, match=r"has no card yet .*: kdpipe data .*shapes --name mine"):
        load.validate_study(study(path="shapes"), "s", tmp_path)
    with pytest.raises(StudyError, match=r"has no card .*custom data need a `path`"):
        load.validate_study(study(), "s", tmp_path)
    (tmp_path / "shapes.card.json").write_text("{}")
    with pytest.raises(StudyError, match="not a card"):
        load.validate_study(study(path="shapes"), "s", tmp_path)


def test_data_changed_after_the_card_is_found_before_training(folder, tmp_path):
    card_of(folder)
    next(folder.rglob("train/class-0/*.png")).unlink()
    with pytest.raises(DataError, match=r"do not match its card .*recreate its card"):
        prepare_dataset("mine", Store(tmp_path / "results"), str(folder))
    assert not list((tmp_path / "results").rglob("*.npy"))


def test_mean_and_std_of_the_study_replace_those_of_train(tmp_path):
    save(tmp_path / "mine.npz")
    card_of(tmp_path / "mine.npz")
    inputs = study(path="mine.npz", mean=[0.4, 0.5, 0.6], std=[0.2, 0.2, 0.3])
    plan = planner.build_plan(load.validate_study(inputs, "s", tmp_path))
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(tmp_path / "mine.npz"))
    spec = next(iter(plan.runs.values())).spec.data
    split = splits.load_split(spec, store)
    assert (split.mean.tolist(), split.std.tolist()) == ([0.4, 0.5, 0.6], [0.2, 0.2, 0.3])
    measured = splits.load_split(replace(spec, mean=None, std=None), store)
    pixels = measured.train.images / 255
    assert np.allclose(measured.mean, pixels.mean((0, 2, 3)))
    with pytest.raises(StudyError, match="give one number per channel"):
        load.validate_study(study(path="mine.npz", mean=[0.4]), "s", tmp_path)


def test_statistics_of_many_images_are_those_of_few(monkeypatch):
    images = synthetic_data.arrays(SHAPE, 4, 48, 16)["train_images"]
    few = arrays.compute_mean_std(images)
    monkeypatch.setattr(arrays, "MAX_FLOAT_PIXELS", 0)
    assert np.allclose(arrays.compute_mean_std(images), few, rtol=1e-12)


# --- every family of networks, a small run


@pytest.mark.parametrize(
    "network", ["wrn10-0.5", "wrn16-1", "resnet8", "densenet-bc10-8", "shufflenet_v2_x0_5"]
)
def test_a_run_of_each_family_learns(network, tmp_path):
    large = network.startswith("shuffle")
    np.savez(tmp_path / "mine.npz", **synthetic_data.arrays(SHAPE, 3, 48, 6))
    card_of(tmp_path / "mine.npz")
    inputs = study(path="mine.npz", resize=224 if large else None, validation=0)
    inputs["recipe"] |= {"epochs": 4 if large else 6}
    inputs["experiments"][0] |= {"teachers": ["self"], "students": [network]}
    plan = planner.build_plan(load.validate_study(inputs, "s", tmp_path))
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(tmp_path / "mine.npz"))
    for run in plan.runs.values():
        train_run(run.spec, [], store)
        curve = (store.run(run.name) / "curve.jsonl").read_text().splitlines()
        losses = [json.loads(line)["train"]["loss"] for line in curve]
        assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": 3},
        {"shape": [3, "12", 12]},
        {"shape": [3, 12]},
        {"classes": 0},
        {"train": 1.5},
        {"sha256": "../../../x" + 54 * "0"},
        {"name": "../x"},
        {"test": None},
    ],
)
def test_a_card_that_is_none_is_refused(changed, folder, tmp_path):
    card_of(folder)
    path = tmp_path / "shapes.card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(StudyError, match=r"not a card|is the card of"):
        load.validate_study(study(path="shapes"), "s", tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"name": "mine", "path": "\0"}},
        {"data": {"name": "mine", "path": "x" * 3000}},
        {"data": {"name": "mine", "path": "/"}},
        {"data": {"name": "mine", "path": 3, "card": []}},
        {"data": {"name": "digits", "card": "x"}},
        {"pretrained": []},
        {"pretrained": {"x": None}},
        {"pretrained": {"x": {"network": "wrn10-1", "path": "\0"}}},
        {"pretrained": {"x": {"network": 3, "path": "/", "sha256": 0}}},
        {"pretrained": {"a": {"network": "wrn10-1", "weights": "IMAGENET1K_V1"}}},
    ],
)
def test_strange_values_are_refused_in_one_message(changed, tmp_path):
    with pytest.raises(StudyError):
        load.validate_study(study() | {"data": {"name": "digits"}} | changed, "s", tmp_path)
