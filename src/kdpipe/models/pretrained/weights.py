"""Weights files of a user, torchvision or the Hub, for teachers and for initialization.

A file is compared with the SHA-256 in the study before it is read. It is read as safetensors, or as
a state dict by torch with `weights_only`: nothing in it is executed. Everything that does not fit
the network is listed by name in one message. A training run that starts from weights may omit some
and freeze some, by the patterns of its `start`; only a classifier for other classes is initialized
anew without a pattern, and reported.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.models import factory, layers
from kdpipe.models.layers import TorchvisionNetwork
from kdpipe.models.pretrained import hub
from kdpipe.models.pretrained.adapter import set_normalization, unwrap
from kdpipe.runs.files import hash_regular_file
from kdpipe.runs.spec import ModelSpec, RunSpec
from kdpipe.text import escape, format_value

# Keys under which training scripts store weights in a checkpoint.
NESTED_KEYS = ("state_dict", "model", "net", "model_state_dict")
# Old files lack these counters, which no network with a fixed momentum reads.
BATCH_COUNT_SUFFIX = "num_batches_tracked"
MAX_LISTED = 8  # differences in a message
REAL_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGER_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def load_pretrained(
    model: nn.Module, spec: RunSpec, path: Path | None, mean: Any, std: Any
) -> None:
    """Load the weights that a run's spec names into its network.

    Parameters
    ----------
    model : nn.Module
        The network of the run.
    spec : RunSpec
        Spec of the run.
    path : Path or None
        File of the weights; None to download them by name.
    mean, std : array of shape (C,)
        Normalization of the run's images.

    Raises
    ------
    KdpipeError
        If it is a different file, or does not fit the network.
    """
    assert spec.pretrained is not None
    if path is None:
        path = download_by_name(spec.network.name, spec.pretrained.weights)
    network = unwrap(model)
    factory.load_state(network, _match_state(network, spec, path))
    set_normalization(model, mean, std)


def check_weights(spec: RunSpec, path: Path, code: Path | None = None) -> None:
    """Raise KdpipeError if a weights file does not match a run's spec, or does not fit its network.

    The network is built on the meta device, unless it is a custom one; `code` is the folder of
    that.
    """
    with torch.device("cpu" if spec.network.build else "meta"):
        model = factory.build_model(spec.network, code)
    _match_state(unwrap(model), spec, path)


def _match_state(model: nn.Module, spec: RunSpec, path: Path) -> dict[str, torch.Tensor]:
    """Return the state in a file, which must be the one in the spec and fit the network."""
    assert spec.pretrained is not None
    name = spec.network.name
    state = read_weights(path, str(spec.pretrained.sha256), name)
    if isinstance(model, TorchvisionNetwork) and not any(k.startswith("network.") for k in state):
        state = {f"network.{key}": value for key, value in state.items()}  # as torchvision has it
    check_state_dict(model.state_dict(), state, f"{path} does not fit {name}")
    return state


def read_weights(path: Path, sha256: str, name: str) -> dict[str, torch.Tensor]:
    """Read a weights file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        Its SHA-256, or the first digits of that.
    name : str
        Name of the network, for messages.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    KdpipeError
        If it is a different file, or holds no state dict.
    """
    try:
        digest = hash_regular_file(path)
    except FileNotFoundError:
        raise KdpipeError(f"the weights of {name}: there is no file {path}") from None
    except OSError as error:
        raise KdpipeError(
            f"the weights of {name}: {path} cannot be read: {error.strerror}"
        ) from None
    if not digest.startswith(sha256):
        raise KdpipeError(
            f"{path} is not the file given in the study: its sha256 is {digest[:12]}, expected "
            f"{sha256[:12]}"
        )
    return _read_state(path)


def download_by_name(name: str, weights: str | None) -> Path:
    """Return the weights file of torchvision or the Hub, downloaded if necessary.

    Raises
    ------
    KdpipeError
        If it cannot be downloaded.
    """
    if weights is None:
        raise KdpipeError(f"the weights of {name}: --weights is missing, the file of the weights")
    if hub.is_repository(weights):
        return hub.download_weights(weights)
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
                f"the weights {weights} of {name} cannot be downloaded ({url}: {error}): copy the "
                "file to this machine and set its path in the study (pretrained: path)"
            ) from None
    return path


def _read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, whose values are dense tensors in memory."""
    state = _load_tensors(path)
    for key in NESTED_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise KdpipeError(f"{path} does not contain a state dict: save model.state_dict()")
    errors = [
        f"{escape(format_value(key)) if not isinstance(key, str) else escape(key)} {problem}"
        for key, value in state.items()
        if (problem := _find_problem(key, value)) is not None
    ]
    if errors:
        raise KdpipeError(
            "\n  ".join(
                [
                    f"{path} has more than the tensors of a state dict:",
                    *_limit(errors),
                    "save only model.state_dict(), in float32 on the CPU",
                ]
            )
        )
    if state and all(key.startswith("module.") for key in state):  # of DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _load_tensors(path: Path) -> Any:
    """Return the content of a file, in which only tensors and containers are allowed."""
    hint = "save only model.state_dict()"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about sparse tensors, which are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except KdpipeError:
        raise
    except Exception as error:  # each format raises its own
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            # The text of torch explains how to execute the file all the same.
            names = re.findall(r"GLOBAL ([A-Za-z_][\w.]{0,80})", str(error))
            other = f" ({names[0]})" if names else ""
            raise KdpipeError(
                f"{path} cannot be read: it has other objects than tensors{other}, or is damaged; "
                f"nothing in it was executed: {hint}"
            ) from None
        raise KdpipeError(
            f"{path} cannot be read as safetensors or as a plain state dict "
            f"({_shorten(error)}): {hint}"
        ) from None


