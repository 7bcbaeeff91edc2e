"""`kdpipe init`: the card of one's images, and beside it a study of a dozen lines to begin with."""

import os
import re
import shlex
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from kdpipe.data import cards
from kdpipe.data.cards import Card
from kdpipe.data.own import card as own
from kdpipe.data.own import folders, layout, remarks
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.plan.cost import schedule
from kdpipe.plan.items import Plan
from kdpipe.results.files import write_bytes
from kdpipe.sketch import sizes, speed
from kdpipe.sketch.sizes import Images, Sizes
from kdpipe.study import checking, yaml_file

LARGEST = 64  # pixels: sides up to here are left as they are
UPRIGHT = {"digits", "mnist", "svhn"}  # known sets whose images mean something else when mirrored
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Source:
    """What was named: a known data set, or a path and the name that it gets."""

    name: str
    path: Path | None


def source_of(word: str) -> Source:
    """What a word means. Raises KdpipeError if it is neither a known data set nor there."""
    path = Path(word)
    if word in cards.known():
        if path.exists():
            raise KdpipeError(
                f"{word} is a known data set, and {path.absolute()} is there too: write ./{word} "
                "for the second"
            )
        if cards.load(word).streamed:
            raise KdpipeError(
                f"{word} streams from its files: begin with a copy of studies/{word}_paper.yaml"
            )
        return Source(word, None)
    if not path.exists():
        raise KdpipeError(
            f"there is no folder or file {path} (known data sets: {', '.join(cards.known())})"
        )
    name = re.sub("[^A-Za-z0-9_-]+", "-", path.absolute().name.removesuffix(".npz")).strip("-_")
    name = name[:36] or "images"
    return Source(f"{name}-own" if name in cards.known() else name, path)


class First(NamedTuple):
    """A first study that was written: where, what is planned of it, and what to tell the person."""

    place: Path
    plan: Plan
    said: list[str]


def write(source: Source, place: Path | None, minutes: float, val_is: str | None) -> First:
    """Make the card of the images, if they have none, and write a study at `place`.

    Nothing that is there is written over. Raises KdpipeError.
    """
    place = place or Path(f"{source.name}.yaml")
    _refuse_there(place)
    at = _card_place(source, place)
    card, notes = _known(source, at)
    survey = _of_card(card) if card else _of_folder(source, val_is)
    chosen = sizes.chosen(survey.images, minutes, schedule.cores(), speed.step)
    if card is None:
        assert source.path is not None
        side = None if survey.as_they_are else chosen.side
        share = None if survey.tested else TEST_SHARE
        made = own.make(
            source.path, source.name, at and str(at), resize=side, val_is=val_is, test_share=share
        )
        card, notes = made.card, made.notes
        if share is not None:
            notes.append(f"note: {share:.0%} of each class are held out as the test set")
    text = study(source, place, card, chosen, minutes, at)
    content = yaml_file.parse(text.encode(), str(place))
    sound = checking.validate(content, str(place), place.parent)
    plan = planner.make(sound)
    _refuse_there(place)  # the images have taken their time
    write_bytes(place, text.encode())
    said = [
        f"{source.name}: {own.counted(card)}{_classes(card)}",
        *notes,
        *checking.notes(sound),
        f"{place}: does {chosen.teacher} teach {chosen.student} more than labels do? "
        f"{chosen.epochs} epochs, {chosen.seeds} seeds: {len(plan.runs)} runs",
    ]
    return First(place, plan, said)


def _refuse_there(place: Path) -> None:
    if place.exists():
        raise KdpipeError(
            f"{place} is there already, and nothing is written over: say --study FILE for another "
            f"one, or go on with it: kdpipe run {shlex.quote(str(place))}"
        )


def _card_place(source: Source, study: Path) -> Path | None:
    """Where the card lies if not beside the images: beside the study, where theirs is not ours."""
    if source.path is None or (beside := cards.beside(source.path)).exists():
        return None
    if os.access(beside.absolute().parent, os.W_OK | os.X_OK):
        return None
    return study.with_name(f"{source.name}.card.json")


def _classes(card: Card) -> str:
    """`: 4 (cat 120, dog 80, ...)`, where they can be counted at a glance."""
    if not (card.counts and card.class_names and card.classes <= 12):
        return ""
    each = zip(card.class_names, card.counts, strict=True)
    return f" (training: {', '.join(f'{name} {count:,}' for name, count in each)})"


