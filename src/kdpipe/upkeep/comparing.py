"""What a study names beside its file, compared with what it and its cards say.

A study is planned from its file and from cards. Here the things themselves are looked at, before
anything is spent on them: images, code of one's own, and the files that bring weights.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.networks.brought import fed, taken
from kdpipe.networks.brought.taken import Taking
from kdpipe.plan.items import Plan
from kdpipe.results.marks import CARD
from kdpipe.results.store import Store
from kdpipe.study.grammar import Study
from kdpipe.wording import shown

if TYPE_CHECKING:
    from kdpipe.networks.brought.started import Begun


def refuse_others(plan: Plan, source: str) -> list[str]:
    """What networks take over from the files that they begin from, and what of them is new.

    Raises KdpipeError if anything that a study names is not what was said of it. `source` is its
    file, as messages name it. Imports torch where code or weights are tried.
    """
    study, begun = plan.study, _begun(plan)
    refused = [str(one) for one in begun.values() if isinstance(one, KdpipeError)]
    refuse(source, [*of_images(study, source), *_of_weights(plan), *refused])
    if study.networks:
        from kdpipe.networks.own import changes

        on_gpus = study.device == "cuda"
        changes.compare(changes.Own(source, study.networks, study.code, taken_by(study), on_gpus))
    if any(method.term for method in study.methods.values()):
        from kdpipe.learning.own import changes as term_changes

        on_gpus = study.device == "cuda"
        term_changes.compare(term_changes.Own(source, study.methods, study.code, on_gpus))
    return [f"starts.{name} begins from its file: {one}" for name, one in begun.items()]


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


def of_prepared(plan: Plan, place: Store) -> list[str]:
    """Where a card of one's own data says something else than when its images were prepared.

    A report is rendered without the images, and counts them by the card: somebody may have changed
    it, and sealed it again. What one of the two does not say is not compared.
    """
    from kdpipe.data import prepared  # numpy, see above

    found = []
    for folder, data in plan.data_sets.items():
        noted = prepared.noted(place.data(folder))
        if data.path is None or data.name in cards.known() or noted != identity.sealed(noted):
            continue
        card = cards.of(data.name, data.path, data.card)
        if card.folder != folder:  # of images without labels
            continue
        now = json.loads(json.dumps(cards.sealed(card)))
        keys = now.keys() & noted.keys() - {"source", "files", "made", "seal"}
        wrong = [
            f"{key} {shown(now[key])}, and said {shown(noted[key])} when they were prepared"
            for key in sorted(keys)
            if now[key] and noted[key] and now[key] != noted[key]
        ]
        if wrong:
            where = Path(data.card) if data.card else cards.beside(Path(data.path))
            found.append(
                f"{where} says of its images {'; '.join(wrong)}: if somebody has changed it, type "
                f"{cards.typed_again(cards.read(where), data.path, where)}; if it is right, remove "
                f"{place.data(folder)}, which is then prepared again"
            )
    return found


def gone(plan: Plan, place: Store) -> list[str]:
    """What to say of images of one's own that are neither prepared nor where they were.

    With their cards alone a study is planned, and what is finished stays; nothing can be trained.
    """
    data, own = plan.study.data, plan.unlabelled
    card = cards.card_of_keys(data)
    named = [] if card.name in cards.known() else [("data.path", data.path, card.folder)]
    named += [("data.unlabelled", data.unlabelled, own.folder)] if own is not None else []
    return [
        f"{where}: there is no {path}, and its images are not prepared in {place.root}: bring them "
        "back before anything is trained"
        for where, path, folder in named
        if not Path(str(path)).exists() and not (place.data(folder) / CARD).exists()
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
    """Of the files that networks bring: checksum, keys and shapes."""
    code = Path(plan.study.code) if plan.study.code else None
    for name, path in plan.weights.items():
        spec = plan.runs[name].spec
        if spec["pretrained"]:
            from kdpipe.networks.brought import weights

            try:
                weights.refuse_unfit(spec, Path(path), code)
            except KdpipeError as error:
                yield f"pretrained: {error}"


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
