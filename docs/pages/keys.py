"""Every key of a study, from its model: value and range, default, meaning, example."""

import inspect
import json
import re
from collections.abc import Container, Iterator
from importlib import import_module

from pydantic import BaseModel

from kdpipe.config.schema import (
    BlockConfig,
    EnsembleConfig,
    SearchConfig,
    SmallestEffects,
    Study,
    TransferConfig,
)
from kdpipe.data.augmentations.augment import Augment
from kdpipe.data.augmentations.erase import Erase
from kdpipe.data.augmentations.random_crop import Crop
from kdpipe.data.config import CardOptions, DataConfig
from kdpipe.losses import method as methods
from kdpipe.losses.config import LOSSES_PACKAGE, Method
from kdpipe.models.config import CustomModelConfig, InitFrom, InputConfig, PretrainedTeacher
from kdpipe.runs.recipe import Recipe
from pages.markdown import cell, paragraphs, table

# Sections of a study, and where their keys stand in the file.
SECTIONS = {
    SmallestEffects: "smallest_effects",
    DataConfig: "data",
    CardOptions: "data.card_options",
    Erase: "data.erase",
    Augment: "data.augment",
    Crop: "data.crop",
    Recipe: "recipe",
    CustomModelConfig: "networks.NAME",
    Method: "methods.NAME",
    EnsembleConfig: "ensembles.NAME",
    PretrainedTeacher: "pretrained.NAME",
    InputConfig: "pretrained.NAME.input",
    InitFrom: "starts.NAME",
    BlockConfig: "experiments",
    SearchConfig: "search",
    TransferConfig: "transfers.NAME",
}
FORMS = {  # of texts, by how their pattern or description begins
    "^[A-Za-z0-9]": "name",
    "^(full": "stop",
    "^[A-Za-z_]": "module.name",
    "^[0-9a-f]{64}": "64 hexadecimal digits",
    "a network": "network",
}


def study() -> Iterator[str]:
    schema = Study.model_json_schema()
    yield """
# Keys of a study

A study is one YAML file. [config.yaml](../../config.yaml) is the shortest complete example, with a
comment for each key. `kdpipe check FILE` lists all its errors; `kdpipe schema` prints this
schema as JSON for completion in editors. A key without a default is required. Nothing is
converted (`"5"` is a string, not a number) and nothing is ignored (an unknown key is an error).

Common types of values: a **name** has letters, digits, `-` and `_`, at most 40. A **network** is
[the name of a built-in one](names.md#networks) or of a custom one. A **block** is one entry of
`experiments`. A **stop** is `full`, `checkpoint E` (taken from the full training after E
epochs), `every K` (checkpoints K, 2K, ...), `schedule N` (a separate run, annealed in N
epochs) or `schedule A/N` (the same, with the learning rate dropped every A). N may be a multiple of
the teacher's epochs (`schedule 0.5x`); with more epochs than the full training has (`schedule 4x`)
the teacher was trained longer, and is neither full nor stopped early.

"Renames no run": the key concerns how a study is run or reported, so changing it retrains nothing.
All other keys [determine which runs there are, or what they compute](../identity.md).
"""
    yield "## The whole file\n"
    yield from _keys(Study, schema)
    for model, place in SECTIONS.items():
        section = schema["$defs"][model.__name__]
        yield f"\n## {place}\n"
        yield paragraphs(section["description"]) + "\n"
        if model is Method:
            yield from _method(section)
        else:
            yield from _keys(model, section)


def _method(section: dict) -> Iterator[str]:
    """Keys of every method first, then the terms, each with its formula."""
    terms = methods.load_terms()
    own = {key for term in terms.values() for key in term.keys.model_fields}
    yield from _keys(Method, section, set(Method.model_fields) - own)
    yield "\nThe terms, each with its own keys. A term with weight 0 is not used."
    for name, term in terms.items():
        module = import_module(f"{LOSSES_PACKAGE}.{name}")
        yield f"\n### {name}: {term.title}\n"
        yield paragraphs(inspect.cleandoc(module.__doc__ or ""))
        needs = "logits, which a logit cache holds" if term.needs == "logits" else term.needs
        yield f"\nUses: {needs}. Column of the curve: `{term.part}`.\n"
        yield from _keys(Method, section, term.keys.model_fields)


