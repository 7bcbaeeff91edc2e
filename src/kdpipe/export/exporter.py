"""`kdpipe export`: the run of a study that ships, in one folder.

The run is chosen on validation, and so is whether its averaged or its unaveraged weights ship; it
is converted to a float32 and an int8 graph; the graphs are run on every test image, and rejected if
they do not match the network; then the folder is written.

The folder is written under a temporary name next to its target and renamed, so that it is complete
or absent. Leftovers of a killed process, under a name with a dot, are removed by the next export to
the same target.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe import __version__, hashing
from kdpipe.data import cache, cards, splits, streaming
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import class_folders
from kdpipe.data.splits import Split
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.export import (
    classifier,
    image_graph,
    int8_sensitivity,
    measured_files,
    model_card,
    onnx_graph,
    provenance,
    select,
    trained_run,
    verify,
)
from kdpipe.export.int8_sensitivity import KeptLayer
from kdpipe.export.measured_files import THREADS, Latencies, MeasuredFiles
from kdpipe.export.provenance import ExportRequest
from kdpipe.export.select import ExportBudget, ExportCandidate, ExportFile, FileRule
from kdpipe.export.trained_run import TrainedRun
from kdpipe.jobs.run_record import describe_device
from kdpipe.models.pretrained.kdpipe_export import (
    CONFIG_FILE,
    FLOAT_FILE,
    FORMAT_VERSION,
    INT8_FILE,
    WEIGHTS_FILE,
)
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.runs import metrics
from kdpipe.runs.files import write_bytes
from kdpipe.runs.store import Store
from kdpipe.text import join_names

README_FILE = "README.md"
# Where the Hub and transformers.js look for graphs; see `write_folder`.
HUB_COPIES = {"onnx/model.onnx": FLOAT_FILE, "onnx/model_quantized.onnx": INT8_FILE}
ALTERNATIVE = "beside"  # in a config: weights that are measured but not shipped


@dataclass(frozen=True)
class BuiltExport:
    """A candidate with its graphs.

    Attributes
    ----------
    candidate : ExportCandidate
        The run.
    trained : TrainedRun
        The run with the weights that ship.
    alternative : TrainedRun or None
        The run with its averaged weights where those without averaging ship, or the reverse.
    card : DatasetCard
        The card of the data set.
    split : Split
        The images of the run.
    shape : tuple of int
        Channels, height and width of an image.
    graphs : dict of str to bytes
        The ONNX graphs by file name, and that of the alternative.
    predictors : dict of str to callable
        The predictor of each graph.
    times : dict
        The latency of each graph by batch size.
    notes : list of str
        Notes for the model card.
    float_layers : list of KeptLayer
        The layers that the int8 graph keeps in float32.
    """

    candidate: ExportCandidate
    trained: TrainedRun
    alternative: TrainedRun | None
    card: DatasetCard
    split: Split
    shape: tuple[int, int, int]
    graphs: dict[str, bytes]
    predictors: dict[str, verify.Predictor]
    times: Latencies
    notes: list[str]
    float_layers: list[KeptLayer]


def export_network(
    plan: Plan,
    store: Store,
    candidates: list[ExportCandidate],
    request: ExportRequest,
    budget: ExportBudget | None = None,
    to: Path | None = None,
    calibrate: bool = False,
    rule: FileRule | None = None,
) -> list[str]:
    """Export a run of a study.

    Parameters
    ----------
    plan : Plan
        The plan of the study.
    store : Store
        The results folder.
    candidates : list of ExportCandidate
        The runs that may be exported, see `select.find_candidates`.
    request : ExportRequest
        The study file, the license and the options, for the card.
    budget : ExportBudget or None
        The limits of size and time.
    to : Path or None
        The folder to write; by default exports/RUN.
    calibrate : bool
        Whether to scale probabilities by a temperature that is fitted on validation.
    rule : {'fastest', 'smallest', 'most accurate'}, optional
        Which file of the network ships, where it is not the fastest that is not shown to be worse.

    Returns
    -------
    list of str
        Messages about the export.

    Raises
    ------
    KdpipeError
        Before anything is written: if nothing fits the budget, a graph differs from its network,
        or the folder exists.
    """
    onnx_graph.require_onnx()
    budget = budget or ExportBudget()
    if to is not None:
        require_absent(to)
    if len(candidates) == 1:
        to = to or Path("exports") / candidates[0].run.name
        require_absent(to)
    measured, builds, messages = _measure_candidates(
        candidates, plan, store, bool(budget), request.keep_float
    )
    export_files = [file for item in measured for file in item.files]
    best_file = select.select_within_budget(export_files, budget) if budget else export_files[0]
    network_files = [
        file
        for file in (select.list_within_budget(export_files, budget) if budget else export_files)
        if file.candidate_index == best_file.candidate_index
    ]
    file_arguments = plan.study.smallest_effect, rule
    chosen_file = select.select_file(network_files, *file_arguments)
    index, model_file = chosen_file.candidate_index, chosen_file.file
    to = to or Path("exports") / candidates[index].run.name
    require_absent(to)
    times = next(item.times for item in measured if item.files[0].candidate_index == index)
    selected_build = builds.get(index) or _build_export(
        candidates[index], plan, store, request.keep_float, times
    )
    if budget:
        messages.append(
            f"{best_file.label} is the best on validation that fits {budget}: {best_file}"
        )
        roles = plan.roles[candidates[index].run.name]
        if len(candidates) > 1 and "teacher" in roles and "student" not in roles:
            messages.append(
                f"You do not need a student: {candidates[index].run.network} is a teacher of this "
                "study, and it is small enough."
            )
    outdated_notes = _find_outdated_notes(selected_build.candidate, plan, store)
    selected_build.notes.extend(outdated_notes)
    file_text = select.describe_file_choice(network_files, chosen_file, *file_arguments)
    own_files = [file for file in export_files if file.candidate_index == index]
    int8_text = select.describe_int8_cost(own_files, plan.study.smallest_effect, request.keep_float)
    selected_build.notes[:0] = [file_text, *([int8_text] if int8_text else [])]
    config = provenance.describe_provenance(request, selected_build.candidate.run, plan, store)
    config, files = _build_files(selected_build, plan, model_file, calibrate, config)
    write_folder(to, files, config["copies"])
    messages += [file_text, *([int8_text] if int8_text else [])]
    return [*messages, *_describe_export(to, config), *outdated_notes]


def _measure_candidates(
    candidates: list[ExportCandidate],
    plan: Plan,
    store: Store,
    use_known: bool,
    keep_float: int = 0,
) -> tuple[list[MeasuredFiles], dict[int, BuiltExport], list[str]]:
    """Measure the files of all candidates, but for what is known of an earlier time.

    One of several candidates that cannot be converted is left out. Where there is no budget, the
    only candidate has to be converted in any case, and is measured with that.

    Returns
    -------
    measured : list of MeasuredFiles
        Those of the candidates that can be exported.
    builds : dict of int to BuiltExport
        By position, the candidates that were converted for this.
    messages : list of str
        Which candidates are left out, and why.
    """
    keys = [measured_files.make_key(item, plan, store, keep_float) for item in candidates]
    measured, builds, messages = [], {}, []
    for i, known in enumerate(measured_files.load_measured(keys)):
        if known is None or not use_known:
            try:
                build = _build_export(candidates[i], plan, store, keep_float)
            except KdpipeError as error:
                if len(candidates) == 1 or isinstance(error, StoreError):
                    raise
                messages.append(f"{candidates[i].run.network} does not compete: {error}")
                continue
            builds[i] = build
            known = MeasuredFiles(_evaluate_files(i, build, plan), build.times)
            with contextlib.suppress(StoreError):  # a cache that cannot be written loses nothing
                measured_files.save_measured({keys[i]: known})
        measured.append(known)
    if not measured:
        raise KdpipeError("; ".join(messages))
    return measured, builds, messages


def _find_outdated_notes(candidate: ExportCandidate, plan: Plan, store: Store) -> list[str]:
    """Return notes on a run if its teacher, or that of a competitor, has since been retrained."""
    stale_runs = status.find_stale(plan, store)
    reason = stale_runs.pop(candidate.run.name, "")
    notes = [f"This run is outdated: {reason}."] if reason else []
    if stale_runs and candidate.answer is not None:
        notes.append(f"Runs that it was compared with are outdated: {join_names(stale_runs)}.")
    hint = "`kdpipe prune STUDY... --outdated --yes` removes it; the next start trains it again."
    return [*notes, hint] if notes else []


def _build_export(
    candidate: ExportCandidate,
    plan: Plan,
    store: Store,
    keep_float: int = 0,
    times: Latencies | None = None,
) -> BuiltExport:
    """Return the graphs of a candidate, with their latency (measured unless it is known).

    `keep_float` is how many layers of the int8 graph stay in float32.
    """
    run = candidate.run
    code = Path(plan.study.code) if plan.study.code else None
    shipped_run, alternative, notes = _choose_weights(candidate, plan, store, code)
    card = cache.load_card_for_spec(run.spec.data, store)
    split = splits.load_split(run.spec.data, store)
    shape = card.resize_to(run.spec.data.resize).shape
    workers = plan.study.workers if card.is_streamed else 0
    graphs = {
        FLOAT_FILE: onnx_graph.to_onnx(
            run.network, shipped_run.network, split.mean, split.std, shape
        )
    }
    float_layers: list[KeptLayer] = []
    try:
        graphs[INT8_FILE], float_layers = int8_sensitivity.quantize_but_layers(
            graphs[FLOAT_FILE],
            lambda: verify.iterate_calibration_batches(split, workers),
            keep_float,
        )
    except KdpipeError as error:
        notes.append(f"There is no {INT8_FILE}: {error}.")
    if alternative is not None:
        graphs[ALTERNATIVE] = onnx_graph.to_onnx(
            run.network, alternative.network, split.mean, split.std, shape
        )
    predictors = {
        name: verify.create_onnx_predictor(content, THREADS) for name, content in graphs.items()
    }
    if times is None or set(times) != set(predictors):
        times = verify.measure_latency(predictors, shape)
    return BuiltExport(
        candidate,
        shipped_run,
        alternative,
        card,
        split,
        shape,
        graphs,
        predictors,
        times,
        notes,
        float_layers,
    )


def _choose_weights(
    candidate: ExportCandidate, plan: Plan, store: Store, code: Path | None
) -> tuple[TrainedRun, TrainedRun | None, list[str]]:
    """Return the weights that ship, their alternative, and notes.

    If the weights of a run are averaged, the averaged or unaveraged ones ship, whichever are better
    on validation.
    """
    averaged_run = trained_run.load_trained_run(
        candidate.run, candidate.record, store, plan.study.reading, code, plan.study.metric
    )
    raw_run = trained_run.load_raw_weights(averaged_run, code, plan.study.metric)
    if averaged_run.ema_decay is None:
        return averaged_run, None, []
    if raw_run is None:
        return (
            averaged_run,
            None,
            ["The run did not keep its unaveraged weights."],
        )
    better = (
        averaged_run.error is not None
        and raw_run.error is not None
        and raw_run.error < averaged_run.error
    )
    return (raw_run, averaged_run, []) if better else (averaged_run, raw_run, [])


def _evaluate_files(candidate_index: int, build: BuiltExport, plan: Plan) -> list[ExportFile]:
    """Return the files of a candidate with their validation errors."""
    val = build.split.val
    workers = plan.study.workers if build.card.is_streamed else 0
    logits_by_file = (
        verify.predict_all(_without_alternative(build.predictors), val, build.shape, workers)
        if len(val)
        else {}
    )
    return [
        ExportFile(
            candidate_index,
            name,
            verify.compute_error(logits_by_file[name], val.labels, plan.study.metric)
            if name in logits_by_file
            else float("nan"),
            len(content),
            build.times[name][1].median,
            logits_by_file[name].argmax(1) == val.labels if name in logits_by_file else None,
            build.candidate.run.network,
        )
        for name, content in _without_alternative(build.graphs).items()
    ]


def _without_alternative(graphs: dict) -> dict:
    """Return a mapping by graph without the one that does not ship."""
    return {name: value for name, value in graphs.items() if name != ALTERNATIVE}


def _build_files(
    build: BuiltExport, plan: Plan, model_file: str, calibrate: bool, origin: dict
) -> tuple[dict, dict[str, bytes]]:
    """Return the config and the files of an export that ships `model_file`.

    `origin` is where it comes from, see `provenance.describe_provenance`.
    """
    run, shipped_run = build.candidate.run, build.trained
    temperatures = _fit_temperatures(build, plan) if calibrate else {}
    files = {WEIGHTS_FILE: shipped_run.weights, **_without_alternative(build.graphs)}
    config = {
        "format": FORMAT_VERSION,
        "kdpipe": __version__,
        "study": plan.study.study,
        **({} if plan.study.metric == "top1" else {"metric": plan.study.metric}),
        "run": run.name,
        "digest": run.digest,
        "reading": shipped_run.reading,
        "epoch": shipped_run.epoch,
        "ema": shipped_run.ema_decay,
        "model": model_file,
        "network": run.spec.network.to_dict(),
        "parameters": run.cost.parameters,
        "multiply_adds": run.cost.multiply_adds,
        "classes": list(build.card.class_names) or [str(n) for n in range(build.split.classes)],
        "input": build_input_config(build.card, run.spec.data.resize, build.split),
        **({"temperature": temperatures} if temperatures else {}),
        "measured": _measure_on_test(build, plan, temperatures),
        "files": {name: _file_info(content) for name, content in files.items()},
        **_describe_float_layers(build.float_layers),
        "copies": {copy: name for copy, name in HUB_COPIES.items() if name in files},
        **origin,
    }
    if (image_graph_facts := _add_image_graph(build, plan, config, files)) is not None:
        config["measured"]["image_graph"] = image_graph_facts
    config = hashing.add_checksum(config)
    readme = model_card.render_model_card(
        config, build.card, run.spec, build.candidate.answer, build.notes
    )
    files[README_FILE] = readme.encode()
    files[CONFIG_FILE] = to_json_bytes(config)
    return config, files


def _describe_float_layers(layers: list[KeptLayer]) -> dict:
    """Return the layers that the int8 graph keeps in float32, as a key of the config."""
    if not layers:
        return {}
    return {"float_layers": [{"name": layer.name, "fall": layer.fall} for layer in layers]}


def _add_image_graph(
    build: BuiltExport, plan: Plan, config: dict, files: dict[str, bytes]
) -> dict | None:
    """Add the graph with the resize inside, if it agrees on all test images; return how it did.

    None where the images all have one size, or are no longer there in their own sizes.
    """
    path, input_config = plan.study.data.path, config["input"]
    if path is None or not image_graph.has_image_graph(input_config) or not os.path.isdir(path):
        return None
    model_file = config["model"]
    temperature = config.get("temperature", {}).get(model_file, 1.0)
    graph = image_graph.build_image_graph(files[model_file], input_config, temperature)
    session = classifier.create_session(files[model_file], THREADS)
    classify = classifier.Classifier(config, session, temperature)
    images = class_folders.list_images(Path(path), build.card.made).files["test"]
    facts = image_graph.compare_image_graph(graph, classify, images)
    if facts["apart"] <= image_graph.MAX_DIFFERENCE and not facts["other_classes"]:
        files[image_graph.IMAGE_FILE] = graph
        config["files"][image_graph.IMAGE_FILE] = _file_info(graph)
    return facts


def _file_info(content: bytes) -> dict:
    """Return the size and checksum of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _fit_temperatures(build: BuiltExport, plan: Plan) -> dict[str, float]:
    """Return the temperature of each file."""
    val = build.split.val
    workers = plan.study.workers if build.card.is_streamed else 0
    logits_by_file = verify.predict_all(
        _without_alternative(build.predictors), val, build.shape, workers
    )
    return {
        name: verify.fit_temperature(logits, val.labels) for name, logits in logits_by_file.items()
    }


