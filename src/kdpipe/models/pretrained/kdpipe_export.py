"""The config of a folder written by `kdpipe export`, with the input of its weights.

It imports only the standard library: an export is read where nothing else is installed.
"""

import json
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.errors import KdpipeError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT_VERSION = 1


def read_export_config(folder: Path) -> dict[str, Any]:
    """Read the config of an export.

    Raises
    ------
    KdpipeError
        If there is none, or it was altered.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_bytes())
        is_intact = config == hashing.add_checksum(config) and config["format"] == FORMAT_VERSION
    except FileNotFoundError:
        raise KdpipeError(
            f"{folder} is not an export: it has no {CONFIG_FILE}; create one with kdpipe "
            "export STUDY"
        ) from None
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        is_intact, config = False, {}
    if not is_intact:
        raise KdpipeError(
            f"{path} is not as kdpipe export has written it (altered, cut off or of another "
            "version): export the run again"
        )
    return config
