"""Loading a study: every mistake of a file, found at once and before any job.

pydantic finds what is wrong with a key by itself. The files in `checks/` follow the names:
networks that exist and fit the images, methods, blocks and ensembles that are defined, epochs that
lie within the training, references that do not run in a circle. Of a malformed section the sound
keys are followed all the same, so one mistake does not hide another. A study that passes can be
planned.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from kdpipe.data.cards import card_of_keys
from kdpipe.data.keys import Data
from kdpipe.errors import StudyError
from kdpipe.networks.brought import cards as weights_cards
from kdpipe.networks.brought import fed as feeding
from kdpipe.networks.brought.fed import Seen
from kdpipe.networks.keys import Start
from kdpipe.study import check, yaml_file
from kdpipe.study.grammar import Study
from kdpipe.study.locations import located
from kdpipe.study.mistakes import explain
from kdpipe.study.sound import Sound

MAX_MISTAKES = 100


def load(path: Path | str, carded: bool = True) -> Study:
    """The study in a YAML file. Raises StudyError with every mistake of the file.

    Unless `carded`, networks of one's own need no cards, and such a study cannot be planned.
    """
    return validate(yaml_file.read(path), str(path), Path(path).parent, carded)


def validate(content: object, source: str, folder: Path = Path(), carded: bool = True) -> Study:
    """The study in a mapping. Raises StudyError with every mistake; `source` names it.

    Paths in it are seen from `folder`; in the study they are absolute.
    """
    content = located(content, folder)
    mistakes: list[str] = []
    study = None
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        mistakes += explain(error, content, Study)
    if isinstance(content, dict):
        sound = Sound(content, source, carded)
        mistakes += islice(_found(sound, last=False), MAX_MISTAKES)
        if not mistakes and carded:
            mistakes += _found(sound, last=True)
    if mistakes or study is None:
        raise _refused(source, [_with_name(line, content) for line in dict.fromkeys(mistakes)])
    return study


def notes(study: Study) -> list[str]:
    """What teachers with weights are fed with, and what is no mistake and yet seldom meant."""
    data, card = study.data, card_of_keys(study.data)
    images = data.train_size or card.train - data.validation
    found = []
    if not card.validated(data.validation):
        found.append(
            "no validation images: the report will not choose a best teacher; set data.validation"
        )
    if card.classes == 1:
        found.append("the data have one class: every answer is right, and nothing can be learned")
    elif images < card.classes:
        found.append(
            f"{images:,} training images of {card.classes:,} classes: some classes have none"
        )
    fed = []
    for name, source in study.pretrained.items():
        given = feeding.of(source, Seen(card.shape, card.classes, card.class_names))
        if given is not None:
            fed.append(f"pretrained.{name} is fed {given}")
        if given is None or given.mean is None:
            found.append(
                f"pretrained.{name} brings weights, and nothing says what images they want: it is "
                "fed as the students are, at the study's size and normalised by the study's mean "
                f"and std; write its own under pretrained.{name}.input"
            )
    found += [_normalised(name, start, data) for name, start in study.starts.items()]
    return [*fed, *(f"note: {each}" for each in found if each)]


def _normalised(name: str, start: Start, data: Data) -> str:
    """By what the images of weights were normalised, where the study's are by something else."""
    card = weights_cards.of(start)
    card = card if card and card.mean else None  # or it says nothing of these channels
    if card is None and data.mean is None:
        return (
            f"starts.{name}: nothing says by what mean and std its weights had their images "
            "normalised; the study's are normalised by those of its training images: write the "
            "weights' own as data.mean and data.std"
        )
    if card is None or (data.mean, data.std) == (list(card.mean), list(card.std)):
        return ""
    mean, std = (", ".join(f"{value:g}" for value in each) for each in (card.mean, card.std))
    return (
        f"starts.{name}: {card.source} had images of {card.size[0]} x {card.size[1]}, normalised "
        f"by mean [{mean}] and std [{std}]; the study's are not: write these as data.mean and "
        "data.std"
    )


def _found(sound: Sound, last: bool) -> Iterator[str]:
    for each in check.in_order():
        if each.last is last:
            yield from each.function(sound)


def _refused(source: str, lines: list[str]) -> StudyError:
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    if len(lines) > MAX_MISTAKES:
        count = f"very many mistakes, of which {MAX_MISTAKES} are listed"
    return StudyError("\n  ".join([f"{source}: {count}", *lines[:MAX_MISTAKES]]))


def _with_name(line: str, content: object) -> str:
    """A mistake with the names of the experiments beside their numbers: experiments[0] (size)."""

    def named(found: re.Match[str]) -> str:
        try:
            name = content["experiments"][int(found[1])]["name"]  # pyright: ignore
        except (TypeError, KeyError, IndexError, ValueError):
            return found[0]
        plain = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]{1,40}", name)
        return f"{found[0]} ({name})" if plain else found[0]

    return re.sub(r"\bexperiments\[([0-9]{1,6})\](?=\.(?!name\b))", named, line)
