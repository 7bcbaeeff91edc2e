"""What every file in `sets/` keeps to. Its reader is tested in test_published or test_streams."""

import dataclasses
import json
import subprocess
import sys

import made_data
import pytest

from kdpipe import discovery
from kdpipe.data import cards
from kdpipe.data.arrays import digest
from kdpipe.errors import DataError


def test_what_is_known_is_what_lies_there():
    assert discovery.names(cards.SETS) == tuple(sorted(n.replace("-", "_") for n in cards.known()))
    assert "fashion-mnist" in cards.known()
    with pytest.raises(DataError, match="'fashion_mnist' has no card"):
        cards.load("fashion_mnist")


@pytest.mark.parametrize("name", cards.known())
def test_a_set_and_its_card(name, tmp_path):
    known = cards.set_of(name)
    assert known.card.name == name and known.revision >= 1
    assert cards.load(name) is known.card and cards.data_revision(name) == known.revision
    # Beside prepared arrays it lies as JSON.
    (tmp_path / "card.json").write_text(json.dumps(dataclasses.asdict(known.card)))
    assert cards.read(tmp_path / "card.json") == known.card
    if known.card.streamed:
        assert known.listed is not None and known.read is None and not known.files
    else:
        assert known.read is not None and known.listed is None
        assert set(known.card.files) in (set(), set(known.files))
    for addresses, file, md5 in known.downloads():
        assert addresses and all(address.startswith("http") for address in addresses)
        assert file and len(md5) == 32
    assert bool(known.downloads()) == bool(known.files)


def test_each_set_is_read_by_a_test():
    """Published files as they are made here; what a library carries, here; a stream by name."""
    published = {name for name in cards.known() if cards.set_of(name).files}
    assert published == set(made_data.PUBLISHED)
    streamed = {name for name in cards.known() if cards.load(name).streamed}
    assert streamed == {"imagenet"}, "give it tests as ImageNet has in test_streams"
    for name in set(cards.known()) - published - streamed:
        read = cards.set_of(name).read
        assert read is not None and digest(read({})) == cards.load(name).sha256


def test_planning_from_a_card_reads_no_image():
    """Neither numpy nor torch is there after all sets and all keys of `data` were loaded."""
    script = (
        "import sys; from kdpipe.data import cards, keys; "
        "[cards.set_of(name) for name in cards.known()]; keys.Data(name='digits'); "
        "print(sorted({'numpy', 'torch', 'torchvision', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
