"""The cards of a study's custom networks, written after a trial and compared with the code.

A card whose digests match the current files is valid without a trial: nothing is imported for it.
Where they differ (or an older card has none) the network is tried again, and its fingerprint
decides whether its outputs have changed. All errors in a study's networks are in one message.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kdpipe.code_digest import hash_reached_code
from kdpipe.errors import KdpipeError, StudyError, raise_study_errors
from kdpipe.models.config import CustomModelConfig
from kdpipe.models.custom import card as network_card
from kdpipe.models.custom.card import ModelInfo
from kdpipe.models.pretrained.input_transform import ModelInput
from kdpipe.runs.files import write_json
from kdpipe.text import format_command, format_write_command
from kdpipe.user_code import (
    ADDED_DIGESTS,
    are_of_reached_code,
    find_other_libraries,
    is_code_unchanged,
    require_unchanged_code,
)

MAX_LISTED = 6  # differences in a message


@dataclass(frozen=True)
class CustomModels:
    """A study's custom networks.

    Attributes
    ----------
    source : str
        The study's file, as messages name it.
    networks : dict of str to CustomModelConfig
        The networks by name.
    code : str or None
        Folder of their code and their cards.
    inputs : list of ModelInput
        The inputs that each is built for; a network may have several.
    on_gpus : bool
        Whether they may run on GPUs, and are checked for that.
    """

    source: str
    networks: dict[str, CustomModelConfig]
    code: str | None
    inputs: list[ModelInput]
    on_gpus: bool = False

    def card_path(self, model_input: ModelInput) -> Path:
        """Return the path of the card for one of the inputs."""
        return network_card.card_path(Path(self.code or ""), *model_input)


def write_cards(models: CustomModels, same: bool = False) -> list[str]:
    """Try every custom network of a study and write its card.

    Parameters
    ----------
    models : CustomModels
        The networks.
    same : bool, default False
        Whether their author says that changed code computes the same, where the trial agrees.

    Returns
    -------
    list of str
        One line for each card.

    Raises
    ------
    StudyError
        With all errors; then no card is written.
    """
    if not models.networks:
        raise StudyError(f"{models.source}: it has no custom networks (key networks)")
    lines = []
    for card in _validate_each(
        models, models.inputs, lambda card, path: _keep_old_fingerprint(card, path, models, same)
    ):
        path = models.card_path(ModelInput(card.name, card.shape, card.classes))
        renames_runs = _lacks_stage_numbers(path) and card.of_groups
        write_json(path, network_card.serialize_card(card))
        line = (
            f"{path}: {card.build} for {' x '.join(map(str, card.shape))} in {card.classes} "
            f"classes: {card.parameters:,} parameters, {card.multiply_adds:,} multiply-adds"
        )
        if card.random:
            line += "; random in training mode (dropout)"
        if card.groups:
            line += f"; {len(card.groups)} group outputs"
        if renames_runs:
            line += ", missing in its old card: its runs get new names and are trained again"
        if not card.linear:
            line += "; it does not end in a linear classifier, so it cannot be probed"
        lines.append(line)
    return lines


def check_cards(models: CustomModels) -> list[str]:
    """Compare the cards of a study with its code, which is imported only if they differ.

    A card from before digests gets that of the code once the trial agrees.

    Returns
    -------
    list of str
        A line for each such card, and for each that was made with other versions of libraries.

    Raises
    ------
    StudyError
        With all networks that fail, or do not match their cards.
    """
    lines: list[str] = []
    _validate_each(
        models,
        [model_input for model_input in models.inputs if not _is_current(models, model_input)],
        lambda card, path: _check_unchanged(card, path, models, lines),
    )
    for path in sorted(map(models.card_path, models.inputs)):
        card = network_card.read_card(path, "")
        if changes := find_other_libraries(card.libraries):
            lines.append(f"{path} was written with other libraries: {'; '.join(changes)}")
    return lines


def _is_current(models: CustomModels, model_input: ModelInput) -> bool:
    """Return whether a network has a card with the digests of its present code.

    A library's code has none: it is that of the card's version.
    """
    folder = Path(models.code or "")
    try:
        config = models.networks[model_input.name]
        name, shape, classes = model_input
        card = network_card.load_card(folder, name, config, shape, classes, models.source)
    except KdpipeError:
        return False
    is_unchanged = is_code_unchanged(card.code, folder, card.build) or _is_of_library(card, folder)
    return is_unchanged and (card.gpu_checked or not models.on_gpus)


def _is_of_library(card: ModelInfo, folder: Path) -> bool:
    """Return whether a network is an installed library's, in the version of its card."""
    library = card.build.partition(".")[0]
    version = (card.libraries or {}).get(library)
    if version is None or find_other_libraries({library: version}):
        return False
    return not hash_reached_code(folder, card.build)


