"""What is said of one's own images and is no mistake; and pictures that would be lost."""

import shutil

import numpy as np
import pytest
from helpers import synthetic_data
from PIL import Image

from kdpipe.cli import scaffold
from kdpipe.data import cards
from kdpipe.data.imagefolder import class_folders, reader
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError

SHAPE = (3, 12, 12)


@pytest.fixture
def folder(tmp_path):
    return synthetic_data.class_folders(
        tmp_path / "shapes", synthetic_data.arrays(SHAPE, 4, 48, 16)
    )


@pytest.mark.parametrize("options", [{}, {"stream": 16}])
def test_one_image_in_two_classes_is_said(options, folder):
    assert "more than one class" not in make_card(folder, "mine", None, **options)
    twin = folder / "train" / "class-0" / "00000.png"
    shutil.copy(twin, folder / "train" / "class-2" / "twin.png")
    shutil.copy(twin, folder / "train" / "class-0" / "again.png")  # in its own class: no matter
    message = make_card(folder, "mine", None, **options)
    assert "note: 1 training image is in more than one class" in message
    assert "train/class-0/00000.png" in message and "train/class-2/twin.png" in message


def test_files_of_several_pictures_and_dark_ones_of_16_bits_are_said(folder):
    assert "note" not in make_card(folder, "mine", None)
    train, test = folder / "train" / "class-0", folder / "test" / "class-0"
    draw = np.random.default_rng(0).integers
    first, *rest = [Image.fromarray(draw(0, 256, SHAPE[1:], np.uint8)) for _ in range(3)]
    first.save(train / "stack.tif", save_all=True, append_images=rest)
    Image.fromarray(draw(0, 4096, SHAPE[1:], np.uint16)).save(test / "dark.png")  # 12 bits
    Image.fromarray(draw(0, 65536, SHAPE[1:], np.uint16)).save(train / "deep.png")
    message = make_card(folder, "mine", None)
    assert (
        "1 file with several frames, of which only the first is used: train/class-0/stack"
        in message
    )
    assert "1 16-bit image nearly black" in message and "test/class-0/dark.png" in message
    assert "deep.png" not in message


def test_of_an_npz_the_places_are_said(tmp_path):
    arrays = synthetic_data.arrays(SHAPE, 4, 48, 16)
    arrays["train_images"][5] = arrays["train_images"][8]  # classes 1 and 0
    np.savez(tmp_path / "mine.npz", **arrays)
    assert "train image 5 (class 1) = train image 8 (class 0)" in make_card(
        tmp_path / "mine.npz", None, None
    )


def test_more_files_than_can_soon_be_read_are_not_compared_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(reader, "MAX_COMPARED_BYTES", 10)
    assert "duplicate images in different classes were not searched for" in make_card(
        folder, "mine", None, stream=16
    )


def test_a_test_set_without_a_class_is_said(folder):
    assert "has no image of" not in make_card(folder, "mine", None)
    shutil.rmtree(folder / "test" / "class-2")
    message = make_card(folder, "mine", None)
    assert "note: test has no image of 1 of 4 classes, which its error does not cover: class-2" in (
        message
    )


@pytest.mark.parametrize("how", [{}, {"test_share": 0.2}])
def test_a_class_of_nothing_else_is_not_told_to_be_empty(how, folder):
    """The reason is the format, not that there are too few."""
    folder = folder / "train" if how else folder
    for file in folder.rglob("class-0/*.png"):
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(
        DataError, match=r"00000.heic: .heic is not supported: convert it to JPEG or PNG"
    ):
        make_card(folder, "mine", None, **how)


def test_pictures_that_are_not_read_are_refused_by_name(folder):
    some = next((folder / "train" / "class-0").iterdir())
    shutil.copy(some, folder / "train" / "class-1" / "IMG_1.HEIC")
    with pytest.raises(
        DataError, match=r"class-1/IMG_1.HEIC: .HEIC is not supported: convert it to JPEG"
    ):
        make_card(folder, "mine", None)


@pytest.mark.parametrize("of", ["card", "init"])
def test_what_is_not_read_and_what_is_damaged_is_one_answer(of, folder):
    """An empty file, one that ends in the middle of its pixels, and one of another format."""
    some = folder / "train" / "class-0" / "00000.png"
    shutil.copy(some, folder / "train" / "class-1" / "IMG_1.HEIC")
    (folder / "train" / "class-2" / "empty.png").touch()
    (folder / "train" / "class-3" / "half.png").write_bytes(some.read_bytes()[:300])
    with pytest.raises(DataError) as refused:
        if of == "card":
            make_card(folder, "mine", None)
        else:
            scaffold.init_study(scaffold.parse_source(str(folder)), None, 10.0, None)
    message = str(refused.value)
    assert "3 errors" in message and "IMG_1.HEIC: .HEIC is not supported" in message
    assert "empty.png cannot be decoded" in message and "half.png cannot be decoded" in message


def test_the_card_says_what_its_images_are(folder):
    make_card(folder, "mine", None, resize=16)
    card = cards.read_card(cards.get_card_path(folder))
    assert card.class_names == ("class-0", "class-1", "class-2", "class-3")
    assert card.scaled == "each stretched to 16 x 16 (PIL, bilinear)"
    make_card(folder, "mine", None)
    card = cards.read_card(cards.get_card_path(folder))
    pixels = np.load(make_npz(folder, card))["train_images"] / 255
    assert card.mean == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-4)
    assert card.std == pytest.approx(pixels.std((0, 2, 3)), abs=1e-4)


def make_npz(folder, card):
    from kdpipe.data.imagefolder import reader

    np.savez(folder.parent / "all.npz", **reader.read_custom_data(card, folder))
    return folder.parent / "all.npz"


def test_of_many_images_with_one_fault_the_first_is_named_and_the_others_counted(tmp_path):
    transparent = [f"{i}.png is a PNG of mode RGBA with transparent pixels" for i in range(1000)]
    errors = [*transparent, "x.png is a PNG of mode F", "y.jpg: cannot be decoded"]
    with pytest.raises(DataError) as raised:
        class_folders.raise_errors(errors, tmp_path)
    assert str(raised.value).split("\n  ") == [
        f"{tmp_path}: 1,002 errors",
        transparent[0],
        "and 999 others like it, such as 1.png",
        *errors[-2:],
    ]
