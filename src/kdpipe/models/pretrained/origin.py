"""Where weights come from, and under which license, as far as they state it.

A license is what the study states (the key `license` of the weights), or the metadata of the
weights: the config of timm or of an export, the card (README.md) beside the file, or the header of
the safetensors file. It is never guessed: not from a name, and not from what similar weights have.
Nothing is downloaded, and no torch is imported: a plan names what a license restricts.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from kdpipe.errors import KdpipeError
from kdpipe.models.config import PretrainedWeights
from kdpipe.models.pretrained import hub, kdpipe_export, weights_info
from kdpipe.runs.files import READ_ERRORS, open_regular_file, read_regular_file
from kdpipe.text import escape, format_value, shorten_line

NOT_STATED = "not stated"
CARD_FILE = "README.md"
MAX_HEADER_BYTES = 2**24
# What a license restricts, by how its name or identifier is written: the first match counts for
# each kind. Identifiers are those of SPDX and of the Hugging Face Hub.
RESTRICTIONS = {
    "it forbids commercial use": (
        r"\bnc\b|non-?\s?commercial|research-?\s?only|academic use|\bapple-amlr\b|h-research"
        r"|intel-research|deepfloyd"
    ),
    "it forbids sharing what is derived from it": r"\bnd\b|no-?\s?deriv",
    "what is derived from it has to keep it (copyleft)": (
        r"\b(a|l)?gpl|\bsa\b|share-?\s?alike|\bosl\b|\beupl\b|\bcecill-2|\bsspl\b"
    ),
    "it has terms of its own for use and for derivatives": (
        r"openrail|\brail\b|llama|gemma|dinov3|\bother\b|grok|\bcustom\b|proprietary"
    ),
}


@dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights that a study names come from.

    Attributes
    ----------
    source : str
        The weights by name, or the name of their file or folder.
    license : str
        As stated; `NOT_STATED` if it is not.
    stated_by : str
        What states the license; empty if nothing does.
    repository : str or None
        The weights' repository on the Hugging Face Hub.
    base_models : tuple of dict
        What an export was made from, as its config states it.
    """

    source: str
    license: str = NOT_STATED
    stated_by: str = ""
    repository: str | None = None
    base_models: tuple[dict[str, Any], ...] = ()


def find_origin(source: PretrainedWeights) -> WeightsOrigin:
    """Return where the weights that a study names come from.

    Parameters
    ----------
    source : PretrainedWeights
        An entry of `pretrained` or `starts`. Metadata that are not on this machine, or cannot be
        read, state nothing.

    Raises
    ------
    KdpipeError
        If the study states another license than the metadata of the weights.
    """
    folder, name, repository, base_models = _find_folder(source), "", None, ()
    if source.weights is not None and hub.is_repository(source.weights):
        name = repository = source.weights
    elif source.weights is not None:
        name = f"torchvision's {source.weights}"
    elif source.path is not None:
        name = os.path.basename(os.path.normpath(source.path))
    stated: dict[str, str] = {}
    if folder is not None and (Path(folder) / hub.CONFIG_FILE).is_file():
        stated, base_models, name = _read_config(Path(folder), name)
    if folder is not None and (license := _read_card_license(Path(folder) / CARD_FILE)):
        stated.setdefault(f"its card {CARD_FILE}", license)
    path = weights_info.find_weights_file(source)
    if path is not None and (license := _read_header_license(Path(path))):
        stated["the header of its file"] = license
    license, stated_by = _choose_license(source.license, stated)
    return WeightsOrigin(name, license, stated_by, repository, base_models)


def find_restriction(license: str) -> str:
    """Return what a license restricts of what is made from the weights; empty if nothing is known.

    It goes by the name of the license: the text of a license was not read.
    """
    words = license.lower().replace("_", "-")
    texts = [text for text, pattern in RESTRICTIONS.items() if re.search(pattern, words)]
    return " and ".join(texts)


def describe_restrictions(
    pretrained: Mapping[str, PretrainedWeights], starts: Mapping[str, PretrainedWeights]
) -> list[str]:
    """Return a sentence for each of a study's weights whose license restricts what is derived.

    Parameters
    ----------
    pretrained, starts : mapping of str to PretrainedWeights
        The sections of the study.
    """
    sources = {f"pretrained.{name}": source for name, source in pretrained.items()}
    sources |= {f"starts.{name}": source for name, source in starts.items()}
    sentences = []
    for key, source in sources.items():
        origin = find_origin(source)
        for item in ({"source": origin.source, "license": origin.license}, *origin.base_models):
            if restriction := find_restriction(item["license"]):
                sentences.append(
                    f"{key}: the license of {escape(item['source'])}, {escape(item['license'])}, "
                    f"says by its name that {restriction}; this may hold for every student of "
                    "these weights: read it before you ship one"
                )
    return sentences


def _find_folder(source: PretrainedWeights) -> str | None:
    """Return the folder with the metadata of weights, if it is on this machine."""
    if source.weights is not None:
        if not hub.is_repository(source.weights):
            return None
        cached = hub.find_cached(source.weights, hub.CONFIG_FILE, CARD_FILE)
        return None if cached is None else str(cached.parent)
    if source.path is not None and os.path.isdir(source.path):
        return source.path
    return None


def _read_config(folder: Path, name: str) -> tuple[dict[str, str], tuple[dict, ...], str]:
    """Return what the config of a folder states of license and base models, and its name."""
    if hub.is_timm_folder(folder):
        try:
            content = json.loads(read_regular_file(folder / hub.CONFIG_FILE, hub.MAX_CONFIG_BYTES))
            license = content["pretrained_cfg"].get("license") or content.get("license")
        except READ_ERRORS:
            license = None
        stated = {"its config.json": str(license)} if _is_license(license) else {}
        return stated, (), name
    try:
        config = kdpipe_export.read_export_config(folder)
    except KdpipeError:
        return {}, (), name
    license = config.get("license", NOT_STATED)
    stated = {} if license == NOT_STATED else {"its config.json": str(license)}
    return stated, tuple(config.get("base_model", ())), f"the export of {config['run']}"


def _read_card_license(path: Path) -> str | None:
    """Return the license in the front matter of a model card, if there is one."""
    try:
        text = read_regular_file(path, hub.MAX_CONFIG_BYTES).decode()
        matter = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        facts = yaml.safe_load(matter[1]) if matter else None
        license = facts.get("license_name") or facts.get("license") if facts else None
    except (*READ_ERRORS, yaml.YAMLError):
        return None
    return license if _is_license(license) and license != "unknown" else None


def _read_header_license(path: Path) -> str | None:
    """Return the license in the header of a safetensors file, if there is one."""
    try:
        with open_regular_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                return None
            license = json.loads(file.read(length))["__metadata__"]["license"]
    except READ_ERRORS:
        return None
    return license if _is_license(license) else None


def _is_license(value: object) -> TypeGuard[str]:
    """Return whether a value may be the name of a license."""
    return isinstance(value, str) and 0 < len(value.strip()) <= kdpipe_export.MAX_NAME_LENGTH


def _choose_license(of_study: str | None, stated: dict[str, str]) -> tuple[str, str]:
    """Return the license, and what states it; raise KdpipeError if the study contradicts."""
    if of_study is None:
        if not stated:
            return NOT_STATED, ""
        by, license = next(iter(stated.items()))
        return license, by
    for by, license in stated.items():
        if license.strip().lower() != of_study.strip().lower():
            raise KdpipeError(
                f"license: {format_value(of_study)}, but {by} states "
                f"{escape(shorten_line(license))}: remove the key, or correct it"
            )
    return of_study, "the study"
