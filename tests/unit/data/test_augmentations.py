"""What every file in `augmentations/` keeps to, and one more that is dropped in."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kdpipe
from kdpipe.config import load
from kdpipe.data import views
from kdpipe.data.batches import ImageBatches
from kdpipe.data.config import AUGMENTATION_KEYS, DataConfig
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.errors import DataError
from kdpipe.plan import planner
from kdpipe.pydantic_base import StrictModel

ROOT = Path(__file__).parents[3]
RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (2, 3, 8, 6)).astype(np.uint8)
# Of each augmentation keys that make more than one view.
KEYS = {
    "augment": {"augment": {"policy": "rand"}},
    "erase": {"erase": {"probability": 1.0}},
    "flip": {"flip": True},
    "pad": {"pad": 2, "padding": "reflect"},
    "random_crop": {"crop": {"scale": [0.2, 0.9]}},
}


def names_for_arrays():
    return [name for name in KEYS if views.load_augmentations()[name].transform_indices]


def names_for_streams(function):
    return [name for name in KEYS if getattr(views.load_augmentations()[name], function)]


def test_each_has_a_case_here():
    assert set(KEYS) == set(views.load_augmentations())


def test_each_has_a_place_and_keys_of_its_own():
    augmentations = list(views.load_augmentations().values())
    assert [augmentation.position for augmentation in augmentations] == sorted(
        (d.position for d in augmentations), reverse=True
    )
    assert len({augmentation.position for augmentation in augmentations}) == len(augmentations)
    assert len(set(AUGMENTATION_KEYS)) == sum(
        len(augmentation.keys.model_fields) for augmentation in augmentations
    )
    of_data = tuple(DataConfig.model_fields)
    assert of_data[-len(AUGMENTATION_KEYS) :] == AUGMENTATION_KEYS and "revision" not in of_data


@pytest.mark.parametrize("name", KEYS)
def test_one_view_as_it_comes_and_more_when_asked(name):
    augmentation = views.load_augmentations()[name]
    neutral, chosen = augmentation.keys(), augmentation.keys.model_validate(KEYS[name])
    assert issubclass(augmentation.keys, StrictModel) and augmentation.count(neutral) == 1
    assert augmentation.identity_value(neutral) == 0 and augmentation.count(chosen) != 1
    assert augmentation.revision is None or (
        augmentation.revision >= 1 and augmentation.identity_value(chosen) == 0
    )
    view_set = Views.from_spec(KEYS[name])
    assert (
        view_set.augmentations == ((augmentation, chosen),)
        and Views.from_spec(neutral.model_dump()) == IDENTITY_VIEWS
    )
    assert view_set.is_infinite or 0 <= view_set.identity_view < view_set.count
    assert pickle.loads(pickle.dumps(view_set)) == view_set  # for the processes that read images
    assert (
        augmentation.transform_indices
        or augmentation.transform_pil
        or augmentation.build_transform
        or augmentation.transform_tensor
    )


@pytest.mark.parametrize("name", names_for_arrays())
def test_of_an_array_one_view_is_the_image_and_no_two_are_the_same(name):
    images = ImageBatches(IMAGES, Views.from_spec(KEYS[name]), [0.0] * 3, [1.0] * 3)
    view = torch.arange(images.views.count)
    result = images.batch(torch.ones_like(view), view)
    plain = ImageBatches(IMAGES, IDENTITY_VIEWS, [0.0] * 3, [1.0] * 3).unaugmented_batch(0, 2)
    assert torch.equal(result[images.views.identity_view], plain[1])
    assert len({image.numpy().tobytes() for image in result}) == images.views.count


@pytest.mark.parametrize("name", names_for_streams("transform_pil"))
def test_of_a_stream_it_does_to_an_image_what_it_does_to_an_array(name):
    view_set = Views.from_spec(KEYS[name])
    images = ImageBatches(IMAGES, view_set, [0.0] * 3, [1 / 255] * 3)
    image = Image.fromarray(IMAGES[0].transpose(1, 2, 0))
    for view in range(view_set.count):
        ((augmentation, keys, value),) = view_set.decode(view)
        result = np.asarray(augmentation.transform_pil(keys, value, image))
        expected = images.batch(torch.tensor([0]), torch.tensor([view]))[0]
        assert np.array_equal(result, expected.permute(1, 2, 0).numpy().round())


@pytest.mark.parametrize("name", names_for_streams("build_transform"))
def test_of_a_stream_a_view_is_drawn_from_torchs_generator_alone(name):
    augmentation = views.load_augmentations()[name]
    change = augmentation.build_transform(augmentation.keys.model_validate(KEYS[name]), 6)
    image = Image.fromarray(RNG.randint(0, 256, (6, 6, 3)).astype(np.uint8))

    def drawn(seed):
        torch.manual_seed(seed)
        return np.asarray(change(image)).tobytes()

    assert len(drawn(0)) == 6 * 6 * 3
    assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]
    assert len({drawn(seed) for seed in range(20)}) > 1


def test_images_that_cannot_have_it_refuse_it():
    with pytest.raises(DataError, match=r"data\.crop: not supported for images that are one array"):
        ImageBatches(IMAGES, Views.from_spec(KEYS["random_crop"]), [0.5] * 3, [0.5] * 3)
    with pytest.raises(DataError, match=r"data\.pad: not supported for images that stream"):
        Views.from_spec(KEYS["pad"]).check_supported("transform_pil")


# --- one more file


UPSIDE_DOWN = '''
"""Upside down: images mirrored top to bottom, half of them."""

from pydantic import Field

from kdpipe.data.views import Augmentation
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    upside_down: bool = Field(False, description="mirror half of the images top to bottom")


def count(keys):
    return 2 if keys.upside_down else 1


def transform_indices(keys, value, rows, columns):
    import torch

    return torch.where((value == 1)[:, None], rows.flip(1), rows), columns


AUGMENTATION = Augmentation(
    keys=Keys, position=9, count=count, transform_indices=transform_indices, revision=1
)
'''
SCRIPT = """
import json, sys
import numpy as np, torch
from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import Views
from kdpipe.errors import StudyError
from kdpipe.plan import planner
from kdpipe.data.data_spec import count_views

