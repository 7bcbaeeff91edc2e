"""Writing all cards that a study needs in one go, each as its own command writes it.

A card that is as it should be stays. One whose images have changed is made again with the options
that it was made with.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from kdpipe.config import load
from kdpipe.config.paths import resolve_paths
from kdpipe.config.schema import Study
from kdpipe.data import cards
from kdpipe.data.config import DataConfig
from kdpipe.data.imagefolder import unlabelled_card
from kdpipe.errors import DataError
from kdpipe.json_types import is_object
from kdpipe.runs.integrity import data_drift
from kdpipe.runs.store import Store
from kdpipe.user_code import forget_code


def write_cards(path: str, store: Store) -> list[str]:
    """Write the cards of a study: of its images, networks and loss terms.

    Parameters
    ----------
    path : str
        The study file.
    store : Store
        The results folder, with whose prepared data unlabelled images are compared.

    Returns
    -------
    list of str
        A line or more for each card.

    Raises
    ------
    KdpipeError
        With the errors of the first kind of card that has any; cards before it are written.
    """
    content = resolve_paths(load.read_yaml(path), Path(path).parent)
    lines = [line for section in _list_data_sections(content) for line in _write_data_card(section)]
    study = load.load_study(path, require_cards=False)
    lines += _write_unlabelled_card(study, path, store)
    if study.networks:
        from kdpipe.models.custom import study_cards

        inputs = data_drift.resolve_custom_inputs(study)
        on_gpus = study.device != "cpu"
        lines += study_cards.write_cards(
            study_cards.CustomModels(path, study.networks, study.code, inputs, on_gpus)
        )
        # A card lists the files that were imported for it, so those of networks are none of terms'.
        forget_code(Path(study.code) if study.code else None)
    if any(method.term for method in study.methods.values()):
        from kdpipe.losses.custom import study_cards as term_cards

        on_gpus = study.device != "cpu"
        lines += term_cards.write_term_cards(
            term_cards.CustomTerms(path, study.methods, study.code, on_gpus)
        )
    return lines


def _list_data_sections(content: object) -> Iterator[DataConfig]:
    """Yield the valid sections of a study that name images of one's own."""
    if not is_object(content):
        return
    transfers = content.get("transfers")
    sections = [content.get("data")]
    if is_object(transfers):
        sections += [one.get("data") for one in transfers.values() if is_object(one)]
    for section in filter(is_object, sections):
        keys = {key: section.get(key) for key in ("name", "path", "card", "card_options")}
        is_text = all(isinstance(keys[key], str) for key in ("name", "path"))
        if is_text and keys["name"] not in cards.list_datasets():
            with contextlib.suppress(ValidationError):  # of these `check` tells afterwards
                yield DataConfig.model_validate(keys)


def _write_data_card(data: DataConfig) -> list[str]:
    """Write the card of images of one's own, unless they are as their card says."""
    from kdpipe.data.imagefolder import custom_card  # numpy

    assert data.path is not None
    path = Path(data.path)
    card_file = Path(data.card) if data.card else cards.get_card_path(path)
    options: dict[str, object] = data.card_options.to_arguments() if data.card_options else {}
    if card_file.exists():
        card = cards.read_card(card_file)
        options = options or cards.list_build_options(card)
        try:
            cards.load_section_card(data)
        except DataError:  # without a checksum, of another name, or made with other options
            change = ""
        else:
            change = custom_card.diff_card(card_file, card, path)
        if change is None:
            return [f"{card_file}: unchanged"]
    return custom_card.make_card(path, data.name, data.card, **options).splitlines()


def _write_unlabelled_card(study: Study, path: str, store: Store) -> list[str]:
    """Write the card of a study's unlabelled images, unless they are as their card says."""
    if not unlabelled_card.has_unlabelled_images(study.data):
        return []
    from kdpipe.data.imagefolder import unlabelled_builder  # numpy

    try:
        unlabelled_card.load_unlabelled_card(study.data, study.splits, path)
        if unlabelled_builder.diff_unlabelled(study.data, path) is None:
            return [f"{study.data.unlabelled}: its card is unchanged"]
    except DataError:
        pass  # it is missing, or another one
    return unlabelled_builder.make_unlabelled_card(
        study.data, study.splits, path, store
    ).splitlines()
