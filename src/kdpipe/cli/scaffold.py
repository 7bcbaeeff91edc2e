"""`kdpipe init`: the data card of an image folder, and a first study of a dozen lines.

The sizes of a first study are the largest that fit its time budget on this machine. It starts from
the smallest sizes that can give a result, and increases epochs, networks, image size and seeds in
turn while the estimated time fits. The estimate is that of three runs per seed: the teacher, the
student trained on labels, and the distilled student. If even the smallest sizes do not fit, the
study trains on a subset of the images. Estimates come from a few timed steps on random images, on
one thread as in a run.
"""

import functools
import math
import os
import re
import shlex
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import nn
from torch.nn import functional as F

from kdpipe.config import load
from kdpipe.config.schema import Study
from kdpipe.data import cards
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import class_folders, custom_card, reader
from kdpipe.errors import KdpipeError
from kdpipe.models import factory
from kdpipe.models.family import Shape
from kdpipe.plan import estimate, planner, teacher_outputs
from kdpipe.plan.nodes import Plan
from kdpipe.runs.files import write_bytes

# Teacher and student, from the cheapest pair to the most expensive.
NETWORK_PAIRS = (
    ("wrn10-1", "wrn10-0.5"),
    ("wrn10-2", "wrn10-1"),
    ("wrn16-2", "wrn10-1"),
    ("wrn28-2", "wrn16-1"),
    ("wrn40-2", "wrn16-2"),
)
IMAGE_SIDES = (32, 48, 64)  # pixels; small networks with three groups are designed for 32
LARGER_SIDES = (32, 48, 64, 96, 128, 160, 224)  # pixels, that init names beside its choice
UNBALANCED_RATIO = 3  # of the images of the largest and the smallest class
MAX_PAD = 16  # pixels around an image, which a study may have at most
MAX_UNSCALED_SIDE = 64  # pixels; images up to this side are left as they are
UNFLIPPED_DATASETS = {"digits", "mnist", "svhn"}  # a flipped image has another meaning
STUDY_SUFFIXES = (".yaml", ".yml")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
# Letters that are not a letter with an accent, or are spelled with two.
SPELLED_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae"}
    | {"Æ": "Ae", "ø": "oe", "Ø": "Oe", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L", "đ": "d"}
)
TEST_SHARE = 0.2  # of each class, held out where there is no test set
VALIDATION_SHARE, MAX_VALIDATION = 0.15, 5000  # of train, held out
MIN_STEPS, GOOD_STEPS = 600, 2500  # of the optimizer: to learn anything, and to learn well
MIN_EPOCHS, MAX_EPOCHS = 10, 120
SEED_COUNTS = (3, 5)  # at least three give an interval
STARTUP_SECONDS = 4.0  # of each run apart from its steps: imports, data, evaluation
FORWARD_SHARE = 1 / 3  # of a step: the teacher's, in each step of its student
TIMED_STEPS = 3


@dataclass(frozen=True)
class DataSource:
    """A known data set, or custom images.

    Attributes
    ----------
    name : str
        The name of the data in the study.
    path : Path or None
        The folder or .npz; None of a known data set.
    """

    name: str
    path: Path | None


class NewStudy(NamedTuple):
    """A new study: its file, its plan, the card of its images, and messages for the user."""

    path: Path
    plan: Plan
    card: DatasetCard
    messages: list[str]


@dataclass(frozen=True)
class ImageCounts:
    """Metadata of the images, with the sizes that they may have in a study."""

    train: int
    validation: int  # if there is such a split
    classes: int
    channels: int
    sides: tuple[int, ...]  # pixels, rising


@dataclass(frozen=True)
class ImageSurvey:
    """Images, whether their size is kept, and whether there is a test set."""

    images: ImageCounts
    keeps_sides: bool
    has_test: bool = True
    largest_side: int = 0  # pixels: of most images before they are scaled; 0: not known