config, images = sys.argv[1:]
known = list(planner.build_plan(load.load_study(config)).runs)
study = {
    "study": "more",
    "seeds": [0],
    "data": {"name": "digits", "train_size": 64, "validation": 40, "pad": 1, "upside_down": True},
    "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05},
    "teacher_outputs": "table",
    "methods": {"kd": {}},
    "experiments": [
        {"name": "a", "teachers": ["self"], "students": ["wrn10-0.5"], "methods": ["kd"]}
    ],
}
plan = planner.build_plan(load.validate_study(study, "more"))
spec = next(iter(plan.runs.values())).spec.data
assert main(["prepare", "digits"]) == 0
for run in plan.runs.values():
    for cache in run.logit_caches:
        assert main(["tabulate", "--spec", hashing.canonical_json(cache.spec)]) == 0
    assert main(["train", "--spec", hashing.canonical_json(run.spec)]) == 0
views = Views.from_spec({"pad": 2, "flip": True, "upside_down": True})
batches = ImageBatches(np.load(images), views, [0.5] * 3, [0.25] * 3)
number = torch.arange(views.count)
np.save("views.npy", batches.batch(torch.zeros_like(number), number).numpy())
stale = json.loads(hashing.canonical_json(run.spec))
stale["data"]["views"]["upside_down_revision"] = 2
refused = main(["train", "--spec", hashing.canonical_json(stale)])
try:
    seen = {key: study["data"][key] for key in ("name", "validation", "upside_down")}
    study["transfers"] = {"t": {"data": seen, "blocks": ["a"]}}
    load.validate_study(study, "more")
except StudyError as error:
    probed = str(error)
facts = {"known": known, "views": spec.views, "count": count_views(spec)}
print(json.dumps(facts | {"refused": refused, "probed": probed}))
"""


@pytest.fixture(scope="module")
def dropped_in(tmp_path_factory):
    """A package with one more augmentation, and what it makes of a study and of some images."""
    folder = tmp_path_factory.mktemp("more")
    shutil.copytree(Path(kdpipe.__file__).parent, folder / "kdpipe")
    (folder / "kdpipe" / "data" / "augmentations" / "upside_down.py").write_text(UPSIDE_DOWN)
    np.save(folder / "images.npy", IMAGES)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "config.yaml"), "images.npy"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    facts = json.loads(process.stdout.splitlines()[-1])
    return facts | {"batch": np.load(folder / "views.npy"), "stderr": process.stderr}


def test_one_file_more_renames_no_run(dropped_in):
    assert dropped_in["known"] == list(
        planner.build_plan(load.load_study(ROOT / "config.yaml")).runs
    )


def test_one_file_more_is_planned_tabulated_and_trained_with(dropped_in):
    """All of it by the commands; the script stops where one fails."""
    keys = {"upside_down": True, "upside_down_revision": 1}
    assert keys.items() <= dropped_in["views"].items() and dropped_in["count"] == 2 * 9
    assert dropped_in["refused"] != 0
    assert "revision 2 of upside_down, this version computes revision 1" in dropped_in["stderr"]


def test_one_file_more_is_refused_where_images_are_seen_as_they_are(dropped_in):
    assert (
        "data.upside_down: not allowed: a probe uses unmodified images and labels"
        in dropped_in["probed"]
    )


def test_in_front_of_the_number_it_changes_no_view_that_was_there(dropped_in):
    before = ImageBatches(IMAGES, Views.from_spec({"pad": 2, "flip": True}), [0.5] * 3, [0.25] * 3)
    number = torch.arange(before.views.count)
    old = before.batch(torch.zeros_like(number), number).numpy()
    batch = dropped_in["batch"]
    assert len(batch) == 2 * len(old) == 100
    assert np.array_equal(batch[: len(old)], old)
    assert np.array_equal(batch[len(old) :], old[:, :, ::-1])
