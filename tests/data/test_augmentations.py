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
from kdpipe.data import views
from kdpipe.data.images import Images
from kdpipe.data.keys import AUGMENTED, Data
from kdpipe.data.views import PLAIN, Views
from kdpipe.errors import DataError
from kdpipe.plan import planner
from kdpipe.section import Section
from kdpipe.study import checking

ROOT = Path(__file__).parents[2]
RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (2, 3, 8, 6)).astype(np.uint8)
# Of each augmentation keys that make more than one view.
ASKED = {
    "augment": {"augment": {"policy": "rand"}},
    "erase": {"erase": {"probability": 1.0}},
    "flip": {"flip": True},
    "pad": {"pad": 2, "padding": "reflect"},
    "random_crop": {"crop": {"scale": [0.2, 0.9]}},
}


def of_arrays():
    return [name for name in ASKED if views.digits()[name].gather]


def of_streams(way):
    return [name for name in ASKED if getattr(views.digits()[name], way)]


def test_each_has_a_case_here():
    assert set(ASKED) == set(views.digits())


def test_each_has_a_place_and_keys_of_its_own():
    digits = list(views.digits().values())
    assert [digit.place for digit in digits] == sorted((d.place for d in digits), reverse=True)
    assert len({digit.place for digit in digits}) == len(digits)
    assert len(set(AUGMENTED)) == sum(len(digit.keys.model_fields) for digit in digits)
    of_data = tuple(Data.model_fields)
    assert of_data[-len(AUGMENTED) :] == AUGMENTED and "revision" not in of_data


@pytest.mark.parametrize("name", ASKED)
def test_one_view_as_it_comes_and_more_when_asked(name):
    digit = views.digits()[name]
    neutral, asked = digit.keys(), digit.keys.model_validate(ASKED[name])
    assert issubclass(digit.keys, Section) and digit.count(neutral) == 1
    assert digit.plain(neutral) == 0 and digit.count(asked) != 1
    assert digit.revision is None or (digit.revision >= 1 and digit.plain(asked) == 0)
    made = Views.of(ASKED[name])
    assert made.digits == ((digit, asked),) and Views.of(neutral.model_dump()) == PLAIN
    assert made.endless or 0 <= made.centre < made.count
    assert pickle.loads(pickle.dumps(made)) == made  # it goes to the processes that read images
    assert digit.gather or digit.image or digit.drawn or digit.normalised


@pytest.mark.parametrize("name", of_arrays())
def test_of_an_array_one_view_is_the_image_and_no_two_are_the_same(name):
    images = Images(IMAGES, Views.of(ASKED[name]), [0.0] * 3, [1.0] * 3)
    view = torch.arange(images.views.count)
    found = images.batch(torch.ones_like(view), view)
    plain = Images(IMAGES, PLAIN, [0.0] * 3, [1.0] * 3).centre(0, 2)
    assert torch.equal(found[images.views.centre], plain[1])
    assert len({image.numpy().tobytes() for image in found}) == images.views.count


@pytest.mark.parametrize("name", of_streams("image"))
def test_of_a_stream_it_does_to_an_image_what_it_does_to_an_array(name):
    made = Views.of(ASKED[name])
    images = Images(IMAGES, made, [0.0] * 3, [1 / 255] * 3)
    image = Image.fromarray(IMAGES[0].transpose(1, 2, 0))
    for view in range(made.count):
        ((digit, keys, value),) = made.values(view)
        found = np.asarray(digit.image(keys, value, image))
        ours = images.batch(torch.tensor([0]), torch.tensor([view]))[0]
        assert np.array_equal(found, ours.permute(1, 2, 0).numpy().round())


@pytest.mark.parametrize("name", of_streams("drawn"))
def test_of_a_stream_a_view_is_drawn_from_torchs_generator_alone(name):
    digit = views.digits()[name]
    change = digit.drawn(digit.keys.model_validate(ASKED[name]), 6)
    image = Image.fromarray(RNG.randint(0, 256, (6, 6, 3)).astype(np.uint8))

    def drawn(seed):
        torch.manual_seed(seed)
        return np.asarray(change(image)).tobytes()

    assert len(drawn(0)) == 6 * 6 * 3
    assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]
    assert len({drawn(seed) for seed in range(20)}) > 1


