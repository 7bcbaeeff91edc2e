"""Pretrained teachers: named weights of torchvision, or an existing file."""

import os
from collections.abc import Iterator
from pathlib import Path

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.errors import KdpipeError
from kdpipe.models import registry
from kdpipe.models.config import PretrainedTeacher, PretrainedWeights
from kdpipe.models.pretrained import hub, input_transform, kdpipe_export, weights_info
from kdpipe.runs.files import READ_ERRORS, hash_regular_file
from kdpipe.runs.spec import ModelSpec
from kdpipe.text import format_value, join_names


def _check_pretrained(config: PartialConfig) -> Iterator[str]:
    """Check each pretrained teacher whose section is valid."""
    for name, source in config.pretrained.items():
        if not partial_config.invalid_keys(source):
            yield from _check_source(config, name, source)


def _check_source(config: PartialConfig, name: str, source: PretrainedTeacher) -> Iterator[str]:
    """Check the input, the network and the weights of a pretrained teacher."""
    location = f"pretrained.{name}"
    if config.data_shape is not None:
        try:
            input_transform.resolve_input(source, config.data_shape)
        except KdpipeError as error:
            yield f"{location}.{error}"
            return
    if name in config.model_inputs:
        _, network, adapted_models = config.networks.adapted[name]
        try:
            adapted_models.check(network)
        except KdpipeError as error:
            yield f"{location}.input: {error}"
    else:
        yield from config.check_network(f"{location}.network", source.network)
    if source.network in config.starts:
        yield f"{location}.network: {source.network} is an entry of `starts`: give its network"
    yield from check_weights_file(location, source)
    of_torchvision = source.weights in registry.list_weights(source.network)
    if (
        of_torchvision
        and name not in config.model_inputs
        and config.card
        and config.card.classes != 1000
    ):
        yield (
            f"{location}.weights: they have 1,000 classes, and the data have "
            f"{config.card.classes}: map the classes (classes: a list, or by-name)"
        )


def check_weights_file(location: str, source: PretrainedWeights) -> Iterator[str]:
    """Yield the errors in the source of weights.

    They must exist in torchvision or as a file. Weights of the Hugging Face Hub may be downloaded
    later if their checksum is given.

    Parameters
    ----------
    location : str
        The section as a dotted path.
    source : PretrainedWeights

    Yields
    ------
    str
    """
    repository = None
    if source.weights is not None and hub.is_repository(source.weights):
        repository = source.weights
    elif source.weights is not None and source.weights not in registry.list_weights(source.network):
        yield (
            f"{location}.weights: {format_value(source.weights)}: torchvision has "
            f"{join_names(registry.list_weights(source.network))} for {source.network}"
        )
    try:
        path = weights_info.find_weights_file(source)
    except KdpipeError as error:
        yield f"{location}.weights: {error}"
        return
    lacks_checksum = source.sha256 is None and (repository is not None or source.weights is None)
    if path is None:
        if lacks_checksum:
            yield (
                f"{location}.sha256: missing required key, and {repository} is not on this "
                f"machine; run: {hub.download_command(str(repository))}"
            )
        return
    if not os.path.isfile(path):
        # With its checksum a file is needed for runs that are still to be trained alone: see
        # `data_drift.find_missing_weights`.
        if lacks_checksum or source.weights is not None:
            yield f"{location}.path: there is no file {format_value(path)}"
    elif lacks_checksum:
        checksum = hash_regular_file(path)
        yield f"{location}.sha256: missing required key; that of the existing file is {checksum}"
    if (
        source.path is not None
        and os.path.isdir(source.path)
        and not hub.is_timm_folder(source.path)
    ):
        yield from _check_export(location, source)


def _check_export(location: str, source: PretrainedWeights) -> Iterator[str]:
    """Check that the export in a folder has the given network."""
    try:
        config = kdpipe_export.read_export_config(Path(str(source.path)))
    except KdpipeError as error:
        yield f"{location}.path: {error}"
        return
    try:
        exported_network = ModelSpec.from_dict(config["network"])
    except READ_ERRORS:
        yield f"{location}.path: the export has no valid network: export the run again"
        return
    if exported_network.input is not None:
        yield (
            f"{location}.path: this export has a network with a custom input: give the weights of "
            "that network"
        )
    elif (
        not exported_network.build
        and input_transform.inner_spec(exported_network).name != source.network
    ):
        network = input_transform.inner_spec(exported_network).name
        yield f"{location}.network: {source.network}, but the export has {network}"


RULE = Rule(60, _check_pretrained)
