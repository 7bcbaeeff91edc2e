"""The folder of one run, ensemble, probe or export evaluation, and the name of every file in it.

The record is written last and lists the others. Names that begin with a dot belong to a job at
work: the lock, state and progress of an unfinished run, and a second copy of the record that
Snakemake does not know. Snakemake deletes a declared output before it starts a job again, and a
finished run must not be lost when one more checkpoint is requested.
"""

from pathlib import Path

from kdpipe.runs.files import find_temporary_files, read_regular_file

RECORD_FILE = "record.json"
RECORD_COPY_FILE = ".record.json"
FAILURE_FILE = "failure.json"
CURVE_FILE = "curve.jsonl"
STATE_FILE = ".state.safetensors"
PROGRESS_FILE = ".progress.json"
LOCK_FILE = ".lock"
# Files that no manifest of a finished run lists.
UNLISTED_FILES = {
    RECORD_FILE,
    RECORD_COPY_FILE,
    FAILURE_FILE,
    STATE_FILE,
    PROGRESS_FILE,
    LOCK_FILE,
}


def curve_path(folder: Path) -> Path:
    """Return the path of the training curve: a line of JSON for each epoch."""
    return folder / CURVE_FILE


def read_locked_name(folder: Path) -> str | None:
    """Return the name of a folder when its lock was last held, or None if that is unknown."""
    try:
        return read_regular_file(folder / LOCK_FILE).decode() or None
    except (OSError, ValueError):
        return None


def state_path(folder: Path) -> Path:
    """Return the path of the state that an unfinished run resumes from."""
    return folder / STATE_FILE


def progress_path(folder: Path) -> Path:
    """Return the path of the epoch and the curve of an unfinished run, for displays."""
    return folder / PROGRESS_FILE


def failure_path(folder: Path) -> Path:
    """Return the path of the reason why the last attempt failed."""
    return folder / FAILURE_FILE


def weights_path(folder: Path, epoch: int | None = None) -> Path:
    """Return the path of the weights after the last epoch, or of an earlier checkpoint."""
    return folder / "weights.safetensors" if epoch is None else _checkpoint_path(folder, epoch)


def outputs_path(folder: Path, epoch: int | None = None) -> Path:
    """Return the path of the logits and labels on validation and test.

    They are those of the weights of `weights_path` at the same epoch.
    """
    if epoch is None:
        return folder / "outputs.safetensors"
    return _checkpoint_path(folder, epoch, "-outputs")


def best_weights_path(folder: Path) -> Path:
    """Return the path of the weights after the best epoch on validation.

    There is no such file where the best epoch is the last one, see `records.find_weights_path`.
    """
    return folder / "best-weights.safetensors"


def best_outputs_path(folder: Path) -> Path:
    """Return the path of the logits and labels of the best epoch's weights."""
    return folder / "best-outputs.safetensors"


def unaveraged_weights_path(folder: Path) -> Path:
    """Return the path of the last weights without averaging, of a run that averages them."""
    return folder / "unaveraged-weights.safetensors"


def unaveraged_outputs_path(folder: Path) -> Path:
    """Return the path of the logits and labels of the weights without averaging."""
    return folder / "unaveraged-outputs.safetensors"


def validation_errors_path(folder: Path) -> Path:
    """Return the path of the misclassified validation images of each epoch, as bits."""
    return folder / "validation-errors.safetensors"


def find_checkpoint_files(folder: Path, epoch: int) -> list[Path]:
    """Return the files of a checkpoint that exist: its weights, its outputs."""
    paths = (weights_path(folder, epoch), outputs_path(folder, epoch))
    return [path for path in paths if path.exists()]


def list_run_files(folder: Path) -> list[Path]:
    """Return the files that the record of a finished run lists, sorted by name."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".json"
    ]


def list_job_leftovers(folder: Path) -> list[Path]:
    """Return the files that only an unfinished run needs; some may not exist."""
    states = [path for path in folder.glob(".state*") if path.suffix != ".tmp"]
    own_files = failure_path(folder), progress_path(folder)
    return [*own_files, *states, *find_temporary_files(folder, below=True)]


def _checkpoint_path(folder: Path, epoch: int, suffix: str = "") -> Path:
    return folder / "checkpoints" / f"epoch-{epoch:04d}{suffix}.safetensors"
