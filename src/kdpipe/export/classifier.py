"""The classifier of an export: PIL images and arrays in, probabilities of classes out.

It needs onnxruntime, numpy and pillow, and nothing else that kdpipe needs: an export is loaded
where it is used, where there is no torch. Its files are compared with the checksums in its config
before they are used.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.errors import DataError, KdpipeError
from kdpipe.export import preprocess
from kdpipe.models.pretrained.kdpipe_export import CONFIG_FILE, read_export_config
from kdpipe.text import escape, join_names

FLOAT_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
BATCH_SIZE = 64  # images


def load_classifier(export: str | Path, model: str | None = None, threads: int = 1) -> "Classifier":
    """Load the classifier of an export.

    Parameters
    ----------
    export : str or Path
        The folder that `kdpipe export` has written.
    model : str or None
        `float` or `int8`; None: the one that the export was made to ship.
    threads : int
        The number of threads that ONNX Runtime computes with.

    Returns
    -------
    Classifier

    Raises
    ------
    KdpipeError
        If the folder is no export, is damaged, or was changed.
    """
    folder = Path(export)
    config = read_export_config(folder)
    names = {"float": FLOAT_FILE, "int8": INT8_FILE, None: config["model"]}
    if model not in names:
        raise KdpipeError(f"model {model!r}: float, int8, or None for the one that is to ship")
    if names[model] not in config["files"]:
        available = join_names(
            kind for kind, name in names.items() if kind and name in config["files"]
        )
        raise KdpipeError(f"{folder} has no model {model}; it has {available}")
    temperature = config.get("temperature", {}).get(names[model], 1.0)
    onnx_session = create_session(_read_verified(folder, names[model], config), threads)
    return Classifier(config, onnx_session, temperature)


def create_session(graph: bytes, threads: int = 1) -> Any:
    """Return an ONNX graph that is ready to run on the CPU.

    Parameters
    ----------
    graph : bytes
        The graph.
    threads : int
        The number of threads that ONNX Runtime computes with.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    KdpipeError
        If onnxruntime is not installed.
    """
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


def _read_verified(folder: Path, name: str, config: dict) -> bytes:
    """Return the content of a file of an export; raise KdpipeError if its checksum differs."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != config["files"][name]["sha256"]:
        raise KdpipeError(
            f"{path} is not the file that {CONFIG_FILE} beside it names: export the run again"
        )
    return content


class Classifier:
    """A classifier that maps images to the probability of each class by name, highest first.

    An image is a PIL image, a path, or a uint8 array, (H, W) or (H, W, 3) as PIL gives it. One
    image gives one dict; a list of images, or an array (N, H, W, C), gives a list of them.
    Probabilities are those of the logits divided by `temperature`, which a calibrated export has;
    the classes are the same at any temperature.

    Parameters
    ----------
    config : dict
        The config of the export.
    session : onnxruntime.InferenceSession
        Its graph.
    temperature : float
        By which logits are divided.
    """

    def __init__(self, config: dict, session: Any, temperature: float = 1.0):
        self.config = config
        self.temperature = temperature
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self._session = session

    def __call__(self, images) -> dict[str, float] | list[dict[str, float]]:
        """Return the probabilities of the classes of one or several images.

        Raises
        ------
        DataError
            If an image cannot become what the network was trained on.
        """
        is_batch = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        if is_batch and not len(images):
            return []
        probabilities = [
            self._name_probabilities(logits)
            for logits in self.logits(images if is_batch else [images])
        ]
        return probabilities if is_batch else probabilities[0]

    def logits(self, images) -> np.ndarray:
        """Return the logits (N, classes) float32 of several images."""
        return self.logits_from_pixels(np.stack([self.preprocess(image) for image in images]))

    def preprocess(self, image) -> np.ndarray:
        """Return what the network is given of an image: (C, H, W) uint8, not normalized."""
        from PIL import Image

        from kdpipe.data.imagefolder import decoding

        input_config = self.config["input"]
        if isinstance(image, str | Path):
            with decoding.open_image(image, image) as picture:
                return preprocess.preprocess_image(picture, image, input_config)
        if isinstance(image, np.ndarray):
            image = Image.fromarray(_to_image_array(image))
        return preprocess.preprocess_image(image, "an image", input_config)

    def logits_from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) float32 of pixels (N, C, H, W) uint8 from `preprocess`."""
        parts = [
            self._session.run(None, {"pixels": pixels[start : start + BATCH_SIZE]})[0]
            for start in range(0, len(pixels), BATCH_SIZE)
        ]
        return np.concatenate(parts)

    def _name_probabilities(self, logits: np.ndarray) -> dict[str, float]:
        """Return the probability of each class by name, highest first."""
        powers = np.exp((logits.astype(np.float64) - logits.max()) / self.temperature)
        probabilities = powers / powers.sum()
        order = np.argsort(-probabilities, kind="stable")
        return {self.classes[index]: float(probabilities[index]) for index in order}


def _to_image_array(array: np.ndarray) -> np.ndarray:
    """Return an array that PIL takes for an image; raise DataError for another."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2:] == (3,)):
        return np.ascontiguousarray(array)
    raise DataError(
        f"an array of {escape(array.dtype)} and shape {array.shape}: give pixels from 0 to 255 "
        "as uint8, (H, W) or (H, W, 3), not normalised: the exported graph does that itself"
    )
