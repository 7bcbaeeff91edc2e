"""The job that prepares a data set: its images as arrays, verified against its card."""

from pathlib import Path

from kdpipe.data import cache, cards
from kdpipe.data.imagefolder import unlabelled as unlabelled_images
from kdpipe.data.imagefolder import unlabelled_card as unlabelled_cards
from kdpipe.jobs.run_record import record_failures
from kdpipe.runs.store import Store


def prepare_dataset(
    name: str,
    store: Store,
    path: str | None = None,
    card_path: str | None = None,
    unlabelled: str | None = None,
) -> str:
    """Prepare a data set, or the unlabelled images that belong to it.

    Parameters
    ----------
    name : str
        The data set.
    store : Store
        The results folder.
    path : str or None
        Where its files are.
    card_path : str or None
        The card of custom data, if it is not next to its files.
    unlabelled : str or None
        The folder of unlabelled images; if given, these are prepared and not the data set.

    Returns
    -------
    str
        The last line of the log.

    Raises
    ------
    DataError
        If the files are not those of the card.
    """
    if unlabelled is not None:
        return _prepare_unlabelled(name, Path(unlabelled), store)
    card = cards.load_card(name, path, card_path)
    with record_failures(store.data(card.folder), f"{card.train:,} images"):
        cache.prepare_dataset(card, store, Path(path) if path else None)
    verb = "listed" if card.is_streamed else "prepared"
    return f"{name}: {card.train:,} training and {card.test:,} test images {verb}"


def _prepare_unlabelled(name: str, path: Path, store: Store) -> str:
    card = unlabelled_cards.read_unlabelled_card(
        unlabelled_cards.get_unlabelled_card_path(path, name)
    )
    with record_failures(store.data(card.folder), f"{card.count:,} images"):
        unlabelled_images.prepare_unlabelled(card, path, store)
    verb = "listed" if card.stream else "prepared"
    return f"{card.source}: {card.count:,} unlabelled images {verb}, for {name}"
