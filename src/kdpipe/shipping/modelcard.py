"""The README.md of an export: a model card, as Hugging Face reads them."""

import yaml

from kdpipe.data.cards import Card
from kdpipe.evidence.advice.answer import Answer
from kdpipe.plan.prices import as_size
from kdpipe.report.pages.headline import headline
from kdpipe.report.text import escaped, short
from kdpipe.shipping import front
from kdpipe.shipping.classifier import FLOAT, INT8
from kdpipe.statistics.proportions import Estimate

TITLES = {FLOAT: "float32", INT8: "int8"}
USE = """import kdpipe
classify = kdpipe.load(".")     # this folder
print(classify("image.jpg"))    # a path, an image of PIL, an array of uint8, or a list of them
"""


def text(config: dict, card: Card, spec: dict, chosen: Answer | None, notes: list[str]) -> str:
    """The card. config: of the export; card: of the data; spec: of the run; notes: of what is not
    in the export."""
    parts = [_front_matter(config, card), f"# {_title(config, card)}", _about(config, card)]
    if chosen is not None:
        best = "This network is the one of its seeds that is best on validation."
        parts.append(f"{escaped(headline(chosen))} {best}")
    parts += ["## Use", _use(), "## Measured", _measured(config), *notes]
    parts += ["## Input", _input(config), "## Data", _data(config, card, spec)]
    parts += [
        "## Training",
        _training(config, spec, chosen),
        "## Limits",
        _limits(config),
        "## Files",
    ]
    parts.append(_files(config))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _title(config: dict, card: Card) -> str:
    return escaped(f"{config['network']['name']} on {card.title}")


def _front_matter(config: dict, card: Card) -> str:
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": card.title, "type": card.name, "split": "test"},
            "metrics": [
                {
                    "type": "accuracy",
                    "name": f"accuracy ({TITLES[name]})",
                    "value": round(row["accuracy"][0] / 100, 6),
                }
            ],
        }
        for name, row in config["measured"]["files"].items()
    ]
    facts = {
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "knowledge-distillation", "onnx", "kdpipe"],
        "metrics": ["accuracy"],
        "model-index": [{"name": config["run"], "results": results}],
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---"


def _about(config: dict, card: Card) -> str:
    network, given = config["network"], config["input"]
    size = f"{given['channels']} x {given['height']} x {given['width']}"
    return (
        f"A {escaped(network['name'])} ({short(config['parameters'])} parameters, "
        f"{short(config['multiply_adds'])} multiply-adds an image) that sorts images of {size} "
        f"into {len(config['classes'])} classes of {escaped(card.title)}, made by kdpipe "
        f"{config['kdpipe']} in the study {escaped(config['study'])}."
    )


def _use() -> str:
    return (
        "With kdpipe, onnxruntime, numpy and pillow; PyTorch is not needed:\n\n"
        f"```python\n{USE}```\n\n"
        "or `kdpipe predict THIS_FOLDER image.jpg folder/`. Without kdpipe, any ONNX Runtime runs "
        "the graphs: they take `pixels`, uint8 (batch, channels, height, width), normalise them by "
        "themselves, and give `logits`; see Input for how a picture becomes pixels."
    )


