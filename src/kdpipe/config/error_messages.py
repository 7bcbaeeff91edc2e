"""Plain messages for pydantic's errors: the key, the value and what is allowed.

pydantic's own messages name classes and types. A line here names the key as it stands in the file,
shows the value, and offers the nearest known key for a misspelt one.
"""

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdpipe.pydantic_base import SHA256_PATTERN
from kdpipe.text import did_you_mean, dotted_path, format_value, join_names

ALPHA_ADVICE = (
    "means the KD weight in half of the field and the CE weight in the other half; write "
    "kd_weight and ce_weight instead"
)
INPUT_ADVICE = (
    "a network that begins from weights sees the study's images as every student does: set "
    "data.mean, data.std and data.resize to what its weights expect; an input of its own is for a "
    "teacher that is not trained (pretrained)"
)


def explain_errors(
    error: ValidationError, content: object, model: type[BaseModel], prefix: str = ""
) -> list[str]:
    """Explain the errors that pydantic found.

    Parameters
    ----------
    error : ValidationError
    content : object
        What was validated.
    model : type of BaseModel
        By which it was validated.
    prefix : str
        The location of the content in the file, as a dotted path.

    Returns
    -------
    list of str
        A line for each value; what it may be instead is on one line, of however many types.
    """
    lines: dict[str, list[str]] = {}
    for details in error.errors(include_url=False):
        subject, expected = _explain_error(details, content, model)
        if prefix and subject:
            subject = f"{prefix}.{subject}"
        messages = lines.setdefault(subject or prefix or "the file", [])
        if expected not in messages:
            messages.append(expected)
    return [f"{subject}: {', or '.join(messages)}" for subject, messages in lines.items()]


def _explain_error(details: Any, content: object, model: type[BaseModel]) -> tuple[str, str]:
    """Return the key and value that are wrong, and what is expected of them."""
    location = _file_location(details["loc"], content)
    key_path = dotted_path(location)
    value, kind = details["input"], details["type"]
    subject = f"{key_path or 'the file'}: {format_value(value)}"
    if kind == "extra_forbidden":
        if location[-1] in ("alpha", "alphas"):
            return key_path, f"alpha is refused: it {ALPHA_ADVICE}"
        if location[0] == "starts" and location[-1] == "input":
            return key_path, INPUT_ADVICE
        allowed = _allowed_keys(model, location[:-1])
        return (
            subject,
            f"unknown key{did_you_mean(location[-1], allowed)} (allowed: {join_names(allowed)})",
        )
    if kind == "missing":
        return key_path, "this key is missing"
    if kind == "value_error":
        return key_path, str(details["ctx"]["error"])
    if isinstance(value, str) and kind.startswith(("int", "float", "literal")):
        if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d{1,9}", value):
            mantissa, exponent = re.split("[eE]", value)
            number = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
            return subject, f"this is text to YAML; write {number[:40]}"
        if re.fullmatch(r"[-+]?\d+(\.\d+)?", value):
            return subject, "this is text; write the number without quotes"
    return subject, _describe_expected(details)


def _describe_expected(details: Any) -> str:
    """Return what is expected of a value."""
    kind = details["type"]
    if kind == "string_pattern_mismatch":
        if details["ctx"]["pattern"] == SHA256_PATTERN:
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


def _file_location(location: tuple, content: Any) -> list:
    """Return the keys and indices of a location, without the union branches that pydantic adds."""
    keys: list = []
    for part in location:
        if part == "[key]":
            continue  # the error is in the key itself, which precedes it
        in_mapping = isinstance(content, dict) and part in content
        in_list = isinstance(content, list) and isinstance(part, int) and part < len(content)
        if in_mapping or in_list:
            content = content[part]
        elif part != location[-1] or not isinstance(content, dict):
            continue
        keys.append(part)
    return keys


def _allowed_keys(model: Any, location) -> list[str]:
    """Return the keys that a model allows at a location."""
    for part in location:
        model = _field_annotation(model, part)
    section = _find_model(model)
    return list(section.model_fields) if section else []


def _field_annotation(annotation: Any, part: object) -> Any:
    """Return the type of a key or an entry; None if it is not allowed."""
    model = _find_model(annotation)
    if model is not None and str(part) in model.model_fields:
        return model.model_fields[str(part)].annotation
    for candidate in [annotation, *get_args(annotation)]:
        if get_origin(candidate) in (dict, list):
            return get_args(candidate)[-1]
    return None


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        for candidate in get_args(annotation):
            if (section := _find_model(candidate)) is not None:
                return section
    return None
