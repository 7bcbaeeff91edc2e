"""Networks with weights that are on this machine, from which a first study can begin.

They are looked for where torchvision and the Hugging Face Hub (and so timm) keep what they have
downloaded. Nothing is downloaded. A file or folder that a user gives is recognized too: an export
of kdpipe, a folder in timm's format, a file of torchvision's by the digits in its name, and a plain
state dict by its arrays, if those of exactly one network of a known name fit.
"""

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from kdpipe.errors import KdpipeError
from kdpipe.models import factory, registry
from kdpipe.models.config import PretrainedWeights
from kdpipe.models.pretrained import hub, kdpipe_export, weights, weights_info
from kdpipe.models.pretrained.weights_info import WeightsInfo
from kdpipe.runs.files import READ_ERRORS, hash_regular_file, read_regular_file

TIMM_BUILDERS = "timm.models"
BUFFER_SUFFIXES = ("running_mean", "running_var")
DEFAULT_SIDE = 32  # pixels: of weights that do not say which images they are for


@dataclass(frozen=True)
class LocalWeights:
    """A network and weights of it on this machine.

    Attributes
    ----------
    network : str
        The name of the network in a study.
    build : str or None
        The callable that builds it; None for one that kdpipe knows by name.
    weights : str or None
        The weights by name, torchvision's or a repository of the Hub.
    path : Path or None
        The file or folder, if they have no name, or are not where torchvision keeps them.
    sha256 : str or None
        SHA-256 of the file; None of torchvision's.
    file : Path
        The file.
    info : WeightsInfo or None
        The images and classes that they are for.
    """

    network: str
    build: str | None
    weights: str | None
    path: Path | None
    sha256: str | None
    file: Path
    info: WeightsInfo | None

    @property
    def side(self) -> int:
        """Return the height and width of the images that they are for."""
        return self.info.size[0] if self.info else DEFAULT_SIDE

    @property
    def title(self) -> str:
        """Return where they are from, for messages."""
        return str(self.path) if self.weights is None else self.weights


def list_caches() -> list[Path]:
    """Return the folders in which torchvision and the Hugging Face Hub keep weights."""
    folders = [Path(torch.hub.get_dir()) / "checkpoints"]
    if importlib.util.find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants

        folders.append(Path(constants.HF_HUB_CACHE))
    return folders


def find_local_weights() -> list[LocalWeights]:
    """Return the networks with weights in the caches of this machine, smallest file first."""
    found = [*_find_torchvision(), *_find_hub()]
    return sorted(found, key=lambda item: (item.file.stat().st_size, item.network))


def recognize_weights(path: Path) -> LocalWeights:
    """Return the network of a weights file or folder.

    Parameters
    ----------
    path : Path
        An export of kdpipe, a folder in timm's format, or a file.

    Returns
    -------
    LocalWeights

    Raises
    ------
    KdpipeError
        If it cannot be read, or its network is not known.
    """
    if path.is_dir():
        if hub.is_timm_folder(path):
            file = Path(hub.choose_weights_file(path))
            return _from_timm(path / hub.CONFIG_FILE, file, None, path)
        config = kdpipe_export.read_export_config(path)
        file = path / kdpipe_export.WEIGHTS_FILE
        if config["network"].get("build"):
            raise KdpipeError(
                f"{path} is an export of a network of one's own: write its study by hand, with "
                "`networks` and `starts`"
            )
        return _from_file(config["network"]["name"], path, file)
    if not path.exists():
        raise KdpipeError(f"--weights: there is no file or folder {path}")
    for name, label in _match_digits(path):
        return LocalWeights(name, None, label, path, None, path, _torchvision_info(name, label))
    names = _match_arrays(path)
    if len(names) != 1:
        fitting = f"fit several networks ({', '.join(names)})" if names else "fit no known network"
        raise KdpipeError(
            f"--weights {path}: its arrays {fitting}, of kdpipe's and torchvision's by name: give "
            "a folder with timm's config.json, an export of kdpipe, or write `networks` and "
            "`starts` by hand (docs/how-to/weights.md)"
        )
    return _from_file(names[0], path, path)


def _find_torchvision() -> Iterator[LocalWeights]:
    """Yield the networks whose weights are in torchvision's cache."""
    try:
        files = sorted((Path(torch.hub.get_dir()) / "checkpoints").iterdir())
    except OSError:
        return
    for file in files:
        for name, label in _match_digits(file):
            yield LocalWeights(name, None, label, None, None, file, _torchvision_info(name, label))


