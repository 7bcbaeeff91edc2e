"""Read a study file and report all its errors at once, before any job is started.

A study is loaded in three steps. The YAML is parsed by a loader that is stricter than PyYAML's safe
loader: duplicate keys, aliases, tags, deep nesting and large files are rejected, since each is
either an error or an attack. Then pydantic validates each key by itself. Then the rules in `rules/`
check references between keys: networks exist and fit the images, methods, experiments and ensembles
are defined, epochs lie within the training, references have no cycles. The rules also see the valid
keys of a malformed section, so that one error does not hide another. A study that passes can be
planned.
"""

import re
from collections.abc import Hashable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from kdpipe.config import rule
from kdpipe.config.partial_config import PartialConfig, explain_errors
from kdpipe.config.paths import resolve_paths
from kdpipe.config.schema import RECIPE_ALIASES, Study
from kdpipe.data.cards import load_section_card
from kdpipe.data.config import DataConfig
from kdpipe.errors import StudyError
from kdpipe.json_types import is_object
from kdpipe.models.config import InitFrom
from kdpipe.models.pretrained import input_transform, origin, weights_info
from kdpipe.models.pretrained.input_transform import DataShape
from kdpipe.runs.files import open_regular_file
from kdpipe.text import did_you_mean, format_value

YAML_SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 64 * 1024  # YAML is parsed at about 100 kB per second
CHECKSUM_DIGITS = 32  # and more: no number that a study has
MAX_DEPTH = 12  # levels of nesting
MAX_ERRORS = 100  # maximum lines of one message
TEMPLATE_KEY = "__use_yte__"  # makes Snakemake execute a file as a program


def load_study(path: Path | str, require_cards: bool = True) -> Study:
    """Load a study from a YAML file.

    Parameters
    ----------
    path : Path or str
        The study file.
    require_cards : bool
        Whether custom networks and loss terms must have cards; a study without them cannot be
        planned.

    Returns
    -------
    Study
        The validated study, with absolute paths.

    Raises
    ------
    StudyError
        With all errors of the file, one per line.
    """
    return validate_study(read_yaml(path), str(path), Path(path).parent, require_cards)


def validate_study(
    content: object, source: str, folder: Path = Path(), require_cards: bool = True
) -> Study:
    """Validate the content of a study file.

    Parameters
    ----------
    content : object
        The content of the YAML file, which should be a mapping.
    source : str
        Name of the file in messages.
    folder : Path
        The folder to which paths in the study are relative.
    require_cards : bool
        See `load_study`.

    Returns
    -------
    Study
        The validated study, with absolute paths.

    Raises
    ------
    StudyError
        With all errors, one per line.
    """
    content, renamed_keys, errors = _rename_aliases(resolve_paths(content, folder))
    study = None
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        errors += explain_errors(error, content, Study)
    if is_object(content):
        config = PartialConfig(content, source, require_cards)
        errors += islice(_apply_rules(config, last=False), MAX_ERRORS)
        if not errors and require_cards:
            errors += _apply_rules(config, last=True)
    if errors or study is None:
        lines = [_restore_aliases(line, renamed_keys) for line in dict.fromkeys(errors)]
        raise _build_error(source, [_add_experiment_name(line, content) for line in lines])
    return study


