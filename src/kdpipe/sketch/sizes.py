"""The sizes of a first study: as good as fits into the minutes that it may take on this machine.

It begins with the smallest that can show anything, and takes the next better one in turns - epochs,
networks, larger images, seeds - as long as the price fits. The price is that of three runs a seed:
the teacher, the student on labels, and the student that is taught. Where even the smallest does not
fit, it trains on a part of the images.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kdpipe.networks.family import Shape

# Teacher and student, from the cheapest pair to the dearest.
PAIRS = (
    ("wrn10-1", "wrn10-0.5"),
    ("wrn10-2", "wrn10-1"),
    ("wrn16-2", "wrn10-1"),
    ("wrn28-2", "wrn16-1"),
    ("wrn40-2", "wrn16-2"),
)
SIDES = (32, 48, 64)  # pixels; small networks with three groups are made for 32
FEWEST_STEPS, STEPS = 600, 2500  # of the optimiser: to learn anything, and to learn it well
FEWEST_EPOCHS, MOST_EPOCHS = 10, 120
SEEDS = (3, 5)  # three are the fewest that give an interval
STARTING = 4.0  # seconds of each run beside its steps: imports, data, evaluation
VALIDATION, MOST_VALIDATION = 0.15, 5000  # of train, held out
FORWARD = 1 / 3  # of a step: the teacher's, beside each step of its student


@dataclass(frozen=True)
class Images:
    """What is known of the images: counts, and the sides that they may have in a study."""

    train: int
    validation: int  # of their own
    classes: int
    channels: int
    sides: tuple[int, ...]  # rising


@dataclass(frozen=True)
class Sizes:
    """Of a study, and how long it will take about, on `cores` cores."""

    side: int
    teacher: str
    student: str
    epochs: int
    batch: int
    seeds: int
    validation: int  # held out of train
    train: int  # images to train on
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Of the optimiser in an epoch."""
        return -(-self.train // self.batch)

    @property
    def drops(self) -> list[int]:
        """The paper's: after 0.3, 0.6 and 0.9 of the epochs."""
        return [round(share * self.epochs) for share in (0.3, 0.6, 0.9)]


Step = Callable[[str, Shape, int, int], float]  # seconds; as `speed.step`


def chosen(images: Images, minutes: float, cores: int, step: Step) -> Sizes:
    """The best sizes whose price is no more than these minutes, or the smallest there are."""
    sizes = _priced(_smallest(images), images, cores, step)
    while sizes.seconds > 60 * minutes and sizes.train > max(500, 20 * images.classes):
        fewer = max(500, 20 * images.classes, sizes.train // 2)
        part = _with_epochs(replace(sizes, train=fewer, batch=_batch(fewer)), FEWEST_STEPS)
        sizes = _priced(part, images, cores, step)
    kinds = ["epochs", "networks", "images", "seeds"]
    while kinds:  # in turns; what does not fit once is not tried again
        for kind in list(kinds):
            better = dict(_better(sizes, images)).get(kind)
            priced = _priced(better, images, cores, step) if better else None
            if priced and priced.seconds <= 60 * minutes:
                sizes = priced
            elif priced or kind != "seeds" or kinds == ["seeds"]:
                kinds.remove(kind)
    return sizes


def _smallest(images: Images) -> Sizes:
    held = 0
    if not images.validation:
        share = min(MOST_VALIDATION, round(VALIDATION * images.train))
        held = min(max(share, images.classes), images.train // 2)
    train = images.train - held
    teacher, student = PAIRS[0]
    sizes = Sizes(images.sides[0], teacher, student, 0, _batch(train), SEEDS[0], held, train)
    return _with_epochs(sizes, FEWEST_STEPS)


def _batch(train: int) -> int:
    """Images of a step: of few, small ones, or an epoch has too few steps."""
    return 128 if train >= 5000 else 64 if train >= 1500 else 32


def _with_epochs(sizes: Sizes, steps: int) -> Sizes:
    epochs = math.ceil(steps / sizes.steps)
    return replace(sizes, epochs=min(max(epochs, FEWEST_EPOCHS), MOST_EPOCHS))


def _better(sizes: Sizes, images: Images) -> Iterator[tuple[str, Sizes]]:
    """The next better of each kind, in the order in which it is tried."""
    longer = _with_epochs(sizes, STEPS)
    if longer.epochs > sizes.epochs:
        yield "epochs", replace(sizes, epochs=min(longer.epochs, math.ceil(1.5 * sizes.epochs)))
    pair = PAIRS.index((sizes.teacher, sizes.student))
    if pair + 1 < len(PAIRS):
        teacher, student = PAIRS[pair + 1]
        yield "networks", replace(sizes, teacher=teacher, student=student)
    larger = [side for side in images.sides if side > sizes.side]
    if larger:
        yield "images", replace(sizes, side=larger[0])
    more = [seeds for seeds in SEEDS if seeds > sizes.seeds]
    if more and longer.epochs == sizes.epochs and not larger:
        yield "seeds", replace(sizes, seeds=more[0])


def _priced(sizes: Sizes, images: Images, cores: int, step: Step) -> Sizes:
    """With its seconds: runs of one seed wait for each other, those of others do not."""
    shape = (images.channels, sizes.side, sizes.side)
    teacher, student = (
        step(network, shape, images.classes, sizes.batch)
        for network in (sizes.teacher, sizes.student)
    )
    steps = sizes.epochs * sizes.steps
    lone = steps * teacher + STARTING, steps * student + STARTING
    taught = steps * (student + FORWARD * teacher) + STARTING
    work = sizes.seeds * (sum(lone) + taught)
    longest = math.ceil(sizes.seeds / cores) * (lone[0] + taught)
    return replace(sizes, seconds=max(work / cores, longest))
