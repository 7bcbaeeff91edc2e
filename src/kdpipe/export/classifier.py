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

An export may be damaged, or come from a stranger: its config is checked key by key, its graph is
scanned (`graph_scan`) before ONNX Runtime sees it, and what ONNX Runtime does with it has limits of
time and memory. Errors are a KdpipeError for the export and a DataError for an image, with control
characters escaped.
"""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kdpipe.data.imagefolder import decoding
from kdpipe.errors import DataError, KdpipeError
from kdpipe.export import graph_scan
from kdpipe.models.pretrained.kdpipe_export import (
    CONFIG_FILE,
    FLOAT_FILE,
    INT8_FILE,
    read_export_config,
    read_export_file,
)
from kdpipe.text import escape, format_value, join_names, shorten_line

if TYPE_CHECKING:
    from PIL import Image

# What a classifier takes as an image.
ImageLike: TypeAlias = "str | Path | Image.Image | np.ndarray"
TIME_LIMIT = 120.0  # seconds, for loading a graph and for each batch
MAX_RESIZED_PIXELS = 2**27  # of an image whose shorter side is scaled


def preprocess_image(
    image: "Image.Image", name: object, input_config: dict[str, Any]
) -> np.ndarray:
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


def describe_steps(input_config: dict[str, Any]) -> str:
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


def _resize_shorter_step(image, side: int, name: object):
    """Return an image whose shorter side is scaled to so many pixels."""
    from PIL import Image

    shorter, longer = sorted(image.size)
    other = int(side * longer / shorter)
    if side * other > MAX_RESIZED_PIXELS:
        raise DataError(
            f"{escape(name)} has {image.width} x {image.height} pixels: it is too narrow to be "
            f"scaled to a shorter side of {side}"
        )
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


BATCH_SIZE = 64  # images


def load_classifier(
    export: str | Path,
    model: str | None = None,
    threads: int = 1,
    time_limit: float = TIME_LIMIT,
) -> "Classifier":
    """Load the classifier of an export.

    Parameters
    ----------
    export : str or Path
        The folder that `kdpipe export` has written.
    model : str or None
        `float` or `int8`; None: the one that the export was made to ship.
    threads : int
        The number of threads that ONNX Runtime computes with.
    time_limit : float
        Seconds that loading the graph, and each batch of at most 64 images, may take.

    Returns
    -------
    Classifier

    Raises
    ------
    KdpipeError
        If the folder is not an export, is damaged or altered, or has a graph that an export never
        has.
    """
    folder = Path(export)
    config = read_export_config(folder)
    names = {"float": FLOAT_FILE, "int8": INT8_FILE, None: config["model"]}
    if model not in names:
        raise KdpipeError(
            f"model {format_value(model)}: float, int8, or None for the one that ships"
        )
    if names[model] not in config["files"]:
        available = join_names(
            kind for kind, name in names.items() if kind and name in config["files"]
        )
        raise KdpipeError(f"{escape(folder)} has no model {model}; it has {available}")
    path = folder / names[model]
    graph = _read_verified(folder, names[model], config)
    try:
        graph_scan.check_graph(graph)
    except KdpipeError as error:
        raise KdpipeError(f"{escape(path)} is not a graph of kdpipe export: {error}") from None
    with _explain_errors(path, "load"):
        session = _call_with_limit(
            lambda: create_session(graph, threads, _memory_limit()), time_limit, path
        )
        _check_session(session, config, path)
    temperature = config.get("temperature", {}).get(names[model], 1.0)
    return Classifier(config, session, temperature, path, time_limit)


def create_session(graph: bytes, threads: int = 1, memory_limit: int | None = None) -> Any:
    """Return an ONNX graph that is ready to run on the CPU.

    Parameters
    ----------
    graph : bytes
        The graph.
    threads : int
        The number of threads that ONNX Runtime computes with.
    memory_limit : int or None
        Bytes that its tensors may take; None: no limit.

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
    options.log_severity_level = 4  # a log could have control characters of the file
    if memory_limit is not None:
        # Only an allocator of the whole process can be given a limit; the one that is registered
        # next takes its place for later sessions alone.
        onnx: Any = onnxruntime
        arena, default = onnx.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnx.OrtMemType.DEFAULT
        onnx.create_and_register_allocator(
            onnx.OrtMemoryInfo("Cpu", arena, 0, default),
            onnx.OrtArenaCfg({"max_mem": memory_limit}),
        )
        options.add_session_config_entry("session.use_env_allocators", "1")
        # What is folded while a graph is loaded has no limit. An export has nothing left to fold.
        options.add_session_config_entry(
            "optimization.disable_specified_optimizers", "ConstantFolding"
        )
    # Without its fallback, which prints the error and tries the same provider again.
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def _memory_limit() -> int:
    """Return the bytes that the tensors of a graph may take: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read_verified(folder: Path, name: str, config: dict) -> bytes:
    """Return the content of a file of an export; raise KdpipeError if its checksum differs."""
    path, facts = escape(folder / name), config["files"][name]
    content = b""
    try:
        content = read_export_file(folder, name, facts["bytes"])
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise KdpipeError(
                f"{path} cannot be read: {error.strerror}: export the run again"
            ) from None
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise KdpipeError(
            f"{path} is not the file that {CONFIG_FILE} beside it names: export the run again"
        )
    return content


def _check_session(session: Any, config: dict, path: Path) -> None:
    """Raise KdpipeError if a graph does not map the images of a config to its classes."""
    classes = len(config["classes"])
    shape = [config["input"][key] for key in ("channels", "height", "width")]
    expected = [("pixels", "tensor(uint8)", shape), ("logits", "tensor(float)", [classes])]
    actual = [
        (value.name, value.type, list(value.shape[1:]))
        for values in (session.get_inputs(), session.get_outputs())
        for value in values
    ]
    if len(actual) == 2 and not (actual[1][2] and isinstance(actual[1][2][0], int)):
        actual[1] = (*actual[1][:2], [classes])  # not inferred: each batch is compared
    if actual != expected:
        raise KdpipeError(
            f"{escape(path)} does not fit {CONFIG_FILE} beside it: its inputs and outputs are "
            f"{escape(actual)}, expected {expected}: export the run again"
        )


@contextlib.contextmanager
def _explain_errors(path: Path, verb: str) -> Iterator[None]:
    """Raise KdpipeError in place of any exception of ONNX Runtime."""
    try:
        yield
    except KdpipeError:
        raise
    except Exception as error:  # ONNX Runtime raises many exception types
        reason = escape(shorten_line(str(error) or type(error).__name__))
        raise KdpipeError(
            f"{escape(path)}: ONNX Runtime cannot {verb} the graph: {reason}"
        ) from None


class TimeLimitError(KdpipeError):
    """ONNX Runtime took too long, and its thread may still be at work."""


def _call_with_limit(
    function: Callable[[], Any],
    time_limit: float,
    path: Path,
    terminate: Callable[[], None] = lambda: None,
) -> Any:
    """Call a function in a thread; raise TimeLimitError if it takes too long.

    `terminate` then asks it to end. A daemon thread: a graph that ignores that does not keep the
    process from ending.
    """
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(time_limit)
    if thread.is_alive():
        terminate()
        thread.join(1)
        raise TimeLimitError(
            f"{escape(path)}: ONNX Runtime took longer than {time_limit:g} seconds: allow more "
            "with --time-limit (in Python: kdpipe.load(..., time_limit=SECONDS)) if the network is "
            "so large"
        )
    if errors:
        raise errors[0]
    return outcome[0]


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
    path : Path
        The file of the graph, for messages.
    time_limit : float
        Seconds that a batch may take.
    """

    def __init__(
        self,
        config: dict[str, Any],
        session: Any,
        temperature: float = 1.0,
        path: Path = Path(FLOAT_FILE),
        time_limit: float = TIME_LIMIT,
    ):
        self.config: dict[str, Any] = config
        self.temperature = temperature
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self._session = session
        self._path = path
        self._time_limit = time_limit

    def __call__(
        self, images: "ImageLike | Sequence[ImageLike]"
    ) -> dict[str, float] | list[dict[str, float]]:
        """Return the probabilities of the classes of one or several images.

        Raises
        ------
        DataError
            If an image cannot become what the network was trained on, or its logits are not finite.
        KdpipeError
            If ONNX Runtime cannot run the graph, or takes too long.
        """
        is_batch = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        batch: Any = images if is_batch else [images]
        if not len(batch):
            return []
        probabilities = [
            self._name_probabilities(logits, image)
            for logits, image in zip(self.logits(batch), batch, strict=True)
        ]
        return probabilities if is_batch else probabilities[0]

    def logits(self, images: "Sequence[ImageLike] | np.ndarray") -> np.ndarray:
        """Return the logits (N, classes) float32 of several images."""
        return self.logits_from_pixels(np.stack([self.preprocess(image) for image in images]))

    def preprocess(self, image: "ImageLike") -> np.ndarray:
        """Return what the network is given of an image: (C, H, W) uint8, not normalized."""
        from PIL import Image

        input_config = self.config["input"]
        if isinstance(image, str | Path):
            with decoding.open_image(image, image) as picture:
                pixels = preprocess_image(picture, image, input_config)
        else:
            if isinstance(image, np.ndarray):
                image = Image.fromarray(_to_image_array(image))
            try:
                pixels = preprocess_image(image, _IMAGE, input_config)
            except decoding.DECODE_ERRORS as error:  # PIL decodes a file when its pixels are used
                raise DataError(f"{_IMAGE} cannot be decoded: {escape(error)}") from None
        shape = tuple(input_config[key] for key in ("channels", "height", "width"))
        if pixels.shape != shape:
            raise KdpipeError(
                f"{escape(self._path.with_name(CONFIG_FILE))}: the steps of input give pixels of "
                f"shape {pixels.shape}, expected {shape}: export the run again"
            )
        return pixels

    def logits_from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) float32 of preprocessed pixels (N, C, H, W) uint8.

        Raises
        ------
        KdpipeError
            If ONNX Runtime cannot run the graph, takes too long, or returns another shape.
        """
        parts = [
            self._run_batch(pixels[start : start + BATCH_SIZE])
            for start in range(0, len(pixels), BATCH_SIZE)
        ]
        return np.concatenate(parts)

    def _run_batch(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits of one batch."""
        import onnxruntime

        options: Any = onnxruntime.RunOptions()  # type: ignore[attr-defined]

        def terminate() -> None:
            options.terminate = True

        with _explain_errors(self._path, "run"):
            (logits,) = _call_with_limit(
                lambda: self._session.run(None, {"pixels": pixels}, options),
                self._time_limit,
                self._path,
                terminate,
            )
        expected = (len(pixels), len(self.classes))
        if logits.shape != expected:
            raise KdpipeError(
                f"{escape(self._path)} returns logits of shape {logits.shape}, expected {expected}:"
                " export the run again"
            )
        return logits

    def _name_probabilities(self, logits: np.ndarray, image: object) -> dict[str, float]:
        """Return the probability of each class by name, highest first."""
        if not np.isfinite(logits).all():
            name = escape(image) if isinstance(image, str | Path) else _IMAGE
            bad = [
                c for c, value in zip(self.classes, logits, strict=True) if not np.isfinite(value)
            ]
            raise DataError(
                f"{name}: the logits of the network are not finite for {escape(join_names(bad))} "
                f"({', '.join(sorted({str(value) for value in logits[~np.isfinite(logits)]}))}): "
                "it has no probabilities"
            )
        with np.errstate(over="ignore"):  # of a tiny temperature: all but the highest are 0
            powers = np.exp((logits.astype(np.float64) - logits.max()) / self.temperature)
        probabilities = powers / powers.sum()
        order = np.argsort(-probabilities, kind="stable")
        return {self.classes[index]: float(probabilities[index]) for index in order}


_IMAGE = "an image"  # what an image without a path is called in messages


def _to_image_array(array: np.ndarray) -> np.ndarray:
    """Return an array that PIL takes for an image; raise DataError for another."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2:] == (3,)):
        return np.ascontiguousarray(array)
    raise DataError(
        f"an array of {escape(array.dtype)} and shape {array.shape}: give pixels from 0 to 255 "
        "as uint8, (H, W) or (H, W, 3), not normalized: the exported graph does that itself"
    )
