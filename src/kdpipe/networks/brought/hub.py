"""Weights as timm keeps them: a repository of the Hugging Face Hub, or a folder like one.

Beside the weights lies `config.json`: the architecture, and as `pretrained_cfg` the images that
they were trained on. Repositories are named OWNER/NAME, as timm/resnet18.a1_in1k; what of them was
fetched lies in the Hub's own cache. `timm.models.save_for_hf` writes such a folder.
"""

import importlib.util
import json
import math
import os
import shlex
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.results.files import DAMAGED
from kdpipe.wording import shown

CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")  # in the order that timm looks for them


def is_repository(weights: str) -> bool:
    """Whether a name of weights is that of a repository; torchvision's have no slash."""
    return "/" in weights


def is_folder(path: str | Path) -> bool:
    """Whether a folder holds weights with timm's config; an export of kdpipe holds another one."""
    try:
        return "pretrained_cfg" in json.loads((Path(path) / CONFIG).read_bytes())
    except DAMAGED:
        return False


def file(folder: str | Path) -> str:
    """The weights in a folder: those that timm would take."""
    paths = [os.path.join(folder, name) for name in FILES]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def cached(repository: str, *names: str) -> Path | None:
    """The first of these files of a repository that is in the Hub's cache; nothing is fetched.

    None too where huggingface_hub is not installed. Raises KdpipeError for a name that is none.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        found = [try_to_load_from_cache(repository, name) for name in names]
    except ValueError as error:
        raise KdpipeError(f"{shown(repository)}: {_short(error)}") from None
    return next((Path(path) for path in found if isinstance(path, str)), None)


def fetched(repository: str) -> Path:
    """The weights of a repository, from the Hub unless its cache has them. Raises KdpipeError."""
    if (path := cached(repository, *FILES)) is not None:
        return path
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, FILES[0]))
    except ImportError:
        why = "huggingface_hub is not installed"
    except (OSError, ValueError) as error:
        why = _short(error)
    raise KdpipeError(
        f"the weights {repository} are not here and cannot be fetched ({why}): where the Hub can "
        f"be reached, type: {command(repository)}"
    )


def command(repository: str) -> str:
    """What fetches a repository into the cache: the Hub's own tool."""
    fetch = f"hf download {shlex.quote(repository)}"
    if importlib.util.find_spec("huggingface_hub") is not None:
        return fetch
    return (
        f"{fetch} (after pip install 'kdpipe[timm]', in a clone pip install -c requirements.lock "
        "-e '.[timm]')"
    )


def facts(path: Path) -> dict[str, Any]:
    """What a config says of the images that its weights want, and of their classes.

    By the fields of a `cards.WeightsCard`; mean and std are empty where they are of other channels
    than the network takes. Raises KdpipeError for a file that does not say it.
    """
    try:
        said = json.loads(path.read_bytes())
        given, arguments = said["pretrained_cfg"], said.get("model_args", {})
        channels, *size = given["input_size"]
        channels = arguments.get("in_chans", channels)
        outputs = said.get("num_classes", given["num_classes"])
        counts = [channels, *size, outputs + 1]  # some have no classifier
        if not all(type(count) is int and 0 < count < 10**6 for count in counts):
            raise ValueError(f"{shown(counts)} are no counts")
        height, width = size
        mean, std = (_of_channels(given[key], channels) for key in ("mean", "std"))
        names = tuple(map(str, said.get("label_names") or ()))
        centred = height == width and given.get("crop_mode", "center") == "center"
        resize = math.floor(height / given.get("crop_pct", 1.0)) if centred else None
    except DAMAGED as error:
        raise KdpipeError(
            f"{path} does not say as timm's do what images its weights want "
            f"({type(error).__name__}: {_short(error)}): name the file of the "
            "weights itself, and write `input` with mean, std and size"
        ) from None
    return {
        "size": (height, width),
        "mean": mean,
        "std": std,
        "interpolation": given.get("interpolation"),
        "resize": resize,
        "outputs": outputs,
        "classes": names if len(names) == outputs else (),
    }


def _of_channels(values: Any, channels: int) -> tuple[float, ...]:
    """One number for each channel; none where they are of other channels."""
    values = [float(value) for value in values]
    if len(values) == 1:
        values = values * channels
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{shown(values)} are not numbers")
    return tuple(values) if len(values) == channels else ()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
