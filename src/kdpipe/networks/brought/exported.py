"""The config of an export, which says all that its weights want: a folder of `kdpipe export`.

Imports nothing that is not Python's own: an export is read where there is nothing else.
"""

import json
from pathlib import Path

from kdpipe import identity
from kdpipe.errors import KdpipeError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def read(folder: Path) -> dict:
    """The config of an export. Raises KdpipeError if there is none, or if it was changed."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
        whole = config == identity.sealed(config) and config["format"] == FORMAT
    except FileNotFoundError:
        raise KdpipeError(
            f"{folder} is no export: it has no {CONFIG}; kdpipe export STUDY makes one"
        ) from None
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        whole, config = False, {}
    if not whole:
        raise KdpipeError(
            f"{path} is not as kdpipe export has written it (altered, cut off or of another "
            "version): export the run again"
        )
    return config
