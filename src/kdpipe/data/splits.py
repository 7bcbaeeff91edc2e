"""The split of a run into train, validation and test, identical in every job.

Validation is held out of train, or is a part of the data; label noise affects train alone. Only
scaling needs torch: the evaluation of ensembles does not.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe.data import cache, cards
from kdpipe.data.arrays import compute_mean_std, draw_balanced_order, draw_proportional_order
from kdpipe.data.cache import load_arrays, load_card_for_spec, read_notes
from kdpipe.data.config import REST
from kdpipe.data.imagefolder import unlabelled
from kdpipe.errors import DataError
from kdpipe.hashing import derive_seed
from kdpipe.runs import store
from kdpipe.runs.spec import DataSpec, ModelSpec

NO_LABEL = -1  # the label of an unlabelled image: no class


@dataclass(frozen=True)
class Subset:
    """Images and labels of a part of a split.

    Attributes
    ----------
    images : ndarray of shape (N, C, H, W) or ImageFiles
        Pixels, uint8, or the files of images that stream.
    labels : ndarray of shape (N,)
        Classes, int64.
    """

    images: np.ndarray | cache.ImageFiles
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of labeled images."""
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """The images of one run.

    Attributes
    ----------
    train, val, test : Subset
        The parts.
    mean, std : ndarray of shape (C,)
        By which pixels in [0, 1] are normalized.
    classes : int
        The number of classes.
    """

    train: Subset
    val: Subset
    test: Subset
    mean: np.ndarray
    std: np.ndarray
    classes: int

    def check_network(self, network: ModelSpec) -> None:
        """Raise DataError if the network of a spec was planned for other images."""
        images = self.test.images
        channels = images.shape[0] if isinstance(images, cache.ImageFiles) else images.shape[1]
        for quantity, actual in (("classes", self.classes), ("channels", channels)):
            if getattr(network, quantity) != actual:
                raise DataError(
                    f"network {network.name}: planned for {getattr(network, quantity)} {quantity}, "
                    f"but the data have {actual}: recreate the data card and the plan"
                )


def load_split(spec: DataSpec, results_store: store.Store) -> Split:
    """Load the split of a run.

    Subset, label noise, and validation where it is no part of the data, are drawn from `split_seed`
    and the number of the split alone: all runs of a study that use the same split see the same
    images.

    Parameters
    ----------
    spec : dict
        The part `data` of the run's spec.
    results_store : Store
        The results folder that has the prepared arrays.

    Raises
    ------
    DataError
        If the data are missing or damaged, or do not match the spec.
    """
    card = load_card_for_spec(spec, results_store)
    arrays = load_arrays(card, results_store)
    labels, test_labels = arrays["train_labels"], np.asarray(arrays["test_labels"])
    if (spec.stream_revision is not None) != card.is_streamed:
        raise DataError(
            f"data set {card.name}: its images are "
            f"{'streamed' if card.is_streamed else 'in one array'}, but the run was planned "
            "otherwise: recreate its card and the plan"
        )
    side = spec.resize
    val_indices, train_indices, _, rng = _draw_indices(spec, card, labels)
    noisy_labels = add_label_noise(labels[train_indices], spec.label_noise, card.classes, rng)
    mean, std = spec.mean, spec.std
    if card.is_streamed:
        if mean is None or std is None:
            raise DataError(f"data set {card.name} is streamed: its mean and std must be given")
        image_files = _image_files_factory(card.resize_to(side), results_store)
        train = Subset(image_files("train", train_indices), noisy_labels)
        val = Subset(image_files("train", val_indices), labels[val_indices])
        if card.validation:
            val_data = np.asarray(arrays["val_labels"])
            val = Subset(image_files("val", np.arange(len(val_data))), val_data)
        test = Subset(image_files("test", np.arange(len(test_labels))), test_labels)
    else:
        images = arrays["train_images"]
        pixels = _resize_images(images[train_indices], side)
        train = Subset(pixels, noisy_labels)
        val = Subset(_resize_images(images[val_indices], side), labels[val_indices])
        if card.validation:
            val_data = np.asarray(arrays["val_images"])
            val = Subset(_resize_images(val_data, side), np.asarray(arrays["val_labels"]))
        test = Subset(_resize_images(np.asarray(arrays["test_images"]), side), test_labels)
        measured = compute_mean_std(pixels)
        mean, std = mean or measured[0], std or measured[1]
    return Split(train, val, test, np.array(mean), np.maximum(std, 1e-6), card.classes)


def load_normalization(spec: DataSpec, results_store: store.Store) -> tuple[np.ndarray, np.ndarray]:
    """Load mean and std (C,) by which the pixels of a run are normalized.

    Raises
    ------
    DataError
        If the data are missing or damaged, or do not match the spec.
    """
    split = load_split(spec, results_store)
    return split.mean, split.std


