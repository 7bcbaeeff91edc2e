"""What a study names beside its file, compared with what it and its cards say.

A study is planned from its file and from cards. Here the things themselves are looked at, before
anything is spent on them: images, code of one's own, and the files that bring weights.
"""

from collections.abc import Iterator
from pathlib import Path

from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.networks.brought import fed, taken
from kdpipe.networks.brought.taken import Taking
from kdpipe.plan.items import Plan
from kdpipe.study.grammar import Study


def refuse_others(plan: Plan, source: str) -> None:
    """Raise KdpipeError if anything that a study names is not what was said of it.

    `source` is its file, as messages name it. Imports torch where code or weights are tried.
    """
    study = plan.study
    refuse(source, [*of_images(study, source), *_of_weights(plan)])
    if study.networks:
        from kdpipe.networks.own import changes

        changes.compare(changes.Own(source, study.networks, study.code, taken_by(study)))
    if any(method.term for method in study.methods.values()):
        from kdpipe.learning.own import changes as term_changes

        term_changes.compare(term_changes.Own(source, study.methods, study.code))


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


def _changed(where: str, data: Data) -> Iterator[str]:
    if data.path is None or data.name in cards.known():
        return
    from kdpipe.data.own import seen  # numpy: not for the thousands of jobs that plan again

    place = Path(data.card) if data.card else cards.beside(Path(data.path))
    said = seen.differences(place, cards.of(data.name, data.path, data.card), Path(data.path))
    if said is not None:
        yield f"{where}.path: {said}"


def _of_weights(plan: Plan) -> Iterator[str]:
    """Of the files that pretrained teachers bring: checksum, keys and shapes."""
    code = Path(plan.study.code) if plan.study.code else None
    for name, run in plan.runs.items():
        if (path := plan.weights.get(name)) is not None:
            from kdpipe.networks.brought import weights

            try:
                weights.refuse_unfit(run.spec, Path(path), code)
            except KdpipeError as error:
                yield f"pretrained: {error}"
