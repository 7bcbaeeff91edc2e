"""kdpipe: which teacher, stopped when, distilled how, gives the best small model?"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def load(export: Any, model: str | None = None, threads: int = 1) -> Any:
    """What answers for an export: `kdpipe.load(FOLDER)(image)`; see `shipping.classifier.load`.

    It stands above this face of the package, so it is found by its name, and only when asked for.
    """
    return import_module("kdpipe.export.classifier").load_classifier(export, model, threads)
