"""The valid parts of a study file, as the rules see them.

pydantic rejects a file as a whole. Here each section is rebuilt from its valid keys and list
entries, without further validation, so that references can be checked although other parts are
invalid, and a user sees all errors at once. `invalid_keys` are the keys that are unknown in a
malformed section; a rule reports nothing that would depend on them. Each section is parsed when it
is first needed.

Readable messages for pydantic's errors: the key, the value and what is allowed.

pydantic's own messages name classes and types. A message here has the key as in the file, its
value, and the nearest known key for a misspelled one.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from kdpipe.config import schema, stops
from kdpipe.config.schema import BlockConfig, EnsembleConfig
from kdpipe.data import cards
from kdpipe.data.config import CardOptions, DataConfig
from kdpipe.errors import KdpipeError
from kdpipe.json_types import JsonObject, is_list, is_object
from kdpipe.losses.config import Method, MethodConfig
from kdpipe.losses.custom import card as term_card
from kdpipe.losses.custom.card import TermCard
from kdpipe.models import study_models
from kdpipe.models.config import CustomModelConfig, InitFrom, PretrainedTeacher
from kdpipe.models.custom.card import ModelInfo
from kdpipe.models.family import DEFAULT_SHAPE
from kdpipe.models.pretrained import input_transform
from kdpipe.models.pretrained.input_transform import DataShape, ModelInput
from kdpipe.models.study_models import StudyModels
from kdpipe.pydantic_base import MULTIPLE_PATTERN, SHA256_PATTERN, StopText
from kdpipe.runs import recipe
from kdpipe.runs.recipe import Recipe, load_schedules
from kdpipe.text import did_you_mean, dotted_path, format_value, join_names

# What a file means that leaves the section out, as `schema.Study` has it.
DEFAULTS: JsonObject = {"methods": {"kd": {}}}
# Stands in for a recipe that is itself malformed, while changes to it are checked.
PLACEHOLDER_RECIPE = {"epochs": 100_000, "batch_size": 64, "lr": 0.1}


@dataclass(frozen=True)
class DataSection:
    """The valid part of a section `data`, with the card of the data set that it names.

    Attributes
    ----------
    data : DataConfig or None
        The valid keys; None if the section is not a mapping.
    card : DatasetCard or None
    card_error : str
        The reason if there is no card.
    """

    data: DataConfig | None
    card: cards.DatasetCard | None = None
    card_error: str = ""


def parse_lenient(model: type[BaseModel], value: object) -> tuple[Any, bool]:
    """Parse a section, or the valid part of a malformed one.

    Parameters
    ----------
    model : type of BaseModel
        The model of the section.
    value : object
        The section as in the file.

    Returns
    -------
    section : model or None
        Without invalid list entries; an invalid key has its default, or is empty. Its
        `model_fields_set` are the known keys, including defaults (see `invalid_keys`). None if the
        value is not a mapping.
    is_valid : bool
        Whether the section has no errors.
    """
    keys = set(model.model_fields)
    try:
        return model.model_construct(keys, **dict(model.model_validate(value))), True
    except ValidationError as error:
        if not is_object(value):
            return None, False
        error_locations = [
            details["loc"] for details in error.errors(include_url=False) if details["loc"]
        ]
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        field_errors = [location for location in error_locations if location[0] == name]
        takes_list = get_origin(field.annotation) is list
        if not field_errors and name in value:
            fields[name] = value[name]
        elif field_errors and takes_list and is_list(value.get(name)):
            bad_indices = {location[1] for location in field_errors if len(location) > 1}
            fields[name] = [
                entry for index, entry in enumerate(value[name]) if index not in bad_indices
            ]
        elif field.is_required():
            fields[name] = [] if takes_list else None
    return model.model_construct(
        keys - {location[0] for location in error_locations}, **fields
    ), False


def parse_all_lenient(model: type[BaseModel], values: object) -> dict[Any, Any]:
    """Parse the entries of a section; of malformed ones the valid part.

    Parameters
    ----------
    model : type of BaseModel
        The model of each entry.
    values : object
        The section as in the file.

    Returns
    -------
    dict
        The entries by name, without those that have no valid part.
    """
    sections = {name: parse_lenient(model, value)[0] for name, value in iter_items(values)}
    return {name: section for name, section in sections.items() if section is not None}


def invalid_keys(section: BaseModel) -> set[str]:
    """Return the keys of a leniently parsed section that are malformed or missing."""
    return type(section).model_fields.keys() - section.model_fields_set


def iter_items(value: object) -> Iterable[tuple[Any, Any]]:
    """Return the items of a mapping; none if the value is not a mapping."""
    return value.items() if is_object(value) else ()


def list_keys(value: object) -> dict[str, None]:
    """Return the keys of a mapping as an ordered set; none if the value is not a mapping."""
    return {str(name): None for name, _ in iter_items(value)}


def keep_valid_stops(texts: object) -> list[str]:
    """Return the well-formed stops of a list; none if the value is not a list."""
    adapter = TypeAdapter(StopText)
    valid: list[str] = []
    for text in texts if is_list(texts) else ():
        with contextlib.suppress(ValidationError):
            valid.append(adapter.validate_python(text))
    return valid


def parse_data_section(content: object) -> DataSection:
    """Parse the valid part of a section `data`, and load the card of its data set."""
    data, _ = parse_lenient(DataConfig, content)
    if data is None or not isinstance(data.name, str):
        return DataSection(data)
    try:
        options = data.card_options if isinstance(data.card_options, CardOptions) else None
        card = cards.load_card(data.name, data.path, data.card, data.resize, options)
        return DataSection(data, card)
    except KdpipeError as error:
        return DataSection(data, card_error=str(error))


class PartialConfig:
    """The valid parts of a study file.

    Parameters
    ----------
    content : dict
        The content of the file, with absolute paths and canonical keys.
    source : str
        The file as messages name it.
    require_cards : bool
        Whether custom networks and loss terms must have their cards.
    """

    def __init__(self, content: dict[str, Any], source: str, require_cards: bool = True):
        self.content: JsonObject = DEFAULTS | content
        self.source = source
        self.require_cards = require_cards
        self._recipes: dict[str, Recipe | None] = {}

    # Sections.

    @property
    def seeds(self) -> Any:
        """Return the study's seeds, as in the file."""
        return self.content.get("seeds")

    @property
    def splits(self) -> list[Any]:
        """Return the study's splits; the default if they are not a list."""
        splits = self.content.get("splits", [0])
        return splits if is_list(splits) else [0]

    @cached_property
    def data_section(self) -> DataSection:
        """Return the study's data and their card."""
        return parse_data_section(self.content.get("data"))

    @property
    def card(self) -> cards.DatasetCard | None:
        """Return the card of the study's images; None if it is unknown."""
        return self.data_section.card

    @cached_property
    def _recipe(self) -> tuple[Recipe | None, bool]:
        """Return the study's recipe, and whether it is valid."""
        return parse_lenient(Recipe, self.content.get("recipe"))

    @cached_property
    def methods(self) -> dict[str, MethodConfig]:
        """Return the methods by name."""
        return parse_all_lenient(Method, self.content.get("methods"))

    @cached_property
    def ensembles(self) -> dict[str, EnsembleConfig]:
        """Return the ensembles by name."""
        return parse_all_lenient(EnsembleConfig, self.content.get("ensembles"))

    @cached_property
    def pretrained(self) -> dict[str, PretrainedTeacher]:
        """Return the pretrained teachers by name."""
        return parse_all_lenient(PretrainedTeacher, self.content.get("pretrained"))

    @cached_property
    def starts(self) -> dict[str, InitFrom]:
        """Return the networks with initial weights by name, where the network is valid."""
        sections = parse_all_lenient(InitFrom, self.content.get("starts"))
        return {name: start for name, start in sections.items() if start.network is not None}

    @cached_property
    def data_shape(self) -> DataShape | None:
        """Return the shape of the images and the classes; None if they are unknown."""
        return self.card and DataShape(self.card.shape, self.card.classes, self.card.class_names)

    @cached_property
    def model_inputs(self) -> input_transform.InputSpecs:
        """Return the inputs of networks with weights, as far as they are known."""
        if self.data_shape is None:
            return {}
        sources = {
            name: source
            for name, source in (*self.pretrained.items(), *self.starts.items())
            if not invalid_keys(source)
        }
        return input_transform.resolve_inputs(sources, self.data_shape, strict=False)

    @cached_property
    def blocks(self) -> dict[int, BlockConfig]:
        """Return the experiments by their index in the file."""
        return parse_all_lenient(BlockConfig, dict(enumerate(self._experiments)))

    @cached_property
    def named_blocks(self) -> dict[str, BlockConfig]:
        """Return the experiments by name; without one called `self`, which is not allowed."""
        blocks = {block.name: block for block in self.blocks.values() if block.name}
        return {name: block for name, block in blocks.items() if name != "self"}

    @property
    def _experiments(self) -> list[Any]:
        """Return the entries of `experiments`, as in the file."""
        experiments = self.content.get("experiments")
        return experiments if is_list(experiments) else []

    @cached_property
    def custom_model_cards(self) -> dict[ModelInput, ModelInfo | KdpipeError | None]:
        """Return the card of each custom network and input, or the error of loading it.

        None if that is unknown, or if no cards are required.
        """
        sections = parse_all_lenient(CustomModelConfig, self.content.get("networks"))
        valid_networks = {
            name: network for name, network in sections.items() if not invalid_keys(network)
        }
        code = self.content.get("code")
        if self.data_shape is None or not isinstance(code, str):
            return {}
        starts = self.starts.values()
        used_names = schema.collect_network_names(
            self.blocks.values(), self.ensembles.values(), starts
        )
        model_inputs = input_transform.list_custom_inputs(
            valid_networks, self.model_inputs, used_names, self.data_shape
        )
        if not self.require_cards or not os.path.isdir(code):
            return dict.fromkeys(model_inputs)
        return study_models.load_cards(valid_networks, Path(code), model_inputs, self.source)

    @cached_property
    def term_cards(self) -> dict[str, TermCard | KdpipeError | None]:
        """Return the card of the custom term of each method that has one, or its error.

        None if no cards are required, or if the folder of the code is unknown.
        """
        code = self.content.get("code")
        results: dict[str, TermCard | KdpipeError | None] = {}
        for name, method in self.methods.items():
            if method.term is not None and "term" not in invalid_keys(method):
                results[name] = None
                if self.require_cards and isinstance(code, str) and os.path.isdir(code):
                    location = f"methods.{name}.term"
                    try:
                        results[name] = term_card.load_term_card(
                            Path(code), method.term, location, self.source
                        )
                    except KdpipeError as error:
                        results[name] = error
        return results

    @cached_property
    def networks(self) -> StudyModels:
        """Return the networks that can be named."""
        # If the images are unknown, a shape that every network accepts.
        data_shape = self.data_shape or DataShape(DEFAULT_SHAPE, 0)
        names = list_keys(self.content.get("networks"))
        model_cards: dict[ModelInput, ModelInfo | None] = {
            ModelInput(name, data_shape.shape, data_shape.classes): None for name in names
        }
        model_cards |= {
            model_input: card if isinstance(card, ModelInfo) else None
            for model_input, card in self.custom_model_cards.items()
        }
        return study_models.build_study_models(
            model_cards, data_shape.shape, data_shape.classes, self.model_inputs, self.starts
        )

    # Names.

    @cached_property
    def defined_names(self) -> dict[str, dict[str, None]]:
        """Return the names that are defined, by kind, whether their sections are valid or not."""
        names = {
            "method": list_keys(self.content.get("methods")),
            "experiment": dict.fromkeys(self._block_names),
            "ensemble": list_keys(self.content.get("ensembles")),
            "pretrained": list_keys(self.content.get("pretrained")),
        }
        return names | {"experiment or ensemble": names["experiment"] | names["ensemble"]}

    @cached_property
    def is_incomplete(self) -> dict[str, bool]:
        """Return, by kind, whether some names are unknown because a section is malformed."""
        are_all_named = len(self._block_names) == len(self._experiments)
        is_incomplete = {
            "method": not isinstance(self.content.get("methods"), dict),
            "experiment": not (are_all_named and isinstance(self.content.get("experiments"), list)),
            "ensemble": not isinstance(self.content.get("ensembles", {}), dict),
            "pretrained": not isinstance(self.content.get("pretrained", {}), dict),
        }
        return is_incomplete | {
            "experiment or ensemble": is_incomplete["experiment"] or is_incomplete["ensemble"]
        }

    @cached_property
    def _block_names(self) -> list[str]:
        """Return the names of the experiments that have one."""
        blocks = [block for block in self._experiments if is_object(block)]
        return [block["name"] for block in blocks if isinstance(block.get("name"), str)]

    # Derived values.

    def merge_recipe(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the study's recipe with the changes for one network, not validated."""
        recipe, is_valid = self._recipe
        return {**(recipe.model_dump() if recipe and is_valid else PLACEHOLDER_RECIPE), **changes}

    def get_recipe(self, network: str) -> Recipe | None:
        """Return the recipe of a network, as far as it is known."""
        if network not in self._recipes:
            changes = dict(iter_items(self.content.get("network_recipes"))).get(network)
            needed_keys = {"epochs", "annealing", *recipe.MIX_KEYS}
            if is_object(changes) and not needed_keys.isdisjoint(changes):
                self._recipes[network], _ = parse_lenient(Recipe, self.merge_recipe(changes))
            else:
                self._recipes[network], _ = self._recipe
        return self._recipes[network]

    def get_epochs(self, network: str) -> int | None:
        """Return the training epochs of a network; None if unknown."""
        recipe = self.get_recipe(network)
        return recipe.epochs if recipe else None

    def count_stops(self, text: str, network: str) -> int:
        """Count the stops that a string means for a network; 1 if it is invalid."""
        try:
            return stops.count_stops(text, self.get_epochs(network) or 1)
        except KdpipeError:
            return 1

    def resolve_teacher(self, teacher: str, student: str) -> str | None:
        """Return the network of a student's teacher.

        Parameters
        ----------
        teacher : str
            A network, `self`, or the name of an experiment, an ensemble or a pretrained teacher.
        student : str
            A network.

        Returns
        -------
        str or None
            A network; for a pretrained one with a custom input, its name in the study. None for an
            ensemble, or if it is unknown.
        """
        if teacher in self.defined_names["ensemble"]:
            return None
        if teacher in self.defined_names["experiment"]:
            block = self.named_blocks.get(teacher)
            return next(iter(block.students), None) if block else None
        if teacher in self.defined_names["pretrained"]:
            source = self.pretrained.get(teacher)
            return teacher if teacher in self.model_inputs else source.network if source else None
        return student if teacher == "self" else teacher

    # Errors in names and stops.

    def check_name(self, location: str, name: str | None, kind: str) -> Iterator[str]:
        """Yield a message if a name is not defined.

        Parameters
        ----------
        location : str
            The key that holds the name, as a dotted path.
        name : str or None
            None yields nothing.
        kind : str
            A key of `defined_names`.
        """
        names = self.defined_names[kind]
        if name is not None and name not in names and not self.is_incomplete[kind]:
            guess = did_you_mean(name, names)
            yield f"{location}: there is no {kind} {name}{guess} (defined: {join_names(names)})"

    def check_network(self, location: str, name: str) -> Iterator[str]:
        """Yield a message if a network does not exist or does not fit the study's images."""
        try:
            self.networks.check(str(name))
        except KdpipeError as error:
            yield f"{location}: {error}"

    def check_stop(
        self, location: str, text: str, network: str, length: int | None = None
    ) -> Iterator[str]:
        """Yield a message if a stop does not lie within the training of its network.

        `length` are the epochs of that training, where they are not those of the recipe.
        """
        recipe = self.get_recipe(network)
        if recipe and "epochs" not in invalid_keys(recipe) and network in self.networks:
            try:
                stops.count_stops(text, length or recipe.epochs)
            except KdpipeError as error:
                yield f"{location}: {error} (network {network})"
            else:
                has_drops = text.startswith("schedule") and "/" in text
                if has_drops and recipe.annealing in load_schedules().keys() - {"steps"}:
                    total = text.split("/")[-1]
                    yield (
                        f"{location}: {text} drops in steps, and {network} has annealing: "
                        f"{recipe.annealing}; write schedule {total}"
                    )


ALPHA_ADVICE = (
    "is the weight of KD in some papers and of CE in others; use kd_weight and ce_weight instead"
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
        Model of the validation.
    prefix : str
        The location of the content in the file, as a dotted path.

    Returns
    -------
    list of str
        One line per value, with all allowed types on it.
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
    """Return the key, its value and what is expected."""
    location = _file_location(details["loc"], content)
    key_path = dotted_path(location)
    value, kind = details["input"], details["type"]
    subject = f"{key_path or 'the file'}: {format_value(value)}"
    if kind == "extra_forbidden":
        if location[-1] in ("alpha", "alphas"):
            return key_path, f"alpha is ambiguous: it {ALPHA_ADVICE}"
        allowed = _allowed_keys(model, location[:-1])
        return (
            subject,
            f"unknown key{did_you_mean(location[-1], allowed)} (allowed: {join_names(allowed)})",
        )
    if kind == "missing":
        return key_path, "missing required key"
    if kind == "value_error":
        return key_path, str(details["ctx"]["error"])
    if isinstance(value, str) and kind.startswith(("int", "float", "literal")):
        if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d{1,9}", value):
            mantissa, exponent = re.split("[eE]", value)
            number = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
            return subject, f"YAML reads this as a string; write {number[:40]}"
        if re.fullmatch(r"[-+]?\d+(\.\d+)?", value):
            return subject, "this is a string; write the number without quotes"
    return subject, _describe_expected(details)


def _describe_expected(details: Any) -> str:
    """Describe the expected value."""
    kind = details["type"]
    if kind == "string_pattern_mismatch":
        if details["ctx"]["pattern"] == SHA256_PATTERN:
            return "a SHA-256 has 64 hexadecimal digits in lower case, as sha256sum prints them"
        if "full" in details["ctx"]["pattern"]:
            return (
                "a stop is one of: full, checkpoint E, every K, schedule N, schedule A/N, where E "
                "may be a share of the epochs (checkpoint 1/3, checkpoint 0.5x), and N a multiple "
                "(schedule 4x)"
            )
        if details["ctx"]["pattern"] == MULTIPLE_PATTERN:
            return "a multiple of the recipe's epochs is written as 2x or 0.5x"
        return "a name may have letters, digits, - and _ only (no dots, slashes or spaces)"
    if kind == "string_type":
        if details["loc"][-1:] == ("sha256",) and type(details["input"]) in (int, float):
            return "a checksum of digits alone is read as a number: put it in quotes"
        return "expected a string; put it in quotes"
    if kind == "too_short":
        return f"expected at least {details['ctx']['min_length']} entry"
    if kind in ("model_type", "dict_type"):
        return "expected a mapping"
    message = details["msg"]
    return message[0].lower() + message[1:]


def _file_location(location: tuple[Any, ...], content: Any) -> list[Any]:
    """Return the keys and indices of a location, without the union branches that pydantic adds."""
    keys: list[Any] = []
    for part in location:
        if part == "[key]":
            continue  # the error is in the preceding key itself
        if _has_entry(content, part):
            content = content[part]
        elif part != location[-1] or not is_object(content):
            continue
        keys.append(part)
    return keys


def _has_entry(content: object, part: object) -> bool:
    """Return whether a mapping has this key, or a list this index."""
    if is_object(content):
        return part in content
    return is_list(content) and isinstance(part, int) and part < len(content)


def _allowed_keys(model: Any, location: Iterable[object]) -> list[str]:
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
