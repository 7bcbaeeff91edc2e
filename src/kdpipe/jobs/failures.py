"""What goes wrong in a job is said beside the run, and raised again.

Diverged and skipped are outcomes and end in a record; anything else that goes wrong is a fault,
ends in `failure.json`, and is tried again by whoever started the job.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from kdpipe.devices import faults
from kdpipe.errors import Interrupted, KdpipeError
from kdpipe.learning.own.code import staying
from kdpipe.results import run_folder
from kdpipe.results.files import write_json


@contextlib.contextmanager
def failures_noted(folder: Path, size: str, code: Path | None = None) -> Iterator[None]:
    """Whatever goes wrong inside is said in `failure.json`, running out of memory in plain words.

    `size` is what of the job could be made smaller, `code` the folder of networks of one's own.
    """
    run_folder.failure(folder).unlink(missing_ok=True)
    try:
        with staying():
            yield
    except Interrupted:
        raise
    except KdpipeError as error:
        _note_failure(folder, str(error), None)
        raise
    except SystemExit as error:  # of a network of one's own: no way to end a job
        advice = KdpipeError(
            f"{folder.name}: the code of the job ended the process (SystemExit: {error}): a "
            "network or term of your own must not call sys.exit or os._exit"
        )
        _note_failure(folder, str(advice), traceback.format_exc())
        raise advice from None
    except Exception as error:
        detail = traceback.format_exc()
        if said := faults.advice(error):
            advice = KdpipeError(f"{folder.name}: {said}")
            _note_failure(folder, str(advice), detail)
            raise advice from None
        if faults.is_out_of_memory(error):
            advice = KdpipeError(
                f"{folder.name}: out of memory with {size} ({str(error) or 'MemoryError'}): give "
                "the job more memory, run fewer jobs at once (of a GPU fewer runs_per_gpu, or none "
                "of somebody else's), or make it smaller; the recipe of a run is part of its name, "
                "so a smaller batch_size makes other runs"
            )
            _note_failure(folder, str(advice), detail)
            raise advice from None
        _note_failure(folder, f"{type(error).__name__}: {error}", detail)
        whose = "of kdpipe" if code is None else "of kdpipe or of a network of your own"
        error.add_note(
            f"This is a bug {whose}; the traceback is also in {run_folder.failure(folder)}"
        )
        raise


def _note_failure(folder: Path, reason: str, detail: str | None) -> None:
    with contextlib.suppress(Exception):  # a full disk must not hide the reason itself
        write_json(run_folder.failure(folder), {"reason": reason, "traceback": detail})
