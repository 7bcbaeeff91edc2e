"""Study files as text: reading YAML strictly, and saying in plain words what is wrong with it.

The loader is YAML's safe one, made stricter: duplicate keys, aliases, tags, deep nesting and
huge files are refused, since each of them is either a mistake or an attack.
"""

import difflib
import itertools
import re
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from kdpipe.errors import StudyError

MAX_BYTES = 64 * 1024  # YAML is read at about 100 kB a second
MAX_DEPTH = 12
MAX_NAMES = 200  # compared with a misspelt one, or the search takes minutes in a hostile file

ALPHA = (
    "means the KD weight in half of the field and the CE weight in the other half; write "
    "kd_weight and ce_weight instead"
)


def read(path: Path | str) -> object:
    """The content of a YAML file. Raises StudyError if it cannot be read or is not plain YAML."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise StudyError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise StudyError(f"{path}: this is a folder, a study file is wanted") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    return parse(data, str(path))


def parse(data: bytes, source: str) -> object:
    """The content of YAML bytes; `source` names them in a message."""
    if len(data) > MAX_BYTES:
        raise StudyError(f"{source}: too long; a study file has at most {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{source}: not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # a SafeLoader made stricter
    except yaml.YAMLError as error:
        raise StudyError(f"{source}: not a plain YAML file: {_one_line(error)}") from None
    except ValueError as error:  # a date that does not exist
        raise StudyError(f"{source}: not a plain YAML file: {error}") from None
    if not isinstance(content, dict):
        raise StudyError(
            f"{source}: a study is a mapping of keys at top level, this is {_kind(content)}"
        )
    return content


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


def nearest(word: object, known) -> str:
    """`; did you mean X?`, or nothing."""
    names = [str(name) for name in itertools.islice(known, MAX_NAMES)]
    close = difflib.get_close_matches(str(word)[:80], names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def listed(names) -> str:
    """Names as they may stand in a message: all, or the first of many."""
    names = list(names)
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more or "none"


def key(location) -> str:
    """(experiments, 0, methods) as experiments[0].methods."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def shown(value: object) -> str:
    """A value as it may stand in a message: on one line and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


class _StrictLoader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(
                f"alias *{event.anchor} in line {event.start_mark.line + 1}: write it out"
            )
        tag = self.peek_event().tag if self.check_event(yaml.NodeEvent) else None
        if tag:
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: the tag {shown(tag)}: tags are refused")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"line {line} is nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            name = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(name, str):
                raise yaml.YAMLError(f"line {line}: the key {shown(name)} is not text")
            if name in seen:
                raise yaml.YAMLError(f"line {line}: the key {name} stands here a second time")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _line(details: Any, content: object, model: type[BaseModel]) -> tuple[str, str]:
    """The key and value that are wrong, and what is to be said of them."""
    location = _real_location(details["loc"], content)
    where = key(location)
    value, kind = details["input"], details["type"]
    place = f"{where or 'the file'}: {shown(value)}"
    if kind == "extra_forbidden":
        if location[-1] in ("alpha", "alphas"):
            return where, f"alpha is refused: it {ALPHA}"
        known = _keys_at(model, location[:-1])
        return place, f"unknown key{nearest(location[-1], known)} (allowed: {', '.join(known)})"
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
        if "full" in details["ctx"]["pattern"]:
            return "a stop is one of: full, checkpoint E, every K, schedule A/N"
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


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())[:300]


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    return {"list": "a list", "str": "a text"}.get(type(value).__name__, type(value).__name__)