@dataclass(frozen=True)
class StudySizes:
    """The sizes of a study, and its estimated time."""

    side: int  # pixels
    teacher: str
    student: str
    epochs: int
    batch: int
    seeds: int
    validation: int  # held out of train
    train: int  # images to train on
    seconds: float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Return the optimizer steps in an epoch."""
        return -(-self.train // self.batch)

    @property
    def drop_epochs(self) -> list[int]:
        """Return the milestones of the paper: 0.3, 0.6 and 0.9 of the epochs."""
        return [round(share * self.epochs) for share in (0.3, 0.6, 0.9)]


StepTimer = Callable[[str, Shape, int, int], float]  # seconds of a step, as `time_step`


def parse_source(word: str) -> DataSource:
    """Parse the argument of `kdpipe init`.

    Parameters
    ----------
    word : str
        The name of a known data set, or the path of a folder or .npz.

    Returns
    -------
    DataSource

    Raises
    ------
    KdpipeError
        If it is neither, or both, or a streamed data set.
    """
    path = Path(word)
    if word in cards.list_datasets():
        if path.exists():
            raise KdpipeError(
                f"{word} is both a built-in data set and {path.absolute()}: write ./{word} for the "
                "latter"
            )
        if cards.load_known_card(word).is_streamed:
            raise KdpipeError(
                f"the images of {word} are streamed: start from a copy of studies/{word}_paper.yaml"
            )
        return DataSource(word, None)
    if not path.exists():
        raise KdpipeError(
            f"there is no folder or file {path} (built-in data sets: "
            f"{', '.join(cards.list_datasets())})"
        )
    if path.is_file() and path.suffix.lower() in STUDY_SUFFIXES:
        raise KdpipeError(f"{path} is a study file: kdpipe run {shlex.quote(str(path))} runs it")
    if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        raise KdpipeError(f"{path} is an archive: unpack it first, and give its folder to init")
    name = _make_name(path.absolute().name.removesuffix(".npz"))
    return DataSource(f"{name}-own" if name in cards.list_datasets() else name, path)


def _make_name(text: str) -> str:
    """Return a name of data in ASCII, readable where letters have accents."""
    text = unicodedata.normalize("NFC", text).translate(SPELLED_LETTERS)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return re.sub("[^A-Za-z0-9_-]+", "-", text).strip("-_")[:36].strip("-_") or "images"


def init_study(
    source: DataSource,
    path: Path | None,
    minutes: float,
    val_is: str | None,
    skip_damaged: bool = False,
    side: int | None = None,
) -> NewStudy:
    """Write a first study, and the card of its images if they have none.

    Parameters
    ----------
    source : DataSource
    path : Path or None
        The study file; None: NAME.yaml in the current folder.
    minutes : float
        The time budget on this machine.
    val_is : str or None
        The role of a folder `val`: `validation` or `test`.
    skip_damaged : bool
        Whether images that cannot be decoded are left out.
    side : int or None
        The height and width that images are scaled to; None: as fits the time budget.

    Returns
    -------
    NewStudy

    Raises
    ------
    KdpipeError
        If the study file exists, or the images are invalid.
    """
    path = path or Path(f"{source.name}.yaml")
    _check_absent(path)
    card_path = _choose_card_path(source, path, side)
    card, notes = _load_existing_card(source, card_path)
    survey = _survey_card(card) if card else _survey_folder(source, val_is, skip_damaged)
    if survey.images.classes < 2:
        raise KdpipeError(
            f"{source.path} has only one class: every prediction would be correct, and nothing "
            "could be learned"
        )
    if side is not None:
        survey = replace(survey, images=replace(survey.images, sides=(side,)), keeps_sides=False)
    sizes = fit_sizes(survey.images, minutes, estimate.count_cores(), time_step)
    if card is None:
        assert source.path is not None
        resize = None if survey.keeps_sides else sizes.side
        share = None if survey.has_test else TEST_SHARE
        card_result = custom_card.build_card(
            source.path,
            source.name,
            card_path and str(card_path),
            resize=resize,
            val_is=val_is,
            test_share=share,
            skip_damaged=skip_damaged,
        )
        card, notes = card_result.card, card_result.notes
        if share is not None:
            notes.append(f"note: {share:.0%} of each class are held out as the test set")
    text = format_study(source, path, card, sizes, minutes, card_path)
    study, plan = _plan_text(text, path)
    if cheaper := _find_cheaper_outputs(plan):
        text = format_study(source, path, card, sizes, minutes, card_path, cheaper)
        study, plan = _plan_text(text, path)
    _check_absent(path)  # again: reading the images has taken time
    write_bytes(path, text.encode())
    messages = [
        f"{source.name}: {custom_card.describe_counts(card)}{_format_class_counts(card)}",
        *notes,
        *load.collect_notes(study),
        f"{path}: does {sizes.teacher} teach {sizes.student} more than labels do? "
        f"{sizes.epochs} epochs, {sizes.seeds} seeds: {len(plan.runs)} runs",
    ]
    if side is None and survey.largest_side > sizes.side:
        messages.append(_describe_side(source, path, survey, sizes))
    return NewStudy(path, plan, card, messages)


def _describe_side(source: DataSource, path: Path, survey: ImageSurvey, sizes: StudySizes) -> str:
    """Return that the size of the images is init's choice, how to have a larger one, and its cost.

    Details that are lost here are found by no network.
    """
    larger = next((side for side in LARGER_SIDES if side > sizes.side), 2 * sizes.side)
    larger = min(larger, survey.largest_side)
    images = replace(survey.images, sides=(larger,))
    cost = _add_seconds(
        replace(sizes, side=larger), images, estimate.count_cores(), time_step
    ).seconds
    study = path.with_name(f"{path.stem}-{larger}.yaml")
    command = ["kdpipe", "init", str(source.path or source.name), "--side", str(larger)]
    factor = f"{cost / sizes.seconds:.1f} times as long" if sizes.seconds else "longer"
    return (
        f"size: images of about {survey.largest_side} pixels are scaled to {sizes.side} x "
        f"{sizes.side}; init chose this size to fit the time. Larger images, with the same epochs "
        f"and seeds, take {factor}; init measures again: "
        f"{shlex.join([*command, '--study', str(study)])}"
    )


def _check_absent(path: Path) -> None:
    """Raise KdpipeError if a study file exists."""
    if path.exists():
        raise KdpipeError(
            f"{path} exists already and is not overwritten: choose another file with --study FILE, "
            f"or run it: kdpipe run {shlex.quote(str(path))}"
        )


def _choose_card_path(source: DataSource, study_path: Path, side: int | None = None) -> Path | None:
    """Return the path of the card beside the study, if the images' folder is not writable.

    Images that are scaled to a side of the user's have a card of that size there too, if the card
    beside them exists: other studies rest on that.
    """
    if source.path is None:
        return None
    if side is not None and cards.get_card_path(source.path).exists():
        return study_path.with_name(f"{source.name}-{side}.card.json")
    if source.path is None or (default_path := cards.get_card_path(source.path)).exists():
        return None
    if os.access(default_path.absolute().parent, os.W_OK | os.X_OK):
        return None
    return study_path.with_name(f"{source.name}.card.json")


def _load_existing_card(
    source: DataSource, card_path: Path | None
) -> tuple[DatasetCard | None, list[str]]:
    """Return the card and notes; creates that of a .npz, and is None for a folder without one."""
    if source.path is None:
        return cards.load_known_card(source.name), []
    if (path := card_path or cards.get_card_path(source.path)).exists():
        card = cards.load_card(source.name, str(source.path), str(path))
        return card, [f"note: {path} already exists and is used"]
    if source.path.is_dir():
        return None, []
    card_result = custom_card.build_card(source.path, source.name, card_path and str(card_path))
    return card_result.card, card_result.notes


def _survey_card(card: DatasetCard) -> ImageSurvey:
    """Survey images that have a card: the study resizes them if they are large."""
    if card.is_streamed:
        raise KdpipeError(
            f"the images of {card.name} are streamed, as its card states: start from a copy of "
            "studies/imagenet_paper.yaml, or remove the card for init to create another"
        )
    side = max(card.shape[1:])
    sides = (side,) if side <= MAX_UNSCALED_SIDE else IMAGE_SIDES
    images = ImageCounts(card.train, card.validation, card.classes, card.shape[0], sides)
    return ImageSurvey(images, side <= MAX_UNSCALED_SIDE)


def _survey_folder(source: DataSource, val_is: str | None, skip_damaged: bool) -> ImageSurvey:
    """Survey images that have no card, by the headers of their files."""
    path = source.path
    assert path is not None
    class_folders.require_images(path)
    folder_layout = class_folders.detect_layout(path, val_is)
    reader.check_formats(path)
    holdout = {} if folder_layout.has_test else {"test_share": TEST_SHARE, "draw": "share"}
    options = folder_layout.build_options | holdout
    options |= {"skip_damaged": 1} if skip_damaged else {}
    folder_images = class_folders.list_images(path, options)
    files = [file for part in folder_images.files.values() for file in part]
    print(f"reading {len(files):,} images below {path}", file=sys.stderr, flush=True)
    headers, errors = class_folders.read_headers(files)
    if errors:
        class_folders.raise_damaged(class_folders.find_invalid_images(files), path)
    shapes = {header.size for header in headers}
    side = int(statistics.median(min(header.size) for header in headers))
    is_uniform = len(shapes) == 1 and set(*shapes) == {side} and 8 <= side <= MAX_UNSCALED_SIDE
    sides = tuple(candidate for candidate in IMAGE_SIDES if candidate <= side) or (
        max(8, side // 4 * 4),
    )
    images = ImageCounts(
        len(folder_images.files["train"]),
        len(folder_images.files.get("val", ())),
        len(folder_images.classes),
        class_folders.infer_channels(headers),
        (side,) if is_uniform else sides,
    )
    return ImageSurvey(images, is_uniform, folder_layout.has_test, side)


def _format_class_counts(card: DatasetCard) -> str:
    """Return ` (training: cat 120, dog 80)`, or an empty string for many classes."""
    if not (card.counts and card.class_names and card.classes <= 12):
        return ""
    class_counts = zip(card.class_names, card.counts, strict=True)
    return f" (training: {', '.join(f'{name} {count:,}' for name, count in class_counts)})"


# Sizes.


def _plan_text(text: str, path: Path) -> tuple[Study, Plan]:
    """Return the study of a text and its plan."""
    content = load.parse_yaml(text.encode(), str(path))
    study = load.validate_study(content, str(path), path.parent)
    return study, planner.build_plan(study)


def _find_cheaper_outputs(plan: Plan) -> str | None:
    """Return the `teacher_outputs` with which a study takes less than with `auto`, if any does."""
    prices = teacher_outputs.price_outputs(estimate.build_cost_model(plan, "cpu", {}))
    if prices is None:
        return None
    way, seconds = prices.cheapest
    return way if seconds < prices.planned else None


def fit_sizes(images: ImageCounts, minutes: float, cores: int, step_timer: StepTimer) -> StudySizes:
    """Choose the sizes of a first study.

    Parameters
    ----------
    images : ImageCounts
    minutes : float
        The time budget.
    cores : int
        Number of cores.
    step_timer : callable
        Times a training step, as `time_step`.

    Returns
    -------
    StudySizes
        The largest that fit the time budget, or the smallest of all.
    """
    sizes = _add_seconds(_smallest_sizes(images), images, cores, step_timer)
    while sizes.seconds > 60 * minutes and sizes.train > max(500, 20 * images.classes):
        fewer = max(500, 20 * images.classes, sizes.train // 2)
        smaller = _set_epochs(
            replace(sizes, train=fewer, batch=_choose_batch_size(fewer)), MIN_STEPS
        )
        sizes = _add_seconds(smaller, images, cores, step_timer)
    kinds = ["epochs", "networks", "images", "seeds"]
    while kinds:  # in turn; a kind that does not fit once is not tried again
        for kind in list(kinds):
            larger = dict(_iter_larger_sizes(sizes, images)).get(kind)
            larger_sizes = _add_seconds(larger, images, cores, step_timer) if larger else None
            if larger_sizes and larger_sizes.seconds <= 60 * minutes:
                sizes = larger_sizes
            elif larger_sizes or kind != "seeds" or kinds == ["seeds"]:
                kinds.remove(kind)
    return sizes


def _smallest_sizes(images: ImageCounts) -> StudySizes:
    """Return the smallest sizes that can give a result."""
    validation = 0
    if not images.validation:
        share = min(MAX_VALIDATION, round(VALIDATION_SHARE * images.train))
        validation = min(max(share, images.classes), images.train // 2)
    train = images.train - validation
    teacher, student = NETWORK_PAIRS[0]
    sizes = StudySizes(
        images.sides[0],
        teacher,
        student,
        0,
        _choose_batch_size(train),
        SEED_COUNTS[0],
        validation,
        train,
    )
    return _set_epochs(sizes, MIN_STEPS)


def _choose_batch_size(train: int) -> int:
    """Return the batch size: small for few images, so that an epoch has enough steps."""
    return 128 if train >= 5000 else 64 if train >= 1500 else 32


def _set_epochs(sizes: StudySizes, steps: int) -> StudySizes:
    """Return sizes with the epochs that give a number of steps."""
    epochs = math.ceil(steps / sizes.steps_per_epoch)
    return replace(sizes, epochs=min(max(epochs, MIN_EPOCHS), MAX_EPOCHS))


def _iter_larger_sizes(sizes: StudySizes, images: ImageCounts) -> Iterator[tuple[str, StudySizes]]:
    """Yield the next larger sizes of each kind, in the order in which they are tried."""
    longer = _set_epochs(sizes, GOOD_STEPS)
    if longer.epochs > sizes.epochs:
        yield "epochs", replace(sizes, epochs=min(longer.epochs, math.ceil(1.5 * sizes.epochs)))
    pair_index = NETWORK_PAIRS.index((sizes.teacher, sizes.student))
    if pair_index + 1 < len(NETWORK_PAIRS):
        teacher, student = NETWORK_PAIRS[pair_index + 1]
        yield "networks", replace(sizes, teacher=teacher, student=student)
    larger_sides = [side for side in images.sides if side > sizes.side]
    if larger_sides:
        yield "images", replace(sizes, side=larger_sides[0])
    seed_counts = [seeds for seeds in SEED_COUNTS if seeds > sizes.seeds]
    if seed_counts and longer.epochs == sizes.epochs and not larger_sides:
        yield "seeds", replace(sizes, seeds=seed_counts[0])


def _add_seconds(
    sizes: StudySizes, images: ImageCounts, cores: int, step_timer: StepTimer
) -> StudySizes:
    """Return sizes with their estimated seconds; the runs of one seed are sequential."""
    shape = (images.channels, sizes.side, sizes.side)
    teacher, student = (
        step_timer(network, shape, images.classes, sizes.batch)
        for network in (sizes.teacher, sizes.student)
    )
    steps = sizes.epochs * sizes.steps_per_epoch
    label_seconds = steps * teacher + STARTUP_SECONDS, steps * student + STARTUP_SECONDS
    student_seconds = steps * (student + FORWARD_SHARE * teacher) + STARTUP_SECONDS
    work_seconds = sizes.seeds * (sum(label_seconds) + student_seconds)
    longest_seconds = math.ceil(sizes.seeds / cores) * (label_seconds[0] + student_seconds)
    return replace(sizes, seconds=max(work_seconds / cores, longest_seconds))


@functools.cache
def time_step(network: str, shape: Shape, classes: int, batch: int) -> float:
    """Return the seconds of one training step: the fastest of a few, after a warm-up.

    On the first GPU, if there is one, else on one thread of the CPU.

    Parameters
    ----------
    network : str
    shape : tuple of int
        Of an image, (C, H, W).
    classes : int
    batch : int
        Images of a step.

    Returns
    -------
    float
    """
    memory_format = factory.get_named_memory_format(network)

    def build() -> nn.Module:
        model = factory.build_named_model(network, num_classes=classes, in_channels=shape[0])
        return model.to(memory_format=memory_format)  # pyright: ignore

    return time_model_step(build, shape, batch, TIMED_STEPS, memory_format)


def time_model_step(
    build: Callable[[], nn.Module],
    shape: Shape,
    batch: int,
    steps: int,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> float:
    """Return the seconds of one training step of a network: the fastest of some, after a warm-up.

    Parameters
    ----------
    build : callable
        Builds the network.
    shape : tuple of int
        Of an image, (C, H, W).
    batch : int
        Images of a step.
    steps : int
        Number of timed steps.
    memory_format : torch.memory_format

    Returns
    -------
    float
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = build().to(device)
        x = torch.rand(batch, *shape, device=device).contiguous(memory_format=memory_format)
        labels = torch.zeros(batch, dtype=torch.int64, device=device)
        return min([_time_one_step(model, x, labels) for _ in range(1 + steps)][1:])
    finally:
        torch.set_num_threads(threads)


