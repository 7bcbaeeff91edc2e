"""What is sound in a malformed section, so that one mistake does not hide another.

The names of a study are followed even where pydantic has refused a part of it: here a section is
rebuilt from the keys that are well formed, without validation. `sound` does so for all of them.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.errors import KdpipeError
from kdpipe.section import Stop


@dataclass(frozen=True)
class Images:
    """What a section `data` says: its keys and the card of what it names, or why there is none."""

    data: Data | None
    card: cards.Card | None = None
    cardless: str = ""


def part(model: type[BaseModel], value: object) -> tuple[Any, bool]:
    """A section, and whether it is sound; of a malformed one what is sound in it, or None.

    A wrong entry of a list is left out; a wrong key has its default, or is empty. Its
    `model_fields_set` are the keys that are known, be it by default: see `lost`.
    """
    known = set(model.model_fields)
    try:
        return model.model_construct(known, **dict(model.model_validate(value))), True
    except ValidationError as error:
        if not isinstance(value, dict):
            return None, False
        wrong = [details["loc"] for details in error.errors(include_url=False) if details["loc"]]
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        places = [loc for loc in wrong if loc[0] == name]
        is_list = get_origin(field.annotation) is list
        if not places and name in value:
            found[name] = value[name]
        elif places and is_list and isinstance(value.get(name), list):
            bad = {loc[1] for loc in places if len(loc) > 1}
            found[name] = [entry for index, entry in enumerate(value[name]) if index not in bad]
        elif field.is_required():
            found[name] = [] if is_list else None
    return model.model_construct(known - {loc[0] for loc in wrong}, **found), False


def parts(model: type[BaseModel], values: object) -> dict:
    """By its name, of every entry of a section what is sound in it."""
    found = {name: part(model, value)[0] for name, value in items(values)}
    return {name: sound for name, sound in found.items() if sound is not None}


def lost(section: BaseModel) -> set[str]:
    """Keys of a section that are malformed or missing."""
    return type(section).model_fields.keys() - section.model_fields_set


def items(value: object) -> Iterable[tuple]:
    """The entries of a mapping; none of what should be one and is not."""
    return value.items() if isinstance(value, dict) else ()


def keys(value: object) -> dict[str, None]:
    """The names in a section, in its order."""
    return {str(name): None for name, _ in items(value)}


def sound_stops(texts: object) -> list[str]:
    """Of a list of stops those that are well formed."""
    stop = TypeAdapter(Stop)
    found = []
    for text in texts if isinstance(texts, list) else ():
        with contextlib.suppress(ValidationError):
            found.append(stop.validate_python(text))
    return found


def images(content: object) -> Images:
    """The sound part of a section `data`."""
    data, _ = part(Data, content)
    if data is None or not isinstance(data.name, str):
        return Images(data)
    try:
        return Images(data, cards.of(data.name, data.path, data.card, data.resize))
    except KdpipeError as error:
        return Images(data, cardless=str(error))
