"""The model card of an export: its README.md, in the format of Hugging Face."""

import yaml

from kdpipe.analysis.recommendation import Recommendation
from kdpipe.data.cards import DatasetCard
from kdpipe.export import classifier, provenance
from kdpipe.export.image_graph import IMAGE_FILE, MAX_DIFFERENCE
from kdpipe.models.pretrained.kdpipe_export import FLOAT_FILE, INT8_FILE
from kdpipe.models.pretrained.origin import NOT_STATED
from kdpipe.plan.resources import format_size
from kdpipe.report.format import escape_markdown, format_headline, format_si
from kdpipe.runs.decision_metric import METRIC_TEXT
from kdpipe.runs.spec import RunSpec
from kdpipe.stats.proportions import ProportionEstimate

FILE_TITLES = {FLOAT_FILE: "float32", INT8_FILE: "int8"}
USAGE_EXAMPLE = """import kdpipe

classify = kdpipe.load(".")  # this folder
print(classify("image.jpg"))  # a path, an image of PIL, an array of uint8, or a list of them
"""


def render_model_card(
    config: dict, card: DatasetCard, spec: RunSpec, answer: Recommendation | None, notes: list[str]
) -> str:
    """Render the model card of an export as Markdown.

    Parameters
    ----------
    config : dict
        The config of the export.
    card : DatasetCard
        The card of the data set.
    spec : dict
        The spec of the run.
    answer : Recommendation or None
        The recommendation that chose the run, if one did.
    notes : list of str
        Limitations of the export.
    """
    parts = [
        _render_front_matter(config, card),
        "# " + escape_markdown(f"{config['network']['name']} on {card.title}"),
        _render_about(config, card),
    ]
    if answer is not None:
        best_seed_note = "Of its seeds, this network is the best on validation."
        parts.append(f"{escape_markdown(format_headline(answer))} {best_seed_note}")
    parts += ["## Use", _render_usage(), "## Measured", _render_measurements(config), *notes]
    parts += ["## Input", _render_input(config), "## Data", _render_data(config, card, spec)]
    parts += [
        "## Training",
        _render_training(config, spec, answer),
        "## Origin and license",
        _render_origin(config),
        "## Limits",
        _render_limits(config),
        "## Files",
    ]
    parts.append(_render_files(config))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _render_front_matter(config: dict, card: DatasetCard) -> str:
    """Return the metadata of the card, in YAML."""
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": card.title, "type": card.name, "split": "test"},
            "metrics": [
                {
                    "type": "accuracy",
                    "name": f"accuracy ({FILE_TITLES[name]})",
                    "value": round(row["accuracy"][0] / 100, 6),
                }
            ],
        }
        for name, row in config["measured"]["files"].items()
    ]
    facts = {
        **provenance.describe_front_matter(config, card),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "knowledge-distillation", "onnx", "kdpipe"],
        "metrics": ["accuracy"],
        "model-index": [{"name": config["run"], "results": results}],
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---"


def _render_about(config: dict, card: DatasetCard) -> str:
    """Return a sentence on the network and its data set."""
    network, input_config = config["network"], config["input"]
    size = f"{input_config['channels']} x {input_config['height']} x {input_config['width']}"
    return (
        f"A {escape_markdown(network['name'])} ({format_si(config['parameters'])} parameters, "
        f"{format_si(config['multiply_adds'])} multiply-adds per image) that classifies images of "
        f"{size} into {len(config['classes'])} classes of {escape_markdown(card.title)}, made by "
        f"kdpipe {config['kdpipe']} in the study {escape_markdown(config['study'])}."
    )


def _render_usage() -> str:
    """Return how to use an export."""
    return (
        "With kdpipe, onnxruntime, numpy and pillow; PyTorch is not "
        f"needed:\n\n```python\n{USAGE_EXAMPLE}```\n\nor `kdpipe predict THIS_FOLDER image.jpg "
        "folder/`. Without kdpipe, any ONNX Runtime runs the graphs: they take `pixels`, uint8 "
        "(batch, channels, height, width), normalize them, and return `logits`; see Input for how "
        "an image becomes pixels."
    )


