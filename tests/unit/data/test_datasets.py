"""What every file in `sets/` keeps to. Its reader is tested in test_published or test_streams."""

import dataclasses
import json
import subprocess
import sys

import pytest
from helpers import synthetic_data

from kdpipe import registry
from kdpipe.data import cards
from kdpipe.data.arrays import hash_arrays
from kdpipe.errors import DataError


def test_what_is_known_is_what_lies_there():
    assert registry.list_names(cards.DATASETS_PACKAGE) == tuple(
        sorted(n.replace("-", "_") for n in cards.list_datasets())
    )
    assert "fashion-mnist" in cards.list_datasets()
    with pytest.raises(DataError, match="'fashion_mnist' has no card"):
        cards.load_known_card("fashion_mnist")


@pytest.mark.parametrize("name", cards.list_datasets())
def test_a_set_and_its_card(name, tmp_path):
    known = cards.get_dataset(name)
    assert known.card.name == name and known.revision >= 1
    assert (
        cards.load_known_card(name) is known.card
        and cards.get_data_revision(name) == known.revision
    )
    # Beside prepared arrays it lies as JSON.
    (tmp_path / "card.json").write_text(json.dumps(dataclasses.asdict(known.card)))
    assert cards.read_card(tmp_path / "card.json") == known.card
    if known.card.is_streamed:
        assert known.index_folder is not None and known.read is None and not known.files
    else:
        assert known.read is not None and known.index_folder is None
        assert set(known.card.files) in (set(), set(known.files))
    for addresses, file, md5 in known.downloads():
        assert addresses and all(address.startswith("http") for address in addresses)
        assert file and len(md5) == 32
    assert bool(known.downloads()) == bool(known.files)


def test_reports_name_classes_and_cards_stay_as_they_were():
    names = {name: cards.get_dataset(name).class_names for name in cards.list_datasets()}
    assert all(len(n) in (0, cards.load_known_card(key).classes) for key, n in names.items())
    assert names["fashion-mnist"][9] == "Ankle boot" and names["cifar10"][3] == "cat"
    assert names["cifar100"] == tuple(sorted(set(names["cifar100"])))  # as its labels are
    card = cards.load_known_card("fashion-mnist")
    assert card.class_names == () and cards.get_class_names(card) == names["fashion-mnist"]
    own = dataclasses.replace(card, name="shoes", class_names=("a",))
    assert cards.get_class_names(own) == ("a",)
    assert cards.get_class_names(dataclasses.replace(own, class_names=())) == ()


def test_each_set_is_read_by_a_test():
    """Published files as they are made here; what a library carries, here; a stream by name."""
    published = {name for name in cards.list_datasets() if cards.get_dataset(name).files}
    assert published == set(synthetic_data.PUBLISHED)
    streamed = {name for name in cards.list_datasets() if cards.load_known_card(name).is_streamed}
    assert streamed == {"imagenet"}, "give it tests as ImageNet has in test_streams"
    for name in set(cards.list_datasets()) - published - streamed:
        read = cards.get_dataset(name).read
        assert read is not None and hash_arrays(read({})) == cards.load_known_card(name).sha256


def test_planning_from_a_card_reads_no_image():
    """Neither numpy nor torch is there after all data sets and all keys of `data` were loaded."""
    script = (
        "import sys; from kdpipe.data import cards, config; "
        "[cards.get_dataset(name) for name in cards.list_datasets()]; "
        "config.DataConfig(name='digits'); "
        "print(sorted({'numpy', 'torch', 'torchvision', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("[]\n", "")
