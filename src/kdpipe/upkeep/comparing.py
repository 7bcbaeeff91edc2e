"""What a study names beside its file, compared with what it and its cards say.

A study is planned from its file and from cards. Here the things themselves are looked at, before
anything is spent on them: images, code of one's own, and the files that bring weights.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.networks.brought import fed, taken
from kdpipe.networks.brought.taken import Taking
from kdpipe.plan.items import Plan
from kdpipe.study.grammar import Study

if TYPE_CHECKING:
    from kdpipe.networks.brought.started import Begun


def refuse_others(plan: Plan, source: str) -> None:
    """Raise KdpipeError if anything that a study names is not what was said of it.

    `source` is its file, as messages name it. Imports torch where code or weights are tried.
    """
    study = plan.study
    refuse(source, [*of_images(study, source), *_of_weights(plan)])
    if study.networks:
        from kdpipe.networks.own import changes

        on_gpus = study.device == "cuda"
        changes.compare(changes.Own(source, study.networks, study.code, taken_by(study), on_gpus))
    if any(method.term for method in study.methods.values()):
        from kdpipe.learning.own import changes as term_changes

        on_gpus = study.device == "cuda"
        term_changes.compare(term_changes.Own(source, study.methods, study.code, on_gpus))


def taken_by(study: Study) -> list[Taking]:
    """What images the networks of a study's own are built for."""
    card = cards.card_of_keys(study.data)
    data = fed.Seen(card.shape, card.classes, card.class_names)
    feeding = taken.feeding(study.pretrained, data)
    return taken.own(study.networks, feeding, study.named, data)


def refuse(source: str, mistakes: list[str]) -> None:
    """Raise one StudyError for all mistakes, if there are any."""
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise StudyError("\n  ".join([f"{source}: {count}", *mistakes]))


def of_images(study: Study, source: str = "STUDY") -> list[str]:
    """What is the matter with images of one's own that have changed since their card was made.

    Sizes and times of files are compared, contents where these differ. Needs no torch.
    """
    named = {"data": study.data}
    named |= {f"transfers.{name}.data": each.data for name, each in study.transfers.items()}
    found = [line for where, data in named.items() for line in _changed(where, data)]
    if unlabelled.is_own(study.data):
        from kdpipe.data.own.unlabelled import make  # numpy, see below

        if (said := make.differences(study.data, source)) is not None:
            found.append(f"data.unlabelled: {said}")
    return found


def unlabelled_gone(plan: Plan, ready: Collection[str]) -> list[str]:
    """What to say of images without labels that are neither prepared nor where they were.

    ready: the folders of what is prepared.
    """
    own, path = plan.unlabelled, plan.study.data.unlabelled
    if own is None or own.folder in ready or Path(str(path)).exists():
        return []
    return [
        f"data.unlabelled: there is no {path}, and its images are not prepared here: bring them "
        "back, or name others and type kdpipe data STUDY"
    ]


def _changed(where: str, data: Data) -> Iterator[str]:
    if data.path is None or data.name in cards.known():
        return
    from kdpipe.data.own import seen  # numpy: not for the thousands of jobs that plan again

    place = Path(data.card) if data.card else cards.beside(Path(data.path))
    said = seen.differences(place, cards.of(data.name, data.path, data.card), Path(data.path))
    if said is not None:
        yield f"{where}.path: {said}"


def _of_weights(plan: Plan) -> Iterator[str]:
    """Of the files that networks bring or begin from: checksum, keys and shapes."""
    code = Path(plan.study.code) if plan.study.code else None
    for name, path in plan.weights.items():
        spec = plan.runs[name].spec
        if spec["pretrained"]:
            from kdpipe.networks.brought import weights

            try:
                weights.refuse_unfit(spec, Path(path), code)
            except KdpipeError as error:
                yield f"pretrained: {error}"
    for begun in _begun(plan).values():
        if isinstance(begun, KdpipeError):
            yield str(begun)


def starts(plan: Plan) -> list[str]:
    """What networks take over from the files that they begin from, and what of them is new."""
    return [f"starts.{name} begins from its file: {begun}" for name, begun in _begun(plan).items()]


def _begun(plan: Plan) -> "dict[str, Begun | KdpipeError]":
    """By its name, of each network that begins from a file, what it takes over, or a mistake."""
    code = Path(plan.study.code) if plan.study.code else None
    found: dict[str, Begun | KdpipeError] = {}
    for run, path in plan.weights.items():
        network = plan.runs[run].spec["network"]
        if "start" in network and network["name"] not in found:
            from kdpipe.networks.brought import started

            try:
                found[network["name"]] = started.fits(network, Path(path), code)
            except KdpipeError as error:
                found[network["name"]] = error
    return found