def _render_measurements(config: dict) -> str:
    """Return the table of accuracy, size and latency, with how they were measured."""
    measured = config["measured"]
    batches = [size for row in measured["files"].values() for size in row["latency"]]
    headers = ["", "accuracy, %", "minus float32, points", "same answer as float32, %", "size"]
    headers += [f"ms for {size}" for size in dict.fromkeys(batches)]
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    alternative, rows = measured.get("beside"), dict(measured["files"])
    titles = dict(FILE_TITLES)
    if alternative is not None:
        titles[FLOAT_FILE] += f", {_describe_averaging(config['ema'])}"
        titles["beside"] = (
            f"{FILE_TITLES[FLOAT_FILE]}, {_describe_averaging(alternative['ema'])} "
            "(not in this folder)"
        )
        rows["beside"] = alternative
    for name, row in rows.items():
        cells = [titles[name], format_interval(row["accuracy"])]
        same = name == FLOAT_FILE
        cells += ["-" if same else format_interval(row["difference"], "+")]
        cells += ["-" if same else format_interval(row["agreement"])]
        cells.append(
            format_size(row["bytes"] if name == "beside" else config["files"][name]["bytes"])
        )
        for times in row["latency"].values():
            cells.append(f"{times['median']:.3g} ({times['low']:.3g} to {times['high']:.3g})")
        lines.append(f"| {' | '.join(cells)} |")
    rounds = min(t["rounds"] for row in measured["files"].values() for t in row["latency"].values())
    lines.append(
        f"\nOn the {measured['images']:,} test images, with 95 % intervals over these images "
        "(Wilson; Agresti and Min for the paired difference): they do not account for other seeds. "
        f"Times are medians and quartiles of {rounds} interleaved rounds, after a warm-up, with "
        f"{measured['threads']} thread of ONNX Runtime {measured['onnxruntime']} on "
        f"{escape_markdown(measured['processor'])}. All graphs take "
        f"{format_si(config['multiply_adds'])} multiply-adds per image, in integers for int8."
    )
    lines.append(
        "\nFloat32 was compared with PyTorch on every test image: its logits differ by at most "
        f"{measured['apart']:.2g}."
    )
    if "float_layers" in config:
        layers = [f"{item['name']} ({item['fall']:.1f} dB)" for item in config["float_layers"]]
        lines.append(
            "\nOf the int8 graph these layers stay in float32, with what computes their inputs: "
            f"{escape_markdown(', '.join(layers))}. The signal-to-noise ratio of the activations "
            "fell most from their inputs to their outputs."
        )
    if "metric" in config:
        values = [
            f"{FILE_TITLES[name]} {row['metric']:.2f} %" for name, row in measured["files"].items()
        ]
        lines.append(
            f"\nThe study chooses by {METRIC_TEXT[config['metric']]}, on the test images: "
            f"{', '.join(values)}. The accuracy in the table is top-1."
        )
    if alternative is not None:
        lines.append(f"\n{describe_ema_choice(config['ema'], alternative)}.")
    return "\n".join(lines)


def describe_ema_choice(ema: float | None, alternative: dict) -> str:
    """Return which weights ship, averaged or not, and why.

    Parameters
    ----------
    ema : float or None
        The decay of the average, if the weights that ship are averaged.
    alternative : dict
        The key `measured.beside` of the config: measurements of the other weights.
    """
    shipped_error, other_error = alternative["error_of_shipped"], alternative["error"]
    reason = "there is no validation to compare them"
    if shipped_error is not None and other_error is not None:
        reason = (
            f"validation error {shipped_error:.2f} %, {_describe_averaging(alternative['ema'])} "
            f"{other_error:.2f} %"
        )
    return f"The weights that ship are {_describe_averaging(ema)}: {reason}"


def _describe_averaging(ema: float | None) -> str:
    """Describe how weights were averaged."""
    return "not averaged" if ema is None else f"averaged (decay {ema:g})"


def format_interval(estimate: list[float] | ProportionEstimate, sign: str = "") -> str:
    """Return a value with its interval: `95.3 (93.4 to 96.6)`."""
    value, low, high = estimate
    return f"{value:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


def _render_input(config: dict) -> str:
    """Return how an image becomes the input of the network."""
    input_config = config["input"]
    kind = "grey" if input_config["channels"] == 1 else "RGB"
    upright = "" if input_config["by_mode_alone"] else "rotated upright (EXIF), "
    return (
        f"An image is {upright}converted to {kind}, and then "
        f"{classifier.describe_steps(input_config)}. `kdpipe.load` and `kdpipe predict` do this. "
        f"The graphs normalize: pixels / 255, minus mean {_format_numbers(input_config['mean'])}, "
        f"divided by std {_format_numbers(input_config['std'])}, per channel. `model.safetensors` "
        "is the network alone: its inputs have to be normalized by these numbers."
        f"{_describe_bilinear(config)}{_describe_image_graph(config)}"
    )