def _check_archive(path: Path) -> None:
    """Raise KdpipeError for an archive that unpacks to more than its size, as torch writes none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise KdpipeError(
                f"{path} cannot be read: it is compressed to less than its {size:,} bytes, which "
                "torch.save never does"
            )


def _find_problem(key: object, value: object) -> str | None:
    """Return why an entry of a state dict cannot be loaded; None if it can."""
    if not isinstance(key, str):
        return "is not the name of a parameter"
    if not isinstance(value, Tensor):
        return f"is not a tensor ({type(value).__name__})"
    if value.device.type != "cpu":
        return f"has no values (device {value.device.type})"
    if value.is_quantized:
        return f"is quantized ({_type_name(value)})"
    if value.layout != torch.strided or value.is_nested:
        return "is sparse or nested"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"is expanded: it has {value.numel():,} elements, but fewer values"
    if value.dtype not in REAL_TYPES + INTEGER_TYPES + (torch.bool,):
        return f"has the type {_type_name(value)}, which is not real"
    return None


def _type_name(value: Tensor) -> str:
    """Return the name of a tensor's type, without its package."""
    return str(value.dtype).removeprefix("torch.")


def _limit(errors: list[str]) -> list[str]:
    """Return the first errors, and how many there are more."""
    more = [f"and {len(errors) - MAX_LISTED} more"] if len(errors) > MAX_LISTED else []
    return [*errors[:MAX_LISTED], *more]


def _shorten(error: Exception) -> str:
    return escape(" ".join(str(error).split())[:200] or type(error).__name__)


def check_state_dict(
    expected: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    headline: str,
    advice: str | None = None,
) -> None:
    """Raise KdpipeError if a state does not have exactly the expected arrays.

    Parameters
    ----------
    expected : mapping of str to Tensor
        State of the network.
    state : mapping of str to Tensor
        State to check: names, shapes, types, and whether all values are finite.
    headline : str
        First line of the message, which lists all differences.
    advice : str, optional
        Last line of the message.
    """
    errors = [f"{key} is missing" for key in expected if key not in state]
    errors += [
        f"{escape(key)} is not one of its parameters" for key in state if key not in expected
    ]
    pairs = {key: (value, expected[key]) for key, value in state.items() if key in expected}
    errors += [
        f"{key} has shape {tuple(value.shape)}, not {tuple(reference.shape)}"
        for key, (value, reference) in pairs.items()
        if value.shape != reference.shape
    ]
    errors += [
        f"{key} has the type {_type_name(value)}, expected {_type_name(reference)}"
        for key, (value, reference) in pairs.items()
        if not _has_loadable_type(value, reference)
    ]
    # Only of the right shape: this allocates as many numbers as there are.
    errors += [
        f"{key} is not finite"
        for key, (value, reference) in pairs.items()
        if value.shape == reference.shape
        and value.is_floating_point()
        and not value.isfinite().all()
    ]
    if errors:
        raise KdpipeError("\n  ".join([headline, *_limit(errors), *([advice] if advice else [])]))


