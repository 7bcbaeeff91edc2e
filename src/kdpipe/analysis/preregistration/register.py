"""Registering a study: what will be tested, frozen in a file before the first run.

`kdpipe register` writes it once, beside the study file, to be committed with it, and a copy into
the results folder. How it is read later is in `registration`.

Analysis of a study as if it had been run: which claims it can test, by which contrasts.

What a claim compares follows from the plan, but is found by the claim's own function, which reads a
frame. So it is given a frame whose numbers mean nothing and meet every premise: larger networks are
better, a teacher helps, a much larger one helps less.
"""

import datetime
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe import __version__, version
from kdpipe.analysis import claim, dataframe
from kdpipe.analysis.claim import Finding, UntestableClaim, load_claims
from kdpipe.analysis.dataframe import restrict_to_blocks
from kdpipe.analysis.preregistration import registration
from kdpipe.config.paths import registration_path
from kdpipe.config.schema import Study
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.plan.nodes import Ensemble, Plan, RecordedNode, Run
from kdpipe.runs import registrations
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.files import write_bytes
from kdpipe.runs.store import Store
from kdpipe.stats.intervals import MIN_SEEDS_FOR_HALVES

N_IMAGES = 100
N_SEEDS = MIN_SEEDS_FOR_HALVES  # enough to see what is compared, and which contrasts choose


@dataclass(frozen=True)
class SimulatedStore(Store):
    """A results folder that does not exist, with a record of all that a plan has.

    Attributes
    ----------
    plan : Plan
        The plan.
    """

    root: Path = Path(os.devnull)  # a file: nothing is below it
    plan: Plan | None = None

    def scan_records(self, kind: str) -> tuple[dict[str, dict], dict[str, str]]:
        """Return simulated records of a kind by name, and no damaged ones.

        Parameters
        ----------
        kind : str
            Kind of records, as the store names it.

        Returns
        -------
        records : dict of str to dict
            One record for each node.
        damaged : dict of str to str
            Empty.
        """
        assert self.plan is not None
        nodes = self.plan.recorded_nodes[kind]
        return {name: _simulate_record(node, self.plan) for name, node in nodes.items()}, {}

    def load_curve(self, name: str) -> list[dict]:
        """Return the simulated learning curve of a run.

        Parameters
        ----------
        name : str
            Name of the run.

        Returns
        -------
        list of dict
            One entry for each epoch.
        """
        assert self.plan is not None
        run = self.plan.runs[name]
        error, drops = _simulate_error(run), run.spec.recipe.drop_epochs
        part = {"loss": 1.0, "ce": 1.0, "kd": 1.0, "accuracy": 1 - error / 100}
        return [
            {
                "epoch": epoch,
                "lr": 0.1 ** sum(epoch > drop for drop in drops),
                "train": part,
                "val": part,
            }
            for epoch in range(1, run.epochs + 1)
        ]


def simulate_findings(study: Study) -> dict[str, Finding | UntestableClaim]:
    """Find what each claim would compare in a study, or why it cannot be tested.

    Seeds, splits and the metric do not matter for that: few are simulated, and errors are top-1,
    since a metric of predicted classes needs predictions.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    dict of str to Finding or UntestableClaim
        By the key of the claim.
    """
    seeds = [*study.seeds, *(seed for seed in range(N_SEEDS) if seed not in study.seeds)][:N_SEEDS]
    if any(block.seeds for block in study.experiments):
        seeds = study.seeds  # blocks may cross them with others: keep all
    small_study = study.model_copy(
        update={"seeds": seeds, "looks": None, "splits": study.splits[:1], "metric": "top1"}
    )
    plan = planner.build_plan(small_study)
    store = SimulatedStore(plan=plan)
    frame = dataframe.build_results_frame(plan, store)
    curves = dataframe.build_curves_frame(plan, store)
    results = {}
    for key, definition in claim.load_claims().items():
        rows = restrict_to_blocks(frame, study.claims[key]) if key in study.claims else frame
        results[key] = claim.evaluate_claim(
            definition,
            rows,
            curves,
            study.smallest_effect,
            _simulate_error_mask,
            study.smallest_effects,
            has_second_interval=False,
        )
    return results


def _simulate_record(node: RecordedNode, plan: Plan) -> dict:
    """Return the record of a finished node, as far as a frame reads it."""
    record = {"digest": node.digest, "status": "done", "reason": None, "checkpoints": {}}
    record |= {"versions": {}, "device": None, "seconds": {}, "best": None}
    validation = plan.card.count_validation(plan.study.data.validation)
    if isinstance(node, Run):
        error = _simulate_error(node)
        metric = plan.study.metric
        last = _simulate_metrics(error, validation, bool(node.spec.teacher), metric)
        checkpoints = {
            str(epoch): _simulate_metrics(
                error + 5 * (1 - epoch / node.epochs), validation, False, metric
            )
            | {"lr": 0.1}
            for epoch in plan.checkpoints_to_keep.get(node.name, ())
        }
        best = last | {"epoch": node.epochs} if validation else None
        return record | {"last": last, "best": best, "checkpoints": checkpoints}
    runs = [run for run, _ in node.members] if isinstance(node, Ensemble) else [node.run]
    error = sum(map(_simulate_error, runs)) / len(runs) - (1 if isinstance(node, Ensemble) else 0)
    metric = plan.study.metric if isinstance(node, Ensemble) else "top1"
    return record | {"last": _simulate_metrics(error, 1, False, metric)}


