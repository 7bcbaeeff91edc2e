"""Plan, run and report studies of distillation: which teacher, stopped when, distilled how."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdpipe.export.classifier import Classifier

__version__ = "0.2.0"


def load(
    export: str | Path, model: str | None = None, threads: int = 1, time_limit: float = 120.0
) -> "Classifier":
    """Load an export for inference: `kdpipe.load(FOLDER)(image)`.

    See `kdpipe.export.classifier.load_classifier`, which is imported only when this is called.
    """
    return import_module("kdpipe.export.classifier").load_classifier(
        export, model, threads, time_limit
    )
