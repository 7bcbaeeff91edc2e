"""The data part of job specs: data set, splits, views, unlabelled images.

Adding or changing a key renames the runs that have it, see `runs.spec`.
"""

from typing import Any

from kdpipe import hashing
from kdpipe.data import cards, views
from kdpipe.data.config import REST, DataConfig
from kdpipe.data.imagefolder.unlabelled_card import UnlabelledCard, format_unlabelled_folder
from kdpipe.runs.recipe import Recipe, enabled_mixes
from kdpipe.runs.spec import DataSpec


def build_data_spec(data: DataConfig, card: cards.DatasetCard, split: int = 0) -> DataSpec:
    """Return the `data` of a spec: the images and their views.

    Parameters
    ----------
    data : DataConfig
        The section of the study.
    card : DatasetCard
        The card of its data set.
    split : int
        The number of the split, drawn from `split_seed`.
    """
    return DataSpec(
        name=card.name,
        card=card.sha256,
        revision=cards.get_data_revision(card.name),
        train_size=data.train_size or card.train - data.validation,
        validation=card.count_validation(data.validation),
        label_noise=data.label_noise,
        split_seed=data.split_seed,
        split=split,
        draw=data.draw,
        split_revision=hashing.REVISIONS["split"],
        resize=data.resize,
        mean=data.mean,
        std=data.std,
        stream_revision=hashing.REVISIONS["stream"] if card.is_streamed else None,
        views={
            **views.build_views_spec(data),
            **_build_drawn_spec(data, split),
            "revision": hashing.REVISIONS["views"],
        },
    )


def _build_drawn_spec(data: DataConfig, split: int) -> dict[str, int]:
    """Return what the `views` of a spec say of views that are drawn once; nothing without them.

    Each split draws others, as it draws other images.
    """
    if data.views is None:
        return {}
    seed = hashing.derive_seed(data.split_seed, split, 0, "", "drawn views")
    return {
        "drawn": data.views,
        "drawn_seed": seed,
        "drawn_revision": hashing.REVISIONS["drawn"],
    }


def add_mixtures(data: DataSpec, recipe: Recipe) -> DataSpec:
    """Return the `data` of a run with this recipe.

    Drawn views are mixed once, so the spec of the images says how (`data.mixtures`); all other
    images are mixed batch by batch, if at all, and their spec is the same for all recipes.
    """
    mixes = enabled_mixes(recipe)
    if not mixes or "drawn" not in data.views:
        return data
    mixed = {**mixes, "mixed_revision": hashing.REVISIONS["mixed"]}
    return data.replace(views={**data.views, "mixed": mixed})


def build_unlabelled_spec(
    data: DataConfig, card: cards.DatasetCard, unlabelled_card: UnlabelledCard | None = None
) -> dict[str, Any]:
    """Return the source of a study's unlabelled images, for the methods and caches that use them.

    `unlabelled_card` is the card of images that are not part of the data set.
    """
    revision = {"unlabelled_revision": hashing.REVISIONS["unlabelled"]}
    if unlabelled_card is None:
        remaining = card.train - data.validation - (data.train_size or card.train)
        return {"unlabelled_from": data.unlabelled, "unlabelled_images": remaining, **revision}
    revision["own_revision"] = hashing.REVISIONS["own"]
    return {
        "unlabelled_from": unlabelled_card.sha256,
        "unlabelled_images": unlabelled_card.count,
        **revision,
    }


def find_unlabelled_folder(source: str | None) -> str | None:
    """Return the folder of prepared unlabelled images; None if all are part of the data set.

    `source` is the `unlabelled_from` of a method or a logit cache.
    """
    return None if source in (None, REST) else format_unlabelled_folder(source)


def count_views(data: DataSpec) -> int:
    """Return the number of views in a logit cache: 162 for pad 4 with flip; 0 if infinite."""
    return views.Views.from_spec(data.views).cached_count
