"""Images without labels of one's own: what a batch has of them, and that a run goes on with them.

Digits with a folder of pictures of every kind; photographs of one's own with a .npz of grey ones.
"""

import numpy as np
import pytest
from helpers import plain_loop, synthetic_data, tiny_study
from PIL import Image

from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.data.imagefolder import unlabelled_builder
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError, InterruptedRun
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store

METHOD = {"unlabelled": 20, "stop_epoch": 1, "ce_weight_after_stop": 0.5}
RNG = np.random.RandomState(0)
SIDEWAYS = 6  # of EXIF: the first row of the file is the right side


def pictures(folder) -> np.ndarray:
    """A folder of pictures of every kind, and what they are by hand: (N, 1, 8, 8)."""
    (folder / "deep" / "deeper").mkdir(parents=True)
    grey = synthetic_data.images(24, 4, (1, 8, 8), 5)[0]
    actual = {}
    for index, image in enumerate(grey):
        name = f"deep/{'deeper/' * (index % 2)}{index:02d}.png"
        Image.fromarray(image[0]).save(folder / name)
        actual[name] = image[0]
    wide = Image.fromarray(RNG.randint(0, 256, (9, 14), np.uint8))
    wide.save(folder / "wide.png")
    actual["wide.png"] = np.asarray(wide.resize((8, 8), Image.Resampling.BILINEAR))
    colours = RNG.randint(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(colours).save(folder / "colours.bmp")
    r, g, b = (colours[:, :, k].astype(int) for k in range(3))
    actual["colours.bmp"] = (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16  # ITU-R 601, of PIL
    deep = RNG.randint(0, 2**16, (8, 8)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    actual["deep.png"] = deep // 256
    turned = RNG.randint(0, 256, (8, 8), np.uint8)
    exif = Image.Exif()
    exif[274] = SIDEWAYS
    Image.fromarray(turned).save(folder / "turned.png", exif=exif)
    actual["turned.png"] = np.rot90(turned, -1)
    (folder / "notes.txt").write_text("passed over")
    order = sorted(actual, key=lambda name: folder.joinpath(name).parts)
    return np.array([actual[name] for name in order], np.uint8)[:, None]


def with_digits(folder) -> tuple[dict, np.ndarray]:
    left = pictures(folder / "more")
    data = {"name": "digits", "train_size": 206, "unlabelled": "more"}
    return tiny_study.study(data=data), left


def with_photographs(folder) -> tuple[dict, np.ndarray]:
    """28 grey images of another size, in a .npz, beside coloured ones of 12 x 12."""
    synthetic_data.photographs(folder / "mine", ["ant", "bee", "cat"], 240, 24)
    make_card(folder / "mine", None, None, resize=12)
    pixels = RNG.randint(0, 256, (28, 10, 16), np.uint8)
    np.savez(folder / "more.npz", pixels)
    left = [Image.fromarray(one).resize((12, 12), Image.Resampling.BILINEAR) for one in pixels]
    data = {"name": "mine", "path": "mine", "train_size": 206, "validation": 24}
    return tiny_study.study(data=data | {"unlabelled": "more.npz"}), np.array(
        [[one] * 3 for one in left]
    )


@pytest.fixture(scope="module", params=[with_digits, with_photographs])
def world(request, tmp_path_factory):
    """Results with teacher and student; the runs, live and from tables; the images by hand."""
    folder = tmp_path_factory.mktemp("own")
    content, left = request.param(folder)
    content["recipe"] |= {"batch_size": 103}
    content["methods"] = {"kd": METHOD}
    study = load.validate_study(content, "tiny", folder, require_cards=False)
    store = Store(folder / "results")
    unlabelled_builder.make_unlabelled_card(study.data, study.splits, "tiny.yaml", store)
    data = study.data
    prepare_dataset(data.name, store, data.path, data.card, data.unlabelled)
    live, tables = (
        list(planner.build_plan(load.validate_study(content, "tiny", folder)).runs.values())[-1]
        for content in (content, content | {"teacher_outputs": "table"})
    )
    for run in (*live.parents, live):
        train_run(run.spec, [], store)
    return store, live, tables, left


def weights(store, run):
    return read_arrays(store.run(run.name) / "weights.safetensors")[0]


def test_the_images_are_those_made_by_hand(world):
    store, run, _, left = world
    part = splits.load_unlabelled(run.spec.data, run.spec.method["unlabelled_from"], store)
    assert np.array_equal(part.images, left)
    assert set(part.labels) == {splits.NO_LABEL}


def test_weights_are_those_of_a_plain_loop(world):
    """So they are normalised by mean and deviation of the labelled training images."""
    store, run, _, left = world
    model = plain_loop.train_plain(run.spec, store, left)
    for key, value in model.state_dict().items():
        actual = weights(store, run)[key]
        np.testing.assert_allclose(actual, value.numpy(), rtol=2e-3, atol=1e-3, err_msg=key)


def test_cut_off_it_goes_on_to_the_same_bytes(world, monkeypatch):
    store, run, _, _ = world
    whole = tiny_study.exact(store.run(run.name))
    folder = store.run(run.name).rename(store.root / "whole")
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        tiny_study.stop_after(patch, 1)
        train_run(run.spec, [], store)
    train_run(run.spec, [], store)
    assert tiny_study.exact(store.run(run.name)) == whole == tiny_study.exact(folder)


def test_from_tables_it_learns_the_same(world):
    store, live, run, left = world
    labelled, others = run.logit_caches
    for table in run.logit_caches:
        cache_logits(table.spec, store, students=[run.name, "another"])
    shape = np.load(store.logit_cache(others.name) / "table.npy").shape
    assert shape[:2] == (len(left), 9)
    assert np.load(store.logit_cache(labelled.name) / "table.npy").shape[:2] == (206, 9)
    train_run(run.spec, [], store)
    for key, value in weights(store, live).items():
        np.testing.assert_allclose(weights(store, run)[key], value, rtol=0.02, atol=0.02)


def test_a_job_refuses_images_that_are_damaged_or_gone(world):
    store, run, _, _ = world
    spec, source = run.spec.data, run.spec.method["unlabelled_from"]
    folder = store.data(f"unlabelled-{source[:12]}")
    path = folder / "unlabelled_images.npy"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert f"{folder} have changed: remove the folder" in refused(spec, source, store)
        path.unlink()
        assert "unlabelled_images.npy is missing: remove the" in refused(spec, source, store)
    finally:
        path.write_bytes(whole)


def refused(spec, source, store) -> str:
    with pytest.raises(DataError) as error:
        splits.load_unlabelled(spec, source, store)
    return str(error.value)