def _measure_on_test(build: BuiltExport, plan: Plan, temperatures: dict[str, float]) -> dict:
    """Measure accuracy and latency of the graphs on test, which only this function reads."""
    split, test = build.split, build.split.test
    workers = plan.study.workers if build.card.is_streamed else 0
    trained_runs = {FLOAT_FILE: build.trained} | (
        {ALTERNATIVE: build.alternative} if build.alternative else {}
    )
    network = build.trained.run.spec.network
    torch_predictors = {
        name: verify.create_torch_predictor(network, item.network, split)
        for name, item in trained_runs.items()
    }
    predictors = {
        f"torch {name}": predictor for name, predictor in torch_predictors.items()
    } | build.predictors
    logits_by_name = verify.predict_all(predictors, test, build.shape, workers)
    max_differences = {}
    for name, item in trained_runs.items():
        torch_logits = logits_by_name.pop(f"torch {name}")
        verify.check_stored(
            item.record, verify.load_stored_outputs(item), torch_logits, test.labels
        )
        verify.check_agreement(build.candidate.run.network, logits_by_name[name], torch_logits)
        max_differences[name] = float(np.abs(logits_by_name[name] - torch_logits).max())
    files = {}
    for name, logits in logits_by_name.items():
        right, gap, same = verify.compare_accuracy(logits, logits_by_name[FLOAT_FILE], test.labels)
        times = {str(size): dataclasses.asdict(t) for size, t in build.times[name].items()}
        row = {"accuracy": right, "difference": gap, "agreement": same, "latency": times}
        if plan.study.metric != "top1":
            row["metric"] = 100 - verify.compute_error(logits, test.labels, plan.study.metric)
        if name in temperatures:
            stages = {"before": logits, "after": logits / temperatures[name]}
            row["ece"] = {
                stage: metrics.compute_metrics(scaled_logits, test.labels)["ece"]
                for stage, scaled_logits in stages.items()
            }
        files[name] = row
    alternative = (
        {ALTERNATIVE: _describe_alternative(build, files.pop(ALTERNATIVE))}
        if ALTERNATIVE in files
        else {}
    )
    return {
        "images": len(test),
        "apart": max_differences[FLOAT_FILE],
        "files": files,
        **alternative,
        "threads": THREADS,
        "processor": describe_device("cpu", THREADS)["name"],
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "calibrated": min(verify.MAX_CALIBRATION_IMAGES, len(split.train)),
    }


