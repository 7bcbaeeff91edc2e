"""The test set that a folder lacks: each class gives its share, and copies stay together."""

import json
import shutil

import numpy as np
import pytest
from helpers import synthetic_data

from kdpipe.data import cards
from kdpipe.data.imagefolder import class_folders, reader
from kdpipe.data.imagefolder.custom_card import build_card, make_card
from kdpipe.errors import DataError

# Of a card as it was first written, with as many of each class (`folder` below).
FIRST = {
    None: "6e1d7830785b40fc3ced46cb37090e91a526f112bfa9f33266ef11cfefe15e10",
    16: "03fe38fbec1bd30ca08661e91762315baa51aa76e29fc3b4443f64340a19899a",
}


@pytest.fixture
def folder(tmp_path):
    """Four classes of 10, 10, 10 and 3 images, and no test set."""
    arrays = synthetic_data.arrays((3, 12, 12), 4, 40, 4)
    path = synthetic_data.class_folders(tmp_path, arrays, parts=["train"]) / "train"
    for file in sorted((path / "class-3").iterdir())[3:]:
        file.unlink()
    return path


def classes(tmp_path, counts):
    actual = []
    for label, count in enumerate(counts):
        actual.append([tmp_path / f"{label}-{index}" for index in range(count)])
        for index, file in enumerate(actual[-1]):
            file.write_bytes(b"%d %d" % (label, index) + b"." * index)
    return actual


def counted(by_class, held):
    ends = np.cumsum([len(files) for files in by_class])
    return [int(part.sum()) for part in np.split(held, ends[:-1])]


def test_each_class_gives_its_share_and_never_its_last_image(tmp_path):
    by_class = classes(tmp_path, [300, 250, 40, 10, 3, 2])
    held = class_folders.split_stratified(by_class, 0.2)
    assert counted(by_class, held) == [60, 50, 8, 2, 1, 1]
    assert held.tolist() == class_folders.split_stratified(by_class, 0.2).tolist()
    assert counted(by_class, class_folders.split_stratified(by_class, 0.99))[-3:] == [9, 2, 1]
    assert counted(by_class, class_folders.split_equally(by_class, 0.2))[3] == 10  # as it once was


def test_copies_stay_in_train(tmp_path):
    by_class = classes(tmp_path, [20, 20])
    for file in by_class[0][1:19]:  # 19 copies in one class, one of them in the other as well
        shutil.copy(by_class[0][0], file)
    shutil.copy(by_class[0][0], by_class[1][5])
    for share in (0.2, 0.5, 0.9):
        held = class_folders.split_stratified(by_class, share)
        assert not held[:19].any() and held[19] and not held[25]
        assert counted(by_class, held)[1] == round(20 * share)


def test_a_folder_with_copies_gets_its_card(folder):
    shutil.copy(folder / "class-0" / "00000.png", folder / "class-0" / "again.png")
    shutil.copy(folder / "class-0" / "00000.png", folder / "class-1" / "again.png")
    for share in (0.2, 0.8):
        assert "in more than one class" in make_card(folder, "mine", None, test_share=share)


def test_the_same_image_in_other_bytes_is_told_as_what_it_is(folder):
    for number in range(1, 10):  # all but one are in train, whichever is held out
        synthetic_data.Image.open(folder / "class-0" / "00000.png").save(
            folder / "class-0" / f"{4 * number:05}.png", compress_level=0 if number % 2 else 9
        )
        with (folder / "class-0" / f"{4 * number:05}.png").open("ab") as file:
            file.write(b"." * number)
    with pytest.raises(DataError, match="one is held out as test and the other is in train"):
        make_card(folder, "mine", None, test_share=0.25)


def test_all_equal_images_are_named_at_once(folder):
    """Removing a file holds out other ones, so that those of train would be next."""
    pairs = set()
    by_class = [sorted((folder / f"class-{label}").iterdir()) for label in range(4)]
    for old in [file for files in by_class for file in files[:2]]:
        new = old.with_name(f"again-{old.name}")
        synthetic_data.Image.open(old).save(new, compress_level=0)
        pairs.add(new)
    shutil.copy(by_class[0][-1], folder / "class-0" / "copy.png")
    with pytest.raises(DataError, match="both are in train") as error:
        make_card(folder, "mine", None, test_share=0.5)
    named = [file for file in pairs if f"{file} is the same image" in str(error.value)]
    named += [file for file in pairs if f"is the same image as {file}" in str(error.value)]
    assert set(named) == pairs and "copy.png" not in str(error.value)
    for file in pairs:
        file.unlink()
    make_card(folder, "mine", None, test_share=0.5)


@pytest.mark.parametrize("stream", [None, 16])
def test_a_card_from_before_means_what_it_meant(stream, folder):
    how = {"test_share": 0.25, "stream": stream}
    new = build_card(folder, "mine", None, **how).card
    assert new.made["draw"] == "share" and new.counts == (8, 8, 8, 2)
    facts = json.loads(cards.get_card_path(folder).read_text())
    facts |= {"made": {key: facts["made"][key] for key in facts["made"] if key != "draw"}}
    facts |= {"counts": [], "sha256": FIRST[stream], "train": 25, "test": 8}
    cards.get_card_path(folder).write_text(json.dumps(synthetic_data.resealed(facts)))
    if stream is None:
        old = cards.load_card("mine", str(folder), None)
        assert np.bincount(reader.read_custom_data(old, folder)["test_labels"]).tolist() == [
            2,
            2,
            2,
            2,
        ]
    again = build_card(folder, "mine", None, **how)
    assert again.card.sha256 == FIRST[stream] and "draw" not in again.card.made
    assert (
        "the test set has equally many images per class, as in the existing card" in again.notes[0]
    )
    cards.get_card_path(folder).unlink()
    assert build_card(folder, "mine", None, **how).card == new
