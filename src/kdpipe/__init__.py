"""Plan, run and report studies of distillation: which teacher, stopped when, distilled how."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"


def load(export: Any, model: str | None = None, threads: int = 1, time_limit: float = 120.0) -> Any:
    """Load an export for inference: `kdpipe.load(FOLDER)(image)`.

    See `kdpipe.export.classifier.load_classifier`, which is imported only when this is called.
    """
    return import_module("kdpipe.export.classifier").load_classifier(
        export, model, threads, time_limit
    )
