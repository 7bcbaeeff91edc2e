"""An export: what is to ship of a study, in one folder.

The story: the run is chosen, on validation, and so is the average of its weights or the network
without it; what is chosen becomes a graph in float32 and one in 8 bits; the graphs are asked about
every test image, and refused if they are not the network; the folder is written.
"""

import dataclasses
import hashlib
import importlib.metadata
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe import __version__, identity
from kdpipe.beforehand import registered
from kdpipe.data import cards, prepared, splits, streams
from kdpipe.data.cards import Card
from kdpipe.data.splits import Split
from kdpipe.errors import KdpipeError
from kdpipe.jobs.record import facts_of_device
from kdpipe.networks.brought.exported import CONFIG, FORMAT, WEIGHTS
from kdpipe.plan import outdated
from kdpipe.plan.items import Plan
from kdpipe.results import metrics
from kdpipe.results.store import Store
from kdpipe.shipping import checked, choice, folder, graph, latency, modelcard, trained
from kdpipe.shipping.choice import Budget, Candidate, Offer
from kdpipe.shipping.classifier import FLOAT, INT8
from kdpipe.shipping.latency import Times
from kdpipe.shipping.trained import Trained
from kdpipe.wording import listed

README = "README.md"
THREADS = 1
BESIDE = "beside"  # what is measured and not shipped


@dataclass(frozen=True)
class Made:
    """A candidate with its graphs by name, what answers for each, and how long that takes.

    `beside` is the average of its weights where the network without it ships, or the network.
    """

    candidate: Candidate
    trained: Trained
    beside: Trained | None
    card: Card
    split: Split
    shape: tuple[int, int, int]
    graphs: dict[str, bytes]
    answers: dict[str, checked.Answers]
    times: dict[str, dict[int, Times]]
    notes: list[str]


def export(
    plan: Plan,
    place: Store,
    name: str | None = None,
    budget: Budget | None = None,
    to: Path | None = None,
    calibrate: bool = False,
) -> list[str]:
    """Export the run of that name, or without one the answer's choice; returns what to say.

    to: the folder to write; None: exports/RUN. calibrate: whether probabilities are scaled, by what
    is fitted on validation. Raises KdpipeError, before anything is written, if
    the study is sealed, nothing can be chosen or fits the budget, a graph is not its network, there
    is no validation to calibrate on, or the folder is there.
    """
    graph.refuse_without()
    budget = budget or Budget()
    if (why := registered.sealed(plan, place)) is not None:
        raise KdpipeError(f"nothing was exported, since its card says what test images say: {why}")
    if calibrate and not plan.card.validated(plan.study.data.validation):
        raise KdpipeError(
            "--calibrate: the study has no validation images, on which the temperature is fitted"
        )
    if to is not None:
        folder.refuse_taken(to)
    candidates = choice.candidates(plan, place, name, budget)
    if len(candidates) == 1:
        to = to or Path("exports") / candidates[0].run.name
        folder.refuse_taken(to)
    made = [_made(one, plan, place) for one in candidates]
    file, said = FLOAT, []
    offers = [offer for one, each in enumerate(made) for offer in _offers(one, each, plan)]
    chosen = made[0]
    if budget:
        best = choice.fitting(offers, budget)
        chosen, file = made[best.place], best.file
        said.append(f"{file} is best on validation of what fits {budget}: {best}")
    to = to or Path("exports") / chosen.candidate.run.name
    warned = _outdated(chosen.candidate, plan, place)
    chosen.notes.extend(warned)
    config, files = _content(chosen, plan, file, calibrate)
    folder.write(to, files)
    return [*said, *_in_words(to, config), *warned]


def _outdated(candidate: Candidate, plan: Plan, place: Store) -> list[str]:
    """What is to be known of a run whose teacher, or a rival's, has been made again since."""
    old = outdated.of(plan, place)
    why = old.pop(candidate.run.name, "")
    said = [f"This run is outdated: {why}."] if why else []
    if old and candidate.answer is not None:
        said.append(f"Outdated is what it was compared with: {listed(old)}.")
    cure = "`kdpipe prune` with --outdated and --yes removes it, the next start makes it again."
    return [*said, cure] if said else []