def study(
    source: Source, place: Path, card: Card, chosen: Sizes, minutes: float, at: Path | None
) -> str:
    """The text of the study; `at`: where the card lies, if not beside the images."""
    said = [f"  name: {_quoted(card.name)}"]
    if source.path is not None:
        below = os.path.relpath(source.path.absolute(), place.absolute().parent)
        lies = "" if at else "; its card lies beside it"
        said.append(f"  path: {_quoted(below)}  # relative to this file{lies}")
    if at:
        said.append(f"  card: {_quoted(at.name)}  # beside this file")
    left = card.train - chosen.validation
    if chosen.train < left:
        said.append(f"  train_size: {chosen.train}  # of {left:,}, to be done in time")
    if chosen.validation:
        said.append(
            f"  validation: {chosen.validation}  # held out of train: choices are made on it"
        )
    if len(set(card.counts)) > 1 and (chosen.validation or chosen.train < left):
        said.append("  draw: share  # as much of each class; equal: as many images of each")
    if card.shape[1:] != (chosen.side, chosen.side):
        said.append(f"  resize: {chosen.side}")
    pad = max(1, chosen.side // 8)
    said.append(
        f"  pad: {pad}  # crops: another one in each epoch, with so many pixels added around"
    )
    mirrored = card.shape[0] == 3 and card.name not in UPRIGHT
    why = "mirror images too; false where left and right differ" if mirrored else "true: mirror too"
    said.append(f"  flip: {str(mirrored).lower()}  # {why}")
    lr = 0.1 if chosen.batch >= 128 else 0.05
    rows = {
        "study": _quoted(source.name),
        "seeds": f"{list(range(1, chosen.seeds + 1))}  # three give an interval, five a narrow one",
        "data": "\n" + "\n".join(said),
        "recipe": "\n".join(
            [
                "",
                f"  epochs: {chosen.epochs}",
                f"  batch_size: {chosen.batch}",
                f"  lr: {lr}",
                f"  drop_epochs: {chosen.drops}  # after each the rate is a fifth",
            ]
        ),
        "experiments": "  # each is teachers x students x methods (plain KD if none is named)\n"
        f"  - {{name: first, teachers: [{chosen.teacher}], students: [{chosen.student}]}}",
        "tables": "{teacher_size: [first]}  # of the report, beside its verdicts",
    }
    steps = ", ".join(
        f"{name} {_milliseconds(card, chosen, name)}" for name in (chosen.teacher, chosen.student)
    )
    minutes_said = "1 minute" if minutes == 1 else f"{minutes:g} minutes"
    why = f"the largest tried that take less than {minutes_said}"
    if chosen.seconds > 60 * minutes:
        why = f"the smallest there are, though they take more than {minutes_said}"
    head = [
        f"# By kdpipe init. Does {chosen.teacher} (teacher) teach {chosen.student} (student) more "
        "than labels",
        "# do? Both are wide residual networks, of 10 layers and more; kdpipe networks lists all.",
        f"# Sizes: {why} here, on {_cores(schedule.cores())};",
        f"# a step of {chosen.batch} images was measured: {steps}. To grow it: more epochs,",
        "# seeds, teachers, methods, or kdpipe init --minutes 60.",
    ]
    return "\n".join([*head, *(f"{key}:{_led(value)}" for key, value in rows.items()), ""])


def _led(value: str) -> str:
    """A value behind its key, on the same line or below."""
    return value if value.startswith(("\n", "  ")) else f" {value}"


def _known(source: Source, at: Path | None) -> tuple[Card | None, list[str]]:
    """The card that there is, with notes; none of a folder that has none yet."""
    if source.path is None:
        return cards.load(source.name), []
    if (place := at or cards.beside(source.path)).exists():
        found = cards.of(source.name, str(source.path), str(place))
        return found, [f"note: {place} was there already"]
    if source.path.is_dir():
        return None, []
    made = own.make(source.path, source.name, at and str(at))
    return made.card, made.notes


@dataclass(frozen=True)
class Survey:
    """Images, whether their sides may stay, and whether there is a test set."""

    images: Images
    as_they_are: bool
    tested: bool = True


def _of_card(card: Card) -> Survey:
    """Images whose card is made: as they are, or scaled by the study where they are large."""
    if card.streamed:
        raise KdpipeError(
            f"the card of {card.name} says that its images stream: begin with a copy of "
            "studies/imagenet_paper.yaml, or remove the card, and init makes another one"
        )
    side = max(card.shape[1:])
    sides = (side,) if side <= LARGEST else sizes.SIDES
    images = Images(card.train, card.validation, card.classes, card.shape[0], sides)
    return Survey(images, side <= LARGEST)


def _of_folder(source: Source, val_is: str | None) -> Survey:
    """Images that have no card: counted, and the sides that they can be scaled to."""
    path = source.path
    assert path is not None
    laid = layout.of(path, val_is)
    remarks.refuse_unread(path)
    held = {} if laid.tested else {"test_share": TEST_SHARE, "draw": "share"}
    found = folders.listed(path, laid.made | held)
    files = [file for part in found.files.values() for file in part]
    print(f"reading {len(files):,} images below {path}", file=sys.stderr, flush=True)
    heads, mistakes = folders.heads(files)
    if mistakes:
        folders.refuse(folders.unusable(files), path)
    shapes = {head.size for head in heads}
    side = int(statistics.median(min(head.size) for head in heads))
    alike = len(shapes) == 1 and set(*shapes) == {side} and 8 <= side <= LARGEST
    sides = tuple(each for each in sizes.SIDES if each <= side) or (max(8, side // 4 * 4),)
    images = Images(
        len(found.files["train"]),
        len(found.files.get("val", ())),
        len(found.classes),
        folders.channels_of(heads),
        (side,) if alike else sides,
    )
    return Survey(images, alike, laid.tested)


def _milliseconds(card: Card, chosen: Sizes, network: str) -> str:
    shape = (card.shape[0], chosen.side, chosen.side)
    return f"{1000 * speed.step(network, shape, card.classes, chosen.batch):.2g} ms"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _quoted(text: str) -> str:
    """A text as it may stand in YAML."""
    return yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True)[1:-2]
