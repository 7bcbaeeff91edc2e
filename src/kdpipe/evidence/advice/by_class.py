"""What the chosen student gets wrong, class by class, beside the same network on labels alone.

A description of test outcomes and no test: the choice saw the validation images of these seeds. The
error of a class is that of its images, 100 (wrong) / (images); balanced error is its mean over the
classes, whatever their sizes. Differences are paired by seed; those of one student hold together
(Bonferroni over its classes), over seeds and over seeds and test images.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pandas as pd

from kdpipe.evidence.advice.answer import OPTION, Answer
from kdpipe.evidence.reading import Missed, Outcomes
from kdpipe.evidence.selections import where
from kdpipe.statistics.intervals import Summary, summary
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.traced import TracedError, second

Arm = dict[float, tuple[str, Missed]]  # by seed the run and what it gets wrong

NOT_KEPT = (
    "not known: it needs the outputs beside the records, or an archive that was made of them since "
    "archives keep it"
)


@dataclass(frozen=True)
class OfClass:
    """One class: errors in % over seeds, None without a scratch run; `taken` and `scratch_taken`:
    for which classes its images are taken, and for what share of them in %, the largest first.
    """

    number: int
    images: int
    error: Summary
    taken: dict[int, float]
    scratch: Summary | None = None
    scratch_taken: dict[int, float] = field(default_factory=dict)
    difference: Summary | None = None
    over_images: dict | None = None  # the interval over seeds and images, or why there is none
    level: float = 0.95


@dataclass(frozen=True)
class ByClass:
    """One chosen student: its classes, the worst first. `why`: there is nothing to say."""

    student: str
    classes: list[OfClass] = field(default_factory=list)
    balanced: Summary | None = None
    balanced_scratch: Summary | None = None
    balanced_difference: Summary | None = None
    why: str = ""

    @property
    def differ_in_size(self) -> bool:
        """Whether the classes have different numbers of test images."""
        return len({one.images for one in self.classes}) > 1


def by_class(
    frame: pd.DataFrame, answers: list[Answer], outcomes: Outcomes, look: Look = ONLY
) -> list[ByClass]:
    """One for each answer that chose something.

    frame: tidy, and outcomes, in one reading. Raises StoreError if an output is damaged.
    """
    found = []
    for answer in answers:
        if answer.chosen:
            option = {key: answer.chosen[key] for key in OPTION}
            ours = _arm(where(frame, kind="student", student=answer.student, **option), outcomes)
            alone = _arm(where(frame, kind="scratch", student=answer.student), outcomes)
            found.append(
                _of(answer.student, ours, alone, look)
                if ours
                else ByClass(answer.student, why=NOT_KEPT)
            )
    return found


def _arm(cell: pd.DataFrame, outcomes: Outcomes) -> Arm:
    done = where(cell, status="done").drop_duplicates("run")
    known = {
        seed: (name, outcomes.missed(name)) for seed, name in zip(done.seed, done.run, strict=True)
    }
    return {seed: (name, missed) for seed, (name, missed) in known.items() if missed is not None}


def _of(student: str, ours: Arm, alone: Arm, look: Look) -> ByClass:
    sizes = next(iter(ours.values()))[1].sizes
    numbers = [int(number) for number in np.flatnonzero(sizes)]
    level = 1 - 2 * look.level(LEVEL / 2 / len(numbers))
    classes = [_of_class(number, int(sizes[number]), ours, alone, level) for number in numbers]
    classes.sort(key=lambda one: (-one.error.mean, one.number))
    mine, theirs = _balanced(ours), _balanced(alone)
    both = {seed: mine[seed] - theirs[seed] for seed in mine if seed in theirs}
    return ByClass(student, classes, summary(mine), summary(theirs), summary(both))


def _of_class(number: int, images: int, ours: Arm, alone: Arm, level: float) -> OfClass:
    mine, theirs = (
        {seed: _errors(missed)[number] for seed, (_, missed) in arm.items()}
        for arm in (ours, alone)
    )
    taken = _taken(number, images, ours)
    if not theirs:
        return OfClass(number, images, summary(mine), taken)
    traced = {
        seed: TracedError(mine[seed], {ours[seed][0]: 1.0})
        - TracedError(theirs[seed], {alone[seed][0]: 1.0})
        for seed in mine
        if seed in theirs
    }
    values = pd.Series(traced, dtype=object)
    return OfClass(
        number,
        images,
        summary(mine),
        taken,
        summary(theirs),
        _taken(number, images, alone),
        summary({seed: float(value) for seed, value in traced.items()}, level),
        second(values, _wrong(number, images, ours, alone).get).facts(level),
        level,
    )


def _errors(missed: Missed) -> np.ndarray:
    """(classes,) the error of each, in %; nan without an image."""
    counts = np.bincount(missed.labels, minlength=len(missed.sizes))
    return 100 * counts / np.where(missed.sizes > 0, missed.sizes, np.nan)


def _balanced(arm: Arm) -> dict[float, float]:
    return {seed: float(np.nanmean(_errors(missed))) for seed, (_, missed) in arm.items()}


def _taken(number: int, images: int, arm: Arm) -> dict[int, float]:
    """For what the images of a class are taken, in % of them, the mean over seeds."""
    counts: Counter[int] = Counter()
    for _, missed in arm.values():
        counts.update(missed.predicted[missed.labels == number].tolist())
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return {other: 100 * count / images / len(arm) for other, count in ranked}


def _wrong(number: int, images: int, *arms: Arm) -> dict[str, np.ndarray]:
    """By run which images of a class it gets wrong: those that any run does come first, and of the
    others, which all get right, it does not matter which they are.
    """
    runs = dict(chain.from_iterable(arm.values() for arm in arms))
    of = {name: missed.images[missed.labels == number] for name, missed in runs.items()}
    ever = np.unique(np.concatenate(list(of.values())))
    found = {}
    for name, places in of.items():
        found[name] = np.zeros(images, dtype=bool)
        found[name][np.searchsorted(ever, places)] = True
    return found
