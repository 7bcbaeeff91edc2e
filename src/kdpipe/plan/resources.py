"""What a job asks of a cluster: minutes and memory, from the prices of the plan.

Rough on purpose, and on the large side: what was guessed too small is more at the next attempt, and
a run that meets its time limit goes on where it stood.
"""

from kdpipe.data.cards import Card
from kdpipe.plan.items import Probe, Run, Table

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

# MB of a job with torch imported and nothing done; 250 are the two Snakemakes of a SLURM job.
EMPTY_JOB = {"cpu": 1200, "cuda": 4000}


def minutes(run: Run, device: str, workers: int = 0) -> int:
    """Minutes that a run will hardly need more than; `workers` read images that stream."""
    recipe = run.spec["recipe"]
    operations = run.train_multiply_adds + run.teacher_multiply_adds
    steps = recipe["epochs"] * -(-run.spec["data"]["train_size"] // recipe["batch_size"])
    streamed = run.spec["data"].get("stream_revision") is not None
    seen = recipe["epochs"] * run.spec["data"]["train_size"] if streamed else 0
    reading = seen * SECONDS_AN_IMAGE / max(1, workers)
    return _minutes(operations, steps, device, recipe["threads"], reading)


def megabytes(run: Run, card: Card, device: str, workers: int = 0) -> int:
    """Host memory of a run: images plain and padded, tables, weights, gradients, activations.

    Where images stream there are the workers that read them, and logits for a million images.
    """
    spec = run.spec
    side = card.shape[1] + 2 * spec["data"]["views"]["pad"]
    images = 3 * (card.train + card.test) * card.shape[0] * side**2
    if card.streamed:
        outputs = 4 * card.train * card.classes * (2 if run.parents else 1)
        images = (workers + 1) * WORKER + 2 * outputs
    weights = 4 * 8 * (run.cost.parameters + sum(parent.cost.parameters for parent in run.parents))
    # A value of an activation costs some 50 multiply-adds to make, and three of its kind are kept.
    activations = 3 * 4 * spec["recipe"]["batch_size"] * run.cost.multiply_adds // 50
    tables = sum(table.bytes for table in run.tables)
    return _megabytes(images + weights + tables + (activations if device == "cpu" else 0), device)


def table_minutes(table: Table, device: str, workers: int = 0) -> int:
    """Of a teacher table."""
    streamed = table.spec["data"].get("stream_revision") is not None
    seen = table.multiply_adds // max(1, table.parent.cost.multiply_adds) if streamed else 0
    reading = seen * SECONDS_AN_IMAGE / max(1, workers)
    return _minutes(table.multiply_adds, 0, device, table.spec["threads"], reading)


def table_megabytes(table: Table, card: Card, device: str, workers: int = 0) -> int:
    images = 3 * (card.train + card.test) * card.shape[0] * (card.shape[1] + 32) ** 2
    if card.streamed:
        images = (workers + 1) * WORKER
    return _megabytes(images + 4 * table.bytes, device)  # views, table, and the file's text


def probe_minutes(probe: Probe, device: str, workers: int = 0) -> int:
    """Of a probe: the forwards on the device, and its classifiers on the CPU."""
    threads, data, card = probe.spec["threads"], probe.spec["data"], probe.card
    fits = FITTINGS * 2 * data["train_size"] * FEATURES * card.classes / (RATE["cpu"] * threads)
    streamed = _probed(probe) if card.streamed else 0
    reading = streamed * SECONDS_AN_IMAGE / max(1, workers)
    return _minutes(probe.multiply_adds, 0, device, threads, reading + fits)


def probe_megabytes(probe: Probe, device: str, workers: int = 0) -> int:
    """Images, and their features in double precision, plain and standardised."""
    card = probe.card
    pixels = 3 * (card.train + card.test) * card.shape[0] * card.shape[1] * card.shape[2]
    if card.streamed:
        pixels = (workers + 1) * WORKER
    activations = 3 * 4 * BATCH * probe.run.cost.multiply_adds // 50
    return _megabytes(pixels + 3 * 8 * _probed(probe) * FEATURES + activations, device)


def _probed(probe: Probe) -> int:
    """The images whose features are taken."""
    return probe.spec["data"]["train_size"] + probe.spec["data"]["validation"] + probe.card.test


def time_at(attempt: int, minutes: int, longest: int | None) -> int:
    """Twice as much at each further attempt, and never more than the site has."""
    wanted = minutes * 2 ** (attempt - 1)
    return wanted if longest is None else min(wanted, longest)


def memory_at(attempt: int, megabytes: int) -> int:
    """Half as much more at each further attempt: mostly it was the time that was too short."""
    return megabytes * (1 + attempt) // 2


def _minutes(operations: int, steps: int, device: str, threads: int, reading: float = 0.0) -> int:
    rate = RATE[device] * (threads if device == "cpu" else 1)
    computing = operations / rate + steps * SECONDS_A_STEP[device]
    return max(FLOOR, round((STARTING + computing + reading) / 60))


def _megabytes(needed: float, device: str) -> int:
    return EMPTY_JOB[device] + round(1.5 * needed / 1e6)