def _validate_each(
    models: CustomModels,
    inputs: list[ModelInput],
    compare_card: Callable[[ModelInfo, Path], ModelInfo],
) -> list[ModelInfo]:
    """Try networks of a study and compare each with its old card; raise all errors together."""
    if not inputs:
        return []
    from kdpipe.models.custom import validate  # torch

    code = Path(models.code) if models.code else None
    cards, errors = [], []
    for model_input in inputs:
        try:
            network = models.networks[model_input.name]
            card = validate.validate_model(
                model_input.name, network, model_input.shape, model_input.classes, code
            )
            if models.on_gpus:
                validate.check_gpu(card, code)
                card = replace(card, gpu_checked=True)
            cards.append(compare_card(card, models.card_path(model_input)))
        except KdpipeError as error:
            errors.append(str(error))
    raise_study_errors(models.source, errors)
    return cards


def _keep_old_fingerprint(
    card: ModelInfo, path: Path, models: CustomModels, same: bool
) -> ModelInfo:
    """Return the card to be written, with the old fingerprint where the two agree.

    The old one is part of the names of runs, and machines round differently. Two computations under
    one revision are rejected.
    """
    from kdpipe.models.custom import fingerprint  # torch

    try:
        old = network_card.read_card(path, "", require_seal=False)
    except KdpipeError:
        return card
    if replace(old.spec(), answer=()) != replace(card.spec(), answer=()):
        return card
    if not _fingerprints_match(old, card):
        raise KdpipeError(
            f"networks.{card.name}.revision: the outputs of {card.build} have changed under the "
            f"same revision: raise it (or remove {path}, if nothing was trained with it)"
        )
    if not same:
        _refuse_changed_code(old, models)
    stage_numbers = card.of_groups  # with the kind of step of the old logits
    if card.random and not old.trained:
        stage_numbers = stage_numbers[: len(stage_numbers) // 2]
    elif card.other is not None and fingerprint.logits_match(old.trained, card.other[0]):
        stage_numbers = card.other[1]
    return replace(
        card,
        answer=old.answer,
        trained=old.trained,
        of_groups=old.of_groups or stage_numbers,
    )


def _lacks_stage_numbers(path: Path) -> bool:
    """Return whether there is a card of an earlier version, which runs were named by."""
    try:
        return not network_card.read_card(path, "", require_seal=False).of_groups
    except KdpipeError:
        return False


def _check_unchanged(
    card: ModelInfo, path: Path, models: CustomModels, lines: list[str]
) -> ModelInfo:
    """Raise KdpipeError if a network does not match its card; add digests to one without."""
    hint = f"run: {format_write_command(models.source)}"
    old = network_card.read_card(path, hint)
    if differences := _diff_cards(old, card):
        raise KdpipeError(
            f"networks.{card.name}.build: {card.build} is not as in its card "
            f"({'; '.join(differences)}): if this is intended, raise networks.{card.name}.revision "
            f"and {hint}"
        )
    if card.code is not None and not are_of_reached_code(old.code):
        complete = replace(
            old, code=card.code, gpu_checked=card.gpu_checked, libraries=card.libraries
        )
        write_json(path, network_card.serialize_card(complete))
        lines.append(f"{path}: {ADDED_DIGESTS}")
    else:
        _refuse_changed_code(old, models)
    return card


def _refuse_changed_code(old: ModelInfo, models: CustomModels) -> None:
    """Raise KdpipeError if the code of a card was changed, though the trial agrees with it."""
    require_unchanged_code(
        old.code,
        Path(models.code or ""),
        old.build,
        f"networks.{old.name}.build",
        f"networks.{old.name}.revision",
        format_command("network", models.source),
        format_write_command(models.source),
    )


def _diff_cards(old: ModelInfo, new: ModelInfo) -> list[str]:
    """Return the differences between a card and its present network, as texts."""
    lines = [
        f"{key} {getattr(old, key)} -> {getattr(new, key)}"
        for key in ("parameters", "multiply_adds", "layout", "random", "linear", "groups")
        if getattr(old, key) != getattr(new, key)
    ]
    for key in sorted(old.state.keys() | new.state.keys()):
        before, now = old.state.get(key, "not there"), new.state.get(key, "not there")
        if before != now:
            lines.append(f"{key} {before} -> {now}")
    if not lines and not _fingerprints_match(old, new):
        lines = ["its outputs have changed, with the same parameters"]
    more = [f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return lines[:MAX_LISTED] + more


def _fingerprints_match(old: ModelInfo, new: ModelInfo) -> bool:
    """Return whether the fingerprint of a card matches that of a network that was just tried."""
    from kdpipe.models.custom import fingerprint  # torch

    actual = fingerprint.Fingerprint(new.answer, new.trained, new.of_groups, new.random, new.other)
    return fingerprint.matches_fingerprint(old.spec().answer, actual)
