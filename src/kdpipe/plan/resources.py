"""What a job asks of a cluster: minutes and memory, from the prices of the plan.

Rough on purpose, and on the large side: what was guessed too small is more at the next attempt, and
a run that meets its time limit goes on where it stood.
"""

from dataclasses import dataclass

from kdpipe.data.cards import Card
from kdpipe.plan.items import Gauge, Probe, Run, Table
from kdpipe.specs.made import unlabelled_folder, unlabelled_shown

# Multiply-adds a second, of small networks and batches: of one thread about half of what was
# measured on one core of a slow machine; of a GPU never measured, and guessed low.
RATE = {"cpu": 5e8, "cuda": 5e11}
SECONDS_A_STEP = {"cpu": 0.02, "cuda": 0.03}  # of a batch, however small its network
STARTING = 300  # seconds for imports, data and the last evaluation, on a busy file system
SECONDS_AN_IMAGE = 0.02  # to read, decode and crop one like ImageNet's: 0.007 was measured
WORKER = 4 * 10**8  # bytes of a process that reads images, with the batches that it holds ready
FLOOR = 10  # minutes; the profile's warning comes two minutes before the end

# Of a probe: rounds of all its classifiers together, features of a network, images at a time.
FITTINGS, FEATURES, BATCH = 1000, 2048, 256

# Of a gauge: seconds to make a graph and to quantise it, and of its times; graphs, and PyTorch.
GRAPHING, ANSWERERS = 60, 3

# MB of a job with torch imported and nothing done; 250 are the two Snakemakes of a SLURM job.
EMPTY_JOB = {"cpu": 1200, "cuda": 4000}


@dataclass(frozen=True)
class Needs:
    """What a job will hardly need more than."""

    minutes: int
    megabytes: int  # of host memory

    def at(self, attempt: int, longest: int | None = None) -> "Needs":
        """What is asked for at the first, second, ... attempt.

        Twice the time at each further one, and never more minutes than the site has; half as much
        memory more, since mostly it was the time that was too short.
        """
        minutes = self.minutes * 2 ** (attempt - 1)
        return Needs(
            minutes if longest is None else min(minutes, longest),
            self.megabytes * (1 + attempt) // 2,
        )


@dataclass(frozen=True)
class _Work:
    """What a job does and holds, whatever its kind."""

    operations: int  # multiply-adds on the device
    threads: int
    images_seen: int  # that are read and decoded, where they stream
    held: int  # bytes in host memory beside the images
    image_bytes: int  # of all images that are held, where they do not stream
    steps: int = 0
    seconds: float = 0.0  # on the CPU, of all that is not on the device


def of(item: Run | Table | Probe | Gauge, card: Card, device: str, workers: int = 0) -> Needs:
    """What the job of a run, a table, a probe or a gauge needs, on `cpu` or `cuda`.

    `card` is that of the images which it sees; where they stream, `workers` read them.
    """
    match item:
        case Run():
            work = _of_run(item, card, device)
        case Table():
            work = _of_table(item, card)
        case Probe():
            work = _of_probe(item, card)
        case Gauge():
            work = _of_gauge(item, card)
    rate = RATE[device] * (work.threads if device == "cpu" else 1)
    computing = work.operations / rate + work.steps * SECONDS_A_STEP[device] + work.seconds
    reading = work.images_seen * SECONDS_AN_IMAGE / max(1, workers) if card.streamed else 0.0
    images = (workers + 1) * WORKER if card.streamed else work.image_bytes
    return Needs(
        minutes=max(FLOOR, round((STARTING + computing + reading) / 60)),
        megabytes=EMPTY_JOB[device] + round(1.5 * (images + work.held) / 1e6),
    )


def _of_run(run: Run, card: Card, device: str) -> _Work:
    """Images plain and padded, tables, weights, gradients, and on a CPU activations.

    Where images stream there are logits for a million of them.
    """
    spec, recipe = run.spec, run.spec["recipe"]
    images = spec["data"]["train_size"]
    weights = 4 * 8 * (run.cost.parameters + sum(parent.cost.parameters for parent in run.parents))
    held = weights + sum(table.bytes for table in run.tables)
    if device == "cpu":
        beside = (spec["method"] or {}).get("unlabelled", 0)
        held += _activation_bytes(recipe["batch_size"] + beside, run)
    if card.streamed:
        held += 2 * 4 * card.train * card.classes * (2 if run.parents else 1)
    return _Work(
        operations=run.multiply_adds,
        threads=recipe["threads"],
        images_seen=recipe["epochs"] * images + unlabelled_shown(spec),
        held=held,
        image_bytes=_image_bytes(card, 2 * spec["data"]["views"]["pad"], spec["method"]),
        steps=recipe["epochs"] * -(-images // recipe["batch_size"]),
    )


def _of_table(table: Table, card: Card) -> _Work:
    """Images in a batch of views, the table, and the text of its file."""
    return _Work(
        operations=table.multiply_adds,
        threads=table.spec["threads"],
        images_seen=table.multiply_adds // max(1, table.parent.cost.multiply_adds),
        held=4 * table.bytes,
        image_bytes=_image_bytes(card, 32, table.spec),
    )


def _of_probe(probe: Probe, card: Card) -> _Work:
    """The forwards on the device, and its classifiers on the CPU.

    In memory images, and their features in double precision, plain and standardised.
    """
    data, threads = probe.spec["data"], probe.spec["threads"]
    probed = data["train_size"] + data["validation"] + card.test
    fits = FITTINGS * 2 * data["train_size"] * FEATURES * card.classes / (RATE["cpu"] * threads)
    return _Work(
        operations=probe.multiply_adds,
        threads=threads,
        images_seen=probed,
        held=3 * 8 * probed * FEATURES + _activation_bytes(BATCH, probe.run),
        image_bytes=_image_bytes(card),
        seconds=fits,
    )


def _of_gauge(gauge: Gauge, card: Card) -> _Work:
    """Both graphs and PyTorch are asked about the images; all of it on the CPU."""
    images = gauge.spec["data"]["validation"] + card.test
    return _Work(
        operations=ANSWERERS * images * gauge.run.cost.multiply_adds,
        threads=gauge.spec["threads"],
        images_seen=images,
        held=ANSWERERS * 4 * gauge.run.cost.parameters + _activation_bytes(BATCH, gauge.run),
        image_bytes=_image_bytes(card),
        seconds=GRAPHING,
    )


def _image_bytes(card: Card, wider: int = 0, spec: dict | None = None) -> int:
    """Of all images in three copies, `wider` pixels higher and wider.

    `spec` is that of a method or a table, which may have images that are no part of the data set.
    """
    channels, height, width = card.shape
    images = card.train + card.test
    if spec and unlabelled_folder(spec):
        images += spec["unlabelled_images"]
    return 3 * images * channels * (height + wider) * (width + wider)


def _activation_bytes(images: int, run: Run) -> int:
    """Of the network of a run at work on a batch of images.

    A value of an activation costs some 50 multiply-adds to make, and three of its kind are kept.
    """
    return 3 * 4 * images * run.cost.multiply_adds // 50
