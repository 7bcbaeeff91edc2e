"""Metrics of predicted classes: top-1, balanced accuracy and macro F1, and their values by image.

Errors are 100 minus the metric, in points. With n_c images of class c, of which t_c are right, and
p_c images that are taken for it, balanced accuracy is the mean of t_c / n_c over the classes that
have an image, and macro F1 the mean of 2 t_c / (n_c + p_c).

Neither is a mean over images, but both are smooth functions of the rates within the true classes,
so an interval over images can be linearized: image i has the value

    error + N sqrt(n_c / (n_c - 1) (N - 1) / N) (u_i - mean of u over the images of its class c)

where N is the number of images and u_i the derivative of the error by the weight of image i (the
infinitesimal jackknife, Efron 1982). These values have the error as their mean, and their variance
over N is that of resampling the images of each class separately: of balanced accuracy exactly
sum_c s_c^2 / n_c / C^2, of macro F1 in the first order. A class of a single image adds no variance,
since there is none to see.
"""

import numpy as np

from kdpipe.runs.decision_metric import DecisionMetric


def compute_decision_metric(
    predicted: np.ndarray, labels: np.ndarray, metric: DecisionMetric | str
) -> float:
    """Return a metric of predicted classes.

    Parameters
    ----------
    predicted, labels : ndarray of int, shape (N,)
        The class that each image is taken for, and its own.
    metric : str
        One of `DECISION_METRICS`.

    Returns
    -------
    float
        In [0, 1]; NaN without images.
    """
    if not len(labels):
        return np.nan
    correct = predicted == labels
    if metric == "top1":
        return float(correct.mean())
    sizes, hits, taken = _count_classes(predicted, labels)
    present = sizes > 0
    sizes, hits, taken = sizes[present], hits[present], taken[present]
    if metric == "macro_f1":
        return float(np.mean(2 * hits / (sizes + taken)))
    # Classes of one size are divided once, so that balanced data has the accuracy to the last bit.
    total = 0.0
    for size in np.unique(sizes):
        total += float(hits[sizes == size].sum() / (size * len(sizes)))
    return total


def compute_decision_values(
    predicted: np.ndarray, labels: np.ndarray, metric: DecisionMetric | str
) -> np.ndarray:
    """Return a value for each image whose mean is the error, and whose variance is its variance.

    Parameters
    ----------
    predicted, labels, metric
        As in `compute_decision_metric`.

    Returns
    -------
    ndarray of float, shape (N,)
        In points: of top-1 100 where an image is wrong, of the others linearized (see the module).
    """
    if metric == "top1":
        return 100.0 * (predicted != labels)
    n_images = len(labels)
    sizes, hits, taken = _count_classes(predicted, labels)
    n_present = np.count_nonzero(sizes)
    correct = predicted == labels
    if metric == "balanced":
        gains = correct / sizes[labels]
    else:
        f1 = 2 * hits / np.maximum(sizes + taken, 1)
        slopes = np.where(sizes > 0, 1 / np.maximum(sizes + taken, 1), 0.0)
        # A right image adds to its class; any adds to the size of one, and to what another takes.
        gains = (2 * correct - f1[labels]) * slopes[labels] - (f1 * slopes)[predicted]
    means = np.bincount(labels, gains, minlength=len(sizes)) / np.maximum(sizes, 1)
    own_sizes = sizes[labels]
    scale = np.sqrt(own_sizes / np.maximum(own_sizes - 1, 1) * (n_images - 1) / n_images)
    deviations = 100 * n_images / n_present * scale * (means[labels] - gains)
    return 100 * (1 - compute_decision_metric(predicted, labels, metric)) + deviations


def _count_classes(
    predicted: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by class its images, those that are right, and those that are taken for it."""
    n_classes = int(max(predicted.max(initial=0), labels.max(initial=0))) + 1
    return (
        np.bincount(labels, minlength=n_classes),
        np.bincount(labels[predicted == labels], minlength=n_classes),
        np.bincount(predicted, minlength=n_classes),
    )