def _keys(
    model: type[BaseModel], section: dict, only: Container[str] | None = None
) -> Iterator[str]:
    """The table of a section's keys, of `only` these."""
    rows = []
    for key, field in model.model_fields.items():
        if only is None or key in only:
            value = section["properties"][key]
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            if isinstance(default, BaseModel):  # its own section says its defaults
                default = {}
            said = "" if field.is_required() else f"`{_yaml(default)}`"
            example = (field.examples or [default])[0]
            shown = "" if example in (None, {}, []) else f"`{key}: {_yaml(example)}`"
            shown = "" if _sections(value) and not field.examples else shown
            row = (f"`{key}`", _listed(_values(value)), said, value["description"], shown)
            rows.append(list(map(cell, row)))
    yield from table(("Key", "Value", "Default", "Meaning", "Example"), rows)


def _sections(value: dict) -> set[str]:
    """The models that a value is made of."""
    return set(re.findall(r"#/\$defs/(\w+)", json.dumps(value)))


def _values(value: dict, many: bool = False) -> list[str]:
    """What a value may be, in words; `many`: of a list's entries."""
    if "anyOf" in value:
        return [one for kind in value["anyOf"] for one in _values(kind, many)]
    if "$ref" in value:
        place = {model.__name__: at for model, at in SECTIONS.items()}[value["$ref"][8:]]
        return [f"[keys of its own](#{place.replace('.', '').lower()})"]
    if known := value.get("enum") or ([value["const"]] if "const" in value else None):
        return [f"`{one}`" for one in known]
    kind = value.get("type")
    if kind == "array":
        few, most = value.get("minItems", 0), value.get("maxItems")
        count = "" if most is None else f"{most} " if few == most else f"at most {most} "
        return [f"list of {count}{_listed(_values(value['items'], True))}"]
    if kind == "object":
        inner = value.get("additionalProperties")
        inner = inner if isinstance(inner, dict) else {}
        if "patternProperties" in value:
            (inner,) = value["patternProperties"].values()
        return (
            [f"for each {_of(value)}: {_listed(_values(inner, False))}"] if inner else ["a mapping"]
        )
    if kind == "string":
        text = value.get("pattern") or value.get("description", "")
        known = next((form for start, form in FORMS.items() if text.startswith(start)), "text")
        return [f"{known}s" if many else known]
    if kind in ("boolean", "null"):
        return {"boolean": ["`true`", "`false`"], "null": ["`null`"]}[kind]
    return [_number(value, many)] if kind else ["a mapping"]


def _of(value: dict) -> str:
    """What the keys of a mapping are."""
    said = value.get("propertyNames", {}).get("description", "")
    return "network" if said.startswith("a network") else "name"


def _number(value: dict, many: bool) -> str:
    whole = value["type"] == "integer"
    name = ("whole number" if whole else "number") + "s" * many
    low, high = value.get("minimum"), value.get("maximum")
    if whole and "exclusiveMaximum" in value:
        high = value["exclusiveMaximum"] - 1
    begin = f"above {value['exclusiveMinimum']:g}" if "exclusiveMinimum" in value else ""
    begin = f"{'from ' if high is None else ''}{low:g}" if low is not None else begin
    end = f"to {high:,}" if high is not None else ""
    end = f"below {value['exclusiveMaximum']:g}" if not end and "exclusiveMaximum" in value else end
    end = f"and {end}" if begin and end.startswith("below") else end
    return " ".join(filter(None, [name, begin, end]))


def _listed(words: list[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _yaml(value: object) -> str:
    """As a study has it, on one line."""
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float):
        return f"{value:.4g}" if value % 1 else f"{value:.1f}"
    if isinstance(value, str):
        return value if len(value) < 40 else f"{value[:16]}..."
    return json.dumps(value)
