"""Files of weights, of one's own, torchvision's or the Hub's, and the teachers that bring them.

A file is compared with the SHA-256 that the study names before it is read. It is read as
safetensors, or as a state dict by torch with `weights_only`: nothing of it is executed. What does
not fit the network is said by name, all of it at once.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.networks import models
from kdpipe.networks.blocks import TorchvisionNetwork
from kdpipe.networks.brought import hub
from kdpipe.networks.brought.adapted import inside, normalised_by

NESTED = ("state_dict", "model", "net", "model_state_dict")  # where training scripts put weights
SHOWN = 8


def load(model: nn.Module, spec: dict, path: Path | None, mean: Any, std: Any) -> None:
    """Put the weights that a run's spec names into its network. Raises KdpipeError.

    `path` is their file; None where it is to be downloaded by its name. mean, std: (C,) by which
    the images of the run are normalised.
    """
    if path is None:
        path = downloaded(spec["network"]["name"], spec["pretrained"]["weights"])
    network = inside(model)
    models.put(network, _fitting(network, spec, path))
    normalised_by(model, mean, std)


def refuse_unfit(spec: dict, path: Path, code: Path | None = None) -> None:
    """Raise KdpipeError if a file is not the one that a run's spec names, or fits not its network.

    `code` is the folder of networks of one's own. The network is not made: its shapes suffice.
    """
    with torch.device("cpu" if "build" in spec["network"] else "meta"):
        model = models.of(spec["network"], code)
    _fitting(inside(model), spec, path)


def _fitting(model: nn.Module, spec: dict, path: Path) -> dict[str, torch.Tensor]:
    """What a file holds, if it is the one that the spec names and fits the network."""
    name = spec["network"]["name"]
    state = read(path, spec["pretrained"]["sha256"], name)
    if isinstance(model, TorchvisionNetwork) and not any(k.startswith("network.") for k in state):
        state = {f"network.{key}": value for key, value in state.items()}  # as torchvision has it
    refuse_unlike(model.state_dict(), state, f"{path} does not fit {name}")
    return state


def read(path: Path, sha256: str, name: str) -> dict[str, torch.Tensor]:
    """What a file of weights for a network holds. Raises KdpipeError for another file, or none."""
    if not path.is_file():
        raise KdpipeError(f"the weights of {name}: there is no file {path}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise KdpipeError(
            f"{path} is not the file that the study names: its sha256 is {found[:12]}, expected "
            f"{sha256[:12]}"
        )
    return _read(path)


def downloaded(name: str, weights: str | None) -> Path:
    """The file of weights of torchvision or the Hub. Raises KdpipeError if it cannot be had."""
    if weights is None:
        raise KdpipeError(f"the weights of {name}: --weights is missing, the file of one's own")
    if hub.is_repository(weights):
        return hub.fetched(weights)
    from torchvision.models import get_model_weights

    url = get_model_weights(name)[weights].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The digits at the end of the file's name are the start of its SHA-256.
            prefix = url.rpartition("-")[2].partition(".")[0]
            torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise KdpipeError(
                f"the weights {weights} of {name} cannot be downloaded ({url}: {error}): bring the "
                "file to this machine and name it in the study (pretrained: path)"
            ) from None
    return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own; none of them is ours
        raise KdpipeError(
            f"{path} cannot be read as safetensors or as a plain state dict ({_short(error)}): "
            "save model.state_dict() alone"
        ) from None
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise KdpipeError(f"{path} holds no state dict: save model.state_dict()")
    if state and all(str(key).startswith("module.") for key in state):  # of DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def refuse_unlike(
    wanted: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    said: str,
    advice: str | None = None,
) -> None:
    """Raise KdpipeError, which begins as said, if a state has not just the arrays that are wanted.

    Names and shapes are compared, all mistakes are in one message.
    """
    mistakes = [f"{key} is missing" for key in wanted if key not in state]
    mistakes += [f"{key} is none of its parameters" for key in state if key not in wanted]
    mistakes += [
        f"{key} has shape {tuple(value.shape)}, not {tuple(wanted[key].shape)}"
        for key, value in state.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    mistakes += [f"{key} is not finite" for key, v in state.items() if not v.isfinite().all()]
    if mistakes:
        more = [f"and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        lines = [said, *mistakes[:SHOWN], *more, *([advice] if advice else [])]
        raise KdpipeError("\n  ".join(lines))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
