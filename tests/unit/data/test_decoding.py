"""Pictures in files: every mode of PIL converted as a hand calculation says, or refused by name."""

import io
import shutil

import numpy as np
import pytest
import torch
from helpers import synthetic_data
from PIL import Image
from torchvision.transforms import v2

from kdpipe.data import cache, cards, splits, streaming
from kdpipe.data.imagefolder import decoding, reader
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.errors import DataError

RNG = np.random.RandomState(0)
BYTES = RNG.randint(0, 256, (5, 7, 4), np.uint8)
DEEP = RNG.randint(0, 2**16, (5, 7)).astype(np.uint16)
COLOURS = BYTES[:, :, :3]
OPAQUE = np.full((5, 7, 1), 255, np.uint8)
PALETTE = RNG.randint(0, 256, (256, 3), np.uint8)


def indexed(mode):
    image = Image.frombytes("P", (7, 5), BYTES[:, :, 0].tobytes())
    image.putpalette(PALETTE.tobytes())
    return image if mode == "P" else image.convert(mode)


def of_bytes(mode, *planes):
    return Image.frombytes(mode, (7, 5), np.concatenate(planes, axis=2).tobytes())


def cmyk(pixels):
    """Ink takes away light."""
    ink = pixels.astype(int)
    return (255 - ink[:, :, :3]) * (255 - ink[:, :, 3:]) / 255


def ycbcr(pixels):
    """The matrix of JPEG (ITU-R BT.601, full range)."""
    r, g, b = (pixels[:, :, k].astype(float) for k in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, 128 + 0.564 * (b - y), 128 + 0.713 * (r - y)], 2).round().astype(np.uint8)


def grey(plane):
    return np.repeat(plane[:, :, None], 3, axis=2)


HIGH = v2.functional.to_dtype(torch.from_numpy(DEEP)[None], torch.uint8, scale=True)[0].numpy()
# By mode: a picture, what its colours are by hand, and how far rounding may lie apart.
CONVERTED = {
    "1": (Image.fromarray(BYTES[:, :, 0] > 99), grey(255 * (BYTES[:, :, 0] > 99)), 0),
    "L": (Image.fromarray(BYTES[:, :, 0]), grey(BYTES[:, :, 0]), 0),
    "LA": (of_bytes("LA", BYTES[:, :, :1], OPAQUE), grey(BYTES[:, :, 0]), 0),
    "P": (indexed("P"), PALETTE[BYTES[:, :, 0]], 0),
    "PA": (indexed("PA"), PALETTE[BYTES[:, :, 0]], 0),
    "RGB": (of_bytes("RGB", COLOURS), COLOURS, 0),
    "RGBA": (of_bytes("RGBA", COLOURS, OPAQUE), COLOURS, 0),
    "RGBa": (of_bytes("RGBa", COLOURS, OPAQUE), COLOURS, 0),
    "RGBX": (of_bytes("RGBX", BYTES), COLOURS, 0),
    "CMYK": (of_bytes("CMYK", BYTES), cmyk(BYTES), 1),
    "YCbCr": (of_bytes("YCbCr", ycbcr(COLOURS)), COLOURS, 2),
    "I;16": (Image.fromarray(DEEP), grey(HIGH), 0),
    "I;16L": (Image.frombytes("I;16L", (7, 5), DEEP.astype("<u2").tobytes()), grey(HIGH), 0),
    "I;16B": (Image.frombytes("I;16B", (7, 5), DEEP.astype(">u2").tobytes()), grey(HIGH), 0),
    "I;16N": (Image.frombytes("I;16N", (7, 5), DEEP.tobytes()), grey(HIGH), 0),
}
REFUSED = ("I", "F", "LAB", "HSV", "La")


def test_every_mode_of_pil_is_converted_or_refused():
    deep = {"I;16L", "I;16B", "I;16N"}  # PIL lists none of them
    assert {*Image.MODES, *deep, "La", "PA", "RGBa", "RGBX"} == {*CONVERTED, *REFUSED}


@pytest.mark.parametrize("mode", CONVERTED)
def test_a_mode_is_converted_as_by_hand(mode):
    image, expected, near = CONVERTED[mode]
    assert image.mode == mode
    actual = np.asarray(decoding.convert_image(image, "x", 3)).astype(float)
    assert np.abs(actual - np.clip(expected, 0, 255)).max() <= near
    luma = np.clip(expected, 0, 255) @ [0.299, 0.587, 0.114]
    assert np.abs(np.asarray(decoding.convert_image(image, "x", 1)) - luma).max() <= near + 1


@pytest.mark.parametrize("mode", REFUSED)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_mode_without_black_and_white_is_refused_by_name(mode, channels):
    with pytest.raises(DataError, match=rf"a\.tif is a .* of mode {mode}, .*8 bits"):
        decoding.convert_image(Image.new(mode, (7, 5)), "a.tif", channels)


