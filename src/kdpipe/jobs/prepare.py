"""The job that prepares a data set: its images into arrays, verified against its card."""

from pathlib import Path

from kdpipe.data import cards, prepared
from kdpipe.data.own.unlabelled import card as unlabelled_cards
from kdpipe.data.own.unlabelled import prepared as beside
from kdpipe.jobs.failures import failures_noted
from kdpipe.results.store import Store


def prepare(
    name: str,
    place: Store,
    path: str | None = None,
    card_at: str | None = None,
    unlabelled: str | None = None,
) -> str:
    """Prepare a data set; returns the line for the log. Raises DataError if it is another one.

    `path` is where its files lie, `card_at` the card of one's own data if it is not beside them.
    unlabelled: where images without labels beside it lie; these are prepared then, and not it.
    """
    if unlabelled is not None:
        return _prepare_unlabelled(name, Path(unlabelled), place)
    card = cards.of(name, path, card_at)
    with failures_noted(place.data(card.folder), f"{card.train:,} images"):
        prepared.prepare(card, place, Path(path) if path else None)
    done = "listed" if card.streamed else "prepared"
    return f"{name}: {card.train:,} training and {card.test:,} test images {done}"


def _prepare_unlabelled(name: str, path: Path, place: Store) -> str:
    card = unlabelled_cards.read(unlabelled_cards.beside(path, name))
    with failures_noted(place.data(card.folder), f"{card.count:,} images"):
        beside.prepare(card, path, place)
    done = "listed" if card.stream else "prepared"
    return f"{card.source}: {card.count:,} images without labels {done}, beside {name}"
