"""A graph with the resize inside: a uint8 image of any size in, the probabilities of classes out.

ONNX's own Resize with antialiasing is not Pillow's: with ONNX Runtime 1.2 it was up to 3 of 255
levels off when photographs were made smaller, and 11 when they were made larger. So the graph has
Pillow's bilinear filter itself, in standard operators: a matrix of weights for each axis, rounded
to integers of 22 bits as Pillow rounds them, multiplied in float64, which is exact for such
integers; the rows first, rounded to 8 bits, then the columns. Its pixels are those of Pillow, but
for images about twice as high as wide: of these Pillow 13 takes the columns first, which makes some
pixels differ by 1 level.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.data.imagefolder import decoding
from kdpipe.export import classifier, graph_scan
from kdpipe.export.onnx_graph import INPUT_NAME, OUTPUT_NAME

IMAGE_NAME, PROBABILITIES_NAME = "image", "probabilities"
WEIGHT_BITS = 22  # of Pillow's weights
IMAGE_FILE = "model.image.onnx"
MAX_DIFFERENCE = 0.01  # of a probability, on any test image, whose class is the same


def has_image_graph(input_config: dict) -> bool:
    """Return whether an export's images are only stretched, which the graph can do.

    Parameters
    ----------
    input_config : dict
        The key `input` of the config of an export.
    """
    return [*map(list, input_config["steps"])] == [["stretch"]]


def build_image_graph(graph: bytes, input_config: dict, temperature: float = 1.0) -> bytes:
    """Put the resize before an exported graph, and the softmax behind it.

    Parameters
    ----------
    graph : bytes
        The graph, from pixels to logits.
    input_config : dict
        The key `input` of the config of the export.
    temperature : float
        By which logits are divided.

    Returns
    -------
    bytes
        A graph from `image`, uint8 (height, width) or (height, width, 3), to `probabilities`,
        float32 (classes).
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(graph)
    channels, side = input_config["channels"], input_config["height"]
    nodes: list[Any] = []
    constants: list[Any] = []
    prefix = "resize/"

    def constant(name: str, value: object, dtype: type = np.int64) -> str:
        constants.append(numpy_helper.from_array(np.array(value, dtype), prefix + name))
        return prefix + name

    def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [prefix + name], **attributes))
        return prefix + name

    zero, one, half = (constant(str(n), n, np.float64) for n in (0.0, 1.0, 0.5))
    first, second = (constant(f"axis{n}", [n]) for n in (0, 1))
    scalar = constant("scalar", 0)
    unit, middle = (
        constant(f"unit{n}", 2.0**n, np.float64) for n in (WEIGHT_BITS, WEIGHT_BITS - 1)
    )
    new_side = constant("side", float(side), np.float64)
    white = constant("white", 255.0, np.float64)
    new = constant("new", np.arange(side)[:, None], np.float64)  # (side, 1)

    def add_weights(shape: str, axis: str, name: str) -> str:
        """Add the weights (side, length) of one axis, integers in float64."""
        length = add("Cast", [add("Gather", [shape, axis], f"{name}/n")], f"{name}/length", to=11)
        scale = add("Div", [length, new_side], f"{name}/scale")
        reach = add("Max", [scale, one], f"{name}/reach")
        centre = add("Mul", [add("Add", [new, half], f"{name}/new"), scale], f"{name}/centre")
        old = add("Range", [zero, length, one], f"{name}/old")
        offset = add("Sub", [old, centre], f"{name}/offset")
        offset = add("Add", [offset, half], f"{name}/middle")
        ratio = add("Div", [add("Abs", [offset], f"{name}/distance"), reach], f"{name}/ratio")
        weight = add("Max", [add("Sub", [one, ratio], f"{name}/slope"), zero], f"{name}/weight")
        total = add("ReduceSum", [weight, second], f"{name}/total", keepdims=1)
        share = add("Mul", [add("Div", [weight, total], f"{name}/share"), unit], f"{name}/units")
        return add("Floor", [add("Add", [share, half], f"{name}/above")], f"{name}/weights")

    def add_rounding(value: str, name: str) -> str:
        """Add the rounding to 8 bits after one axis."""
        value = add("Div", [add("Add", [value, middle], f"{name}/up"), unit], f"{name}/levels")
        value = add("Floor", [value], f"{name}/floor")
        return add("Min", [add("Max", [value, zero], f"{name}/low"), white], f"{name}/level")

    shape = add("Shape", [IMAGE_NAME], "shape")
    height = add_weights(shape, scalar, "columns")
    width = add_weights(shape, constant("scalar1", 1), "rows")
    image = add("Cast", [IMAGE_NAME], "float64", to=11)
    if channels == 1:
        planes = add("Unsqueeze", [image, first], "planes")
    else:
        planes = add("Transpose", [image], "planes", perm=[2, 0, 1])
    rows = add("MatMul", [planes, add("Transpose", [width], "rows/turned", perm=[1, 0])], "x")
    columns = add("MatMul", [height, add_rounding(rows, "x")], "y")
    pixels = add("Cast", [add_rounding(columns, "y")], "pixels", to=2)
    nodes.append(helper.make_node("Unsqueeze", [pixels, first], [INPUT_NAME]))
    ends: list[Any] = []
    scale = constant("temperature", temperature, np.float32)
    ends.append(helper.make_node("Div", [OUTPUT_NAME, scale], [prefix + "scaled"]))
    ends.append(helper.make_node("Softmax", [prefix + "scaled"], [prefix + "shares"], axis=1))
    ends.append(helper.make_node("Squeeze", [prefix + "shares", first], [PROBABILITIES_NAME]))
    dimensions = ["height", "width"] + ([3] if channels == 3 else [])
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    merged = helper.make_graph(
        [*nodes, *model.graph.node, *ends],
        "image_to_probabilities",
        [helper.make_tensor_value_info(IMAGE_NAME, TensorProto.UINT8, dimensions)],
        [helper.make_tensor_value_info(PROBABILITIES_NAME, TensorProto.FLOAT, [classes or None])],
        [*model.graph.initializer, *constants],
    )
    whole = helper.make_model(merged, opset_imports=model.opset_import, ir_version=model.ir_version)
    content = whole.SerializeToString(deterministic=True)
    graph_scan.check_graph(content)
    return content


def compare_image_graph(graph: bytes, classify: Any, images: Iterable[Path]) -> dict[str, Any]:
    """Compare a graph with the resize inside with the classifier of its export.

    Parameters
    ----------
    graph : bytes
        See `build_image_graph`.
    classify : Classifier
        The classifier of the export.
    images : iterable of Path
        Image files of any size.

    Returns
    -------
    dict
        `images`, how many; `apart`, the largest difference of a probability; and `other_classes`,
        the number of images that get another class.
    """
    session = classifier.create_session(graph)
    apart, other_classes, count = 0.0, 0, 0
    for path in images:
        input_config = classify.config["input"]
        with decoding.open_image(path, path) as picture:
            if input_config["by_mode_alone"]:
                upright = picture.convert("L" if input_config["channels"] == 1 else "RGB")
            else:
                upright = decoding.convert_image(picture, path, input_config["channels"])
            expected = classify(upright)
            (shares,) = session.run(None, {IMAGE_NAME: np.asarray(upright)})
        named = dict(zip(classify.classes, shares, strict=True))
        apart = max(apart, *(abs(named[name] - share) for name, share in expected.items()))
        other_classes += max(named, key=named.__getitem__) != next(iter(expected))
        count += 1
    return {"images": count, "apart": float(apart), "other_classes": other_classes}