def _measured(config: dict) -> str:
    found = config["measured"]
    batches = [size for row in found["files"].values() for size in row["latency"]]
    heads = ["", "accuracy, %", "less float32, points", "same answer as float32, %", "size"]
    heads += [f"ms for {size}" for size in dict.fromkeys(batches)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    beside, rows = found.get("beside"), dict(found["files"])
    titles = dict(TITLES)
    if beside is not None:
        titles[FLOAT] += f", {_kind(config['ema'])}"
        titles["beside"] = f"{TITLES[FLOAT]}, {_kind(beside['ema'])} (not in this folder)"
        rows["beside"] = beside
    for name, row in rows.items():
        cells = [titles[name], span(row["accuracy"])]
        same = name == FLOAT
        cells += ["-" if same else span(row["difference"], "+")]
        cells += ["-" if same else span(row["agreement"])]
        cells.append(as_size(row["bytes"] if name == "beside" else config["files"][name]["bytes"]))
        for times in row["latency"].values():
            cells.append(f"{times['median']:.3g} ({times['low']:.3g} to {times['high']:.3g})")
        lines.append(f"| {' | '.join(cells)} |")
    rounds = min(t["rounds"] for row in found["files"].values() for t in row["latency"].values())
    lines.append(
        f"\nOn the {found['images']:,} test images, with 95 % intervals over these images (Wilson; "
        "Agresti and Min for the paired difference): they say nothing of other seeds. Times are "
        f"medians and quartiles of {rounds} rounds in which all took turns, after a warm-up, with "
        f"{found['threads']} thread of ONNX Runtime {found['onnxruntime']} on "
        f"{escaped(found['processor'])}. The operations are the same, "
        f"{short(config['multiply_adds'])} multiply-adds an image, in integers where int8."
    )
    lines.append(
        f"\nFloat32 was compared with PyTorch on every test image: its logits are apart by at most "
        f"{found['apart']:.2g}."
    )
    if beside is not None:
        lines.append(f"\n{weighed(config['ema'], beside)}.")
    return "\n".join(lines)


def weighed(ema: float | None, beside: dict) -> str:
    """By what the average of the weights ships, or the network without it: what it is, and both
    errors. ema: of what ships; beside: of the other."""
    ours, theirs = beside["error_of_shipped"], beside["error"]
    why = "there is no validation to tell them apart"
    if ours is not None and theirs is not None:
        why = f"validation error {ours:.2f} %, {_kind(beside['ema'])} {theirs:.2f} %"
    return f"What ships is {_kind(ema)}: {why}"


def _kind(ema: float | None) -> str:
    return "not averaged" if ema is None else f"averaged (decay {ema:g})"


def span(estimate: list[float] | Estimate, sign: str = "") -> str:
    """A value with its interval: `95.3 (93.4 to 96.6)`."""
    value, low, high = estimate
    return f"{value:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


def _input(config: dict) -> str:
    given = config["input"]
    kind = "grey" if given["channels"] == 1 else "RGB"
    upright = "" if given["by_mode_alone"] else "turned upright (EXIF), "
    return (
        f"A picture is {upright}made {kind}, and then {front.said(given)}. `kdpipe.load` and "
        "`kdpipe predict` do so. The graphs normalise: pixels / 255, less mean "
        f"{_numbers(given['mean'])}, divided by std {_numbers(given['std'])}, of each channel. "
        "`model.safetensors` is the network alone: who loads it normalises by these numbers."
    )


def _numbers(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _data(config: dict, card: Card, spec: dict) -> str:
    data = spec["data"]
    noise = f", a share of {data['label_noise']:g} of their labels redrawn at random"
    names = ", ".join(escaped(name) for name in config["classes"][:50])
    more = ", ..." if len(config["classes"]) > 50 else ""
    return (
        f"{escaped(card.title)} ({escaped(card.source)}; sha256 {card.sha256[:12]}): trained on "
        f"{data['train_size']:,} images{noise if data['label_noise'] else ''}, chosen on "
        f"{data['validation']:,} validation images, measured on {card.test:,} test images. "
        f"Classes: {names}{more}."
    )


def _training(config: dict, spec: dict, chosen: Answer | None) -> str:
    recipe, teacher = spec["recipe"], spec["teacher"]
    brought = spec.get("pretrained")
    if brought:
        return f"Its weights were brought, not trained (sha256 {brought['sha256'][:12]})."
    how = "on labels alone"
    if teacher:
        members = " and ".join(
            f"{escaped(each['network'])} after epoch {each['epoch']} (run {each['run'][:12]})"
            for each in teacher["members"]
        )
        how = f"by distilling {members} ({escaped(_method(spec, chosen))})"
    if "start" in spec["network"]:
        start = spec["network"]["start"]
        file = escaped(start["weights"] or f"a file, sha256 {start['sha256'][:12]}")
        how += f", from the weights of a {escaped(start['network'])} ({file})"
    ema = config["ema"]
    averaged = f", averaged over its steps (exponentially, decay {ema:g})," if ema else ""
    if "beside" in config["measured"] and not ema:
        averaged = ", not averaged over its steps as the study judged them,"
    return (
        f"Trained {how}, for {recipe['epochs']} epochs in batches of {recipe['batch_size']} with "
        f"seed {spec['seed']}; the weights are those{averaged} after epoch {config['epoch']}, the "
        f"{config['reading']} reading. Run {config['run']}, sha256 {config['digest'][:12]}."
    )


def _method(spec: dict, chosen: Answer | None) -> str:
    """In the words of the answer that chose it, if that chose a taught one."""
    if chosen is not None and chosen.ships != "scratch":
        return chosen.settings
    weights = {key: value for key, value in spec["method"].items() if key.endswith("_weight")}
    parts = [f"{key} {value:g}" for key, value in weights.items() if value]
    return ", ".join([f"temperature {spec['method']['temperature']:g}", *parts])


def _limits(config: dict) -> str:
    lines = [
        "- Accuracy is that on images like those of the test set. On others it is not known, and "
        "every image gets one of the classes, whatever it shows.",
        f"- {_probabilities(config)}",
        "- Times hold for the processor named.",
    ]
    if INT8 in config["files"]:
        lines.append(
            f"- int8: the ranges were set on {config['measured']['calibrated']:,} training images. "
            "Processors without instructions for 8-bit products (VNNI) may round otherwise, and "
            "answer otherwise: measure again where it is shipped."
        )
    if "build" in config["network"]:
        lines.append(
            f"- The network is one of its authors' own ({escaped(config['network']['build'])}): "
            "`model.safetensors` needs their code, the graphs do not."
        )
    return "\n".join(lines)


def _probabilities(config: dict) -> str:
    if "temperature" not in config:
        return (
            "The probabilities are those of the network as it was trained; they were not "
            "calibrated."
        )
    each = [
        f"{TITLES[name]} by {scale:.3g} (calibration error on test {100 * ece['before']:.2g} % "
        f"before, {100 * ece['after']:.2g} % after, 15 bins)"
        for name, scale in config["temperature"].items()
        for ece in [config["measured"]["files"][name]["ece"]]
    ]
    return (
        "The probabilities of `kdpipe.load` and `kdpipe predict` are calibrated: logits are "
        f"divided by a temperature fitted on validation, {'; '.join(each)}. The "
        "graphs give logits as they are: who runs them alone divides before the softmax."
    )


def _files(config: dict) -> str:
    return "\n".join(
        f"- `{name}`: {facts['bytes']:,} bytes, sha256 {facts['sha256']}"
        for name, facts in config["files"].items()
    )
