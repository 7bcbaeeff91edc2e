"""What pydantic finds wrong with a file, said in plain words: key, value, what is allowed.

Its own messages name classes and types; a line here names the key as it stands in the file, shows
the value, and offers the nearest known key for a misspelt one.
"""

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdpipe.section import SHA256
from kdpipe.wording import key, listed, nearest, shown

ALPHA = (
    "means the KD weight in half of the field and the CE weight in the other half; write "
    "kd_weight and ce_weight instead"
)
INPUT = (
    "a network that begins from weights sees the study's images as every student does: set "
    "data.mean, data.std and data.resize to what its weights expect; an input of its own is for a "
    "teacher that is not trained (pretrained)"
)


def explain(
    error: ValidationError, content: object, model: type[BaseModel], under: str = ""
) -> list[str]:
    """One line for each mistake pydantic found: key, value, what is allowed, nearest name.

    `under` is where in the file the content stands. What a value may be instead, when it may be
    of several kinds, is one line.
    """
    lines: dict[str, list[str]] = {}
    for details in error.errors(include_url=False):
        place, wanted = _line(details, content, model)
        if under and place:
            place = f"{under}.{place}"
        said = lines.setdefault(place or under or "the file", [])
        if wanted not in said:
            said.append(wanted)
    return [f"{place}: {', or '.join(said)}" for place, said in lines.items()]


def _line(details: Any, content: object, model: type[BaseModel]) -> tuple[str, str]:
    """The key and value that are wrong, and what is to be said of them."""
    location = _real_location(details["loc"], content)
    where = key(location)
    value, kind = details["input"], details["type"]
    place = f"{where or 'the file'}: {shown(value)}"
    if kind == "extra_forbidden":
        if location[-1] in ("alpha", "alphas"):
            return where, f"alpha is refused: it {ALPHA}"
        if location[0] == "starts" and location[-1] == "input":
            return where, INPUT
        known = _keys_at(model, location[:-1])
        return place, f"unknown key{nearest(location[-1], known)} (allowed: {listed(known)})"
    if kind == "missing":
        return where, "this key is missing"
    if kind == "value_error":
        return where, str(details["ctx"]["error"])
    if isinstance(value, str) and kind.startswith(("int", "float", "literal")):
        if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d{1,9}", value):
            mantissa, exponent = re.split("[eE]", value)
            number = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
            return place, f"this is text to YAML; write {number[:40]}"
        if re.fullmatch(r"[-+]?\d+(\.\d+)?", value):
            return place, "this is text; write the number without quotes"
    return place, _wanted(details)


def _wanted(details: Any) -> str:
    kind = details["type"]
    if kind == "string_pattern_mismatch":
        if details["ctx"]["pattern"] == SHA256:
            return "a SHA-256 has 64 hexadecimal digits in lower case, as sha256sum prints them"
        if "full" in details["ctx"]["pattern"]:
            return "a stop is one of: full, checkpoint E, every K, schedule N, schedule A/N"
        return "a name has letters, digits, - and _ only (no dots, slashes or spaces)"
    if kind == "string_type":
        return "a text is wanted; put it in quotes"
    if kind == "too_short":
        return f"at least {details['ctx']['min_length']} entry is wanted"
    if kind in ("model_type", "dict_type"):
        return "a mapping of keys is wanted"
    message = details["msg"]
    return message[0].lower() + message[1:]


def _real_location(location: tuple, content: Any) -> list:
    """The keys and indices that stand in the file: pydantic adds names of union branches."""
    real: list = []
    for part in location:
        if part == "[key]":
            continue  # the mistake is in the key itself, which stands before it
        in_mapping = isinstance(content, dict) and part in content
        in_list = isinstance(content, list) and isinstance(part, int) and part < len(content)
        if in_mapping or in_list:
            content = content[part]
        elif part != location[-1] or not isinstance(content, dict):
            continue
        real.append(part)
    return real


def _keys_at(model: Any, location) -> list[str]:
    """The keys that the model allows at a place."""
    for part in location:
        model = _inner(model, part)
    found = _model_in(model)
    return list(found.model_fields) if found else []


def _inner(annotation: Any, part: object) -> Any:
    model = _model_in(annotation)
    if model is not None and str(part) in model.model_fields:
        return model.model_fields[str(part)].annotation
    for candidate in [annotation, *get_args(annotation)]:
        if get_origin(candidate) in (dict, list):
            return get_args(candidate)[-1]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        for candidate in get_args(annotation):
            if (found := _model_in(candidate)) is not None:
                return found
    return None
