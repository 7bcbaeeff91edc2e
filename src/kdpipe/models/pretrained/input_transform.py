"""The input of networks whose weights were trained on other images or classes.

It is derived from the keys of a study and the metadata of the weights (`weights_info`), without
torch, and is the `input` in the `network` of a spec: the network of such a run is an adapter
(`adapter`) around the one that the weights belong to, for the images and classes of the study. A
network without such differences has no such part, and its runs keep their names.

A custom network has a card for each input that it is built for; one that is only a teacher, with
its own input, is never built for the study's images.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.models.config import InitFrom, PretrainedTeacher
from kdpipe.models.family import Shape
from kdpipe.models.pretrained import hub
from kdpipe.models.pretrained.weights_info import WeightsInfo, load_weights_info
from kdpipe.runs.spec import AdapterSpec, ModelSpec
from kdpipe.text import did_you_mean, format_value, join_names

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class InputSpec:
    """The images and classes of a network, and how they are derived from the study's.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of its images.
    classes : int
        Number of its classes.
    mean, std : tuple of float, or None
        Per channel; None where pixels stay normalized as for the students.
    resize : int or None
        Length of the shorter side to which the crop is resized before its center is cropped.
    interpolation : str
        One of `INTERPOLATIONS`.
    class_indices : tuple of int, or None
        For each class of the data its index among `classes`; None where these are the same.
    source : str
        Where the input is specified, for messages.
    card_resize : int or None
        The `resize` of its weights, even if it is not used.
    """

    shape: Shape
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None
    interpolation: str = "bilinear"
    class_indices: tuple[int, ...] | None = None
    source: str = "the study"
    card_resize: int | None = None

    def spec(self) -> AdapterSpec:
        """Return the `input` of the network of a spec."""
        return AdapterSpec(
            input_revision=hashing.REVISIONS["input"],
            channels=self.shape[0],
            classes=self.classes,
            size=list(self.shape[1:]),
            resize=self.resize,
            interpolation=self.interpolation,
            mean=list(self.mean) if self.mean else None,
            std=list(self.std) if self.std else None,
            picked=list(self.class_indices) if self.class_indices else None,
        )

    def __str__(self) -> str:
        """Describe the input of the network."""
        channels, height, width = self.shape
        if self.mean is None or self.std is None:
            text = "as the students are"
        else:
            color = "grey" if channels == 1 else "coloured"
            scaled = f"the crop scaled to {height} x {width} ({self.interpolation}, antialiased)"
            if self.resize is not None:
                scaled = (
                    f"{height} x {width} out of the centre of the crop scaled to {self.resize} "
                    f"({self.interpolation}, antialiased)"
                )
            numbers = ", std ".join(
                " ".join(f"{n:g}" for n in values) for values in (self.mean, self.std)
            )
            text = f"{scaled}, {color}, mean {numbers} ({self.source})"
        if self.class_indices is not None:
            text += f"; {len(self.class_indices):,} of its {self.classes:,} classes are asked for"
        return text


class DataShape(NamedTuple):
    """The data of a study: shape (channels, height, width), number of classes, class names."""

    shape: Shape
    classes: int
    names: Sequence[str] = ()


class ModelInput(NamedTuple):
    """A custom network, with the shape (channels, height, width) and classes to build it for."""

    name: str
    shape: Shape
    classes: int


# The input and the network of those that have an input of their own, by their names in a study.
InputSpecs = Mapping[str, tuple[InputSpec, str]]


def resolve_input(source: PretrainedTeacher | InitFrom, data: DataShape) -> InputSpec | None:
    """Derive the input of a network with weights.

    Parameters
    ----------
    source : PretrainedTeacher or InitFrom
        Its configuration in the study. One that is trained from weights has the classes of the
        data.
    data : DataShape
        The images and classes of the study.

    Returns
    -------
    InputSpec or None
        None if the study specifies none.

    Raises
    ------
    KdpipeError
        If it cannot be derived; the message begins with the key.
    """
    if isinstance(source, InitFrom):
        info = load_weights_info(source)
        return source.input and _resolve_images(source, data, info, data.classes, None)
    if source.input is None and source.classes is None and source.outputs is None:
        return None
    weights_info = load_weights_info(source)
    names = weights_info.classes if weights_info else ()
    n_outputs = weights_info.outputs if weights_info else None
    classes = source.outputs or n_outputs or data.classes
    if weights_info and source.outputs not in (None, weights_info.outputs):
        raise KdpipeError(
            f"outputs: {source.outputs}, and {weights_info.source} has {weights_info.outputs} "
            "classes"
        )
    class_indices = _match_classes(source, data, names, n_outputs, classes)
    if source.input is None:
        return InputSpec(data.shape, classes, class_indices=class_indices)
    return _resolve_images(source, data, weights_info, classes, class_indices)


def resolve_inputs(
    sources: Mapping[str, PretrainedTeacher | InitFrom], data: DataShape, strict: bool = True
) -> InputSpecs:
    """Derive the inputs of a study's networks with weights, where it specifies any.

    Parameters
    ----------
    sources : mapping of str to PretrainedTeacher or InitFrom
        The networks by their names in the study.
    data : DataShape
        The images and classes of students.
    strict : bool, default True
        Whether to raise KdpipeError for an invalid one, instead of omitting it.
    """
    input_specs = {}
    for label, source in sources.items():
        try:
            if (input_spec := resolve_input(source, data)) is not None:
                input_specs[label] = input_spec, source.network
        except KdpipeError:
            if strict:
                raise
    return input_specs


def list_custom_inputs(
    names: Iterable[str], input_specs: InputSpecs, used_names: Collection[str], data: DataShape
) -> list[ModelInput]:
    """Return the inputs that custom networks are built for.

    Parameters
    ----------
    names : iterable of str
        The custom networks.
    input_specs : InputSpecs
        The inputs of pretrained networks.
    used_names : collection of str
        Networks that are applied to the study's images.
    data : DataShape
        The study's images and classes.
    """
    excluded = {network for _, network in input_specs.values()} - set(used_names)
    inputs = [ModelInput(name, data.shape, data.classes) for name in names if name not in excluded]
    inputs += [
        ModelInput(network, input_spec.shape, input_spec.classes)
        for input_spec, network in input_specs.values()
        if network in names
    ]
    return list(dict.fromkeys(inputs))


def inner_spec(network: ModelSpec) -> ModelSpec:
    """Return the spec of the network that weights belong to, inside its adapter if it has one.

    A network that starts from weights has its own name, and here that of its architecture.
    """
    if network.start is not None:
        network = replace(network, name=network.start.network, start=None)
    if network.input is None:
        return network
    inner_images = {"classes": network.input.classes, "channels": network.input.channels}
    return replace(network, input=None, **inner_images)


def is_valid_input(network: ModelSpec) -> bool:
    """Return whether the `input` in the network of a spec is well formed."""
    assert network.input is not None
    input_spec, class_indices = network.input, network.input.picked
    counts = [input_spec.channels, input_spec.classes, *input_spec.size]
    counts += [] if input_spec.resize is None else [input_spec.resize]
    outputs = input_spec.classes if class_indices is None else len(class_indices)
    return bool(
        len(input_spec.size) == 2
        and all(type(count) is int and 0 < count <= 10**6 for count in counts)
        and input_spec.interpolation in INTERPOLATIONS
        and all(
            values is None or len(values) == input_spec.channels
            for values in (input_spec.mean, input_spec.std)
        )
        and (
            class_indices is None
            or all(0 <= number < input_spec.classes for number in class_indices)
        )
        and outputs == network.classes
    )


def _resolve_images(
    source: PretrainedTeacher | InitFrom,
    data: DataShape,
    weights_info: WeightsInfo | None,
    classes: int,
    class_indices: tuple[int, ...] | None,
) -> InputSpec:
    """Derive the images of a network for which the study has a key `input`."""
    assert source.input is not None
    config = source.input
    if config.card and weights_info is None:
        raise KdpipeError(f"input.card: {_explain_missing_info(source)}")
    defaults = weights_info if config.card else None
    mean, std, interpolation = config.mean, config.std, config.interpolation or "bilinear"
    if defaults is not None:
        mean, std = mean or defaults.mean, std or defaults.std
        interpolation = config.interpolation or defaults.interpolation
        if not mean or not std:
            raise KdpipeError(
                f"input.card: {defaults.source} does not specify mean and std for the channels of "
                "its network: set both"
            )
        if interpolation not in INTERPOLATIONS:
            raise KdpipeError(
                f"input.card: {defaults.source} has the interpolation "
                f"{format_value(interpolation)}, which is none of {join_names(INTERPOLATIONS)}: "
                "write one as input.interpolation"
            )
    assert mean and std  # or the keys were refused
    size = (
        (config.size, config.size) if config.size else defaults.size if defaults else data.shape[1:]
    )
    if len(mean) != data.shape[0] and data.shape[0] not in (1, 3):
        raise KdpipeError(
            f"input.mean: it has {len(mean)} channels, but images of {data.shape[0]} channels can "
            "only be converted to 1 (gray) or 3 (color)"
        )
    height, width = size
    if config.resize is not None and config.resize < max(size):
        raise KdpipeError(
            f"input.resize: {config.resize} is less than the size of the center crop, {max(size)}"
        )
    return InputSpec(
        (len(mean), height, width),
        classes,
        tuple(mean),
        tuple(std),
        config.resize,
        interpolation,
        class_indices,
        defaults.source if defaults else "the study",
        defaults.resize if defaults else None,
    )


def _explain_missing_info(source: PretrainedTeacher | InitFrom) -> str:
    """Return why weights have no metadata, and what to do about it."""
    if source.weights is not None and hub.is_repository(source.weights):
        command = hub.download_command(source.weights)
        return f"the config of {source.weights} is not on this machine; run: {command}"
    return (
        "only named weights of torchvision and the Hub, exports of kdpipe and timm's folders have "
        "metadata: set mean and std, and size where it differs from the study's"
    )


def _match_classes(
    source: PretrainedTeacher,
    data: DataShape,
    names: Sequence[str],
    n_outputs: int | None,
    classes: int,
) -> tuple[int, ...] | None:
    """Return the index of the network's class for each class of the data."""
    class_names = source.classes
    if class_names is None:
        if classes != data.classes:
            raise KdpipeError(
                f"outputs: it has {classes:,} classes, but the data have {data.classes}: map the "
                "classes (classes: a list, or by-name)"
            )
        return None
    if n_outputs is None and source.outputs is None:
        raise KdpipeError("outputs: missing required key, the number of its classes")
    if class_names == "by-name":
        if not data.names:
            raise KdpipeError("classes: by-name, but the card of the data has no class names")
        class_names = list(data.names)
    if len(class_names) != data.classes:
        raise KdpipeError(
            f"classes: {len(class_names)} entries for the {data.classes} classes of the data"
        )
    class_indices = [_find_class_index(name, names, classes) for name in class_names]
    if repeated := [index for index, count in Counter(class_indices).items() if count > 1]:
        raise KdpipeError(f"classes: two classes of the data are mapped to its class {repeated[0]}")
    return tuple(class_indices)


def _find_class_index(class_name: int | str, names: Sequence[str], classes: int) -> int:
    """Return the index of a class by its number or name."""
    if isinstance(class_name, int):
        if class_name >= classes:
            raise KdpipeError(f"classes: {class_name} is out of range: it has {classes:,} classes")
        return class_name
    if not names:
        raise KdpipeError(
            f"classes: {format_value(class_name)}: its weights have no metadata with class names; "
            "give indices"
        )
    matches = [number for number, name in enumerate(names) if name == class_name]
    if not matches:
        choices = "" if len(names) > 20 else f" (it has {join_names(names)})"
        raise KdpipeError(
            f"classes: it has no class {format_value(class_name)}"
            f"{did_you_mean(class_name, names)}{choices}"
        )
    if len(matches) > 1:
        raise KdpipeError(
            f"classes: {format_value(class_name)} matches its classes {join_names(matches)}: "
            "give one of them"
        )
    return matches[0]
