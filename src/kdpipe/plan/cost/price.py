"""The price of a study: seconds of each job, and of all together, with how wide of it they may be.

Two things are known of a job: how fast the machine was measured to be (`speeds`), and what
finished runs of the study took. The first prices it, the second corrects the price, for its own
network where there are any. Where neither is known there is no price, and multiply-adds say how
jobs compare.
"""

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kdpipe.data.cards import Card
from kdpipe.plan.cost import speeds
from kdpipe.plan.cost.schedule import Schedule, simulate
from kdpipe.plan.cost.speeds import Speed
from kdpipe.plan.items import Averaged, Gauge, Item, Plan, Probe, Run, Table
from kdpipe.plan.prices import averages
from kdpipe.specs.made import unlabelled_shown

RATE = 5e9  # multiply-adds a second, where nothing is known: only ratios of them are shown
SCORING = 2.0  # seconds of an ensemble: stored outputs, no torch
RENDERING = 12.0  # of the report: pandas, matplotlib, some ten figures
FORKED = 0.5  # seconds before a job does anything that is forked from a preloaded parent
STARTING = 2.5  # seconds of Python and torch, where it was not measured
SNAKEMAKE = 0.3  # from the end of a job to the start of the next in its place
UNSEEN, SEEN = 0.25, 0.08  # how wide of a price: before a run has finished, and at the least
READING = 0.007  # to read, decode and crop an image like ImageNet's on one core, as measured
GRAPHING = 12.0  # seconds of a gauge: a graph, its quantisation and its times
FITS = 2e-9  # seconds of a probe's classifiers for each image, feature and class


@dataclass(frozen=True)
class Total:
    """What is still to do. `seconds` None: nothing is known; `width` is a share of them."""

    schedule: Schedule
    seconds: float | None
    width: float


def forks(runs: Iterable[Run], device: str) -> bool:
    """Whether `kdpipe run` forks the jobs of these runs from a preloaded parent (`jobs.preloaded`).

    A process with several threads, or with a GPU, cannot be forked; two jobs are not worth it.
    """
    threads = [run.spec["recipe"]["threads"] for run in runs]
    return device == "cpu" and len(threads) > 2 and max(threads) == 1


def of(plan: Plan, device: str, known: Mapping[str, dict], on_gpus: int | None = None) -> "Price":
    """The price of a plan on this machine; `known` are records of its runs, by name."""
    start = FORKED if forks(plan.runs.values(), device) else None
    return Price(plan, speeds.of(plan, device), known, start, on_gpus)


