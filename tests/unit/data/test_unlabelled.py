"""Images without labels of one's own: their card, what is refused, and what has changed since."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import v2

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import cache, cards, splits, streaming
from kdpipe.data.config import DataConfig
from kdpipe.data.data_spec import build_data_spec
from kdpipe.data.imagefolder import unlabelled_card as unlabelled_cards
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError, StudyError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.workflow.load import load_rule_context
from kdpipe.workflow.rule_context import SnakemakeOptions

COUNT = 12


@pytest.fixture
def here(tmp_path, monkeypatch, shared):
    """A study of digits with a folder `more` of twelve images, and the data set prepared."""
    monkeypatch.chdir(tmp_path)
    tiny_study.results(tmp_path, shared)
    folder = tmp_path / "more" / "deep"
    folder.mkdir(parents=True)
    for index, image in enumerate(synthetic_data.images(COUNT, 4, (1, 8, 8), 7)[0]):
        Image.fromarray(image[0]).save(folder / f"{index:02d}.png")
    written()
    return tmp_path


def written(splits=(0,), **data):
    """A study file that uses the images."""
    content = tiny_study.study(
        data={"unlabelled": "more"} | data, device="cpu", splits=list(splits)
    )
    content["methods"] = {"kd": {}, "more": {"unlabelled": 8}}
    content["experiments"][0]["methods"] = ["kd", "more"]
    tiny_study.write(Path("study.yaml"), content)


def digits(part="test") -> np.ndarray:
    store = Store()
    return cache.load_arrays(cards.load_known_card("digits"), store)[f"{part}_images"]


def say(capsys, *typed, code=0) -> str:
    assert main(list(typed)) == code
    actual = capsys.readouterr()
    return actual.out if code == 0 else actual.err


def carded():
    return unlabelled_cards.read_unlabelled_card(
        unlabelled_cards.get_unlabelled_card_path("more", "digits")
    )


def save(image, name):
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(name)


def test_the_card_says_what_is_there(here, capsys):
    message = say(capsys, "data", "study.yaml")
    assert message == (
        f"{here}/more.unlabelled.digits.json: 12 unlabelled images of 1 x 8 x 8, for digits\n"
    )
    actual = carded()
    assert (actual.source, actual.data, actual.count, actual.twins) == ("more", "digits", COUNT, 0)
    assert actual.of == cards.load_known_card("digits").sha256
    assert "no errors" in say(capsys, "check", "study.yaml")
    assert "12 of more, of which 8 are added" in say(capsys, "plan", "study.yaml")


def test_without_a_card_every_command_says_what_to_type(here, capsys):
    for command in ("check", "plan", "status"):
        message = say(capsys, command, "study.yaml", code=2)
        assert "study.yaml: 1 error\n  data.unlabelled: the images have no card yet" in message
        assert "run once: kdpipe check study.yaml --write" in message
    shutil.rmtree("more")
    message = say(capsys, "check", "study.yaml", code=2)
    assert f"and there is no folder or .npz file {here}/more" in message


def test_what_they_are_is_in_the_spec_and_where_they_lie_is_not(here, capsys):
    say(capsys, "data", "study.yaml")
    before = planner.build_plan(load.load_study("study.yaml"))
    shutil.copytree("more", "copy")
    written(unlabelled="copy")
    say(capsys, "data", "study.yaml")
    after = planner.build_plan(load.load_study("study.yaml"))
    assert list(before.runs) == list(after.runs) and before.datasets.keys() == {
        *after.datasets,
    }
    save(np.zeros((1, 8, 8), np.uint8), "copy/black.png")
    say(capsys, "data", "study.yaml")
    new = planner.build_plan(load.load_study("study.yaml"))
    changed = {name for name, run in after.runs.items() if "own_revision" in str(run.spec)}
    assert set(after.runs) - set(new.runs) == changed and len(changed) == 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_test_are_refused_with_their_names(here, capsys, mode):
    """Stored in colour they are still the same, once they are prepared."""
    Image.fromarray(digits()[5][0]).convert(mode).save("more/same.png")
    message = say(capsys, "data", "study.yaml", code=2)
    assert "1 of 13 images are also validation or test images of the data set (1 of test)" in (
        message
    )
    assert message.endswith("remove them and run it again: same.png (test image 5)\n")
    assert not unlabelled_cards.get_unlabelled_card_path("more", "digits").exists()


def test_of_many_images_of_test_a_file_has_all_names(here, capsys):
    for index, image in enumerate(digits()[:30]):
        save(image, f"more/{index:02d}.png")
    message = say(capsys, "data", "study.yaml", code=2)
    every = here / "more.unlabelled.digits.same.txt"
    assert "30 of 42 images" in message and "09.png (test image 9), ... (all in " in message
    assert str(every) in message and "10.png" not in message
    names = every.read_text().splitlines()
    assert names == [f"{index:02d}.png" for index in range(30)]
    for name in names:
        (here / "more" / name).unlink()
    assert "12 unlabelled images" in say(capsys, "data", "study.yaml") and not every.exists()


def held_out(**keys):
    card, split = cards.load_known_card("digits"), keys.pop("split", 0)
    data = DataConfig(**{"name": "digits", "validation": 40, "train_size": 64} | keys)
    labels = cache.load_arrays(card, Store())["train_labels"]
    return splits.draw_validation_indices(build_data_spec(data, card, split), card, labels)


def test_images_of_validation_are_refused_and_those_of_train_are_said(here, capsys):
    train, held = digits("train"), held_out()
    inside, outside = held[0], next(i for i in range(1000) if i not in {*held, *held_out(split=1)})
    save(train[outside], "more/known.png")
    shutil.copy("more/known.png", "more/again.png")
    message = say(capsys, "data", "study.yaml")
    assert "note: 2 are also training images of digits" in message
    assert "note: 1 are duplicates of others among them" in message
    assert carded().twins == 2
    save(train[inside], "more/held.png")
    message = say(capsys, "data", "study.yaml", code=2)
    assert "(1 of validation)" in message and f"held.png (validation image {inside})" in message


def test_of_another_draw_of_validation_nothing_is_known(here, capsys):
    """A card of images that are also in train is of the validation that it was made for."""
    train = digits("train")
    other = held_out(split=1)
    known = next(i for i in other if i not in held_out())
    save(train[known], "more/known.png")
    say(capsys, "data", "study.yaml")
    for fits in ({}, {"validation": 39}, {"train_size": 100}):
        written(**fits)
        assert "no errors" in say(capsys, "check", "study.yaml")
    for differs in ({"validation": 41}, {"split_seed": 1}, {"draw": "share"}, {"splits": [0, 1]}):
        written(**differs)
        message = say(capsys, "check", "study.yaml", code=2)
        assert (
            "1 of the images are also training images of digits, and the validation draw" in message
        )
        assert "run once: kdpipe check study.yaml --write" in message
    message = say(capsys, "data", "study.yaml", code=2)
    assert f"known.png (validation image {known})" in message


def test_a_folder_that_has_changed_since_is_said(here, capsys):
    say(capsys, "data", "study.yaml")
    assert prepare_dataset("digits", Store(), unlabelled="more") == (
        "more: 12 unlabelled images prepared, for digits"
    )
    save(np.zeros((1, 8, 8), np.uint8), "more/black.png")
    for command in ("check", "plan"):
        message = say(capsys, command, "study.yaml", code=2)
        assert "study.yaml: 1 error\n  data.unlabelled: the images in" in message
        assert "(files: 1 came: black.png since its card was made)" in message
        assert "recreate the card: kdpipe check study.yaml --write" in message
    with pytest.raises(SystemExit):
        load_rule_context({}, [], here / "study.yaml", is_head=True)
    assert "data.unlabelled: the images in" in capsys.readouterr().err
    assert load_rule_context({}, [], here / "study.yaml", is_head=False)  # a job looks at none
    with pytest.raises(DataError, match="do not match their card"):
        prepare_dataset("digits", Store(), unlabelled="more")
    (here / "more" / "black.png").unlink()
    assert "no errors" in say(capsys, "check", "study.yaml")
    prepare_dataset("digits", Store(), unlabelled="more")
    shutil.rmtree("more")  # what is prepared of it stands alone
    assert "no errors" in say(capsys, "check", "study.yaml")
    assert load_rule_context(
        {}, [], here / "study.yaml", is_head=True, options=SnakemakeOptions(is_dry_run=True)
    )
    shutil.rmtree(Store().data(carded().folder))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        load_rule_context(
            {}, [], here / "study.yaml", is_head=True, options=SnakemakeOptions(is_dry_run=True)
        )
    assert f"there is no {here}/more, and its images are not prepared" in capsys.readouterr().err


def test_a_card_that_was_changed_or_is_of_other_data_is_refused(here, capsys):
    say(capsys, "data", "study.yaml")
    store = unlabelled_cards.get_unlabelled_card_path("more", "digits")
    facts = json.loads(store.read_text())
    store.write_text(json.dumps(facts | {"count": 500}))
    assert "is missing or not a card of unlabelled images" in say(
        capsys, "check", "study.yaml", code=2
    )
    store.write_text(json.dumps(synthetic_data.resealed(facts | {"of": "0" * 64})))
    message = say(capsys, "check", "study.yaml", code=2)
    assert "was created for other images of digits" in message
    store.write_text(json.dumps(synthetic_data.resealed(facts | {"sha256": "../.."})))
    assert "is not 64 hexadecimal digits" in say(capsys, "check", "study.yaml", code=2)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.zeros(3)}, "it has x, y"),
        ({}, "it has none"),
        ({"x": np.zeros((3, 8, 8))}, "x are float64"),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, "x have shape (0, 8, 8)"),
        ({"x": np.zeros((3, 8, 8, 2), np.uint8)}, "must have 1 or 3 channels"),
    ],
)
def test_a_npz_is_one_array_of_images(here, capsys, arrays, says):
    np.savez("more.npz", **arrays)
    written(unlabelled="more.npz")
    assert says in say(capsys, "data", "study.yaml", code=2)


def test_coloured_images_of_a_npz_are_made_grey_and_stretched(here, capsys):
    """Weights of ITU-R 601 as PIL has them, then the size."""
    pixels = np.random.RandomState(3).randint(0, 256, (9, 10, 14, 3), np.uint8)
    np.savez("more.npz", anything=pixels)
    written(unlabelled="more.npz")
    message = say(capsys, "data", "study.yaml")
    assert "note: 9 have another size and are stretched to 8 x 8" in message
    assert "note: 9 are color images and are converted to grayscale" in message
    card = unlabelled_cards.read_unlabelled_card(
        unlabelled_cards.get_unlabelled_card_path("more.npz", "digits")
    )
    prepare_dataset("digits", Store(), unlabelled="more.npz")
    actual = np.load(Store().data(card.folder) / "unlabelled_images.npy")
    r, g, b = (pixels[..., k].astype(int) for k in range(3))
    grey = ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16).astype(np.uint8)
    for image, one in zip(actual, grey, strict=True):
        expected = Image.fromarray(one).resize((8, 8), Image.Resampling.BILINEAR)
        assert np.array_equal(image[0], np.asarray(expected))


def test_every_mistake_of_a_folder_is_said_at_once(here, capsys):
    (here / "more" / "half.png").write_bytes((here / "more/deep/00.png").read_bytes()[:40])
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save("more/clear.png")
    (here / "more" / "gone.png").symlink_to("nowhere")
    message = say(capsys, "data", "study.yaml", code=2)
    assert "gone.png: a broken link" in message
    (here / "more" / "gone.png").unlink()
    message = say(capsys, "data", "study.yaml", code=2)
    assert "2 errors" in message and "half.png" in message and "clear.png" in message
    shutil.rmtree("more"), (here / "more").mkdir()
    assert "contains no images" in say(capsys, "data", "study.yaml", code=2)


def test_the_command_is_told_what_it_is_for(here, capsys):
    assert "--resize: belongs to a folder or .npz" in say(
        capsys, "data", "study.yaml", "--resize", "8", code=2
    )
    assert "--results: belongs to a study file" in say(
        capsys, "data", "more", "--results", "there", code=2
    )
    written(unlabelled="rest")
    assert "does not name a folder or .npz" in say(capsys, "data", "study.yaml", code=2)


def test_verify_and_prune_know_them(here, capsys):
    say(capsys, "data", "study.yaml")
    prepare_dataset("digits", Store(), unlabelled="more")
    folder = Store().data(carded().folder)
    assert say(capsys, "verify") == "results: all files are intact\n"
    assert "all results are needed" in say(capsys, "prune", "study.yaml")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"count": 500}))
    message = damaged(capsys)
    assert "not the card of the data in its folder: remove the folder" in message
    (folder / "card.json").write_text(json.dumps(card))
    path = folder / "unlabelled_images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "have changed: remove the folder" in damaged(capsys)
    written(unlabelled="rest")
    assert folder.name in say(capsys, "prune", "study.yaml")


def damaged(capsys) -> str:
    assert main(["verify"]) == 2
    return capsys.readouterr().out


def test_they_are_scaled_as_the_data_are(here, capsys):
    """Prepared at the size of the data set, then scaled by the study, as torch would by itself."""
    written(resize=16)
    say(capsys, "data", "study.yaml")
    assert carded().shape == (1, 8, 8)
    prepare_dataset("digits", Store(), unlabelled="more")
    plan = planner.build_plan(load.load_study("study.yaml"))
    spec = next(run.spec for run in plan.runs.values() if "own_revision" in str(run.spec))
    actual = splits.load_unlabelled(spec.data, spec.method["unlabelled_from"], Store()).images
    for image, file in zip(actual, sorted(Path("more").rglob("*.png")), strict=True):
        x = torch.from_numpy(np.asarray(Image.open(file), np.float32))[None, None]
        expected = F.interpolate(x, (16, 16), mode="bilinear", antialias=True)[0].round()
        assert np.array_equal(image, expected.clamp(0, 255).numpy())


def test_of_a_validation_that_is_a_part_of_the_data_none_is_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arrays = synthetic_data.arrays((1, 9, 9), 4, 80, 16)
    val, labels = synthetic_data.images(16, 4, (1, 9, 9), 9)
    np.savez("mine.npz", **arrays, val_images=val, val_labels=labels)
    make_card(tmp_path / "mine.npz", None, None)
    np.savez("more.npz", np.concatenate([arrays["train_images"][:9], val[3:4]]))
    written(name="mine", path="mine.npz", unlabelled="more.npz", validation=0, train_size=64)
    message = say(capsys, "data", "study.yaml", code=2)
    assert "1 of 10 images" in message and "image 9 (validation image 3)" in message
    np.savez("more.npz", arrays["train_images"][:9])
    assert "note: 9 are also training images of mine" in say(capsys, "data", "study.yaml")
    assert "no errors" in say(capsys, "check", "study.yaml")


@pytest.fixture
def streamed(tmp_path, monkeypatch):
    """Photographs that stream, and a folder with some more; one of them twice."""
    monkeypatch.chdir(tmp_path)
    synthetic_data.photographs(tmp_path / "mine", ["ant", "bee"], 40, 12)
    synthetic_data.photographs(tmp_path / "other", ["cat"], 12, 0)
    shutil.move("other/train/cat", "more")
    make_card(tmp_path / "mine", None, None, stream=16)
    content = {"name": "mine", "path": "mine", "validation": 8, "pad": 0, "crop": {}}
    content |= {"mean": [0.5] * 3, "std": [0.25] * 3, "train_size": 32}
    written(**content)
    return content


def test_beside_images_that_stream_they_are_listed(streamed, capsys):
    say(capsys, "data", "study.yaml")
    assert "no errors" in say(capsys, "check", "study.yaml")
    plan = planner.build_plan(load.load_study("study.yaml"))
    spec = next(run.spec for run in plan.runs.values() if "own_revision" in str(run.spec))
    data, store = plan.study.data, Store()
    prepare_dataset("mine", store, data.path, unlabelled=str(data.unlabelled))
    actual = splits.load_unlabelled(spec.data, spec.method["unlabelled_from"], store).images
    assert not isinstance(actual, np.ndarray) and len(actual) == 12 and actual.shape == (3, 16, 16)
    paths, sizes = actual.open_index()
    files = sorted(Path("more").iterdir())
    assert [path.decode() for path in paths] == [file.name for file in files]
    assert list(sizes) == [file.stat().st_size for file in files]
    crop = v2.Compose([v2.Resize(18), v2.CenterCrop(16)])  # 256/224 of 16
    expected = [np.asarray(crop(Image.open(file))).transpose(2, 0, 1) for file in files]
    pixels = np.concatenate([*streaming.iterate_pixels(splits.Subset(actual, np.zeros(12)), 5)])
    assert np.array_equal(pixels, expected)
    for run in plan.runs.values():
        assert "validation error" in train_run(run.spec, [], store)
    assert say(capsys, "verify") == "results: all files are intact\n"


def test_of_images_that_stream_equal_files_are_found(streamed, capsys):
    first = min(Path("more").iterdir())
    shutil.copy(first, "more/again.JPEG")
    assert "note: 1 are duplicates of others among them" in say(capsys, "data", "study.yaml")
    Path("more/again.JPEG").unlink()
    test = sorted(Path("mine/test").rglob("*.JPEG"))
    shutil.copy(test[3], "more/same.JPEG")
    message = say(capsys, "data", "study.yaml", code=2)
    assert "1 of 13 images" in message and "same.JPEG (test image 3)" in message


def test_a_npz_does_not_stream(streamed, capsys):
    np.savez("more.npz", np.zeros((3, 16, 16), np.uint8))
    written(**streamed, unlabelled="more.npz")
    assert "must be a folder" in say(capsys, "data", "study.yaml", code=2)


def test_a_study_is_checked_without_the_images_card_before_it_is_made(here):
    assert load.load_study("study.yaml", require_cards=False)
    with pytest.raises(StudyError):
        load.load_study("study.yaml")