def read_yaml(path: Path | str) -> object:
    """Read a YAML file as a study.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    object
        Its content, a mapping.

    Raises
    ------
    StudyError
        If the file cannot be read or is not valid YAML.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise StudyError(f"{path}: this is a folder; give a study file{_suggest_file(path)}")
        with open_regular_file(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise StudyError(f"{path}: there is no such file{_suggest_file(path)}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_yaml(data, str(path))


def _suggest_file(path: Path) -> str:
    """Return `; did you mean FILE?` with the study file beside a path that is most like it."""
    try:
        files = [file for file in path.parent.iterdir() if file.suffix in YAML_SUFFIXES]
        names = sorted(file.name for file in files if file.is_file())
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def parse_yaml(data: bytes, source: str) -> object:
    """Parse the bytes of a study file.

    Parameters
    ----------
    data : bytes
        YAML as UTF-8.
    source : str
        Name of the file in messages.

    Returns
    -------
    object
        Its content, a mapping.

    Raises
    ------
    StudyError
        If the bytes are not valid YAML with a mapping at top level.
    """
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
        text = " ".join(str(error).split())[:300]
        raise StudyError(f"{source}: not valid YAML: {text}") from None
    except ValueError as error:  # a date that does not exist
        raise StudyError(f"{source}: not valid YAML: {error}") from None
    if not is_object(content):
        raise StudyError(
            f"{source}: a study file must be a mapping at top level, this is "
            f"{_describe_type(content)}"
        )
    if TEMPLATE_KEY in content:
        raise StudyError(
            f"{source}: the key {TEMPLATE_KEY} is not allowed: a study file is not a template"
        )
    return content


def collect_notes(study: Study) -> list[str]:
    """Collect notes on a valid study.

    Parameters
    ----------
    study : Study
        A validated study.

    Returns
    -------
    list of str
        A line for each pretrained teacher with its input, then notes on choices that are valid but
        rarely intended.
    """
    data, card = study.data, load_section_card(study.data)
    train_count = data.train_size or card.train - data.validation
    notes: list[str] = []
    if not card.count_validation(data.validation):
        notes.append(
            "no validation images: the report will not select a best teacher; set data.validation"
        )
    if card.classes == 1:
        notes.append(
            "the data have only one class: every prediction is correct, and nothing can be learned"
        )
    elif train_count < card.classes:
        notes.append(
            f"{train_count:,} training images for {card.classes:,} classes: some classes have none"
        )
    notes += _find_large_batches(study, train_count)
    input_lines: list[str] = []
    data_shape = DataShape(card.shape, card.classes, card.class_names)
    for name, source in study.pretrained.items():
        input_spec = input_transform.resolve_input(source, data_shape)
        if input_spec is not None:
            input_lines.append(f"pretrained.{name} is fed {input_spec}")
        if input_spec is None or input_spec.mean is None:
            notes.append(
                f"pretrained.{name}: its weights do not specify their input, so it gets the "
                "students' images, at the study's size and normalized by the study's mean and std; "
                f"if they expect another input, set pretrained.{name}.input"
            )
    for name, start in study.starts.items():
        if (input_spec := input_transform.resolve_input(start, data_shape)) is not None:
            input_lines.append(f"starts.{name} is fed {input_spec}")
        else:
            notes.append(_normalization_note(name, start, data))
    notes += origin.describe_restrictions(study.pretrained, study.starts)
    return [*input_lines, *(f"note: {note}" for note in notes if note)]


def _find_large_batches(study: Study, train_count: int) -> list[str]:
    """Return a note for batches that are larger than a training set: an epoch is one step."""
    sizes = {train_count, *(size for block in study.experiments for size in block.train_size or ())}
    keys = {"recipe.batch_size": study.recipe.batch_size}
    keys |= {
        f"network_recipes.{name}.batch_size": study.get_recipe(name).batch_size
        for name, changes in study.network_recipes.items()
        if "batch_size" in changes
    }
    return [
        f"{key}: {batch_size:,} is more than the {min(sizes):,} training images: every epoch is a "
        "single step"
        for key, batch_size in keys.items()
        if batch_size > min(sizes)
    ]


def _normalization_note(name: str, start: InitFrom, data: DataConfig) -> str:
    """Return a note if the study normalizes images differently from what the weights expect."""
    info = weights_info.load_weights_info(start)
    info = info if info and info.mean else None  # there may be none for these channels
    if info is None and data.mean is None:
        return (
            f"starts.{name}: its weights do not specify the mean and std of their images; the "
            "study's images are normalized by the statistics of its training images: set data.mean "
            "and data.std to those of the weights"
        )
    if info is None or (data.mean, data.std) == (list(info.mean), list(info.std)):
        return ""
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (info.mean, info.std))
    return (
        f"starts.{name}: {info.source} was trained on images of {info.size[0]} x {info.size[1]}, "
        f"normalized by mean [{mean}] and std [{std}]; the study's images are not: set data.mean "
        f"and data.std to these, or starts.{name}.input to give these weights images of their own"
    )


# Validation.


def _rename_aliases(content: object) -> tuple[object, list[tuple[str, str]], list[str]]:
    """Return a study's content with canonical keys, (alias, key) as dotted paths, and errors."""
    renamed_keys: list[tuple[str, str]] = []
    errors: list[str] = []

    def rename(location: str, recipe: object) -> object:
        if not is_object(recipe):
            return recipe
        canonical_recipe = dict(recipe)
        for alias, key in RECIPE_ALIASES.items():
            if alias in recipe and key in recipe:
                del canonical_recipe[alias]
                errors.append(f"{location}.{alias}: an alias of {key}: give only one of the two")
            elif alias in recipe:
                canonical_recipe[key] = canonical_recipe.pop(alias)
                renamed_keys.append((f"{location}.{alias}", f"{location}.{key}"))
        return canonical_recipe

    if not is_object(content):
        return content, renamed_keys, errors
    canonical_content = dict(content)
    if "recipe" in content:
        canonical_content["recipe"] = rename("recipe", content["recipe"])
    if is_object(recipes := content.get("network_recipes")):
        canonical_content["network_recipes"] = {
            network: rename(f"network_recipes.{network}", changes)
            for network, changes in recipes.items()
        }
    return canonical_content, renamed_keys, errors