def saved(image, ending, **options):
    file = io.BytesIO()
    image.save(file, ending, **options)
    file.seek(0)
    return file


def pgm(pixels, full):
    return io.BytesIO(b"P5 7 5 %d\n" % full + pixels.astype(">u2").tobytes())


def pixels_of(file, channels=1):
    with decoding.open_image(file, "x") as image:
        return np.asarray(decoding.convert_image(image, "x", channels))


@pytest.mark.parametrize("ending", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_their_high_byte_in_every_format(ending):
    assert np.array_equal(pixels_of(saved(Image.fromarray(DEEP), ending)), DEEP >> 8)


def test_colour_of_sixteen_bits_is_as_grey_of_sixteen_bits():
    body = np.repeat(DEEP[:, :, None], 3, axis=2).astype(">u2").tobytes()
    actual = pixels_of(io.BytesIO(b"P6 7 5 65535\n" + body), 3)
    assert np.abs(actual[:, :, 0].astype(int) - pixels_of(pgm(DEEP, 65535))).max() <= 1


def test_white_is_white_whatever_full_is():
    assert pixels_of(pgm(np.full((5, 7), 1023), 1023)).min() == 255


@pytest.mark.parametrize(
    ("tag", "value", "expected"), [(262, 0, 255 - (DEEP >> 8)), (262, 1, None)]
)
def test_a_tiff_may_have_its_white_at_nought(tag, value, expected):
    actual = pixels_of(saved(Image.fromarray(DEEP), "TIFF", tiffinfo={tag: value}))
    assert np.array_equal(actual, DEEP >> 8 if expected is None else expected)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (saved(Image.new("I", (3, 3)), "TIFF"), "a TIFF of mode I,"),
        (saved(Image.new("F", (3, 3)), "TIFF"), "a TIFF of mode F,"),
        (saved(Image.new("F", (3, 3)), "PPM"), "a PPM of mode F,"),
        (saved(Image.new("RGBA", (3, 3), (1, 2, 3, 254)), "PNG"), "RGBA with transparent pixels"),
        (saved(Image.new("LA", (3, 3), (1, 0)), "PNG"), "LA with transparent pixels"),
        (saved(Image.new("P", (3, 3)), "GIF", transparency=0), "with transparent pixels"),
        (saved(Image.new("RGB", (3, 3)), "PNG", transparency=(0, 0, 0)), "with transparent pixels"),
        (saved(Image.new("I;16", (3, 3)), "PNG", transparency=0), "of mode I;16"),
        (saved(Image.new("RGB", (3, 3)), "EPS"), "none of BMP, GIF, JPEG, PNG"),
    ],
)
def test_what_a_file_does_not_say_is_not_guessed(file, message):
    with (
        pytest.raises(DataError, match=f"mine.* {message}"),
        decoding.open_image(file, "mine") as image,
    ):
        decoding.convert_image(image, "mine", 3)
    file.seek(0)
    with pytest.raises(DataError, match=message):
        decoding.read_header(file)