def _has_loadable_type(value: Tensor, reference: Tensor) -> bool:
    """Return whether a tensor can be converted to the type of the network's."""
    if value.dtype == reference.dtype:
        return True
    types = REAL_TYPES if reference.is_floating_point() else INTEGER_TYPES
    return value.dtype in types and reference.dtype != torch.bool


# --- Weights that a training begins from


class InitReport(NamedTuple):
    """What a network loads from the weights that it starts from.

    The fields are keys of a run's record.

    Attributes
    ----------
    taken : int
        Number of arrays that were loaded.
    new : tuple of str
        Arrays that are initialized at random instead.
    frozen : int
        Number of frozen arrays.
    """

    taken: int
    new: tuple[str, ...]
    frozen: int

    def __str__(self) -> str:
        """Describe what was loaded, is new and is frozen."""
        if not self.taken:
            return f"nothing is loaded: all {len(self.new):,} arrays are new, at random"
        new = f"new, at random: {', '.join(self.new)}" if self.new else "nothing is new"
        frozen = f"; {self.frozen:,} frozen" if self.frozen else ""
        return f"{self.taken:,} arrays loaded, {new}{frozen}"


class Backbone:
    """The part of a network that was loaded from weights: it may be frozen, or learn more slowly.

    It is empty for a network with random initialization.

    Parameters
    ----------
    model : nn.Module
        The network.
    network : ModelSpec
        Its spec.

    Attributes
    ----------
    init_report : InitReport or None
        Report of `load_init`.
    frozen_modules : list of nn.Module
        Frozen modules, with their statistics.
    lr_factors : dict of str to float
        Factors on the learning rate by parameter.
    n_frozen : int
        Number of frozen arrays.

    Raises
    ------
    KdpipeError
        If a pattern matches nothing, or no trainable parameter is left.
    """

    init_report: InitReport | None = None

    def __init__(self, model: nn.Module, network: ModelSpec):
        self.model = model
        self.frozen_modules: list[nn.Module] = []
        self.lr_factors: dict[str, float] = {}
        self.n_frozen = 0
        if (start := network.start) is None:
            return
        inner = _unwrap_torchvision(unwrap(model))
        prefix = next(name for name, module in model.named_modules() if module is inner)
        prefix += "." if prefix else ""
        head_names = _match_names(start.new, inner.state_dict()) | _find_head_names(
            inner, network.classes
        )
        names = [name for name in inner.state_dict() if name not in head_names]
        frozen_names = _match_names(start.freeze, names)
        _check_patterns_match("freeze", start.freeze, names, network.name)
        self.n_frozen = len(frozen_names)
        for name, parameter in inner.named_parameters():
            if name in frozen_names:
                parameter.requires_grad_(False)
            elif name not in head_names and start.backbone_lr != 1:
                self.lr_factors[prefix + name] = start.backbone_lr
        if not any(parameter.requires_grad for parameter in inner.parameters()):
            raise KdpipeError(
                f"starts.{network.name}.freeze: no trainable parameters of {start.network} are left"
            )
        for path, module in inner.named_modules():
            direct_names = [name for name, _ in module.named_parameters(path, recurse=False)]
            direct_names = direct_names or [
                name for name, _ in module.named_buffers(path, recurse=False)
            ]
            if direct_names and frozen_names.issuperset(direct_names):
                self.frozen_modules.append(module)

    def train(self) -> None:
        """Put the network into training mode; frozen modules keep their statistics."""
        self.model.train()
        for module in self.frozen_modules:
            module.training = False