def _made(candidate: Candidate, plan: Plan, place: Store) -> Made:
    """The graphs of a candidate, timed."""
    run = candidate.run
    code = Path(plan.study.code) if plan.study.code else None
    one, beside, notes = _judged(candidate, plan, place, code)
    card = prepared.card_of(run.spec["data"], place)
    split = splits.load(run.spec["data"], place)
    shape = card.resized(run.spec["data"].get("resize")).shape
    workers = plan.study.workers if card.streamed else 0
    graphs = {FLOAT: graph.of(run.network, one.network, split.mean, split.std, shape)}
    try:
        images = checked.calibration(split, workers)
        graphs[INT8] = graph.quantised(graphs[FLOAT], images)
    except KdpipeError as error:
        notes.append(f"There is no {INT8}: {error}.")
    if beside is not None:
        graphs[BESIDE] = graph.of(run.network, beside.network, split.mean, split.std, shape)
    answers = {name: checked.of_graph(content, THREADS) for name, content in graphs.items()}
    times = latency.measure(answers, shape)
    return Made(candidate, one, beside, card, split, shape, graphs, answers, times, notes)


def _judged(
    candidate: Candidate, plan: Plan, place: Store, code: Path | None
) -> tuple[Trained, Trained | None, list[str]]:
    """Of a run whose weights are averaged the average or the network itself, whichever is better
    on validation, the other one, and what is to be said where there is none."""
    one = trained.load(candidate.run, candidate.record, place, plan.study.reading, code)
    other = trained.unaveraged(one, code)
    if one.averaged is None:
        return one, None, []
    if other is None:
        return one, None, ["What the network does without averaging was not kept by its run."]
    better = one.error is not None and other.error is not None and other.error < one.error
    return (other, one, []) if better else (one, other, [])


def _offers(place: int, made: Made, plan: Plan) -> list[Offer]:
    """The files of a candidate, each with what it says of validation."""
    val = made.split.val
    workers = plan.study.workers if made.card.streamed else 0
    said = checked.asked(_shipped(made.answers), val, made.shape, workers) if len(val) else {}
    return [
        Offer(
            place,
            name,
            checked.error(said[name], val.labels) if name in said else float("nan"),
            len(content),
            made.times[name][1].median,
        )
        for name, content in _shipped(made.graphs).items()
    ]


def _shipped(graphs: dict) -> dict:
    """What is said of graphs, without the one that is measured alone."""
    return {name: one for name, one in graphs.items() if name != BESIDE}


def _content(made: Made, plan: Plan, file: str, calibrate: bool) -> tuple[dict, dict[str, bytes]]:
    """The config and the files of an export; `file` is the one to ship."""
    run, one = made.candidate.run, made.trained
    scaled = _temperatures(made, plan) if calibrate else {}
    files = {WEIGHTS: one.weights, **_shipped(made.graphs)}
    config = {
        "format": FORMAT,
        "kdpipe": __version__,
        "study": plan.study.study,
        "run": run.name,
        "digest": run.digest,
        "reading": one.reading,
        "epoch": one.epoch,
        "ema": one.averaged,
        "model": file,
        "network": run.spec["network"],
        "parameters": run.cost.parameters,
        "multiply_adds": run.cost.multiply_adds,
        "classes": list(made.card.class_names) or [str(n) for n in range(made.split.classes)],
        "input": given(made.card, run.spec["data"].get("resize"), made.split),
        **({"temperature": scaled} if scaled else {}),
        "measured": _measured(made, plan, scaled),
        "files": {name: _facts(content) for name, content in files.items()},
    }
    config = identity.sealed(config)
    text = modelcard.text(config, made.card, run.spec, made.candidate.answer, made.notes)
    files[README] = text.encode()
    files[CONFIG] = folder.as_json(config)
    return config, files