# How a viewer turns a picture, by its EXIF orientation.
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("ending", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_picture_is_turned_upright(ending, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    exact = {"quality": 100, "subsampling": 0} if ending == "JPEG" else {"lossless": True}
    smooth = np.asarray(Image.fromarray(COLOURS[:2, :2]).resize((28, 20)))
    file = saved(Image.fromarray(smooth), ending, exif=exif, **exact)
    expected = TURNED[orientation](smooth)
    assert decoding.read_header(file).size == expected.shape[1::-1]
    file.seek(0)
    actual = pixels_of(file, 3)
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= (6 if ending == "JPEG" else 0)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "CMYK"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_is_turned_upright_however_it_lies_in_its_file(
    tmp_path, orientation, mode, compression
):
    """By its path, as a folder of images is read: what is not compressed PIL would map."""
    exif = Image.Exif()
    exif[274] = orientation
    grey = np.arange(16 * 8, dtype=np.uint8).reshape(8, 16)
    deep = Image.fromarray(grey.astype(np.uint16) << 8)
    image = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "x.tif", exif=exif, compression=compression)
    lying = np.asarray(image.convert("L")) if mode == "1" else grey
    expected = TURNED[orientation](lying[:, :, None])[:, :, 0]
    actual = decoding.decode_image(tmp_path / "x.tif", 1, None)[0]
    assert actual.shape == expected.shape == decoding.read_header(tmp_path / "x.tif").size[::-1]
    assert np.abs(actual.astype(int) - expected).max() <= (1 if mode == "CMYK" else 0)


def test_pictures_that_differ_below_8_bits_are_not_called_one_twice(tmp_path):
    pixels = RNG.randint(2**15, 2**16, (8, 8)) & 0xFF00
    for index, part in enumerate(("train", "test")):
        folder = tmp_path / "mine" / part / "a"
        folder.mkdir(parents=True)
        deep = (pixels + RNG.randint(0, 200, (8, 8))).astype(np.uint16)
        Image.fromarray(deep).save(folder / f"{index}.png")
    with pytest.raises(DataError, match="16 bits, of which the upper 8 are kept, and differ only"):
        make_card(tmp_path / "mine", None, None)
    with Image.open(tmp_path / "mine/train/a/0.png") as image:  # the same, in another file
        image.save(tmp_path / "mine/test/a/1.png", compress_level=1)
    with pytest.raises(DataError, match="train and test must not overlap"):
        make_card(tmp_path / "mine", None, None)


def test_deep_pictures_of_a_phone_are_one_array_and_a_stream(tmp_path):
    """16 bits and EXIF through both ways into a study, told apart and upright."""
    exif = Image.Exif()
    exif[274] = 6
    for part, count in (("train", 4), ("test", 2)):
        for index in range(count):
            folder = tmp_path / "mine" / part / f"c{index % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = RNG.randint(2**15, 2**16, (16, 20)).astype(np.uint16)
            Image.fromarray(pixels).save(folder / f"{part}{index}.png", exif=exif)
    make_card(tmp_path / "mine", None, None)
    card = cards.read_card(cards.get_card_path(tmp_path / "mine"))
    assert card.shape == (1, 20, 16)
    actual = reader.read_custom_data(card, tmp_path / "mine")["train_images"][0, 0]
    with Image.open(tmp_path / "mine" / "train" / "c0" / "train0.png") as image:
        assert np.array_equal(actual, np.rot90(np.asarray(image) >> 8, -1))

    make_card(tmp_path / "mine", None, None, stream=16)
    card = cards.read_card(cards.get_card_path(tmp_path / "mine"))
    assert card.shape == (1, 16, 16)
    arrays = cache.read_index(card, tmp_path / "mine")
    for kind in ("paths", "sizes"):
        np.save(tmp_path / f"train_{kind}.npy", arrays[f"train_{kind}"])
    files = cache.ImageFiles(
        tmp_path, "train", np.arange(4), tmp_path / "mine", card.shape, is_custom=True
    )
    (x,) = streaming.StreamedBatches(files, IDENTITY_VIEWS, [0.0], [1.0]).unaugmented_batches(4)
    oracle = v2.CenterCrop(16)(v2.Resize(18)(Image.fromarray(actual)))
    assert np.array_equal((x[0, 0] * 255).round().numpy(), np.asarray(oracle))


def test_imagenet_is_decoded_as_before(tmp_path):
    """The published weights saw its pictures as they lie in their files."""
    exif = Image.Exif()
    exif[274] = 3
    file = tmp_path / "x.JPEG"
    Image.fromarray(
        synthetic_data.arrays((3, 16, 16), 2)["train_images"][0].transpose(1, 2, 0)
    ).save(file, exif=exif)
    np.save(tmp_path / "train_paths.npy", np.array([b"x.JPEG"]))
    np.save(tmp_path / "train_sizes.npy", np.array([file.stat().st_size]))
    with Image.open(file) as image:
        lying = np.asarray(image.convert("RGB"))
    for own in (True, False):
        files = cache.ImageFiles(tmp_path, "train", np.arange(1), tmp_path, (3, 16, 16), own)
        actual = np.asarray(streaming._DecodingDataset(files, IDENTITY_VIEWS).decode(0))
        assert np.array_equal(actual, lying[::-1, ::-1] if own else lying)


def test_only_a_known_set_is_decoded_as_before(tmp_path, monkeypatch):
    card = cards.load_known_card("imagenet")
    monkeypatch.setattr(splits, "read_notes", lambda folder: {"root": str(tmp_path)})
    assert not splits._image_files_factory(card, splits.store.Store(tmp_path))(
        "train", np.arange(1)
    ).is_custom
    mine = cards.dataclasses.replace(card, name="mine")
    assert splits._image_files_factory(mine, splits.store.Store(tmp_path))(
        "train", np.arange(1)
    ).is_custom


def test_a_picture_that_turns_out_sideways_is_named(tmp_path):
    """A PNG may say how it lies behind its pixels."""
    folder = synthetic_data.class_folders(
        tmp_path / "mine", synthetic_data.arrays((3, 8, 12), 2, 4, 2)
    )
    file = sorted(folder.rglob("train/*/*.png"))[1]
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(file) as image:
        image.save(tmp_path / "turned.png", exif=exif)
    content = (tmp_path / "turned.png").read_bytes()
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    file.write_bytes(content[:at] + content[end:-12] + content[at:end] + content[-12:])
    with pytest.raises(
        DataError, match=rf"{file.name} is 8 x 12 after its EXIF orientation is applied"
    ):
        make_card(folder, None, None)
    shutil.copy(tmp_path / "turned.png", file)
    with pytest.raises(DataError, match=r"images of 2 sizes"):
        make_card(folder, None, None)
