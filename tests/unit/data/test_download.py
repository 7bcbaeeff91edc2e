"""The formats of the known data sets, on files made in them, against torchvision's own readers."""

import gzip
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic_data
from torchvision import datasets
from torchvision.datasets import mnist

from kdpipe.config import load
from kdpipe.data import cards, download, splits
from kdpipe.data.arrays import hash_arrays
from kdpipe.errors import DataError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store

FASHION = Path("/usr/share/datasets/fashion-mnist")


def make(name, **sizes):
    shape, classes, files = synthetic_data.PUBLISHED[name]
    arrays = synthetic_data.arrays(shape, classes, **sizes)
    content = files(arrays)
    return arrays, content, synthetic_data.card(name, arrays, content)


def same(actual, result):
    assert list(actual) == list(result)
    for key in result:
        assert actual[key].dtype == result[key].dtype and np.array_equal(
            actual[key], result[key]
        ), key


@pytest.mark.parametrize("name", synthetic_data.PUBLISHED)
def test_files_in_the_true_format_are_read(name, tmp_path):
    result, files, card = make(name)
    same(download.read_published(card, synthetic_data.write(tmp_path, files), tmp_path), result)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("path", ["the archive", "a folder with the archive", "extracted"])
def test_cifar_is_found_in_its_archive_and_beside_it(name, path, tmp_path):
    result, files, card = make(name)
    inner = "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"
    store = tmp_path / "x"
    if path == "extracted":
        synthetic_data.write(store / inner, files)
    else:
        archive = synthetic_data.tar(store / f"{name}-python.tar.gz", inner, files)
        store = archive if path == "the archive" else store
    same(download.read_published(card, store, tmp_path), result)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_what_torchvision_reads(name, tmp_path, monkeypatch):
    result, files, card = make(name)
    reference = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    synthetic_data.write(tmp_path / reference.base_folder, files)
    meta = {reference.meta["key"]: [str(label) for label in range(card.classes)]}
    (tmp_path / reference.base_folder / reference.meta["filename"]).write_bytes(
        pickle.dumps(meta, 2)
    )
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    actual = download.read_published(card, tmp_path, tmp_path)
    for part in ("train", "test"):
        oracle = reference(str(tmp_path), train=part == "train")
        assert np.array_equal(actual[f"{part}_images"].transpose(0, 2, 3, 1), oracle.data)
        assert actual[f"{part}_labels"].tolist() == oracle.targets
    assert len(actual["train_labels"]) == len(result["train_labels"])


def test_idx_is_what_torchvision_reads(tmp_path):
    _, files, card = make("mnist")
    synthetic_data.write(tmp_path, files)
    actual = download.read_published(card, tmp_path, tmp_path)
    for name, key in (
        ("train-images-idx3-ubyte", "train_images"),
        ("t10k-images-idx3-ubyte", "test_images"),
    ):
        (tmp_path / name).write_bytes(gzip.decompress(files[f"{name}.gz"]))
        oracle = mnist.read_image_file(str(tmp_path / name))
        assert np.array_equal(actual[key][:, 0], oracle.numpy())


def test_svhn_is_what_torchvision_reads(tmp_path, monkeypatch):
    _, files, card = make("svhn")
    synthetic_data.write(tmp_path, files)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    actual = download.read_published(card, tmp_path, tmp_path)
    for part in ("train", "test"):
        oracle = datasets.SVHN(str(tmp_path), split=part)
        assert np.array_equal(actual[f"{part}_images"], oracle.data)
        assert np.array_equal(actual[f"{part}_labels"], oracle.labels)


def test_a_batch_pickled_by_python_3_is_read_too(tmp_path):
    result, files, _ = make("cifar10")
    rows = result["test_images"].reshape(-1, 3072)
    files["test_batch"] = synthetic_data.python3_pickle(rows, result["test_labels"].tolist())
    card = synthetic_data.card("cifar10", result, files)
    same(download.read_published(card, synthetic_data.write(tmp_path, files), tmp_path), result)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("was-executed",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Hostile(), "labels": []}, 2),
        pickle.dumps(Hostile()),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cposix\nsystem\n(S'true'\ntR.",
        b"",
        b"\x80",
        pickle.dumps(17),
        pickle.dumps({"data": np.zeros((3, 3072), object), "labels": [0]}, 2),
    ],
)
def test_a_hostile_pickle_is_refused_and_not_executed(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result, files, _ = make("cifar10")
    files["data_batch_2"] = content
    card = synthetic_data.card("cifar10", result, files)
    with pytest.raises(DataError, match="cifar10"):
        download.read_published(card, synthetic_data.write(tmp_path / "x", files), tmp_path)
    assert not (tmp_path / "was-executed").exists()


@pytest.mark.parametrize("name", synthetic_data.PUBLISHED)
def test_a_changed_file_is_named(name, tmp_path):
    _, files, card = make(name)
    victim = sorted(files)[-1]
    files[victim] = files[victim][:-9] + b"x" + files[victim][-8:]
    with pytest.raises(DataError, match=f"{victim} is damaged or a different file"):
        download.read_published(card, synthetic_data.write(tmp_path, files), tmp_path)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path):
    _, files, card = make("cifar10")
    del files["data_batch_4"]
    synthetic_data.write(tmp_path / "x", files)
    with pytest.raises(DataError, match=r"data_batch_4 is not in .*x or in an archive there"):
        download.read_published(card, tmp_path / "x", tmp_path)
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        download.read_published(card, tmp_path / "nowhere", tmp_path)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8bno archive")
    with pytest.raises(DataError, match=r"tar.gz is damaged or not an archive"):
        download.read_published(card, tmp_path / "y", tmp_path)