def _match_digits(file: Path) -> Iterator[tuple[str, str]]:
    """Yield network and name of the torchvision weights whose file has such a name."""
    match = re.fullmatch(r"[\w.-]+-([0-9a-f]{8})\.pth", file.name)
    family = registry.load_families()["torchvision"]
    for name in family.suggest("") if match else ():
        for label, digits in registry.list_weights(name).items():
            if match and match[1] == digits[:8]:
                yield name, label


def _find_hub() -> Iterator[LocalWeights]:
    """Yield the networks in timm's format whose weights are in the cache of the Hub."""
    if any(importlib.util.find_spec(name) is None for name in ("timm", "huggingface_hub")):
        return
    folder = list_caches()[-1]
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return
    for name in names:
        kind, *parts = name.split("--")
        if kind != "models" or len(parts) != 2:
            continue
        repository = "/".join(parts)
        try:
            config = hub.find_cached(repository, hub.CONFIG_FILE)
            file = hub.find_cached(repository, *hub.WEIGHTS_FILES)
            if config and file:
                yield _from_timm(config, file, repository, None)
        except (KdpipeError, *READ_ERRORS):
            continue  # weights of another kind than timm's


def _from_timm(config: Path, file: Path, repository: str | None, path: Path | None) -> LocalWeights:
    """Return weights in timm's format."""
    try:
        content = json.loads(read_regular_file(config, hub.MAX_CONFIG_BYTES))
        architecture = content["architecture"]
        if not re.fullmatch(r"[a-z][a-z0-9_]*", architecture):
            raise KdpipeError(f"{config}: {architecture!r} is not an architecture of timm")
    except READ_ERRORS as error:
        raise KdpipeError(f"{config} is not a config of timm ({error})") from None
    info = WeightsInfo(source=f"timm's config of {repository or path}", **hub.parse_config(config))
    # A network of one's own must not have a name that kdpipe knows.
    name = f"{architecture}-timm".replace("_", "-")
    build = f"{TIMM_BUILDERS}.{architecture}"
    return LocalWeights(name, build, repository, path, _hash_file(file), file, info)


def _from_file(network: str, path: Path, file: Path) -> LocalWeights:
    """Return weights of a network that kdpipe knows by name."""
    registry.parse_name(network)
    source = PretrainedWeights(
        network=network, weights=None, path=str(path), sha256=_hash_file(file), license=None
    )
    info = weights_info.load_weights_info(source)
    if info is None and network in registry.load_families()["torchvision"].suggest(""):
        info = _torchvision_info(network, "IMAGENET1K_V1")
    return LocalWeights(network, None, None, path, source.sha256, file, info)


def _torchvision_info(network: str, label: str) -> WeightsInfo | None:
    """Return the metadata of torchvision's weights."""
    source = PretrainedWeights(network=network, weights=label, path=None, sha256=None, license=None)
    return weights_info.load_weights_info(source)


def _match_arrays(path: Path) -> list[str]:
    """Return the known networks that have the arrays of a file, apart from their classifier."""
    state = weights.read_weights(path, "", "--weights")
    state = {key.removeprefix("network."): value for key, value in state.items()}
    sizes = {key: value.shape for key, value in state.items() if value.ndim > 1}
    count = sum(
        value.numel()
        for key, value in state.items()
        if value.is_floating_point() and not key.endswith(BUFFER_SUFFIXES)
    )
    channels = next((size[1] for size in sizes.values() if len(size) == 4), 3)
    classes = next((size[0] for size in reversed(sizes.values()) if len(size) == 2), 1000)
    names = []
    for family in registry.load_families().values():
        for name in family.suggest(""):
            architecture = family.parse(name)
            assert architecture is not None
            # The number of parameters first: a network is slow to build.
            cost = family.cost(architecture, (channels, 224, 224), classes)
            if cost.parameters == count and _fits(name, sizes, channels, classes):
                names.append(name)
    return names


def _fits(name: str, sizes: dict[str, torch.Size], channels: int, classes: int) -> bool:
    """Return whether a network has arrays of these shapes."""
    with torch.device("meta"):
        model = factory.build_named_model(name, num_classes=classes, in_channels=channels)
    state = {key.removeprefix("network."): value for key, value in model.state_dict().items()}
    return sizes == {key: value.shape for key, value in state.items() if value.ndim > 1}


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    try:
        return hash_regular_file(path)
    except OSError as error:
        raise KdpipeError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