def _facts(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _temperatures(made: Made, plan: Plan) -> dict[str, float]:
    """By file what its logits are divided by before they become probabilities."""
    val = made.split.val
    workers = plan.study.workers if made.card.streamed else 0
    said = checked.asked(_shipped(made.answers), val, made.shape, workers)
    return {name: checked.temperature(logits, val.labels) for name, logits in said.items()}


def _measured(made: Made, plan: Plan, scaled: dict[str, float]) -> dict:
    """What the graphs say of test, which is asked here and only here."""
    split, test = made.split, made.split.test
    workers = plan.study.workers if made.card.streamed else 0
    judged = {FLOAT: made.trained} | ({BESIDE: made.beside} if made.beside else {})
    network = made.trained.run.spec["network"]
    torch = {name: checked.answers(network, one.network, split) for name, one in judged.items()}
    who = {f"torch {name}": says for name, says in torch.items()} | made.answers
    said = checked.asked(who, test, made.shape, workers)
    apart = {}
    for name, one in judged.items():
        torch_says = said.pop(f"torch {name}")
        checked.refuse_other(one.record, checked.stored(one), torch_says, test.labels)
        checked.refuse_apart(made.candidate.run.network, said[name], torch_says)
        apart[name] = float(np.abs(said[name] - torch_says).max())
    files = {}
    for name, logits in said.items():
        right, gap, same = checked.accuracy(logits, said[FLOAT], test.labels)
        times = {str(size): dataclasses.asdict(t) for size, t in made.times[name].items()}
        row = {"accuracy": right, "difference": gap, "agreement": same, "latency": times}
        if name in scaled:
            both = {"before": logits, "after": logits / scaled[name]}
            row["ece"] = {when: metrics.of(each, test.labels)["ece"] for when, each in both.items()}
        files[name] = row
    beside = {BESIDE: _beside(made, files.pop(BESIDE))} if BESIDE in files else {}
    return {
        "images": len(test),
        "apart": apart[FLOAT],
        "files": files,
        **beside,
        "threads": THREADS,
        "processor": facts_of_device("cpu", THREADS)["name"],
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "calibrated": min(checked.CALIBRATED, len(split.train)),
    }


def _beside(made: Made, row: dict) -> dict:
    """What was measured of the weights that do not ship, and by what both were judged."""
    one = made.beside
    assert one is not None
    on_validation = {"error": one.error, "error_of_shipped": made.trained.error}
    facts = {"ema": one.averaged, "epoch": one.epoch, "bytes": len(made.graphs[BESIDE])}
    return facts | on_validation | row


def given(card: Card, resize: int | None, split: Split) -> dict:
    """What the network is given, and how a picture becomes that (`front`).

    card: of the data as they are prepared; resize: that of the study.
    """
    channels, height, width = card.resized(resize).shape
    steps: list[dict]
    if card.streamed:
        steps = [{"shorter": round(height * streams.LARGER)}, {"centre": height}]
    else:
        side = card.made.get("resize")
        steps = [{"stretch": side} if side else {"as_it_is": list(card.shape[1:])}]
        steps += [{"scale": resize}] if resize else []
    return {
        "channels": channels,
        "height": height,
        "width": width,
        "mean": split.mean.tolist(),
        "std": split.std.tolist(),
        "by_mode_alone": card.streamed and card.name in cards.known(),
        "steps": steps,
    }


def _in_words(to: Path, config: dict) -> list[str]:
    read = f"{config['reading']} reading"
    read += f", weights averaged with decay {config['ema']:g}" if config["ema"] else ""
    lines = [f"{to}: run {config['run']}, {read}, to ship: {config['model']}"]
    if beside := config["measured"].get(BESIDE):
        lines.append(modelcard.weighed(config["ema"], beside))
    for name, row in config["measured"]["files"].items():
        times = row["latency"]["1"]["median"]
        line = f"{name}: accuracy {modelcard.span(row['accuracy'])} %"
        line += "" if name == FLOAT else f", {modelcard.span(row['difference'], '+')} points"
        lines.append(f"{line}, {config['files'][name]['bytes']:,} bytes, {times:.3g} ms an image")
    lines.append(f"`{shlex.join(['kdpipe', 'predict', str(to), 'IMAGE'])}` asks it")
    return lines
