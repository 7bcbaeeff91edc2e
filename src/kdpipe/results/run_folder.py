"""The folder of one run, ensemble or probe: every file in it has its name here and nowhere else.

The record is written last and lists the others. Names that begin with a dot are of a job at work:
the lock, the state of an unfinished run, and the record once more under a name that Snakemake does
not know. It deletes a declared output before it starts a job again, and a finished run must not be
lost to a request for one more checkpoint.
"""

from pathlib import Path

from kdpipe.results.files import temporary_files

RECORD = "record.json"
KEPT_RECORD = ".record.json"
FAILURE = "failure.json"
CURVE = "curve.jsonl"
STATE = ".state.safetensors"
LOCK = ".lock"
# Of no finished run's manifest: what says something of the run, and what a job needs.
UNLISTED = {RECORD, KEPT_RECORD, FAILURE, STATE, LOCK}


def curve(folder: Path) -> Path:
    """One line for each epoch, as JSON."""
    return folder / CURVE


def locked_as(folder: Path) -> str | None:
    """The name that a folder had when its lock was last held; None if the lock does not say."""
    try:
        return (folder / LOCK).read_text() or None
    except (OSError, ValueError):
        return None


def state(folder: Path) -> Path:
    """Where an unfinished run stands."""
    return folder / STATE


def failure(folder: Path) -> Path:
    """Why the last try ended in a fault."""
    return folder / FAILURE


def weights(folder: Path, epoch: int | None = None) -> Path:
    """The weights after the last epoch, or those of the checkpoint after an earlier one."""
    return folder / "weights.safetensors" if epoch is None else _checkpoint(folder, epoch)


def outputs(folder: Path, epoch: int | None = None) -> Path:
    """Logits and labels on validation and test, of the weights of the same name."""
    if epoch is None:
        return folder / "outputs.safetensors"
    return _checkpoint(folder, epoch, "-outputs")


def best_weights(folder: Path) -> Path:
    """The weights after the best epoch on validation, where that is not the last one."""
    return folder / "best-weights.safetensors"


def best_outputs(folder: Path) -> Path:
    """Logits and labels on validation and test, of the same weights."""
    return folder / "best-outputs.safetensors"


def unaveraged_weights(folder: Path) -> Path:
    """The weights after the last epoch without averaging, where the run's own are an average."""
    return folder / "unaveraged-weights.safetensors"


def unaveraged_outputs(folder: Path) -> Path:
    """Logits and labels on validation and test, of the same weights."""
    return folder / "unaveraged-outputs.safetensors"


def checkpoint_files(folder: Path, epoch: int) -> list[Path]:
    """What there is of a checkpoint: its weights, its outputs."""
    paths = (weights(folder, epoch), outputs(folder, epoch))
    return [path for path in paths if path.exists()]


def listed(folder: Path) -> list[Path]:
    """The files that the record of a finished run lists, in the order of their names."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".json"
    ]


def leftovers(folder: Path) -> list[Path]:
    """What only an unfinished run needs."""
    states = [path for path in folder.glob(".state*") if path.suffix != ".tmp"]
    return [failure(folder), *states, *temporary_files(folder, below=True)]


def _checkpoint(folder: Path, epoch: int, what: str = "") -> Path:
    return folder / "checkpoints" / f"epoch-{epoch:04d}{what}.safetensors"