@pytest.mark.parametrize("errors", ["magic", "length", "count"])
def test_a_malformed_idx_file_is_refused(errors, tmp_path):
    result, files, _ = make("mnist")
    name = "t10k-labels-idx1-ubyte.gz"
    content = gzip.decompress(files[name])
    content = {
        "magic": b"\x00\x00\x0d" + content[3:],
        "length": content[:-1],
        "count": content[:7] + bytes([content[7] - 1]) + content[8:-1],
    }[errors]
    files[name] = gzip.compress(content)
    with pytest.raises(DataError, match=r"idx1|test has 39 labels"):
        card = synthetic_data.card("mnist", result, files)
        download.read_published(card, synthetic_data.write(tmp_path, files), tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    result, files, _ = make("mnist")
    card = synthetic_data.card("mnist", result, files)
    result["test_labels"][3] = 11
    files = synthetic_data.idx_files(result)
    card = cards.DatasetCard(
        **{**vars(card), "files": synthetic_data.card("mnist", result, files).files}
    )
    with pytest.raises(DataError, match="test has labels from 0 to 11, expected 0 to 3"):
        download.read_published(card, synthetic_data.write(tmp_path, files), tmp_path)


# --- downloads


@pytest.mark.parametrize("name", synthetic_data.PUBLISHED)
def test_without_a_path_torchvision_downloads_what_it_has_the_checksum_of(
    name, tmp_path, monkeypatch
):
    result, files, card = make(name)
    requests = []

    def fetch(url, root, filename, md5):
        assert url.startswith("http") and len(md5) == 32
        requests.append(filename)
        if filename.endswith(".tar.gz"):
            synthetic_data.tar(Path(root) / filename, "inner", files)
        else:
            synthetic_data.write(Path(root), {filename: files[filename]})

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    same(download.read_published(card, None, tmp_path / "downloads"), result)
    assert len(requests) == (1 if name.startswith("cifar") else len(files))


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def fetch(*_):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    with pytest.raises(DataError, match=r"cannot be downloaded .*no route.* set data.path"):
        download.read_published(cards.load_known_card("mnist"), None, tmp_path)


# --- cards


def test_cards_carry_the_checksums_that_torchvision_knows():
    ten, hundred = datasets.CIFAR10, datasets.CIFAR100
    assert cards.load_known_card("cifar10").files == dict(ten.train_list + ten.test_list)
    assert cards.load_known_card("cifar100").files == dict(hundred.train_list + hundred.test_list)
    assert cards.load_known_card("mnist").files == dict(datasets.MNIST.resources)
    svhn = {name: md5 for _, name, md5 in datasets.SVHN.split_list.values() if "extra" not in name}
    assert cards.load_known_card("svhn").files == svhn


def test_a_card_without_arrays_is_named_by_its_files():
    for name in cards.list_datasets():
        card = cards.load_known_card(name)
        if card.files:
            text = json.dumps(card.files, sort_keys=True, separators=(",", ":"))
            assert card.sha256 == hashlib.sha256(text.encode()).hexdigest(), name
        assert len(card.sha256) == 64 and name == card.name
    arrays_known = {name for name in cards.list_datasets() if not cards.load_known_card(name).files}
    assert arrays_known == {"digits", "fashion-mnist"}


@pytest.mark.skipif(not FASHION.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian_is_what_its_card_says(tmp_path):
    arrays = download.read_published(cards.load_known_card("fashion-mnist"), FASHION, tmp_path)
    assert hash_arrays(arrays) == cards.load_known_card("fashion-mnist").sha256
    assert np.bincount(arrays["train_labels"]).tolist() == [6000] * 10


# --- the whole road: prepared, verified, learned


@pytest.mark.parametrize("name", synthetic_data.PUBLISHED)
def test_a_run_learns_from_it(name, tmp_path, monkeypatch):
    _, files, card = make(name)
    monkeypatch.setattr(cards, "load_known_card", lambda _: card)
    synthetic_data.write(tmp_path / "files", files)
    study = {
        "study": "made",
        "seeds": [0],
        "data": {"name": name, "path": "files", "validation": 20, "pad": 1, "flip": False},
        "recipe": {"epochs": 6, "batch_size": 16, "lr": 0.05},
        "teacher_outputs": "live",
        "methods": {"kd": {}},
        "experiments": [
            {"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"], "methods": ["kd"]}
        ],
    }
    made_plan = planner.build_plan(load.validate_study(study, "made", tmp_path))
    store = Store(tmp_path / "results")
    prepare_dataset(name, store, str(tmp_path / "files"))
    for run in made_plan.runs.values():
        train_run(run.spec, [], store)
        folder = store.run(run.name)
        losses = [json.loads(line)["train"]["loss"] for line in (folder / "curve.jsonl").open()]
        assert losses[-1] < 0.7 * losses[0], losses
    shutil.rmtree(tmp_path / "files")  # a job needs the prepared arrays alone
    split = splits.load_split(run.spec.data, store)
    assert len(split.train) == 80 and len(split.val) == 20
    victim = store.data(card.folder) / "test_images.npy"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(DataError, match=r"test_images.npy is not as in its card"):
        splits.load_split(run.spec.data, store)