def test_images_that_cannot_have_it_refuse_it():
    with pytest.raises(DataError, match=r"data\.crop: is not for images that are one array"):
        Images(IMAGES, Views.of(ASKED["random_crop"]), [0.5] * 3, [0.5] * 3)
    with pytest.raises(DataError, match=r"data\.pad: is not for images that stream"):
        Views.of(ASKED["pad"]).refuse_without("image")


# --- one more file


UPSIDE_DOWN = '''
"""Upside down: images mirrored top to bottom, half of them."""

from pydantic import Field

from kdpipe.data.views import Digit
from kdpipe.section import Section


class Keys(Section):
    upside_down: bool = Field(False, description="mirror half of the images top to bottom")


def count(keys):
    return 2 if keys.upside_down else 1


def gather(keys, value, rows, columns):
    import torch

    return torch.where((value == 1)[:, None], rows.flip(1), rows), columns


DIGIT = Digit(keys=Keys, place=9, count=count, gather=gather, revision=1)
'''
SCRIPT = """
import json, sys
import numpy as np, torch
from kdpipe import identity
from kdpipe.cli.main import main
from kdpipe.data.images import Images
from kdpipe.data.views import Views
from kdpipe.errors import StudyError
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.specs.made import view_count
from kdpipe.study import checking

config, images = sys.argv[1:]
known = list(planner.make(checking.load(config)).runs)
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
made = planner.make(checking.validate(study, "more"))
spec = next(iter(made.runs.values())).spec["data"]["views"]
assert main(["prepare", "digits"]) == 0
for run in made.runs.values():
    for table in run.tables:
        assert main(["tabulate", "--spec", identity.canonical(table.spec)]) == 0
    assert main(["train", "--spec", identity.canonical(run.spec)]) == 0
views = Views.of({"pad": 2, "flip": True, "upside_down": True})
taken = Images(np.load(images), views, [0.5] * 3, [0.25] * 3)
number = torch.arange(views.count)
np.save("views.npy", taken.batch(torch.zeros_like(number), number).numpy())
stale = json.loads(identity.canonical(run.spec))
stale["data"]["views"]["upside_down_revision"] = 2
refused = main(["train", "--spec", identity.canonical(stale)])
try:
    seen = {key: study["data"][key] for key in ("name", "validation", "upside_down")}
    study["transfers"] = {"t": {"data": seen, "blocks": ["a"]}}
    checking.validate(study, "more")
except StudyError as error:
    probed = str(error)
said = {"known": known, "views": spec, "count": view_count(spec)}
print(json.dumps(said | {"refused": refused, "probed": probed}))
"""


@pytest.fixture(scope="module")
def dropped_in(tmp_path_factory):
    """A house with one augmentation more, and what it says of a study and of some images."""
    folder = tmp_path_factory.mktemp("more")
    shutil.copytree(Path(kdpipe.__file__).parent, folder / "kdpipe")
    (folder / "kdpipe" / "data" / "augmentations" / "upside_down.py").write_text(UPSIDE_DOWN)
    np.save(folder / "images.npy", IMAGES)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "config.yaml"), "images.npy"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return said | {"taken": np.load(folder / "views.npy"), "stderr": done.stderr}


def test_one_file_more_renames_no_run(dropped_in):
    assert dropped_in["known"] == list(planner.make(checking.load(ROOT / "config.yaml")).runs)


def test_one_file_more_is_planned_tabulated_and_trained_with(dropped_in):
    """All of it by the commands; the script stops where one fails."""
    asked = {"upside_down": True, "upside_down_revision": 1}
    assert asked.items() <= dropped_in["views"].items() and dropped_in["count"] == 2 * 9
    assert dropped_in["refused"] != 0
    assert "revision 2 of upside_down, this version computes revision 1" in dropped_in["stderr"]


def test_one_file_more_is_refused_where_images_are_seen_as_they_are(dropped_in):
    assert "data.upside_down: a probe sees images and labels as they are" in dropped_in["probed"]


def test_in_front_of_the_number_it_changes_no_view_that_was_there(dropped_in):
    before = Images(IMAGES, Views.of({"pad": 2, "flip": True}), [0.5] * 3, [0.25] * 3)
    number = torch.arange(before.views.count)
    old = before.batch(torch.zeros_like(number), number).numpy()
    taken = dropped_in["taken"]
    assert len(taken) == 2 * len(old) == 100
    assert np.array_equal(taken[: len(old)], old)
    assert np.array_equal(taken[len(old) :], old[:, :, ::-1])
