"""Study files as text: reading YAML strictly, and saying in plain words what is wrong with it.

The loader is YAML's safe one, made stricter: duplicate keys, aliases, tags, deep nesting and
huge files are refused, since each of them is either a mistake or an attack.
"""

import re
from pathlib import Path

import yaml

from kdpipe.errors import StudyError
from kdpipe.wording import shown

MAX_BYTES = 64 * 1024  # YAML is read at about 100 kB a second
MAX_DEPTH = 12
TEMPLATE = "__use_yte__"  # by which Snakemake would run a file as a program


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
    if TEMPLATE in content:
        raise StudyError(f"{source}: the key {TEMPLATE} is refused: a study is no template")
    return content


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


def _plain_number(loader: _StrictLoader, node: yaml.ScalarNode) -> int | float:
    """A number as people write it: YAML takes 010 for eight, and 1:30 for ninety."""
    text = node.value.lstrip("+-")
    if re.match(r"0[0-9_]", text) or ":" in text:
        line = node.start_mark.line + 1
        raise yaml.YAMLError(
            f"line {line}: {shown(node.value)}: write the number in plain decimals"
        )
    kind = node.tag.rpartition(":")[2]
    return getattr(yaml.SafeLoader, f"construct_yaml_{kind}")(loader, node)


for _kind_of_number in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind_of_number}", _plain_number)


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())[:300]


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    return {"list": "a list", "str": "a text"}.get(type(value).__name__, type(value).__name__)