def _describe_alternative(build: BuiltExport, row: dict) -> dict:
    """Return the measurements of the weights that do not ship, and both validation errors."""
    alternative = build.alternative
    assert alternative is not None
    on_validation = {"error": alternative.error, "error_of_shipped": build.trained.error}
    facts = {
        "ema": alternative.ema_decay,
        "epoch": alternative.epoch,
        "bytes": len(build.graphs[ALTERNATIVE]),
    }
    return facts | on_validation | row


def build_input_config(card: DatasetCard, resize: int | None, split: Split) -> dict:
    """Return the key `input` of a config: how an image becomes pixels (see `classifier`).

    Parameters
    ----------
    card : DatasetCard
        The card of the prepared data.
    resize : int or None
        The side that the study resizes them to.
    split : Split
        The split, for mean and standard deviation.
    """
    channels, height, width = card.resize_to(resize).shape
    steps: list[dict]
    if card.is_streamed:
        steps = [{"shorter": round(height * streaming.RESIZE_RATIO)}, {"centre": height}]
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
        "by_mode_alone": card.is_streamed and card.name in cards.list_datasets(),
        "steps": steps,
    }


def _describe_export(to: Path, config: dict) -> list[str]:
    """Return the messages about an export."""
    reading_text = f"evaluation point {config['reading']}"
    reading_text += f", weights averaged with decay {config['ema']:g}" if config["ema"] else ""
    lines = [f"{to}: run {config['run']}, {reading_text}, ships: {config['model']}"]
    if alternative := config["measured"].get(ALTERNATIVE):
        lines.append(model_card.describe_ema_choice(config["ema"], alternative))
    for name, row in config["measured"]["files"].items():
        times = row["latency"]["1"]["median"]
        line = f"{name}: accuracy {model_card.format_interval(row['accuracy'])} %"
        line += (
            ""
            if name == FLOAT_FILE
            else f", {model_card.format_interval(row['difference'], '+')} points"
        )
        lines.append(f"{line}, {config['files'][name]['bytes']:,} bytes, {times:.3g} ms an image")
    lines.append(f"license: {config['license']}{model_card.describe_license_hint(config)}")
    lines += provenance.list_restrictions(config)
    lines.append(f"`{shlex.join(['kdpipe', 'predict', str(to), 'IMAGE'])}` classifies an image")
    return lines


