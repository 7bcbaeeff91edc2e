"""Data drift: whether what a study names is still what its file and its cards say.

A study is planned from its file and from cards alone. Here the things themselves are compared with
them, before any time is spent: custom images, custom code, and files of pretrained weights.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe import hashing
from kdpipe.config.schema import Study
from kdpipe.data import cards
from kdpipe.data.config import DataConfig
from kdpipe.data.imagefolder import unlabelled_card as unlabelled
from kdpipe.errors import KdpipeError, raise_study_errors
from kdpipe.models.pretrained import input_transform, weights_info
from kdpipe.models.pretrained.input_transform import ModelInput
from kdpipe.plan.nodes import Plan
from kdpipe.runs.ownership import CARD_FILE
from kdpipe.runs.store import Store
from kdpipe.text import format_value

if TYPE_CHECKING:
    from kdpipe.models.pretrained.weights import InitReport


def check_study_inputs(plan: Plan, source: str) -> list[str]:
    """Check all that a study names; this imports torch where code or weights are tried.

    Parameters
    ----------
    plan : Plan
        Its plan.
    source : str
        Its file, as messages name it.

    Returns
    -------
    list of str
        What networks take over from the weights that they start from, and what in them is new;
        cards that have no digest of the code yet, or are of other libraries.

    Raises
    ------
    KdpipeError
        If something is not what the study or a card says.
    """
    study, inits, lines = plan.study, _check_inits(plan), list[str]()
    init_errors = [str(report) for report in inits.values() if isinstance(report, KdpipeError)]
    raise_study_errors(
        source, [*find_changed_images(study, source), *_find_weight_errors(plan), *init_errors]
    )
    if study.networks:
        from kdpipe.models.custom import study_cards

        on_gpus = study.device == "cuda"
        lines += study_cards.check_cards(
            study_cards.CustomModels(
                source, study.networks, study.code, resolve_custom_inputs(study), on_gpus
            )
        )
    if any(method.term for method in study.methods.values()):
        from kdpipe.losses.custom import study_cards as term_cards

        on_gpus = study.device == "cuda"
        lines += term_cards.check_term_cards(
            term_cards.CustomTerms(source, study.methods, study.code, on_gpus)
        )
    lines += [f"starts.{name} begins from its file: {report}" for name, report in inits.items()]
    return lines


def resolve_custom_inputs(study: Study) -> list[ModelInput]:
    """Return the images for which the custom networks of a study are built."""
    card = cards.load_section_card(study.data)
    data_shape = input_transform.DataShape(card.shape, card.classes, card.class_names)
    model_inputs = input_transform.resolve_inputs(study.weights_sources, data_shape)
    return input_transform.list_custom_inputs(
        study.networks, model_inputs, study.network_names, data_shape
    )


def find_changed_images(study: Study, source: str = "STUDY") -> list[str]:
    """Return an error for each folder of images that has changed since its card was made.

    Sizes and times of files are compared, and contents where these differ; torch is not needed.

    Parameters
    ----------
    study : Study
        The study.
    source : str
        Its file, for the command in a message.
    """
    sections = {"data": study.data}
    sections |= {
        f"transfers.{name}.data": transfer.data for name, transfer in study.transfers.items()
    }
    errors = [line for section, data in sections.items() for line in _find_changed(section, data)]
    if unlabelled.has_unlabelled_images(study.data):
        from kdpipe.data.imagefolder import unlabelled_builder  # numpy

        if (change := unlabelled_builder.diff_unlabelled(study.data, source)) is not None:
            errors.append(f"data.unlabelled: {change}")
    return errors


def find_changed_preparations(plan: Plan, store: Store) -> list[str]:
    """Return an error for each card that says something else than when its images were prepared.

    A report is rendered without the images and relies on the card, which somebody may have changed
    and sealed again. Fields that only one of the two has are not compared.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        Results with the prepared images.
    """
    custom = {
        folder: (data, data.path)
        for folder, data in plan.datasets.items()
        if data.path is not None and data.name not in cards.list_datasets()
    }
    if not custom:
        return []
    from kdpipe.data import cache  # numpy

    errors: list[str] = []
    for folder, (data, path) in custom.items():
        snapshot = cache.read_notes(store.data(folder))
        if snapshot != hashing.add_checksum(snapshot):
            continue
        card = cards.load_card(data.name, path, data.card)
        if card.folder != folder:  # of images without labels
            continue
        current = json.loads(json.dumps(cards.seal_card(card)))
        keys = current.keys() & snapshot.keys() - {"source", "files", "made", "seal"}
        differences = [
            f"{key} {format_value(current[key])}, and said {format_value(snapshot[key])} when they "
            "were prepared"
            for key in sorted(keys)
            if current[key] and snapshot[key] and current[key] != snapshot[key]
        ]
        if differences:
            card_path = Path(data.card) if data.card else cards.get_card_path(Path(path))
            command = cards.format_rebuild_command(cards.read_card(card_path), path, card_path)
            errors.append(
                f"{card_path} says of its images {'; '.join(differences)}: if somebody has changed "
                f"it, type {command}; if it is right, remove {store.data(folder)}, which is then "
                "prepared again"
            )
    return errors


def find_missing_images(plan: Plan, store: Store) -> list[str]:
    """Return an error for custom images that are neither prepared nor where they were.

    With their cards alone a study can be planned and reported, but nothing can be trained.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        Results with the prepared images.
    """
    data, card = plan.study.data, cards.load_section_card(plan.study.data)
    locations: list[tuple[str, str | None, str]] = []
    if card.name not in cards.list_datasets():
        locations.append(("data.path", data.path, card.folder))
    if plan.unlabelled is not None:
        locations.append(("data.unlabelled", data.unlabelled, plan.unlabelled.folder))
    return [
        f"{key}: there is no {path}, and its images are not prepared in {store.root}: bring them "
        "back before anything is trained"
        for key, path, folder in locations
        if not Path(str(path)).exists() and not (store.data(folder) / CARD_FILE).exists()
    ]


def find_missing_weights(plan: Plan, names: Collection[str]) -> list[str]:
    """Return an error for each file of weights that is not there and that some runs need.

    With its checksum alone a study can be planned and reported.

    Parameters
    ----------
    plan : Plan
        The plan.
    names : collection of str
        The runs.
    """
    needed = {plan.weights[name] for name in plan.weights.keys() & set(names)}
    missing = {path for path in needed if not Path(path).is_file()}
    sections = {"pretrained": plan.study.pretrained, "starts": plan.study.starts}
    return [
        f"{section}.{name}.path: there is no file {format_value(source.path)}: bring it before "
        "anything is trained from it"
        for section, sources in sections.items()
        for name, source in sources.items()
        if weights_info.find_weights_file(source) in missing
    ]


def _find_changed(section: str, data: DataConfig) -> Iterator[str]:
    """Return an error if the images of one section have changed."""
    if data.path is None or data.name in cards.list_datasets():
        return
    from kdpipe.data.imagefolder import custom_card  # numpy, which jobs do without

    card_path = Path(data.card) if data.card else cards.get_card_path(Path(data.path))
    change = custom_card.diff_card(
        card_path, cards.load_card(data.name, data.path, data.card), Path(data.path)
    )
    if change is not None:
        yield f"{section}.path: {change}"


def _find_weight_errors(plan: Plan) -> Iterator[str]:
    """Return the errors of pretrained weights: checksums, keys and shapes of their files."""
    code = Path(plan.study.code) if plan.study.code else None
    for name, path in plan.weights.items():
        spec = plan.runs[name].spec
        if spec.pretrained and Path(path).is_file():
            from kdpipe.models.pretrained import weights

            try:
                weights.check_weights(spec, Path(path), code)
            except KdpipeError as error:
                yield f"pretrained: {error}"


def _check_inits(plan: Plan) -> "dict[str, InitReport | KdpipeError]":
    """Return by network what it takes over from the file that it starts from, or an error."""
    code = Path(plan.study.code) if plan.study.code else None
    inits: dict[str, InitReport | KdpipeError] = {}
    for run, path in plan.weights.items():
        network = plan.runs[run].spec.network
        if network.start and network.name not in inits and Path(path).is_file():
            from kdpipe.models.pretrained import weights

            try:
                inits[network.name] = weights.match_init_weights(network, Path(path), code)
            except KdpipeError as error:
                inits[network.name] = error
    return inits