def _restore_aliases(line: str, renamed_keys: list[tuple[str, str]]) -> str:
    """Return a message with the key as the user wrote it."""
    for alias, key in renamed_keys:
        if line.startswith(f"{key}:"):
            return alias + line.removeprefix(key)
    return line


def _apply_rules(config: PartialConfig, last: bool) -> Iterator[str]:
    """Yield the messages of the rules, either of the last ones or of the others."""
    for study_rule in rule.load_rules():
        if study_rule.last is last:
            yield from study_rule.function(config)


def _build_error(source: str, lines: list[str]) -> StudyError:
    """Return the error that lists all errors of a file."""
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    if len(lines) > MAX_ERRORS:
        count = f"too many errors; the first {MAX_ERRORS} are listed"
    return StudyError("\n  ".join([f"{source}: {count}", *lines[:MAX_ERRORS]]))


def _add_experiment_name(line: str, content: Any) -> str:
    """Return a message with experiment names after their indices, as in experiments[0] (size)."""

    def add_name(match: re.Match[str]) -> str:
        try:
            name = content["experiments"][int(match[1])]["name"]
        except (TypeError, KeyError, IndexError, ValueError):
            return match[0]
        is_plain = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]{1,40}", name)
        return f"{match[0]} ({name})" if is_plain else match[0]

    return re.sub(r"\bexperiments\[([0-9]{1,6})\](?=\.(?!name\b))", add_name, line)


# Strict YAML.


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags, duplicate keys and deep nesting."""

    depth = 0

    if TYPE_CHECKING:  # these have no types in the stubs of PyYAML

        def check_event(self, *choices: type[yaml.Event]) -> bool: ...
        def peek_event(self) -> Any: ...
        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any: ...

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; reject aliases, tags and deep nesting."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(
                f"alias *{event.anchor} in line {event.start_mark.line + 1}: not allowed, "
                "write out the value"
            )
        tag = self.peek_event().tag if self.check_event(yaml.NodeEvent) else None
        if tag:
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: the tag {format_value(tag)}: tags are not allowed")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"line {line} is nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping with unique string keys."""
        keys: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.YAMLError(f"line {line}: the key {format_value(key)} is not a string")
            if key in keys:
                raise yaml.YAMLError(f"line {line}: duplicate key {key}")
            keys.add(key)
        return super().construct_mapping(node, deep)


def _construct_number(loader: _StrictLoader, node: yaml.ScalarNode) -> int | float:
    """Construct a number; reject those that YAML reads unexpectedly: 010 as 8, 1:30 as 90."""
    text = node.value.lstrip("+-")
    if re.match(r"0[0-9_]", text) or ":" in text:
        line = node.start_mark.line + 1
        if len(text) >= CHECKSUM_DIGITS:
            raise yaml.YAMLError(
                f"line {line}: {format_value(node.value)}: a checksum of digits alone is read as a "
                "number: put it in quotes"
            )
        raise yaml.YAMLError(
            f"line {line}: {format_value(node.value)}: write the number as a plain decimal"
        )
    number_type = node.tag.rpartition(":")[2]
    return getattr(yaml.SafeLoader, f"construct_yaml_{number_type}")(loader, node)


for _number_type in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_number_type}", _construct_number)


def _describe_type(value: object) -> str:
    """Describe the type of a value that should be a mapping."""
    if value is None:
        return "empty"
    return {"list": "a list", "str": "a text"}.get(type(value).__name__, type(value).__name__)