# --- the folder


def require_absent(target: Path) -> None:
    """Raise KdpipeError if the target of an export exists already."""
    if target.exists() or target.is_symlink():
        raise KdpipeError(
            f"{target} exists already: remove it, or export to another folder with --to"
        )


def to_json_bytes(value: dict) -> bytes:
    """Encode a mapping as a JSON file of an export."""
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_folder(
    target: Path, files: Mapping[str, bytes], copies: Mapping[str, str] | None = None
) -> None:
    """Write a new folder.

    Copies are hard links: a second name takes no space, and is a regular file for every tool that
    reads or uploads the folder (a symbolic link is not). On a file system without hard links they
    are files of their own.

    Parameters
    ----------
    target : Path
        The folder.
    files : mapping of str to bytes
        The content of its files by name.
    copies : mapping of str to str, optional
        Second names of files, as FOLDER/NAME, by the names of the files.

    Raises
    ------
    KdpipeError
        If the folder exists already, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in _find_abandoned_folders(target):
            shutil.rmtree(abandoned, ignore_errors=True)
        with _temporary_folder(target) as temporary:
            for name, content in files.items():
                write_bytes(temporary / name, content)
            for copy, name in (copies or {}).items():
                _copy_file(temporary / name, temporary / copy)
            require_absent(target)
            os.rename(temporary, target)
            _fsync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None


def _copy_file(source: Path, copy: Path) -> None:
    """Give a file a second name, in a folder that may not exist yet."""
    copy.parent.mkdir(exist_ok=True)
    try:
        os.link(source, copy)
    except OSError:  # a file system without hard links
        write_bytes(copy, source.read_bytes())
    _fsync_folder(copy.parent)


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """Create a locked temporary folder next to a target, and remove it unless it was renamed."""
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


def _find_abandoned_folders(target: Path) -> Iterator[Path]:
    """Yield the temporary folders next to a target that no process uses any more."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.suffix == ".tmp" and path.is_dir():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            else:
                yield path
            finally:
                os.close(descriptor)


def _fsync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