def _simulate_error(run: Run) -> float:
    """Return the error of a run in points, between 1 and 99."""
    size = math.log10(run.cost.multiply_adds + 1)
    error = 40 - 2 * size
    if run.spec.teacher:
        largest = max(math.log10(parent.cost.multiply_adds + 1) for parent in run.parents)
        error += 0.5 * (largest - size) - 2 - run.spec.stage
    return min(99.0, max(1.0, error))


def _simulate_error_mask(name: str) -> np.ndarray:
    """Return which of some test images a run gets wrong; for claims that count single images."""
    return np.random.default_rng(zlib.crc32(name.encode())).random(N_IMAGES) < 0.2


def _simulate_metrics(
    error: float, validation: int, has_teacher: bool, metric: DecisionMetric
) -> dict:
    """Return metrics on all parts of the data; errors by any metric are the same."""
    part = {"n": N_IMAGES, "accuracy": 1 - error / 100, "nll": error / 30, "ece": 0.02}
    part |= {"entropy": error / 40, "confidence": 1 - error / 200}
    if has_teacher:
        part |= {"agreement": 1 - error / 90, "kl": error / 50, "cross_entropy": 20.0}
    judged = part if metric == "top1" else part | {dataframe.DECISION_KEY: error}
    return {"train": part, "val": judged if validation else None, "test": judged}


CHOICE_RULE = (
    "every choice is made on validation; from five seeds on two halves of them (the 1st, 3rd, 5th "
    "... of the study, and the others; all splits of a seed in one half) choose for each other; "
    "with three and four each is left out in turn, and of several splits the tested one too"
)


def register_study(study: Study, folder: Path, store: Store) -> tuple[Path, bool]:
    """Register a study.

    A study that is registered as it is, and of which nothing was run, is left so.

    Parameters
    ----------
    study : Study
        The study.
    folder : Path
        Folder of its file.
    store : Store
        The results folder.

    Returns
    -------
    path : Path
        The registration.
    is_new : bool
        Whether it was written now.

    Raises
    ------
    KdpipeError
        If the study is registered as something else, here or in the results folder, or if any of
        its runs has a record: what has been run cannot be registered.
    """
    path = Path(study.registration or registration_path(folder, study.study))
    plan = planner.build_plan(study.model_copy(update={"look": len(study.looks or [0])}))
    recorded_names = [
        name
        for kind, items in plan.recorded_nodes.items()
        for name in items
        if store.has_record(kind, name)
    ]
    if path.exists():
        registered_study = study.model_copy(update={"registration": str(path)})
        content = registration.read_registration(registered_study) or {}
        if not recorded_names and not registration.find_study_deviations(registered_study, content):
            _check_unregistered(content, study.study, store)
            registration.store_registration(registered_study, store)
            return path, False
        raise KdpipeError(
            f"{path}: the study {study.study} is registered already, and a registration cannot be "
            "changed: reports list deviations from it. To test something else, give the study "
            "another name and other seeds"
        )
    if study.look != 1:
        raise KdpipeError(f"look: {study.look}: a study must be registered before its first look")
    if recorded_names:
        raise KdpipeError(
            f"{store.root} has records of {len(recorded_names):,} of the {study.study} study's "
            f"runs ({recorded_names[0]} the first): a study cannot be registered after it has been "
            "run. Use seeds that were never run; if these runs were its pilot, keep them in a "
            "separate study and list it under pilots"
        )
    _check_unregistered(None, study.study, store)
    content = _make_content(study, plan, registration.list_pilots(study, plan, folder))
    write_bytes(path, registrations.encode_registration(content))
    registrations.copy_registration(path, study.study, store)
    return path, True


def _check_unregistered(content: dict | None, study: str, store: Store) -> None:
    """Raise KdpipeError if the results folder has another registration of the name."""
    if registrations.load_registration(study, store) not in (None, content):
        raise KdpipeError(
            f"{registrations.registration_path(study, store)}: a study {study} is registered in "
            "this folder already: rename this one or, if it is the same study, restore the file "
            f"next to the study as {study}.registration.json"
        )


def _make_content(study: Study, plan: Plan, pilot_entries: list[dict]) -> dict:
    """Return the content of the registration."""
    current = registration.get_registered_content(study)
    findings = simulate_findings(study)
    primary = study.primary
    return {
        "format": registrations.REGISTRATION_FORMAT,
        "rules": registration.RULES,
        "study": study.study,
        "registered": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kdpipe": __version__,
        "git": version.git_revision(),
        "code": version.hash_result_code(),
        "claims": {
            key: {
                "title": claim.title,
                "primary": claim.primary if primary is None else key in primary,
                **_list_contrasts(findings[key]),
            }
            for key, claim in load_claims().items()
        },
        "reads": current["claims"],
        **{
            key: current[key]
            for key in registration.REGISTERED_KEYS
            if key not in ("claims", "pilots")
        },
        "pilots": pilot_entries,
        "choice": CHOICE_RULE,
        "runs": len(plan.runs),
        "asked": current["study"],
        "names": registration.list_planned_names(study),
    }


def _list_contrasts(finding) -> dict:
    """Return the contrasts of a claim, or why it cannot be tested."""
    if not isinstance(finding, Finding):
        return {"not_tested": str(finding)}
    contrasts = [
        {"text": contrast.text, "asks": contrast.hypothesis, "needed": contrast.is_needed}
        for contrast in finding.contrasts
    ]
    return {"contrasts": contrasts}
