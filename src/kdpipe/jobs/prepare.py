"""The job that prepares a data set: its images into arrays, verified against its card."""

from pathlib import Path

from kdpipe.data import cards, prepared
from kdpipe.jobs.failures import failures_noted
from kdpipe.results.store import Store


def prepare(name: str, place: Store, path: str | None = None, card_at: str | None = None) -> str:
    """Prepare a data set; returns the line for the log. Raises DataError if it is another one.

    `path` is where its files lie, `card_at` the card of one's own data if it is not beside them.
    """
    card = cards.of(name, path, card_at)
    with failures_noted(place.data(card.folder), f"{card.train:,} images"):
        prepared.prepare(card, place, Path(path) if path else None)
    done = "listed" if card.streamed else "prepared"
    return f"{name}: {card.train:,} training and {card.test:,} test images {done}"
