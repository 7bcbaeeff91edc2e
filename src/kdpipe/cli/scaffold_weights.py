"""`kdpipe init`: beside the study from scratch, one whose networks begin from weights.

For a few hundred or thousand photographs that is what an expert does first. The networks are those
with weights on this machine, or in a file that the user gives. Images of a folder are stored in the
size that the weights are for; others stay as they are. These and gray ones each network scales and
normalizes for itself (`input`). The teacher is the largest that fits the time budget, the
student the smallest; if there is only one, it teaches a second training of itself.
"""

import importlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from kdpipe.cli import scaffold
from kdpipe.cli.scaffold import DataSource
from kdpipe.data.cards import DatasetCard
from kdpipe.models import factory, registry
from kdpipe.models.pretrained import local_weights
from kdpipe.models.pretrained.local_weights import LocalWeights
from kdpipe.runs.files import write_bytes

FEW_IMAGES = 5000  # and fewer to train on: this study is proposed
BATCH_SIZE, TIMED_BATCH_SIZE = 32, 4
LEARNING_RATE, BACKBONE_LR = 0.02, 0.1
GOOD_STEPS, MIN_EPOCHS, MAX_EPOCHS = 300, 5, 30  # of fine-tuning
MAX_MEASURED = 6  # networks, smallest file first
# Of pixels of ImageNet, for which torchvision's networks are normalized.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MAX_SIDE = 1024  # pixels, that a study may resize images to
MAX_ARRAY_BYTES = 2 * 10**9  # of the images, which are in memory
INSTALL_COMMANDS = (
    "python -c \"from torchvision.models import get_model; get_model('mobilenet_v3_small', "
    "weights='IMAGENET1K_V1')\"",
    "hf download timm/mobilenetv3_small_050.lamb_in1k",
)


@dataclass(frozen=True)
class Candidate:
    """Weights with the measured time of a step of their network."""

    source: LocalWeights
    step_seconds: float


@dataclass(frozen=True)
class Proposal:
    """A study from weights.

    Attributes
    ----------
    path : Path or None
        Its file; None if there is none, as the messages explain.
    messages : list of str
        What the user should know.
    """

    path: Path | None
    messages: list[str]


def propose_study(
    source: DataSource,
    card: DatasetCard,
    scratch_path: Path,
    minutes: float,
    given: LocalWeights | None,
    step_timer: Callable[[LocalWeights, int], float],
) -> Proposal:
    """Write the study that begins from weights, where there are any.

    Parameters
    ----------
    source : DataSource
    card : DatasetCard
        The card of the study from scratch.
    scratch_path : Path
        That study.
    minutes : float
        The time budget.
    given : LocalWeights or None
        The weights that the user gives.
    step_timer : callable
        Times a step, as `time_weights_step`.

    Returns
    -------
    Proposal
    """
    if given is None and (card.train >= FEW_IMAGES or source.path is None):
        return Proposal(None, [])
    is_folder = source.path is not None and source.path.is_dir()
    has_input = not is_folder or card.shape[0] != 3
    found = [given] if given else local_weights.find_local_weights()
    count = f"{card.train:,} training images"
    if not found:
        folders = " and ".join(map(str, local_weights.list_caches()))
        return Proposal(
            None,
            [
                f"weights: networks that start from ImageNet weights are usually much better with "
                f"as few as {count}, but this machine has no weights (searched {folders}). With "
                f"internet access, run {INSTALL_COMMANDS[0]} or {INSTALL_COMMANDS[1]}; then run "
                "kdpipe init again with another file, --study FILE (and with --weights FILE, if "
                "the weights are elsewhere)",
            ],
        )
    path = scratch_path.with_name(f"{scratch_path.stem}-weights.yaml")
    if path.exists():
        return Proposal(None, [f"note: {path} already exists, and stays"])
    data = None if is_folder else _describe_unscaled(scratch_path, card)
    n_train = _count_training(card, data or {"validation": _count_validation(card)})
    candidates = [
        Candidate(item, step_timer(item, card.classes)) for item in _choose_measured(found)
    ]
    fitting, refusal = candidates, ""
    if has_input:
        fitting = [one for one in fitting if _get_normalization(one.source) is not None]
        refusal = (
            f"the mean and std that {found[0].network} was trained with are not known: write a "
            "study with `starts` and `input` (docs/how-to/weights.md)"
        )
    if fitting and is_folder:
        fitting = [one for one in fitting if _count_bytes(card, one.source) <= MAX_ARRAY_BYTES]
        refusal = f"{count} at their size are too many for one array"
    if not fitting:
        return Proposal(None, [f"weights: {refusal}"])
    side = fitting[0].source.side
    lines = [
        f"weights on this machine, each fine-tuned with {_count_epochs(n_train)} epochs, 3 seeds:"
    ]
    lines += [f"  {_describe_candidate(one, n_train)}" for one in candidates]
    if len(found) > len(candidates):
        lines.append(f"  and {len(found) - len(candidates)} larger ones")
    teacher, student = _choose_pair(
        [one for one in fitting if one.source.side == side], n_train, minutes
    )
    seconds = _estimate_seconds(teacher, student, n_train)
    text = format_study(source, path, card, teacher.source, student.source, data)
    write_bytes(path, text.encode())
    lines.append(
        f"{path}: {student.source.network} from weights, fine-tuned on labels and taught by "
        f"{teacher.source.network}: about {_format_minutes(seconds)}"
    )
    return Proposal(path, lines)


