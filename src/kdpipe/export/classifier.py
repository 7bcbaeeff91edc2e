"""The classifier of an export: PIL images and arrays in, probabilities of classes out.

It needs onnxruntime, numpy and pillow, and nothing else that kdpipe needs: an export is loaded
where it is used, where there is no torch. Its files are compared with the checksums in its config
before they are used.

Preprocessing of an export: an image becomes the pixels that the network was trained on.

The config of an export has it as steps, each a mapping of one entry:

- `as_it_is: [height, width]`: an image of this size; any other is refused, since it is not known
  how it gets this size;
- `stretch: side`: to a square of `side`, bilinear, by PIL;
- `shorter: side`: the shorter side to so many pixels, bilinear, by PIL;
- `centre: side`: the square of `side` in the centre;
- `scale: side`: to a square of `side`, bilinear with antialiasing, as torch does
  (`resize_like_torch`).

Normalization is in the exported graph itself, and is no step. Neither torch nor onnxruntime is
imported here.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.data.imagefolder import decoding
from kdpipe.errors import DataError, KdpipeError
from kdpipe.models.pretrained.kdpipe_export import CONFIG_FILE, read_export_config
from kdpipe.text import escape, join_names


def preprocess_image(image, name: object, input_config: dict) -> np.ndarray:
    """Return the pixels of an image.

    Parameters
    ----------
    image : PIL.Image.Image
        The image.
    name : object
        What the image is called in messages.
    input_config : dict
        The key `input` of the config of an export.

    Returns
    -------
    ndarray of shape (C, H, W)
        Pixels, uint8.

    Raises
    ------
    DataError
        If the image cannot become that.
    """
    channels = input_config["channels"]
    if input_config["by_mode_alone"]:
        image = image.convert("L" if channels == 1 else "RGB")
    else:
        image = decoding.convert_image(image, name, channels)
    for step in input_config["steps"]:
        ((kind, argument),) = step.items()
        image = STEP_FUNCTIONS[kind](image, argument, name)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def describe_steps(input_config: dict) -> str:
    """Return the steps in words, for a model card."""
    parts = []
    for step in input_config["steps"]:
        ((kind, argument),) = step.items()
        parts.append(
            STEP_DESCRIPTIONS[kind].format(
                *(argument if isinstance(argument, list) else [argument])
            )
        )
    return ", then ".join(parts)


# --- the steps


def _require_size_step(image, size: list[int], name: object):
    """Return an image of the right size; raise DataError for any other."""
    height, width = size
    if image.size != (width, height):
        raise DataError(
            f"{escape(name)} has {image.width} x {image.height} pixels, and the network was "
            f"trained on images of {width} x {height} as they are: bring it to that size first, as "
            "those images were"
        )
    return image


def _stretch_step(image, side: int, _: object):
    """Return an image stretched to a square."""
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BILINEAR)


def _resize_shorter_step(image, side: int, _: object):
    """Return an image whose shorter side is scaled to so many pixels."""
    from PIL import Image

    shorter, longer = sorted(image.size)
    other = int(side * longer / shorter)
    size = (side, other) if image.width <= image.height else (other, side)
    return image.resize(size, Image.Resampling.BILINEAR)


def _center_crop_step(image, side: int, _: object):
    """Return the centre of an image."""
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _scale_step(image, side: int, _: object):
    """Return an image scaled to a square as torch does."""
    from PIL import Image

    array = np.asarray(image)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    resized = resize_like_torch(planes, side)
    return Image.fromarray(resized[0] if array.ndim == 2 else resized.transpose(1, 2, 0).copy())


STEP_FUNCTIONS: dict[str, Callable[[Any, Any, object], Any]] = {
    "as_it_is": _require_size_step,
    "stretch": _stretch_step,
    "shorter": _resize_shorter_step,
    "centre": _center_crop_step,
    "scale": _scale_step,
}
STEP_DESCRIPTIONS = {
    "as_it_is": "taken as it is: it has to have {1} x {0} pixels",
    "stretch": "stretched to {0} x {0} (bilinear)",
    "shorter": "the shorter side scaled to {0} (bilinear)",
    "centre": "the centre of {0} x {0} cut out",
    "scale": "scaled to {0} x {0} (bilinear, antialiased, as torch does in float32, then rounded)",
}


# --- scaling as torch does it


def resize_like_torch(image: np.ndarray, side: int) -> np.ndarray:
    """Scale an image (C, H, W) uint8 to (C, side, side) as torch does, without torch.

    It computes `interpolate(mode="bilinear", antialias=True)` in float32: a triangle as wide as the
    scale, along the rows, then along the columns; products are added one after another, and each
    sum is rounded once (a fused multiply-add). PIL sums in float64: the few sums in the middle
    between two levels are then rounded to the other one.
    """
    rows = _resize_axis(image.astype(np.float32), side)
    resized = _resize_axis(rows.swapaxes(1, 2), side).swapaxes(1, 2)
    return resized.round().clip(0, 255).astype(np.uint8)


def _resize_axis(x: np.ndarray, side: int) -> np.ndarray:
    """Scale (C, N, M) float32 along its last axis."""
    resized = np.empty((*x.shape[:-1], side), np.float32)
    for position, (first, weights) in enumerate(_triangle_weights(x.shape[-1], side)):
        total = x[..., first] * weights[0]
        for offset, weight in enumerate(weights[1:].astype(np.float64), 1):
            column = x[..., first + offset].astype(np.float64)
            total = (total + column * weight).astype(np.float32)
        resized[..., position] = total
    return resized


def _triangle_weights(length: int, side: int) -> list[tuple[int, np.ndarray]]:
    """Return the first old pixel of each new one, and the weights of the old ones from there on."""
    single = np.float32
    scale, half = single(length) / single(side), single(0.5)
    reach = max(scale, single(1))
    result = []
    for position in range(side):
        centre = scale * (single(position) + half)
        first = max(int(centre - reach + half), 0)
        last = min(int(centre + reach + half), length)
        distances = np.arange(first, last, dtype=np.float32) - centre + half
        weights = np.maximum(single(0), single(1) - np.abs(distances * (single(1) / reach)))
        total = single(0)
        for weight in weights:
            total += weight
        result.append((first, weights / total))
    return result


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
        If the folder is not an export, or is damaged or altered.
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
                return preprocess_image(picture, image, input_config)
        if isinstance(image, np.ndarray):
            image = Image.fromarray(_to_image_array(image))
        return preprocess_image(image, "an image", input_config)

    def logits_from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) float32 of preprocessed pixels (N, C, H, W) uint8."""
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