def load_unlabelled(spec: DataSpec, source: str, results_store: store.Store) -> Subset:
    """Load unlabelled images.

    Parameters
    ----------
    spec : dict
        The part `data` of a run's spec.
    source : str
        `rest`, the training images that the split leaves out, without their labels; or the digest
        of images that are no part of the data set.
    results_store : Store
        The results folder that has the prepared images.

    Returns
    -------
    Subset
        The images; every label is `NO_LABEL`.

    Raises
    ------
    DataError
        If the images are missing or damaged.
    """
    card, side = load_card_for_spec(spec, results_store), spec.resize
    if source != REST:
        source_images = unlabelled.load_unlabelled_images(
            source, card.resize_to(side).shape, card.is_streamed, results_store
        )
        images = (
            _resize_images(source_images, side)
            if isinstance(source_images, np.ndarray)
            else source_images
        )
        return Subset(images, np.full(len(images), NO_LABEL))
    arrays = load_arrays(card, results_store)
    rest_indices = _draw_indices(spec, card, arrays["train_labels"])[2]
    if card.is_streamed:
        images = _image_files_factory(card.resize_to(side), results_store)("train", rest_indices)
    else:
        images = _resize_images(arrays["train_images"][rest_indices], side)
    return Subset(images, np.full(len(rest_indices), NO_LABEL))


def draw_validation_indices(
    spec: DataSpec, card: cards.DatasetCard, labels: np.ndarray
) -> np.ndarray:
    """Return which training images a split holds out as validation, in rising order.

    Parameters
    ----------
    spec : dict
        The keys of the part `data` of a spec that determine the draw.
    card : DatasetCard
        The card of the data set.
    labels : ndarray of shape (N,)
        The labels of its training images.
    """
    return _draw_indices(spec, card, labels)[0]


def _draw_indices(
    spec: DataSpec, card: cards.DatasetCard, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.RandomState]:
    """Return the indices of validation, train and the rest, and the generator that drew them.

    Each is in rising order. Raises DataError if there are too few images.
    """
    validation_size = 0 if card.validation else spec.validation  # out of train
    if (required_size := spec.train_size + validation_size) > len(labels):
        raise DataError(
            f"data set {card.name}: {required_size:,} training and validation images are required, "
            f"but there are {len(labels):,}: recreate its card and the plan"
        )
    rng = np.random.RandomState(derive_seed(spec.split_seed, spec.split, 0, "", "split") % 2**32)
    draw_order = draw_proportional_order if spec.draw == "share" else draw_balanced_order
    order = draw_order(labels, rng)
    last = validation_size + spec.train_size if spec.train_size else len(order)
    parts = (order[:validation_size], order[validation_size:last], order[last:])
    val_indices, train_indices, rest_indices = map(np.sort, parts)
    return val_indices, train_indices, rest_indices, rng


def add_label_noise(
    labels: np.ndarray, share: float, classes: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return labels of which a share is redrawn, uniformly over all classes.

    Parameters
    ----------
    labels : ndarray of shape (N,)
        Classes.
    share : float
        The share to redraw, in [0, 1].
    classes : int
        The number of classes.
    rng : RandomState
        The generator to draw with.
    """
    labels = np.array(labels)
    noisy_indices = rng.permutation(len(labels))[: round(share * len(labels))]
    labels[noisy_indices] = rng.randint(0, classes, size=len(noisy_indices))
    return labels


def _image_files_factory(
    card: cards.DatasetCard, results_store: store.Store
) -> Callable[[str, np.ndarray], cache.ImageFiles]:
    """Return a function that makes the `ImageFiles` of some indices of a part.

    Raises DataError if the folder of the images is gone.
    """
    folder = results_store.data(card.folder)
    root = Path(str(read_notes(folder).get("root")))
    if not root.is_dir():
        raise DataError(
            f"data set {card.name}: the folder {root} of its images no longer exists: restore it, "
            f"or run once: kdpipe prepare {card.name} --path FOLDER --results "
            f"{shlex.quote(str(results_store.root))} (custom data also need --card)"
        )
    return lambda part, indices: cache.ImageFiles(
        folder, part, indices, root, card.shape, is_custom=card.name not in cards.list_datasets()
    )


def _resize_images(images: np.ndarray, side: int | None) -> np.ndarray:
    """Scale images (N, C, H, W) to side x side, bilinear with antialiasing."""
    if side is None or not len(images):
        return images
    import torch
    from torch.nn import functional as F

    scaled = np.empty((*images.shape[:2], side, side), np.uint8)
    for start in range(0, len(images), 1000):
        part = torch.from_numpy(np.array(images[start : start + 1000])).float()
        part = F.interpolate(part, (side, side), mode="bilinear", antialias=True)
        scaled[start : start + 1000] = part.round().clamp(0, 255).byte().numpy()
    return scaled