def _describe_bilinear(config: dict) -> str:
    """Return which filter called bilinear this is, and how to check another one."""
    kinds = {kind for step in config["input"]["steps"] for kind in step}
    if kinds <= {"as_it_is", "centre"}:
        return ""
    return (
        "\n\n**Which bilinear?** With antialiasing, as Pillow's `resize(size, BILINEAR)`. The "
        "defaults of OpenCV (`INTER_LINEAR`) and of PyTorch (`interpolate`, without "
        "`antialias=True`) have none: of images that are made smaller they give other pixels, and "
        "some images another class. `kdpipe predict THIS_FOLDER IMAGE --check MINE.npy` compares "
        "the pixels of other code with these."
    )


def _describe_image_graph(config: dict) -> str:
    """Return how the graph with the resize inside compares, or why there is none."""
    facts = config["measured"].get("image_graph")
    if facts is None:
        return _explain_lack_of_image_graph(config["input"])
    images = f"{facts['images']:,} test images"
    if IMAGE_FILE not in config["files"]:
        return (
            f"\n\nThere is no graph with the resize inside: on {images} its probabilities differed "
            f"by up to {facts['apart']:.2g} (allowed: {MAX_DIFFERENCE:g}), and "
            f"{facts['other_classes']:,} got another class."
        )
    shape = "(height, width)" if config["input"]["channels"] == 1 else "(height, width, 3)"
    return (
        f"\n\n`{IMAGE_FILE}` ({FILE_TITLES[config['model']]}) has the resize inside: it takes "
        f"one `image`, uint8 {shape}, of any size, upright, and returns `probabilities` in the "
        f"order of the classes. On all {images} it gives the class that `kdpipe.load` gives, and "
        f"probabilities that differ by at most {facts['apart']:.2g} (allowed: {MAX_DIFFERENCE:g})."
    )


def _explain_lack_of_image_graph(input_config: dict) -> str:
    """Return in a sentence why there is no graph with the resize inside; empty without a resize."""
    reasons = {
        "stretch": "the images in their own sizes, on which it is checked, were not there",
        "shorter": "the images in their own sizes, on which it is checked, were not there",
        "scale": "it is built for images of any size, and these have to have one size",
    }
    steps = {name for step in input_config["steps"] for name in step}
    reason = next((reason for name, reason in reasons.items() if name in steps), None)
    return f"\n\nThere is no graph with the resize inside: {reason}." if reason else ""


def _format_numbers(values: list[float]) -> str:
    """Format numbers in brackets."""
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _render_data(config: dict, card: DatasetCard, spec: RunSpec) -> str:
    """Return which images the network was trained, chosen and measured on."""
    data = spec.data
    noise = f", a fraction of {data.label_noise:g} of their labels redrawn at random"
    names = ", ".join(escape_markdown(name) for name in config["classes"][:50])
    more = ", ..." if len(config["classes"]) > 50 else ""
    return (
        f"{escape_markdown(card.title)} ({escape_markdown(card.source)}; sha256 "
        f"{card.sha256[:12]}): trained on {data.train_size:,} images"
        f"{noise if data.label_noise else ''}, chosen on {data.validation:,} validation "
        f"images, measured on {card.test:,} test images. "
        f"Classes: {names}{more}."
    )


def _render_training(config: dict, spec: RunSpec, answer: Recommendation | None) -> str:
    """Describe how the network was trained."""
    recipe, teacher = spec.recipe, spec.teacher
    pretrained = spec.pretrained
    if pretrained:
        return (
            "Its weights are pretrained, not trained in the study (sha256 "
            f"{str(pretrained.sha256)[:12]})."
        )
    origin = "on labels alone"
    if teacher:
        members = " and ".join(
            f"{escape_markdown(str(member.network))} after epoch {member.epoch} "
            f"(run {member.run[:12]})"
            for member in teacher.members
        )
        origin = f"by distilling {members} ({escape_markdown(_describe_method(spec, answer))})"
    if spec.network.start:
        start = spec.network.start
        file = escape_markdown(start.weights or f"a file, sha256 {str(start.sha256)[:12]}")
        origin += f", initialized from weights of a {escape_markdown(start.network)} ({file})"
    ema = config["ema"]
    averaged = f", averaged over its steps (exponentially, decay {ema:g})," if ema else ""
    if "beside" in config["measured"] and not ema:
        averaged = ", not averaged over its steps as in the study,"
    return (
        f"Trained {origin}, for {recipe.epochs} epochs in batches of {recipe.batch_size} with seed "
        f"{spec.seed}; the weights are those{averaged} after epoch {config['epoch']}, the "
        f"{config['reading']} evaluation point. Run {config['run']}, sha256 "
        f"{config['digest'][:12]}."
    )