def _time_one_step(model, x: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the seconds of one step of plain SGD."""
    # On a CPU the thread's time, so that the machine's load does not count.
    clock = time.perf_counter if x.is_cuda else time.thread_time
    start = clock()
    model.zero_grad()
    F.cross_entropy(model(x), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


# The text of the study.


def format_study(
    source: DataSource,
    path: Path,
    card: DatasetCard,
    sizes: StudySizes,
    minutes: float,
    card_path: Path | None,
    outputs: str | None = None,
) -> str:
    """Return the text of a study file.

    Parameters
    ----------
    source : DataSource
    path : Path
        The study file, to which paths are relative.
    card : DatasetCard
    sizes : StudySizes
    minutes : float
        That were allowed.
    card_path : Path or None
        The card, if it is not beside the images.
    outputs : str, optional
        The value of `teacher_outputs`, where it is not the default.

    Returns
    -------
    str
        YAML with comments.
    """
    data_lines = [f"  name: {quote_yaml(card.name)}"]
    if source.path is not None:
        relative_path = os.path.relpath(source.path.absolute(), path.absolute().parent)
        card_comment = "" if card_path else "; its card lies beside it"
        data_lines.append(
            f"  path: {quote_yaml(relative_path)}  # relative to this file{card_comment}"
        )
    if card_path:
        data_lines.append(f"  card: {quote_yaml(card_path.name)}  # beside this file")
    if source.path is not None and (options := list_card_options(card)):
        data_lines.append(
            f"  card_options: {quote_yaml(options)}  # what kdpipe check --write makes it with"
        )
    train_count = card.train - sizes.validation
    if sizes.train < train_count:
        data_lines.append(f"  train_size: {sizes.train}  # of {train_count:,}, to fit the time")
    if sizes.validation:
        data_lines.append(
            f"  validation: {sizes.validation}  # held out of train: choices are made on it"
        )
    if len(set(card.counts)) > 1 and (sizes.validation or sizes.train < train_count):
        data_lines.append("  draw: share  # the same share of each class; equal: the same number")
    if card.shape[1:] != (sizes.side, sizes.side):
        data_lines.append(f"  resize: {sizes.side}")
    pad = min(max(1, sizes.side // 8), MAX_PAD)
    data_lines.append(
        f"  pad: {pad}  # random crops of images padded by so many pixels, new in each epoch"
    )
    is_flipped = card.shape[0] == 3 and card.name not in UNFLIPPED_DATASETS
    reason = (
        "mirror images too; false where left and right differ" if is_flipped else "true: mirror too"
    )
    data_lines.append(f"  flip: {str(is_flipped).lower()}  # {reason}")
    lr = 0.1 if sizes.batch >= 128 else 0.05
    reasons = {
        "live": "costs less here than a table of all views, which few epochs would use",
        "table": "of all views, once for each teacher: costs less here than live teachers",
    }
    metric = choose_metric(card)
    rows = {
        "study": quote_yaml(source.name),
        "seeds": f"{list(range(1, sizes.seeds + 1))}  # three give an interval, five a narrow one",
        **({"metric": metric} if metric else {}),
        "data": "\n" + "\n".join(data_lines),
        "recipe": "\n".join(
            [
                "",
                f"  epochs: {sizes.epochs}",
                f"  batch_size: {sizes.batch}",
                f"  lr: {lr}",
                f"  drop_epochs: {sizes.drop_epochs}  # each divides the learning rate by 5",
            ]
        ),
        "experiments": "  # each is teachers x students x methods (plain KD if none is named)\n"
        f"  - {{name: first, teachers: [{sizes.teacher}], students: [{sizes.student}]}}",
        **({"teacher_outputs": f"{outputs}  # {reasons[outputs]}"} if outputs else {}),
        "tables": "{teacher_size: [first]}  # of the report, beside its verdicts",
    }
    steps = ", ".join(
        f"{name} {_format_step_time(card, sizes, name)}" for name in (sizes.teacher, sizes.student)
    )
    minutes_text = "1 minute" if minutes == 1 else f"{minutes:g} minutes"
    reason = f"the largest tried that take less than {minutes_text}"
    if sizes.seconds > 60 * minutes:
        reason = f"the smallest there are, though they take more than {minutes_text}"
    cores = estimate.count_cores()
    header = [
        f"# By kdpipe init. Does {sizes.teacher} (teacher) teach {sizes.student} (student) more "
        "than labels",
        "# do? Both are wide residual networks, of 10 layers and more; kdpipe networks lists all.",
        f"# Sizes: {reason} here, on {cores} core{'s' * (cores != 1)};",
        f"# a step of {sizes.batch} images was measured: {steps}. To grow it: more epochs,",
        "# seeds, teachers, methods, or kdpipe init --minutes 60.",
    ]
    return "\n".join(
        [*header, *(f"{key}:{_format_after_key(value)}" for key, value in rows.items()), ""]
    )


def choose_metric(card: DatasetCard) -> str:
    """Return the metric of a study with a comment; empty for top-1, where classes are balanced.

    Parameters
    ----------
    card : DatasetCard
        The card of the images.
    """
    if not card.counts or max(card.counts) < UNBALANCED_RATIO * min(card.counts):
        return ""
    return (
        f"balanced  # the mean over classes: the largest has {max(card.counts):,} images, the "
        f"smallest {min(card.counts):,}; top1: over images"
    )


def _format_after_key(value: str) -> str:
    """Return a value as it follows its key, on the same line or below."""
    return value if value.startswith(("\n", "  ")) else f" {value}"


def _format_step_time(card: DatasetCard, sizes: StudySizes, network: str) -> str:
    """Return the time of one step in milliseconds."""
    shape = (card.shape[0], sizes.side, sizes.side)
    return f"{1000 * time_step(network, shape, card.classes, sizes.batch):.2g} ms"


def list_card_options(card: DatasetCard) -> dict[str, object]:
    """Return the options that a card was made with, as the key `card_options` of a study."""
    return {k: v for k, v in cards.list_build_options(card).items() if v is not None}


def quote_yaml(value: object) -> str:
    """Return a value on one line, quoted as YAML needs it."""
    return yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )[1:-2]
