"""What fails in another process of a run than its job, which imports it."""

import os

import torch

from kdpipe.errors import DataError


def fail(group, kind: str) -> None:
    """Fail in another process than the job."""
    if kind == "before":
        os._exit(7)
    if kind == "known":
        raise DataError("ant.png was indexed but can no longer be read: restore it")
    if kind == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory")
    raise ValueError("a bug")
