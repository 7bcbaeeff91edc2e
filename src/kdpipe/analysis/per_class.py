"""The errors of the chosen student by class, compared with the same network on labels alone.

This describes test outcomes and tests nothing: the choice saw the validation images of these seeds.
The error of a class is that of its images, 100 (wrong) / (images); the balanced error is its mean
over the classes, whatever their sizes. Differences are paired by seed; those of one student hold
jointly (Bonferroni over its classes), over seeds and over seeds and test images.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pandas as pd

from kdpipe.analysis import contest
from kdpipe.analysis.dataframe import filter_rows
from kdpipe.analysis.eval_point import MisclassifiedImages, PerImageErrors
from kdpipe.analysis.recommendation import Recommendation
from kdpipe.stats.error_provenance import ErrorWithProvenance, estimate_image_level
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import Summary, summarize
from kdpipe.stats.power import LEVEL

MisclassifiedBySeed = dict[
    float, tuple[str, MisclassifiedImages]
]  # by seed the run and what it gets wrong

MISSING_OUTPUTS_TEXT = (
    "not known: it needs the outputs beside the records, or an archive that was made of them since "
    "archives keep it"
)


@dataclass(frozen=True)
class ClassErrors:
    """The errors on one class.

    Attributes
    ----------
    class_index, n_images : int
        The class, and the number of its test images.
    error, scratch, difference : Summary or None
        Errors in % over seeds: of the student, of labels alone, and their difference.
    confusions, scratch_confusions : dict
        For which classes its images are taken, with their share in %, the largest first.
    image_interval : dict or None
        The interval of the difference over seeds and images, or why there is none.
    level : float
        The confidence level of the difference.
    """

    class_index: int
    n_images: int
    error: Summary
    confusions: dict[int, float]
    scratch: Summary | None = None
    scratch_confusions: dict[int, float] = field(default_factory=dict)
    difference: Summary | None = None
    image_interval: dict | None = None  # the interval over seeds and images, or why there is none
    level: float = 0.95
    # By seed, of the student (`error`), of labels alone (`scratch`), and their difference.
    values: Mapping[str, Mapping[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PerClassErrors:
    """The errors of one student, the worst class first.

    `how` says how it was trained, `reason` why there are none.
    """

    student: str
    how: str
    classes: list[ClassErrors] = field(default_factory=list)
    balanced: Summary | None = None
    balanced_scratch: Summary | None = None
    balanced_difference: Summary | None = None
    reason: str = ""

    @property
    def has_unequal_classes(self) -> bool:
        """Return whether the classes have different numbers of test images."""
        return len({class_errors.n_images for class_errors in self.classes}) > 1


def compute_per_class_errors(
    frame: pd.DataFrame,
    recommendations: list[Recommendation],
    image_errors: PerImageErrors,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
) -> list[PerClassErrors]:
    """Compute the errors by class of each recommended student.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame at one evaluation point.
    recommendations : list of Recommendation
        Those of the same frame.
    image_errors : PerImageErrors
        Those of the same evaluation point.
    interim : InterimAnalysis
        The interim analysis that the study is at.

    Raises
    ------
    StoreError
        If stored outputs are damaged.
    """
    entrants = contest.select_entrants(frame)
    per_class = []
    for recommendation in recommendations:
        cells = _select_cells(frame, entrants, recommendation)
        if cells is None:
            continue
        how, cell, scratch = cells
        arm = _collect_arm(cell, image_errors)
        per_class.append(
            _summarize_student(
                recommendation.student, how, arm, _collect_arm(scratch, image_errors), interim
            )
            if arm
            else PerClassErrors(recommendation.student, how, reason=MISSING_OUTPUTS_TEXT)
        )
    return per_class


def _select_cells(
    frame: pd.DataFrame, entrants: pd.DataFrame, recommendation: Recommendation
) -> tuple[str, pd.DataFrame, pd.DataFrame] | None:
    """Return how what ships was trained, its rows, and the rows of the same network from scratch.

    Where that ships itself, they are those of the best distilled one.
    """
    if recommendation.shipped is None or recommendation.taught is None:
        return None
    rows = filter_rows(entrants, contest=recommendation.student)
    taught_rows = filter_rows(rows, **recommendation.taught.entrant.key)
    scratch = filter_rows(frame, kind="scratch", student=taught_rows.row_student.iloc[0])
    shipped = filter_rows(rows, **recommendation.shipped.entrant.key)
    if set(shipped.run) <= set(scratch.run):
        return "taught", taught_rows, scratch
    is_taught = recommendation.shipped.entrant.side == "taught"
    how = "taught" if is_taught else f"on labels for {shipped.epochs.iloc[0]:g} epochs"
    return how, shipped, scratch


def _collect_arm(cell: pd.DataFrame, image_errors: PerImageErrors) -> MisclassifiedBySeed:
    """Return the wrong images of the finished runs of one cell, by seed."""
    finished_rows = filter_rows(cell, status="done").drop_duplicates("run")
    run_by_seed = {
        seed: (name, image_errors.load_misclassified(name))
        for seed, name in zip(finished_rows.seed, finished_rows.run, strict=True)
    }
    return {
        seed: (name, misclassified)
        for seed, (name, misclassified) in run_by_seed.items()
        if misclassified is not None
    }


def _summarize_student(
    student: str,
    how: str,
    student_arm: MisclassifiedBySeed,
    scratch_arm: MisclassifiedBySeed,
    interim: InterimAnalysis,
) -> PerClassErrors:
    """Return the errors by class of one student."""
    sizes = next(iter(student_arm.values()))[1].sizes
    class_indices = [int(class_index) for class_index in np.flatnonzero(sizes)]
    level = 1 - 2 * interim.compute_level(LEVEL / 2 / len(class_indices))
    classes = [
        _summarize_class(class_index, int(sizes[class_index]), student_arm, scratch_arm, level)
        for class_index in class_indices
    ]
    classes.sort(key=lambda class_errors: (-class_errors.error.mean, class_errors.class_index))
    student_errors, scratch_errors = (
        _compute_balanced_errors(student_arm),
        _compute_balanced_errors(scratch_arm),
    )
    differences = {
        seed: student_errors[seed] - scratch_errors[seed]
        for seed in student_errors
        if seed in scratch_errors
    }
    return PerClassErrors(
        student,
        how,
        classes,
        summarize(student_errors),
        summarize(scratch_errors),
        summarize(differences),
    )


def _summarize_class(
    class_index: int,
    n_images: int,
    student_arm: MisclassifiedBySeed,
    scratch_arm: MisclassifiedBySeed,
    level: float,
) -> ClassErrors:
    """Return the errors on one class."""
    student_errors, scratch_errors = (
        {
            seed: ErrorWithProvenance(_compute_class_errors(misclassified)[class_index], {run: 1.0})
            for seed, (run, misclassified) in arm.items()
        }
        for arm in (student_arm, scratch_arm)
    )
    confusions = _compute_confusions(class_index, n_images, student_arm)
    if not scratch_errors:
        return ClassErrors(
            class_index,
            n_images,
            summarize(student_errors),
            confusions,
            values={"error": student_errors},
        )
    differences = {
        seed: student_errors[seed] - scratch_errors[seed]
        for seed in student_errors
        if seed in scratch_errors
    }
    values = pd.Series(differences, dtype=object)
    return ClassErrors(
        class_index,
        n_images,
        summarize(student_errors),
        confusions,
        summarize(scratch_errors),
        _compute_confusions(class_index, n_images, scratch_arm),
        summarize({seed: float(value) for seed, value in differences.items()}, level),
        estimate_image_level(
            values, _build_error_masks(class_index, n_images, student_arm, scratch_arm).get
        ).to_json(level),
        level,
        {"error": student_errors, "scratch": scratch_errors, "difference": differences},
    )


def _compute_class_errors(misclassified: MisclassifiedImages) -> np.ndarray:
    """Return the error on each class in %, NaN where it has no image."""
    counts = np.bincount(misclassified.labels, minlength=len(misclassified.sizes))
    return 100 * counts / np.where(misclassified.sizes > 0, misclassified.sizes, np.nan)


def _compute_balanced_errors(arm: MisclassifiedBySeed) -> dict[float, float]:
    """Return the mean error over classes, by seed."""
    return {
        seed: float(np.nanmean(_compute_class_errors(misclassified)))
        for seed, (_, misclassified) in arm.items()
    }


def _compute_confusions(
    class_index: int, n_images: int, arm: MisclassifiedBySeed
) -> dict[int, float]:
    """Return the predicted classes for the images of one class, in %, as means over seeds."""
    counts: Counter[int] = Counter()
    for _, misclassified in arm.values():
        counts.update(misclassified.predicted[misclassified.labels == class_index].tolist())
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {predicted_class: 100 * count / n_images / len(arm) for predicted_class, count in ranked}


def _build_error_masks(
    class_index: int, n_images: int, *arms: MisclassifiedBySeed
) -> dict[str, np.ndarray]:
    """Return by run which images of a class it gets wrong.

    Images that any run gets wrong come first. Of the others, which all runs get right, it does not
    matter which they are.
    """
    runs = dict(chain.from_iterable(arm.values() for arm in arms))
    images_by_run = {
        name: misclassified.images[misclassified.labels == class_index]
        for name, misclassified in runs.items()
    }
    ever_misclassified = np.unique(np.concatenate(list(images_by_run.values())))
    masks = {}
    for name, image_indices in images_by_run.items():
        masks[name] = np.zeros(n_images, dtype=bool)
        masks[name][np.searchsorted(ever_misclassified, image_indices)] = True
    return masks