def load_init(model: nn.Module, network: ModelSpec, path: Path | None) -> Backbone:
    """Load the weights that the network of a spec starts from, if any.

    Parameters
    ----------
    model : nn.Module
        The network.
    network : ModelSpec
        Its spec.
    path : Path or None
        File of the weights; None to download them by name.

    Raises
    ------
    KdpipeError
        If it is a different file, or does not fit.
    """
    backbone = Backbone(model, network)
    if (start := network.start) is not None:
        if path is None:
            path = download_by_name(start.network, start.weights)
        inner = _unwrap_torchvision(unwrap(model))
        state, backbone.init_report = _match_init_state(inner, network, path, backbone.n_frozen)
        factory.load_state(inner, state)
    return backbone


def match_init_weights(network: ModelSpec, path: Path, code: Path | None = None) -> InitReport:
    """Return what a network would load from a file.

    The network is built on the meta device, unless it is a custom one; `code` is the folder of
    that.

    Raises
    ------
    KdpipeError
        If it is a different file, or does not fit.
    """
    with torch.device("cpu" if network.build else "meta"):
        model = factory.build_model(network, code)
    frozen = Backbone(model, network).n_frozen
    inner = _unwrap_torchvision(unwrap(model))
    return _match_init_state(inner, network, path, frozen)[1]


def _unwrap_torchvision(model: nn.Module) -> nn.Module:
    """Return the network with the original parameter names."""
    return model.network if isinstance(model, TorchvisionNetwork) else model


def _match_init_state(
    model: nn.Module, network: ModelSpec, path: Path, frozen: int
) -> tuple[dict[str, Tensor], InitReport]:
    """Return the complete initial state of a network, and the report."""
    start, name = network.start, network.name
    assert start is not None
    try:
        state = read_weights(path, str(start.sha256), start.network)
    except KdpipeError as error:
        raise KdpipeError(f"starts.{name}: {error}") from None
    if state and all(key.startswith("network.") for key in state):  # of a run of kdpipe's
        state = {key.removeprefix("network."): value for key, value in state.items()}
    initial = model.state_dict()
    _check_patterns_match("new", start.new, initial, name)
    _check_patterns_match("unused", start.unused, state, name)
    new_names = _match_names(start.new, initial)
    head = _find_head_names(model, network.classes)
    if any(
        key not in state or state[key].shape[:1] != initial[key].shape[:1] for key in head
    ):  # a backbone alone, or a classifier of other classes
        new_names |= head
    unused_names = _match_names(start.unused, state) | new_names
    loaded = {key: value for key, value in state.items() if key not in unused_names}
    absent_counts = {
        key for key in initial if key.endswith(BATCH_COUNT_SUFFIX) and key not in state
    }
    expected = {
        key: value for key, value in initial.items() if key not in new_names | absent_counts
    }
    check_state_dict(
        expected,
        loaded,
        f"starts.{name}: {path} does not fit {start.network}",
        f"list arrays to initialize at random in starts.{name}.new, and arrays of the file to "
        f"ignore in starts.{name}.unused",
    )
    report = InitReport(len(loaded), tuple(key for key in initial if key in new_names), frozen)
    return {**initial, **loaded}, report


def _find_head_names(model: nn.Module, classes: int) -> set[str]:
    """Return the parameter names of the last linear layer, if there is one for the classes."""
    try:
        head_ids = {
            id(parameter) for parameter in layers.find_head(model, classes, "").parameters()
        }
    except KdpipeError:
        return set()
    return {name for name, parameter in model.named_parameters() if id(parameter) in head_ids}


def _match_names(
    patterns: Collection[str], names: Collection[str] | Mapping[str, object]
) -> set[str]:
    return {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}


def _check_patterns_match(
    key: str, patterns: Collection[str], names: Collection[str], name: str
) -> None:
    """Raise KdpipeError for a pattern that matches none of the names."""
    for pattern in patterns:
        if not _match_names([pattern], names):
            some = ", ".join([*names][:6]) or "nothing"
            raise KdpipeError(
                f"starts.{name}.{key}: {pattern!r} matches none of {len(names):,} names ({some}, "
                "...)"
            )