@dataclass(frozen=True)
class Price:
    """Prices of the jobs of a plan.

    speeds: of runs by name, those of a network and recipe the same; records: of runs, by name.
    start: seconds of a job beside its own work, where that was seen. on_gpus: how many jobs the
    GPUs hold at a time; None where there are none.
    """

    plan: Plan
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    records: Mapping[str, dict] = field(default_factory=dict)
    start: float | None = None
    on_gpus: int | None = None

    def of(self, item: Item) -> float:
        """Seconds of a job from its start to its end, a slot that Snakemake gives it included."""
        if isinstance(item, Averaged):
            return SNAKEMAKE + SCORING if self.start is None else self.start
        return self._start + self._work(item) * self._correction(_network(item))

    def done(self, item: Item, epochs: int) -> float:
        """The part of the price of a run that so many of its epochs are."""
        return self.of(item) * epochs / max(1, item.epochs) if isinstance(item, Run) else 0.0

    @property
    def known(self) -> bool:
        return bool(self.speeds or self._ratios)

    def total(self, to_do: Collection[str], cores: int, behind: Mapping[str, float] = {}) -> Total:
        """Of all that is to do on so many cores; `behind`: seconds that a job has behind it."""

        def left(item: Item) -> float:
            return max(0.0, self.of(item) - behind.get(item.name, 0.0))

        schedule = simulate(self.plan, to_do, left, max(1, cores), self.on_gpus)
        seconds = schedule.seconds + (RENDERING if to_do else 0.0)
        return Total(schedule, seconds if self.known else None, self.width)

    @functools.cached_property
    def width(self) -> float:
        """By how much of it a price may be wrong: by how far finished runs lay from theirs."""
        ratios = [ratio for _, _, ratio in self._ratios]
        if len(ratios) < 3:
            return UNSEEN
        by_network = [ratio / self._correction(name) for name, _, ratio in self._ratios]
        spread = sum((ratio - 1) ** 2 for ratio in by_network) / (len(ratios) - 1)
        return min(1.0, SEEN + 2 * (spread / len(ratios)) ** 0.5)

    # --- seconds of work, as if nothing had finished yet

    def _work(self, item: Run | Table | Probe | Gauge) -> float:
        match item:
            case Run():
                return self._of_run(item)
            case Table():
                images = item.multiply_adds / max(1, item.parent.cost.multiply_adds)
                return self._read(self.plan.card, images, images * self._image(item.parent))
            case Probe():
                data = item.spec["data"]
                images = data["train_size"] + data["validation"] + item.card.test
                fits = FITS * data["train_size"] * 100 * item.card.classes
                return self._read(item.card, images, images * self._image(item.run)) + fits
            case Gauge():
                return self._of_gauge(item)

    def _of_gauge(self, gauge: Gauge) -> float:
        """PyTorch and both graphs are asked about the images, which are read once."""
        card = self.plan.card
        images = gauge.spec["data"]["validation"] + card.test
        return self._read(card, images, 3 * images * self._image(gauge.run)) + GRAPHING

    def _of_run(self, run: Run) -> float:
        """Steps, validation after each epoch, at the end all images by the last and the best."""
        card, data, recipe = self.plan.card, run.spec["data"], run.spec["recipe"]
        val, train, epochs = data["validation"], data["train_size"], run.epochs
        image = self._image(run)
        at_end = (1 + (val > 0) + averages(run)) * (train + val + card.test)
        at_end += len(self.plan.keep.get(run.name, ())) * (val + card.test)
        seconds = image * (epochs * val + at_end)
        more = unlabelled_shown(run.spec)
        read = epochs * (train + val) + more + at_end
        speed = self.speeds.get(run.name)
        steps = epochs * -(-train // recipe["batch_size"])
        if speed is None:
            seconds += run.train_multiply_adds / RATE
        else:
            steps += more / recipe["batch_size"]  # as long as so many more of the same size
            seconds += speed.setup + steps * speed.step + epochs * speed.epoch
        if run.spec["teacher"] and not run.tables:  # a live teacher, asked for every image
            asked = train * run.spec["method"]["kd_epochs"] + more
            seconds += asked * sum(self._image(parent) for parent in run.parents)
        return self._read(card, read, seconds) + _loading(card)

    def _read(self, card: Card, images: float, seconds: float) -> float:
        """Seconds of a job that reads so many images from their files, where they stream.

        Beside its own work where there are `workers` for it, else before.
        """
        if not card.streamed:
            return seconds
        workers = self.plan.study.workers
        reading = images * READING / max(1, workers)
        return max(seconds, reading) if workers else seconds + reading

    def _image(self, run: Run) -> float:
        speed = self.speeds.get(run.name)
        return speed.image if speed else run.cost.multiply_adds / RATE

    @property
    def _start(self) -> float:
        """Seconds of Snakemake, Python and torch before a job does anything."""
        if self.start is not None:
            return self.start
        starts = [speed.start for speed in self.speeds.values()]
        return SNAKEMAKE + (sum(starts) / len(starts) if starts else STARTING)

    # --- what finished runs say of it

    @functools.cached_property
    def _ratios(self) -> list[tuple[str, float, float]]:
        """(network, seconds as priced, seconds it took by those) of each finished run."""
        found = []
        for name, run in self.plan.runs.items():
            record = self.records.get(name)
            if record and record["status"] == "done" and run.epochs and "seconds" in record:
                priced = self._of_run(run)
                found.append((run.network, priced, record["seconds"]["total"] / priced))
        return found

    @functools.cached_property
    def _corrections(self) -> dict[str, float]:
        """By network, and under no name of all: what runs took by what they were priced at."""
        priced: dict[str, float] = {}
        took: dict[str, float] = {}
        for network, seconds, ratio in self._ratios:
            for key in (network, ""):
                priced[key] = priced.get(key, 0.0) + seconds
                took[key] = took.get(key, 0.0) + seconds * ratio
        return {key: took[key] / priced[key] for key in priced}

    def _correction(self, network: str) -> float:
        return self._corrections.get(network, self._corrections.get("", 1.0))


def _network(item: Run | Table | Probe | Gauge) -> str:
    if isinstance(item, Run):
        return item.network
    return item.parent.network if isinstance(item, Table) else item.run.network


def _loading(card: Card) -> float:
    """Seconds of reading all images and comparing them with their card."""
    channels, height, width = card.shape
    pixels = 0 if card.streamed else (card.train + card.test) * channels * height * width
    return pixels * 5e-9
