"""`kdpipe init`: a valid study for whatever lies there, and nothing is written over."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic_data

from kdpipe.cli import scaffold
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import cards
from kdpipe.data.imagefolder import custom_card
from kdpipe.plan import estimate, planner
from kdpipe.workflow import machine_benchmark


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Two cores that take a millisecond a step, and a folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scaffold, "time_step", lambda *_: 0.001)
    monkeypatch.setattr(estimate, "count_cores", lambda: 2)
    monkeypatch.setattr(machine_benchmark, "measure_missing", lambda *_: None)
    monkeypatch.setenv(estimate.CACHE_ENV, str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """Photographs of many sizes: photos/train and photos/test."""
    return synthetic_data.photographs(tmp_path / "my photos", ["cat", "dog", "owl"], 60, 15)


def init(capsys, *arguments, code=0):
    assert main(["init", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def planned(path):
    return planner.build_plan(load.load_study(path))


@pytest.mark.parametrize(("counts", "proposed"), [((60, 20), True), ((60, 21), False)])
def test_classes_three_times_as_large_as_others_get_another_metric(
    counts, proposed, tmp_path, capsys
):
    folder = tmp_path / "uneven"
    synthetic_data.photographs(folder, ["cat", "dog"], 2 * max(counts), 10)
    for number, name in zip(counts, ("cat", "dog"), strict=True):
        for path in sorted((folder / "train" / name).iterdir())[number:]:
            path.unlink()
    init(capsys, "uneven")
    text = Path("uneven.yaml").read_text()
    assert load.load_study("uneven.yaml").metric == ("balanced" if proposed else "top1")
    assert ("the largest has 60 images, the smallest 20" in text) == proposed


def test_a_folder_of_photographs_gets_a_card_and_a_study_of_two_dozen_lines(photos, capsys):
    message = init(capsys, "my photos")
    assert "my-photos: 60 training and 15 test images of 3 x 28 x 28 in 3 classes" in message
    assert (
        "next: kdpipe run my-photos.yaml" in message and "9 runs" in message
    ) or "15 runs" in message
    study = load.load_study("my-photos.yaml")
    assert study.data.validation == 9 and study.data.path == str(photos)
    assert list(study.methods) == ["kd"] and study.experiments[0].methods == ["kd"]
    assert Path("my-photos.yaml").read_text().count("\n") <= 24
    assert load.collect_notes(study) == []


def test_a_study_is_there_whole_or_not_at_all(photos, capsys, monkeypatch):
    """Killed before its end, or the disk is full: typed again it is written."""
    real = os.replace

    def replace(source, target):
        if Path(target).suffix == ".yaml":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert "no space left to write my-photos.yaml" in init(capsys, "my photos", code=2)
    assert not list(Path().glob("*my-photos.yaml*"))
    monkeypatch.setattr(os, "replace", real)
    init(capsys, "my photos")
    assert planned("my-photos.yaml").runs


def test_nothing_is_written_over(photos, capsys):
    init(capsys, "my photos")
    text = Path("my-photos.yaml").read_text()
    card = cards.get_card_path(photos).read_bytes()
    assert "is not overwritten" in init(capsys, "my photos", code=2)
    assert "note: " in init(capsys, "my photos", "--study", "other.yaml")
    assert (
        Path("my-photos.yaml").read_text() == text
        and cards.get_card_path(photos).read_bytes() == card
    )
    assert list(planned("other.yaml").runs) == list(planned("my-photos.yaml").runs)


def test_a_folder_without_a_test_set_gets_one(photos, tmp_path, capsys):
    (photos / "train").rename(tmp_path / "digits")
    assert "is both a built-in data set and" in init(capsys, "digits", code=2)
    message = init(capsys, "./digits")
    assert "digits-own: 48 training and 12 test images" in message
    assert "note: 20% of each class are held out as the test set" in message


def test_val_is_asked_about(photos, capsys):
    (photos / "test").rename(photos / "val")
    assert "Is val/ for model selection or for the final results" in init(
        capsys, "my photos", code=2
    )
    assert "60 training and 15 test" in init(capsys, "my photos", "--val-is", "test")


def test_val_that_is_validation_gets_a_test_set(photos, capsys):
    (photos / "test").rename(photos / "val")
    message = init(capsys, "my photos", "--val-is", "validation")
    assert "48 training, 15 validation and 12 test" in message
    assert "note: 20% of each class are held out as the test set" in message
    assert load.load_study("my-photos.yaml").data.validation == 0


def test_classes_of_unequal_size_each_give_their_share(photos, capsys):
    """Of 20, 20 and 5 the smallest keeps images to be trained on, and is tested too."""
    for file in sorted((photos / "train" / "owl").iterdir())[5:]:
        file.unlink()
    (photos / "train").rename(photos.parent / "birds")
    message = init(capsys, "birds")
    assert "birds: 36 training and 9 test images of" in message
    assert "(training: cat 16, dog 16, owl 4)" in message
    data = load.load_study("birds.yaml").data
    assert (data.draw, data.validation) == ("share", 5)


def test_what_does_not_fit_into_the_minutes_is_said(photos, capsys, monkeypatch):
    init(capsys, "my photos")
    assert "the largest tried that take less than 5 minutes" in Path("my-photos.yaml").read_text()
    monkeypatch.setattr(scaffold, "time_step", lambda *_: 1.0)
    init(capsys, "my photos", "--study", "slow.yaml", "--minutes", "1")
    message = "the smallest there are, though they take more than 1 minute here"
    assert message in Path("slow.yaml").read_text()


def test_the_price_is_the_one_that_plan_and_status_say(photos, capsys, monkeypatch):
    actual = estimate.Speed(step=0.5, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)

    def measured(plan, names, device):
        estimate.save_speeds(
            {estimate.make_speed_key(plan, plan.runs[name], device): actual for name in names}
        )

    monkeypatch.setattr(machine_benchmark, "measure_missing", measured)
    message = init(capsys, "my photos")
    (time,) = [line for line in message.splitlines() if line.startswith("time: ")]
    assert "2 jobs at a time" in time and "unknown" not in time
    assert main(["plan", "my-photos.yaml"]) == main(["status", "my-photos.yaml"]) == 0
    out = capsys.readouterr().out
    (planned,) = [line for line in out.splitlines() if line.startswith("time: ")]
    assert planned.startswith(f"{time} (plain snakemake: ")
    assert f"time left: {time.removeprefix('time: ').partition(';')[0]}" in out.splitlines()


def test_a_name_that_yaml_would_read_as_a_number(photos, capsys):
    photos.rename(photos.parent / "2024")
    init(capsys, "2024")
    study = load.load_study("2024.yaml")
    assert (study.study, study.data.name) == ("2024", "2024")


def test_a_folder_that_is_not_ours_to_write_in_has_its_card_beside_the_study(
    photos, tmp_path, capsys, monkeypatch
):
    elsewhere = tmp_path / "shared"
    elsewhere.mkdir()
    photos.rename(elsewhere / "birds")
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != elsewhere and may(path, mode))
    (tmp_path / "mine").mkdir()
    init(capsys, "shared/birds", "--study", "mine/first.yaml")
    assert sorted(path.name for path in elsewhere.iterdir()) == ["birds"]
    plan = planned("mine/first.yaml")
    assert plan.study.data.card == str(tmp_path / "mine" / "birds.card.json")
    init(capsys, "shared/birds", "--study", "mine/second.yaml")
    assert list(planned("mine/second.yaml").runs) == list(plan.runs)


@pytest.mark.parametrize("inside", ["flowers/flowers", "flowers/train"])
def test_one_folder_too_many_is_said_with_the_one_to_name(inside, photos, capsys):
    photos.parent.joinpath("flowers").mkdir()
    (photos / "train").rename(photos.parent / inside)
    message = init(capsys, "flowers", code=2)
    assert f"give it instead: {inside}" in message
    assert "48 training and 12 test images" in init(capsys, inside)


def test_validation_of_its_own_is_used(photos, capsys):
    shutil.copytree(photos / "test", photos / "val")
    for file in (photos / "val").rglob("*.JPEG"):
        file.unlink()
    synthetic_data.photographs(photos, ["cat", "dog", "owl"], 0, 12, held="val")
    for file in (photos / "val").rglob("*.JPEG"):  # not the images of test
        file.write_bytes(made_bytes(file))
    assert "60 training, 12 validation and 15 test" in init(capsys, "my photos")
    assert load.load_study("my-photos.yaml").data.validation == 0


def made_bytes(file):
    from io import BytesIO

    from PIL import Image, ImageOps

    image, buffer = ImageOps.flip(Image.open(file)), BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["digits", "cifar10", "fashion-mnist"])
def test_a_known_data_set_needs_no_folder(name, capsys):
    init(capsys, name)
    plan = planned(f"{name}.yaml")
    assert plan.card.name == name and plan.study.data.path is None
    assert plan.study.data.flip is (name == "cifar10")


def test_an_npz_is_taken_as_it_is(tmp_path, capsys):
    np.savez(tmp_path / "mine.npz", **synthetic_data.arrays((1, 12, 12), 4, 80, 20))
    init(capsys, "mine.npz")
    assert planned("mine.yaml").card.shape == (1, 12, 12)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nowhere", "there is no folder or file nowhere (built-in"),
        ("imagenet", "start from a copy"),
    ],
)
def test_what_is_not_there_is_said(what, message, capsys):
    assert message in init(capsys, what, code=2)


def test_what_is_no_folder_of_classes_is_said_with_what_to_do(photos, capsys):
    Path("photos.zip").touch()
    assert "photos.zip is an archive: unpack it first" in init(capsys, "photos.zip", code=2)
    Path("photos.yaml").touch()
    message = init(capsys, "photos.yaml", code=2)
    assert "photos.yaml is a study file: kdpipe run photos.yaml runs it" in message
    for i in range(80):
        Path(f"text-{i:02}.txt").touch()
    message = init(capsys, ".", code=2)
    assert ". is not a folder of classes: below it are 75 images and " in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Fotos für Test", "Fotos-fuer-Test"),
        ("Fotos fu\u0308r Test", "Fotos-fuer-Test"),  # decomposed, as macOS writes it
        ("Été à Łódź", "Ete-a-Lodz"),
        ("写真", "images"),
    ],
)
def test_a_name_stays_readable(folder, name, tmp_path):
    (tmp_path / folder).mkdir()
    assert scaffold.parse_source(folder).name == name


def test_damaged_images_are_left_out_and_counted_if_so_asked(photos, capsys):
    """By hand: 60 for training, of which one is cut off and one is no image."""
    first, second = sorted((photos / "train" / "cat").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:-200])
    second.write_text("no image")
    message = init(capsys, "my photos", code=2)
    assert first.name in message and second.name in message
    assert "remove or replace these files, or leave them out with --skip-damaged" in message
    message = init(capsys, "my photos", "--skip-damaged")
    assert "my-photos: 58 training and 15 test images" in message
    assert f"note: 2 damaged images are left out: train/cat/{first.name}, train/cat/" in message
    card = json.loads(Path("my photos.card.json").read_text())
    assert card["train"] == 58 and card["made"]["skip_damaged"] == 2
    assert (
        custom_card.diff_card(
            Path("my photos.card.json"), cards.read_card(Path("my photos.card.json")), photos
        )
        is None
    )
    command = cards.format_rebuild_command(
        cards.read_card(Path("my photos.card.json")), "my photos", None
    )
    assert command.endswith("--skip-damaged")


def test_the_speed_of_this_machine_is_measured(monkeypatch):
    monkeypatch.undo()
    assert 0 < scaffold.time_step("wrn10-0.5", (1, 8, 8), 10, 8) < 5
    assert estimate.count_cores() >= 1


def test_one_class_is_refused(tmp_path, capsys):
    np.savez("one.npz", **synthetic_data.arrays((1, 8, 8), 1, 40, 16))
    assert "one.npz has only one class" in init(capsys, "one.npz", code=2)
    assert not Path("one.yaml").exists()


@pytest.mark.parametrize("epochs", [1000, 240, 60])
def test_the_cheaper_teacher_outputs_are_written(photos, capsys, monkeypatch, epochs):
    """A table has 49 views (pad 3) or 98, and one student; `auto` takes it from half of them on."""
    init(capsys, "my photos")
    card, sizes = planned("my-photos.yaml").card, None
    source = scaffold.parse_source("my photos")
    fitted = scaffold.fit_sizes

    def fit(*arguments):
        nonlocal sizes
        sizes = scaffold.replace(fitted(*arguments), epochs=epochs)
        return sizes

    Path("my-photos.yaml").unlink()
    monkeypatch.setattr(scaffold, "fit_sizes", fit)
    init(capsys, "my photos")
    text = Path("my-photos.yaml").read_text()
    totals = {}
    for way in ("auto", "live", "table"):
        outputs = None if way == "auto" else way
        path = Path(f"{way}.yaml")
        path.write_text(scaffold.format_study(source, path, card, sizes, 5.0, None, outputs))
        plan = planned(path)
        nodes = (*plan.nodes_by_name.values(), *plan.logit_caches.values())
        model = estimate.build_cost_model(plan, "cpu", {})
        totals[way] = sum(model.estimate_seconds(node) for node in nodes)
    expected = load.load_study("my-photos.yaml").teacher_outputs
    assert totals[expected] == pytest.approx(min(totals.values()))
    assert ("teacher_outputs:" in text) == (expected != "auto")
