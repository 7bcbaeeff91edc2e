"""A graph with the resize inside: a uint8 image of any size in, the probabilities of classes out.

ONNX's own Resize with antialiasing is not Pillow's: with ONNX Runtime 1.2 it was up to 3 of 255
levels off when photographs were made smaller, and 11 when they were made larger. So the graph has
Pillow's bilinear filter itself, in standard operators: a matrix of weights for each axis, rounded
to integers of 22 bits as Pillow rounds them, multiplied in float64, which is exact for such
integers; the rows first, rounded to 8 bits, then the columns. Its pixels are those of Pillow, but
for images about twice as high as wide: of these Pillow 13 takes the columns first, which makes some
pixels differ by 1 level. Of an image that is cropped only the rows and columns that stay are
computed. A second scaling, of the recipe, is torch's: float64 here and float32 there, so that a few
pixels in the middle between two levels may differ by 1.
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
    """Return whether an export's images may have any size, and the graph can bring them to its own.

    Parameters
    ----------
    input_config : dict
        The key `input` of the config of an export.
    """
    steps = [kind for step in input_config["steps"] for kind in step]
    return bool(steps) and steps[0] in ("stretch", "shorter")


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

    zero, one, half, two = (constant(str(n), n, np.float64) for n in (0.0, 1.0, 0.5, 2.0))
    first, second = (constant(f"axis{n}", [n]) for n in (0, 1))
    unit, middle = (
        constant(f"unit{n}", 2.0**n, np.float64) for n in (WEIGHT_BITS, WEIGHT_BITS - 1)
    )
    white = constant("white", 255.0, np.float64)

    def add_weights(length: str, new_length: str, start: str, count: int, name: str) -> str:
        """Add the weights (count, length) of the pixels from a start on along one axis."""
        scale = add("Div", [length, new_length], f"{name}/scale")
        reach = add("Max", [scale, one], f"{name}/reach")
        kept = constant(f"{name}/kept", np.arange(count)[:, None], np.float64)  # (count, 1)
        new = add("Add", [add("Add", [kept, start], f"{name}/position"), half], f"{name}/new")
        centre = add("Mul", [new, scale], f"{name}/centre")
        old = add("Range", [zero, length, one], f"{name}/old")
        offset = add("Sub", [old, centre], f"{name}/offset")
        offset = add("Add", [offset, half], f"{name}/middle")
        ratio = add("Div", [add("Abs", [offset], f"{name}/distance"), reach], f"{name}/ratio")
        weight = add("Max", [add("Sub", [one, ratio], f"{name}/slope"), zero], f"{name}/weight")
        total = add("ReduceSum", [weight, second], f"{name}/total", keepdims=1)
        return add("Div", [weight, total], f"{name}/share")

    def add_units(weights: str, name: str) -> str:
        """Add the rounding of weights to integers, as Pillow has them."""
        units = add("Mul", [weights, unit], f"{name}/units")
        return add("Floor", [add("Add", [units, half], f"{name}/above")], f"{name}/weights")

    def add_limits(value: str, name: str) -> str:
        """Add the limits of a level."""
        return add("Min", [add("Max", [value, zero], f"{name}/low"), white], f"{name}/level")

    def add_rounding(value: str, name: str) -> str:
        """Add the rounding to 8 bits after one axis, as Pillow rounds."""
        value = add("Div", [add("Add", [value, middle], f"{name}/up"), unit], f"{name}/levels")
        return add_limits(add("Floor", [value], f"{name}/floor"), name)

    def add_product(planes: str, height: str, width: str, name: str, rounding: Any) -> str:
        """Add the product of planes (C, H, W) with the weights of both axes, the rows first."""
        turned = add("Transpose", [width], f"{name}/turned", perm=[1, 0])
        rows = rounding(add("MatMul", [planes, turned], f"{name}/x"), f"{name}/x")
        return add("MatMul", [height, rows], f"{name}/y")

    shape = add("Shape", [IMAGE_NAME], "shape")
    lengths = []
    for n, name in enumerate(("height", "width")):
        index = constant(f"scalar{n}", n)
        length = add("Gather", [shape, index], f"{name}/n")
        lengths.append(add("Cast", [length], f"{name}/length", to=TensorProto.DOUBLE))
    image = add("Cast", [IMAGE_NAME], "float64", to=TensorProto.DOUBLE)
    if channels == 1:
        planes = add("Unsqueeze", [image, first], "planes")
    else:
        planes = add("Transpose", [image], "planes", perm=[2, 0, 1])

    steps = {kind: argument for step in input_config["steps"] for kind, argument in step.items()}
    if "stretch" in steps:
        side_length = constant("stretch", float(steps["stretch"]), np.float64)
        new_lengths, starts, count = [side_length] * 2, [zero, zero], steps["stretch"]
    else:
        shorter = constant("shorter", float(steps["shorter"]), np.float64)
        least = add("Min", lengths, "least")
        new_lengths, starts, count = [], [], steps["centre"]
        kept_length = constant("centre", float(count), np.float64)
        for length, name in zip(lengths, ("height", "width"), strict=True):
            scaled = add("Div", [add("Mul", [length, shorter], f"{name}/times"), least], name)
            new_lengths.append(add("Floor", [scaled], f"{name}/new_length"))
            left_over = add("Sub", [new_lengths[-1], kept_length], f"{name}/left_over")
            starts.append(
                add("Round", [add("Div", [left_over, two], f"{name}/half")], f"{name}/start")
            )
    height, width = (
        add_units(add_weights(length, new_length, begin, count, name), name)
        for length, new_length, begin, name in zip(
            lengths, new_lengths, starts, ("columns", "rows"), strict=True
        )
    )
    levels = add_rounding(add_product(planes, height, width, "first", add_rounding), "y")
    if "scale" in steps:
        old_length = constant("side", float(count), np.float64)
        scaled_length = constant("scale", float(side), np.float64)
        weights = add_weights(old_length, scaled_length, zero, side, "scale")
        product = add_product(levels, weights, weights, "second", lambda value, _: value)
        levels = add_limits(add("Round", [product], "rounded"), "scale")
    pixels = add("Cast", [levels], "pixels", to=TensorProto.UINT8)
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
