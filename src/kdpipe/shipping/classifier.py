"""An export that answers: PIL images and arrays in, probabilities of classes out.

Needs onnxruntime, numpy and pillow, and nothing else of what kdpipe needs: an export is loaded
where it is used, where there is no torch. Its files are compared with the checksums in its config
before they are used.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.errors import DataError, KdpipeError
from kdpipe.networks.brought.exported import CONFIG, read
from kdpipe.shipping import front
from kdpipe.wording import listed, printable

FLOAT, INT8 = "model.onnx", "model.int8.onnx"
AT_ONCE = 64  # images


def load(export: str | Path, model: str | None = None, threads: int = 1) -> "Classifier":
    """The classifier of an export, a folder that `kdpipe export` has written.

    model: `float` or `int8`; None: the one that the export was made to ship. threads: those that
    ONNX Runtime computes with. Raises KdpipeError if the folder is none, damaged, or was changed.
    """
    folder = Path(export)
    config = read(folder)
    names = {"float": FLOAT, "int8": INT8, None: config["model"]}
    if model not in names:
        raise KdpipeError(f"model {model!r}: float, int8, or None for the one that is to ship")
    if names[model] not in config["files"]:
        there = listed(word for word, name in names.items() if word and name in config["files"])
        raise KdpipeError(f"{folder} has no model {model}; it has {there}")
    temperature = config.get("temperature", {}).get(names[model], 1.0)
    running = session(_whole(folder, names[model], config), threads)
    return Classifier(config, running, temperature)


def session(graph: bytes, threads: int = 1) -> Any:
    """An ONNX graph, ready to run on the CPU. Raises KdpipeError without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise KdpipeError(
            "an exported network is run by ONNX Runtime, which is not installed here: pip install "
            "onnxruntime (or kdpipe[export], to make exports)"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _whole(folder: Path, name: str, config: dict) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != config["files"][name]["sha256"]:
        raise KdpipeError(
            f"{path} is not the file that {CONFIG} beside it names: export the run again"
        )
    return content


class Classifier:
    """Called with images, it gives the probability of each class by its name, the highest first.

    An image is one of PIL, a path, or an array of uint8, (H, W) or (H, W, 3) as PIL gives it. One
    image gives one dict; a list of images, or an array (N, H, W, C), gives a list of them.
    Probabilities are those of the logits divided by `temperature`, which an export that was
    calibrated has; classes are the same at any.
    """

    def __init__(self, config: dict, session: Any, temperature: float = 1.0):
        self.config = config
        self.temperature = temperature
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self._session = session

    def __call__(self, images) -> dict[str, float] | list[dict[str, float]]:
        """Raises DataError for what cannot become what the network was trained on."""
        several = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        if several and not len(images):
            return []
        found = [self._by_name(logits) for logits in self.logits(images if several else [images])]
        return found if several else found[0]

    def logits(self, images) -> np.ndarray:
        """(N, classes) float32 of several images."""
        return self.of_pixels(np.stack([self.pixels(image) for image in images]))

    def pixels(self, image) -> np.ndarray:
        """What the network is given of an image: (C, H, W) uint8, not normalised."""
        from PIL import Image

        from kdpipe.data.own import pictures

        given = self.config["input"]
        if isinstance(image, str | Path):
            with pictures.opened(image, image) as opened:
                return front.pixels(opened, image, given)
        if isinstance(image, np.ndarray):
            image = Image.fromarray(_picture(image))
        return front.pixels(image, "an image", given)

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Logits (N, classes) float32 of pixels (N, C, H, W) uint8, as `pixels` gives them."""
        parts = [
            self._session.run(None, {"pixels": pixels[start : start + AT_ONCE]})[0]
            for start in range(0, len(pixels), AT_ONCE)
        ]
        return np.concatenate(parts)

    def _by_name(self, logits: np.ndarray) -> dict[str, float]:
        powers = np.exp((logits.astype(np.float64) - logits.max()) / self.temperature)
        shares = powers / powers.sum()
        order = np.argsort(-shares, kind="stable")
        return {self.classes[place]: float(shares[place]) for place in order}


def _picture(array: np.ndarray) -> np.ndarray:
    """An array that PIL takes for a picture. Raises DataError for another."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2:] == (3,)):
        return np.ascontiguousarray(array)
    raise DataError(
        f"an array of {printable(array.dtype)} and shape {array.shape}: give pixels from 0 to 255 "
        "as uint8, (H, W) or (H, W, 3), not normalised: the exported graph does that itself"
    )