def _choose_measured(found: list[LocalWeights]) -> list[LocalWeights]:
    """Return one entry of each network, the smallest files."""
    by_network: dict[str, LocalWeights] = {}
    for item in found:
        by_network[item.network] = item  # of torchvision's the newest weights come last
    return list(by_network.values())[:MAX_MEASURED]


def _choose_pair(
    candidates: list[Candidate], n_train: int, minutes: float
) -> tuple[Candidate, Candidate]:
    """Return teacher and student: the largest within the time, and the cheapest."""
    by_cost = sorted(candidates, key=lambda one: one.step_seconds)
    student = by_cost[0]
    teachers = [
        one for one in by_cost if _estimate_seconds(one, student, n_train) <= 60 * minutes
    ] or by_cost[:1]
    return teachers[-1], student


def _count_training(card: DatasetCard, data: dict[str, Any]) -> int:
    """Return the images that a study with these `data` trains on."""
    return data.get("train_size") or card.train - data.get("validation", 0)


def _count_epochs(n_train: int) -> int:
    """Return the epochs of fine-tuning."""
    return min(max(math.ceil(GOOD_STEPS / _count_steps(n_train)), MIN_EPOCHS), MAX_EPOCHS)


def _count_steps(n_train: int) -> int:
    """Return the steps of an epoch."""
    return -(-n_train // BATCH_SIZE)


def _count_validation(card: DatasetCard) -> int:
    """Return the images to hold out of train."""
    if card.validation:
        return 0
    return min(max(round(scaffold.VALIDATION_SHARE * card.train), card.classes), card.train // 2)


def _count_bytes(card: DatasetCard, source: LocalWeights) -> int:
    """Return the bytes of all images at the size of the weights."""
    return (card.train + card.validation + card.test) * card.shape[0] * source.side**2


def _estimate_seconds(teacher: Candidate, student: Candidate, n_train: int) -> float:
    """Return the seconds of the study: teacher, student on labels, and taught, for each seed."""
    steps = _count_epochs(n_train) * _count_steps(n_train)
    taught = student.step_seconds + scaffold.FORWARD_SHARE * teacher.step_seconds
    networks = [teacher, student] if teacher is not student else [student]
    runs = [*(one.step_seconds for one in networks), taught]
    cores = scaffold.estimate.count_cores()
    one_seed = sum(steps * step + scaffold.STARTUP_SECONDS for step in runs)
    seeds = scaffold.SEED_COUNTS[0]
    return one_seed * max(seeds / cores, 1)


def _describe_candidate(candidate: Candidate, n_train: int) -> str:
    """Return a line on a network: its weights, its size, and its price."""
    source = candidate.source
    megabytes = source.file.stat().st_size / 1e6
    steps = _count_epochs(n_train) * _count_steps(n_train)
    seconds = scaffold.SEED_COUNTS[0] * steps * candidate.step_seconds
    return (
        f"{source.network} ({source.title}, {megabytes:.1f} MB, images of {source.side} x "
        f"{source.side}): {1000 * candidate.step_seconds:,.0f} ms for a step of {BATCH_SIZE}, "
        f"about {_format_minutes(seconds)} on one core"
    )


def _format_minutes(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def time_weights_step(source: LocalWeights, classes: int) -> float:
    """Return the seconds of a training step of `BATCH_SIZE` images, from smaller ones.

    Parameters
    ----------
    source : LocalWeights
    classes : int
        Number of classes.

    Returns
    -------
    float
    """
    shape = (3, source.side, source.side)
    if source.build is None:

        def build() -> nn.Module:
            return factory.build_named_model(source.network, num_classes=classes, in_channels=3)
    else:
        module, _, name = source.build.rpartition(".")

        def build() -> nn.Module:
            builder = getattr(importlib.import_module(module), name)
            return builder(num_classes=classes, in_chans=3)

    step = scaffold.time_model_step(build, shape, TIMED_BATCH_SIZE, 1)
    return step * BATCH_SIZE / TIMED_BATCH_SIZE


def _get_normalization(source: LocalWeights) -> dict[str, list[float]] | None:
    """Return the mean and std of the images that weights are for; None if they are not known."""
    if source.info and source.info.mean:
        return {"mean": list(source.info.mean), "std": list(source.info.std)}
    if source.network in registry.load_families()["torchvision"].suggest(""):
        return {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
    return None


def _describe_unscaled(scratch_path: Path, card: DatasetCard) -> dict[str, Any]:
    """Return the images of the study from scratch, in their own size."""
    data = yaml.safe_load(scratch_path.read_text("utf-8"))["data"]
    side = max(card.shape[1:])
    if card.shape[1:] == (side, side):
        data.pop("resize", None)
    elif "resize" in data:  # to a square, with all their pixels
        data["resize"] = min(side, MAX_SIDE)
    return data | {"pad": min(max(1, side // 8), scaffold.MAX_PAD)}


def _describe_stored(
    source: DataSource, path: Path, card: DatasetCard, student: LocalWeights
) -> dict[str, Any]:
    """Return the images of a folder, in the size of the weights, as the study has them."""
    assert source.path is not None
    side = student.side
    options = scaffold.list_card_options(card) | {"resize": side}
    data: dict[str, Any] = {
        "name": card.name,
        "path": os.path.relpath(source.path.absolute(), path.absolute().parent),
        "card": f"{path.stem}.card.json",
        "card_options": options,
    }
    if validation := _count_validation(card):
        data |= {"validation": validation, "draw": "share"}
    is_color = card.shape[0] == 3
    data |= {"pad": min(side // 8, scaffold.MAX_PAD), "flip": is_color}
    if is_color and student.info and student.info.mean:
        data |= _get_normalization(student) or {}
    return data


def format_study(
    source: DataSource,
    path: Path,
    card: DatasetCard,
    teacher: LocalWeights,
    student: LocalWeights,
    data: dict[str, Any] | None = None,
) -> str:
    """Return the text of the study that begins from weights.

    Parameters
    ----------
    source : DataSource
    path : Path
        The study file, to which paths are relative.
    card : DatasetCard
        The card of the study from scratch, with the options of its card.
    teacher, student : LocalWeights
    data : dict or None
        Images as they are; None: those of a folder, stored in the size of the weights.

    Returns
    -------
    str
        YAML with comments.
    """
    quote = scaffold.quote_yaml
    folder, has_input = path.absolute().parent, data is not None or card.shape[0] != 3
    data = data or _describe_stored(source, path, card, student)
    networks = list({item.network: item for item in (teacher, student)}.values())
    starts = [
        f"  {_name_start(item)}: {quote(_describe_start(item, folder, has_input))}"
        for item in networks
    ]
    builds = [f"  {item.network}: {{build: {item.build}}}" for item in networks if item.build]
    metric = scaffold.choose_metric(card)
    lines = [
        "# By kdpipe init. How good are networks that start from weights, and does a teacher help?",
        "# For a few hundred or thousand photographs try this before any training from scratch.",
        f"study: {quote(f'{source.name}-weights')}",
        "seeds: [1, 2, 3]",
        *([f"metric: {metric}"] if metric else []),
        "data:",
        *(f"  {key}: {quote(value)}" for key, value in data.items()),
        *(["networks:", *builds] if builds else []),
        "starts:  # docs/how-to/weights.md; backbone_lr: factor on the rate of all that is not new",
        *starts,
        "recipe:",
        f"  epochs: {_count_epochs(_count_training(card, data))}",
        f"  batch_size: {BATCH_SIZE}",
        f"  lr: {LEARNING_RATE}",
        "  annealing: cosine",
        "experiments:",
        f"  - {{name: first, teachers: [{_name_start(teacher)}], "
        f"students: [{_name_start(student)}]}}",
        "tables: {starts: [first]}",
        "",
    ]
    return "\n".join(lines)


def _name_start(source: LocalWeights) -> str:
    """Return the name of a network that begins from weights."""
    return f"{source.network.replace('_', '-')}-tuned"


def _describe_start(source: LocalWeights, folder: Path, has_input: bool) -> dict[str, object]:
    """Return the entry of a network under `starts`."""
    entry: dict[str, object] = {"network": source.network}
    if source.weights is not None:
        entry["weights"] = source.weights
    if source.path is not None:
        entry["path"] = os.path.relpath(source.path.absolute(), folder)
    if source.sha256 is not None:
        entry["sha256"] = source.sha256
    if has_input:
        entry["input"] = {"size": source.side, **(_get_normalization(source) or {})}
    return entry | {"backbone_lr": BACKBONE_LR}