def _describe_method(spec: RunSpec, answer: Recommendation | None) -> str:
    """Return the method of a distilled network, as in the recommendation that chose it."""
    if answer is not None and answer.side == "taught" and answer.taught is not None:
        return answer.taught.settings
    method = spec.method or {}
    weights = {key: value for key, value in method.items() if key.endswith("_weight")}
    parts = [f"{key} {value:g}" for key, value in weights.items() if value]
    return ", ".join([f"temperature {method['temperature']:g}", *parts])


def _render_origin(config: dict) -> str:
    """Return the license, what the network was made from, and how to make it again."""
    study_file = config["study_file"]
    license = f"License: {escape_markdown(config['license'])}{describe_license_hint(config)}."
    lines = [*map(_describe_base_model, config["base_model"])]
    lines = lines or ["It began at random and had no teacher: it was made from no other weights."]
    restrictions = [escape_markdown(text) for text in provenance.list_restrictions(config)]
    commands = "\n".join(config["commands"])
    made_from = "\n".join(lines)
    return "\n\n".join([license, made_from, *restrictions]) + (
        f"\n\nMade by kdpipe {config['kdpipe']} from the study file "
        f"{escape_markdown(study_file['name'])} (sha256 {study_file['sha256']}). In its folder, "
        f"these commands make it again:\n\n```sh\n{commands}\n```"
    )


def _describe_base_model(item: dict) -> str:
    """Return a line on a teacher, or on weights that the network began from."""
    checksum = f"sha256 {item['sha256']}" if item["sha256"] else "checksum not known"
    by = f" (stated by {item['license_stated_by']})" if "license_stated_by" in item else ""
    text = (
        f"{item['role']}: {item['network']}, {item['source']}; {checksum}; license: "
        f"{item['license']}{by}"
    )
    return f"- {escape_markdown(text)}"


def describe_license_hint(config: dict) -> str:
    """Return how to state a license, if none is stated."""
    if config["license"] != NOT_STATED:
        return ""
    return " (kdpipe export --license LICENSE states one)"


def _render_limits(config: dict) -> str:
    """Return the limits of the measurements."""
    lines = [
        "- Accuracy holds for images like those of the test set. On others it is unknown, and "
        "every image gets one of the classes, whatever it shows.",
        f"- {_describe_probabilities(config)}",
        "- Times hold for the processor above.",
    ]
    if INT8_FILE in config["files"]:
        lines.append(
            f"- int8: the ranges were calibrated on {config['measured']['calibrated']:,} training "
            "images. Processors without instructions for 8-bit products (VNNI) may round "
            "differently and give other answers: measure again on the target machine."
        )
    if "build" in config["network"]:
        lines.append(
            f"- The network is a custom one ({escape_markdown(config['network']['build'])}): "
            "`model.safetensors` needs its code, the graphs do not."
        )
    return "\n".join(lines)


def _describe_probabilities(config: dict) -> str:
    """Describe whether and how probabilities are calibrated."""
    if "temperature" not in config:
        return (
            "The probabilities are those of the network as it was trained; they were not "
            "calibrated."
        )
    temperatures = [
        f"{FILE_TITLES[name]} by {scale:.3g} (calibration error on test "
        f"{100 * ece['before']:.2g} % before, {100 * ece['after']:.2g} % after, 15 bins)"
        for name, scale in config["temperature"].items()
        for ece in [config["measured"]["files"][name]["ece"]]
    ]
    return (
        "The probabilities of `kdpipe.load` and `kdpipe predict` are calibrated: logits are "
        f"divided by a temperature fitted on validation, {'; '.join(temperatures)}. The graphs "
        "return uncalibrated logits: divide them before the softmax."
    )


def _render_files(config: dict) -> str:
    """Return the files with their checksums."""
    lines = [
        f"- `{name}`: {facts['bytes']:,} bytes, sha256 {facts['sha256']}"
        for name, facts in config["files"].items()
    ]
    lines += [f"- `{copy}`: the same file as `{name}`" for copy, name in config["copies"].items()]
    return "\n".join(lines)
