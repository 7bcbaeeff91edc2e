"""The config of a folder written by `kdpipe export`, with the input of its weights.

It imports only the standard library: an export is read where nothing else is installed. A folder
may come from anywhere, so the config is checked key by key, with its checksum or without; keys that
are unknown are ignored.
"""

import json
import math
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.runs.files import read_regular_file
from kdpipe.text import escape, find_duplicates, format_value

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FLOAT_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
FORMAT_VERSION = 1
MAX_CONFIG_BYTES = 1_000_000
MAX_FILE_BYTES = 2 * 2**30  # a protobuf message cannot be larger
MAX_SIDE = 4096  # pixels
MAX_NAME_LENGTH = 400  # of a license, and of what an export was made from
MAX_BASE_MODELS = 100
STEP_KINDS = ("as_it_is", "stretch", "shorter", "centre", "scale")


def read_export_config(folder: Path) -> dict[str, Any]:
    """Read the config of an export.

    Raises
    ------
    KdpipeError
        If there is none, it was altered, or has a value that `kdpipe export` never writes.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(
            read_export_file(folder, CONFIG_FILE, MAX_CONFIG_BYTES),
            parse_constant=_reject_constant,
        )
        is_intact = config == hashing.add_checksum(config) and config["format"] == FORMAT_VERSION
    except FileNotFoundError:
        raise KdpipeError(
            f"{escape(folder)} is not an export: it has no {CONFIG_FILE}; create one with kdpipe "
            "export STUDY"
        ) from None
    except OSError as error:
        raise KdpipeError(f"{escape(path)} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        is_intact, config = False, {}
    if not is_intact:
        raise KdpipeError(
            f"{escape(path)} is not as kdpipe export has written it (altered, cut off or of "
            "another version): export the run again"
        )
    try:
        _check_config(config)
    except _InvalidValue as error:
        raise KdpipeError(
            f"{escape(path)} is not a config of kdpipe export: {escape(error)}: export the run "
            "again"
        ) from None
    return config


def read_export_file(folder: Path, name: str, max_bytes: int) -> bytes:
    """Read a file of an export.

    Parameters
    ----------
    folder : Path
        The export.
    name : str
        Name of the file.
    max_bytes : int
        Limit of its size.

    Raises
    ------
    OSError
        If it cannot be read, is not a regular file in the folder, or is larger.
    """
    path = folder / name
    try:
        resolved, root = path.resolve(strict=True), folder.resolve(strict=True)
    except (RuntimeError, ValueError) as error:  # a loop of links, before Python 3.13; a null byte
        raise OSError(0, str(error)) from None
    # A download in the cache of the Hugging Face Hub has links to its folder `blobs`.
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if resolved.parent not in roots:
        raise OSError(0, "it is a link to a file outside the export")
    return read_regular_file(path, max_bytes)


class _InvalidValue(Exception):
    """A value in a config that `kdpipe export` never writes."""


def _reject_constant(name: str) -> None:
    """Raise ValueError for NaN and infinity, which no JSON has."""
    raise ValueError(name)


def _check_config(config: dict[str, Any]) -> None:
    """Raise _InvalidValue for the first invalid value."""
    classes = config.get("classes")
    _require(
        isinstance(classes, list) and len(classes) > 0 and all(map(_is_text, classes)),
        "classes: expected a list of names",
    )
    if duplicates := find_duplicates(config["classes"]):
        raise _InvalidValue(f"classes: {format_value(duplicates[0])} occurs twice")
    _require(_is_text(config.get("run")), "run: expected a name")
    network = config.get("network")
    _require(
        isinstance(network, dict) and _is_text(network.get("name")),
        "network: expected a mapping with a name",
    )
    _check_files(config)
    _check_input(config.get("input"))
    temperatures = config.get("temperature", {})
    _require(
        isinstance(temperatures, dict)
        and all(_is_number(value) and value > 0 for value in temperatures.values()),
        "temperature: expected numbers above 0",
    )
    _check_origin(config)


def _check_origin(config: dict[str, Any]) -> None:
    """Check the license and what the export was made from; older exports have neither."""
    _require(_is_name(config.get("license", "none")), "license: expected a name")
    base_models = config.get("base_model", [])
    _require(
        isinstance(base_models, list)
        and len(base_models) <= MAX_BASE_MODELS
        and all(
            isinstance(item, dict)
            and all(_is_name(item.get(key)) for key in ("role", "network", "source", "license"))
            for item in base_models
        ),
        "base_model: expected a list of mappings with role, network, source and license",
    )


def _is_name(value: Any) -> bool:
    """Return whether a value is a text that may be a name."""
    return _is_text(value) and len(value) <= MAX_NAME_LENGTH


def _check_files(config: dict[str, Any]) -> None:
    """Check the names, sizes and checksums of the files."""
    files = config.get("files")
    _require(isinstance(files, dict), "files: expected a mapping")
    assert isinstance(files, dict)
    for name, facts in files.items():
        label = f"files.{format_value(name)}"
        _require(isinstance(facts, dict), f"{label}: expected a mapping")
        _require(
            _is_integer(facts.get("bytes"), 0, MAX_FILE_BYTES),
            f"{label}.bytes: expected at most {MAX_FILE_BYTES:,}",
        )
        digest = facts.get("sha256")
        _require(
            isinstance(digest, str)
            and len(digest) == 64
            and set(digest) <= set("0123456789abcdef"),
            f"{label}.sha256: expected 64 hexadecimal digits",
        )
    _require(
        config.get("model") in (FLOAT_FILE, INT8_FILE) and config["model"] in files,
        f"model: expected {FLOAT_FILE} or {INT8_FILE}, listed in files",
    )


def _check_input(content: Any) -> None:
    """Check how an image becomes pixels."""
    _require(isinstance(content, dict), "input: expected a mapping")
    channels = content.get("channels")
    _require(type(channels) is int and channels in (1, 3), "input.channels: expected 1 or 3")
    for key in ("height", "width"):
        _require(_is_side(content.get(key)), f"input.{key}: expected 1 to {MAX_SIDE:,} pixels")
    for key in ("mean", "std"):
        values = content.get(key)
        _require(
            isinstance(values, list)
            and len(values) == channels
            and all(_is_number(value) and (key == "mean" or value > 0) for value in values),
            f"input.{key}: expected one number for each channel{', above 0' * (key == 'std')}",
        )
    _require(
        isinstance(content.get("by_mode_alone"), bool), "input.by_mode_alone: expected a boolean"
    )
    steps = content.get("steps")
    _require(isinstance(steps, list) and len(steps) <= 8, "input.steps: expected at most 8 steps")
    for step in steps:
        _require(isinstance(step, dict) and len(step) == 1, "input.steps: expected {step: side}")
        ((kind, argument),) = step.items()
        _require(
            kind in STEP_KINDS,
            f"input.steps: unknown step {format_value(kind)} (allowed: {', '.join(STEP_KINDS)})",
        )
        is_pair = isinstance(argument, list) and len(argument) == 2 and all(map(_is_side, argument))
        _require(
            is_pair if kind == "as_it_is" else _is_side(argument),
            f"input.steps: {kind}: expected 1 to {MAX_SIDE:,} pixels",
        )


def _require(condition: bool, message: str) -> None:
    """Raise _InvalidValue unless a condition holds."""
    if not condition:
        raise _InvalidValue(message)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_integer(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_side(value: Any) -> bool:
    return _is_integer(value, 1, MAX_SIDE)


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number that a float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False
