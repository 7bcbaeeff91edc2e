"""Formats that more than one known data set is published in.

A reader takes the content of the files by name, and gives uint8 images (N, C, H, W) and int64
labels; raises ValueError or UnpicklingError for other content. Nothing is unpickled but numbers,
texts, lists and arrays.
"""

import gzip
import io
import pickle
import zlib
from typing import Any

import numpy as np

from kdpipe.data.arrays import Arrays


def idx(content: dict[str, bytes]) -> Arrays:
    """The format of MNIST: a magic number, the dimensions, the bytes; gzipped."""
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays[f"{part}_images"] = _idx_array(content, f"{prefix}-images-idx3-ubyte.gz", 3)[:, None]
        labels = _idx_array(content, f"{prefix}-labels-idx1-ubyte.gz", 1)
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays


def _idx_array(content: dict[str, bytes], name: str, dimensions: int) -> np.ndarray:
    try:
        data = gzip.decompress(content[name])
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name}: {error}") from None
    header = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < header:  # 8: unsigned bytes
        raise ValueError(f"{name} is not an IDX file of bytes in {dimensions} dimension(s)")
    shape = np.frombuffer(data, ">u4", count=dimensions, offset=4).astype(np.int64)
    if len(data) != header + shape.prod():
        raise ValueError(f"{name} holds {len(data) - header:,} bytes for a shape of {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def cifar(content: dict[str, bytes]) -> Arrays:
    """The pickled batches of CIFAR: rows of 3,072 bytes, red, green, blue; fine labels of 100."""
    arrays: Arrays = {}
    trained = [name for name in content if name.startswith(("data_batch", "train"))]
    for part, names in (("train", sorted(trained)), ("test", sorted(set(content) - set(trained)))):
        batches = [_Plain(io.BytesIO(content[name]), encoding="latin1").load() for name in names]
        key = "fine_labels" if "fine_labels" in batches[0] else "labels"
        rows = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches])
        arrays[f"{part}_images"] = rows.reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(batch[key], np.int64) for batch in batches])
        arrays[f"{part}_labels"] = labels
    return arrays


class _Plain(pickle.Unpickler):
    """Loads arrays, numbers, texts, lists and dicts; anything else in a pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _as_bytes,  # how Python 3 pickles bytes for Python 2
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"a pickle that asks for {module}.{name} is not loaded")
        return allowed[module, name]


def _empty_array(*_) -> np.ndarray:
    return np.ndarray((0,), np.uint8)


def _as_bytes(text: str, *_) -> bytes:
    return text.encode("latin1")
