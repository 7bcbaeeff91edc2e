"""TODO jobs.prepare, from jobs."""

from pathlib import Path

from kdpipe.data import cards, prepared
from kdpipe.results import store


def prepare(name: str, place: store.Store, path: str | None = None, card_at=None) -> str:
    """Prepare a data set; returns the line for the log.

    `path` is where its files lie, `card_at` the card of one's own data if it is not beside them.
    """
    card = cards.of(name, path, card_at)
    prepared.prepare(card, place, Path(path) if path else None)
    done = "listed" if card.streamed else "prepared"
    return f"{name}: {card.train:,} training and {card.test:,} test images {done}"
