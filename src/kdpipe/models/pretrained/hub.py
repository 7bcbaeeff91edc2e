"""Weights in timm's format: a repository of the Hugging Face Hub, or a folder like one.

Next to the weights is `config.json`: the architecture, and as `pretrained_cfg` the images that they
were trained on. Repositories are named OWNER/NAME, such as timm/resnet18.a1_in1k; downloaded files
are in the Hub's own cache. `timm.models.save_for_hf` writes such a folder.
"""

import importlib.util
import json
import math
import os
import shlex
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.runs.files import READ_ERRORS, read_regular_file
from kdpipe.text import escape, format_value

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 16 * 2**20  # one of ImageNet-21k lists its classes, and what they mean
MAX_SIDE = 4096  # pixels
# Share of the side that is cropped; three of timm's configs (volo_d5_512, ...) have 1.15.
MIN_CROP, MAX_CROP = 0.05, 1.25
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order that timm looks for them


def is_repository(weights: str) -> bool:
    """Return whether weights are named by a repository; torchvision's names have no slash."""
    return "/" in weights


def is_timm_folder(path: str | Path) -> bool:
    """Return whether a folder holds weights with timm's config, not a kdpipe export."""
    try:
        return "pretrained_cfg" in _read_json(Path(path) / CONFIG_FILE)
    except READ_ERRORS:
        return False


def choose_weights_file(folder: str | Path) -> str:
    """Return the path of the weights in a folder that timm would load."""
    paths = [os.path.join(folder, name) for name in WEIGHTS_FILES]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def find_cached(repository: str, *names: str) -> Path | None:
    """Return the first of these files of a repository that is in the Hub's cache.

    Nothing is downloaded. Also None if huggingface_hub is not installed.

    Raises
    ------
    KdpipeError
        For a malformed name of a repository.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        paths = [try_to_load_from_cache(repository, name) for name in names]
    except ValueError as error:
        raise KdpipeError(f"{format_value(repository)}: {_shorten(error)}") from None
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def download_weights(repository: str) -> Path:
    """Return the weights of a repository, from the Hub unless its cache has them.

    Raises
    ------
    KdpipeError
        If they cannot be downloaded; the message has the command for a machine with access.
    """
    if (path := find_cached(repository, *WEIGHTS_FILES)) is not None:
        return path
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, WEIGHTS_FILES[0]))
    except ImportError:
        reason = "huggingface_hub is not installed"
    except (OSError, ValueError) as error:
        reason = _shorten(error)
    raise KdpipeError(
        f"the weights {repository} are not on this machine and cannot be downloaded ({reason}): on "
        f"a machine with access to the Hub, run: {download_command(repository)}"
    )


def download_command(repository: str) -> str:
    """Return the command of the Hub's own tool that downloads a repository into the cache."""
    command = f"hf download {shlex.quote(repository)}"
    if importlib.util.find_spec("huggingface_hub") is not None:
        return command
    return (
        f"{command} (after pip install 'kdpipe[timm]', in a clone pip install -c requirements.lock "
        "-e '.[timm]')"
    )


def parse_config(path: Path) -> dict[str, Any]:
    """Read the input and the classes of weights from their config.

    Returns
    -------
    dict
        Fields of a `weights_info.WeightsInfo`; mean and std are empty where they are not for the
        channels of the network.

    Raises
    ------
    KdpipeError
        If the file does not specify them.
    """
    try:
        config = _read_json(path)
        pretrained_config, arguments = config["pretrained_cfg"], config.get("model_args", {})
        channels, *size = pretrained_config["input_size"]
        channels = arguments.get("in_chans", channels)
        outputs = config.get("num_classes", pretrained_config["num_classes"])
        counts = [channels, *size, outputs + 1]  # some have no classifier
        if not all(type(count) is int and 0 < count < 10**6 for count in counts):
            raise ValueError(f"{format_value(counts)} are not counts")
        if max(size) > MAX_SIDE:
            raise ValueError(f"images of {size[0]} x {size[1]}: at most {MAX_SIDE:,} pixels a side")
        height, width = size
        mean, std = (_per_channel(pretrained_config[key], channels) for key in ("mean", "std"))
        if not all(value > 0 for value in std):
            raise ValueError(f"std {format_value(list(std))}: must be above 0")
        names = tuple(map(str, config.get("label_names") or ()))
        is_centered = height == width and pretrained_config.get("crop_mode", "center") == "center"
        crop_pct = float(pretrained_config.get("crop_pct", 1.0))
        if not MIN_CROP <= crop_pct <= MAX_CROP:
            raise ValueError(f"crop_pct {crop_pct:g}: must be from {MIN_CROP:g} to {MAX_CROP:g}")
        resize = math.floor(height / crop_pct) if is_centered else None
        interpolation = pretrained_config.get("interpolation")
        if not isinstance(interpolation, str | None):
            raise TypeError(f"interpolation {format_value(interpolation)}: must be a name")
    except READ_ERRORS as error:
        raise KdpipeError(
            f"{path} does not specify the input of its weights in timm's format "
            f"({type(error).__name__}: {_shorten(error)}): give the path of the weights file "
            "itself, and set `input` with mean, std and size"
        ) from None
    return {
        "size": (height, width),
        "mean": mean,
        "std": std,
        "interpolation": interpolation,
        "resize": resize,
        "outputs": outputs,
        "classes": names if len(names) == outputs else (),
    }


def _read_json(path: Path) -> Any:
    """Read a config, which may come from anywhere."""
    return json.loads(read_regular_file(path, MAX_CONFIG_BYTES))


def _per_channel(values: Any, channels: int) -> tuple[float, ...]:
    """Return one number for each channel; empty where they are for other channels."""
    values = [float(value) for value in values]
    if len(values) == 1:
        values = values * channels
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{format_value(values)} are not numbers")
    return tuple(values) if len(values) == channels else ()


def _shorten(error: Exception) -> str:
    return escape(" ".join(str(error).split())[:200])
