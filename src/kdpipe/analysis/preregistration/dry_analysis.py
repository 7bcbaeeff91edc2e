"""Analysis of a study as if it had been run: which claims it can test, by which contrasts.

What a claim compares follows from the plan, but is found by the claim's own function, which reads a
frame. So it is given a frame whose numbers mean nothing and meet every premise: larger networks are
better, a teacher helps, a much larger one helps less.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from kdpipe.analysis import claim, dataframe
from kdpipe.analysis.claim import Finding, UntestableClaim
from kdpipe.analysis.frame_queries import restrict_to_blocks
from kdpipe.config.schema import Study
from kdpipe.plan import planner
from kdpipe.plan.nodes import Ensemble, Plan, RecordedNode, Run
from kdpipe.runs.store import Store

N_SEEDS = 3  # enough to see what is compared


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
    """Find out what each claim would compare in a study, or why it cannot be tested there.

    Seeds and splits do not matter for that, and few are simulated.

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
        update={"seeds": seeds, "looks": None, "splits": study.splits[:1]}
    )
    plan = planner.build_plan(small_study)
    store = SimulatedStore(plan=plan)
    frame = dataframe.build_results_frame(plan, store)
    curves = dataframe.build_curves_frame(plan, store)
    results = {}
    for key, definition in claim.load_claims().items():
        rows = restrict_to_blocks(frame, study.claims[key]) if key in study.claims else frame
        results[key] = claim.evaluate_claim(definition, rows, curves, study.smallest_effect)
    return results


def _simulate_record(node: RecordedNode, plan: Plan) -> dict:
    """Return the record of a finished node, as far as a frame reads it."""
    record = {"digest": node.digest, "status": "done", "reason": None, "checkpoints": {}}
    record |= {"versions": {}, "device": None, "seconds": {}, "best": None}
    validation = plan.card.count_validation(plan.study.data.validation)
    if isinstance(node, Run):
        error = _simulate_error(node)
        last = _simulate_metrics(error, validation, bool(node.spec.teacher))
        checkpoints = {
            str(epoch): _simulate_metrics(error + 5 * (1 - epoch / node.epochs), validation, False)
            | {"lr": 0.1}
            for epoch in plan.checkpoints_to_keep.get(node.name, ())
        }
        best = last | {"epoch": node.epochs} if validation else None
        return record | {"last": last, "best": best, "checkpoints": checkpoints}
    runs = [run for run, _ in node.members] if isinstance(node, Ensemble) else [node.run]
    error = sum(map(_simulate_error, runs)) / len(runs) - (1 if isinstance(node, Ensemble) else 0)
    return record | {"last": _simulate_metrics(error, 1, False)}


def _simulate_error(run: Run) -> float:
    """Return the error of a run in points, between 1 and 99."""
    size = math.log10(run.cost.multiply_adds + 1)
    error = 40 - 2 * size
    if run.spec.teacher:
        largest = max(math.log10(parent.cost.multiply_adds + 1) for parent in run.parents)
        error += 0.5 * (largest - size) - 2 - run.spec.stage
    return min(99.0, max(1.0, error))


def _simulate_metrics(error: float, validation: int, has_teacher: bool) -> dict:
    """Return metrics on all parts of the data."""
    part = {"n": 100, "accuracy": 1 - error / 100, "nll": error / 30, "ece": 0.02}
    part |= {"entropy": error / 40, "confidence": 1 - error / 200}
    if has_teacher:
        part |= {"agreement": 1 - error / 90, "kl": error / 50, "cross_entropy": 20.0}
    return {"train": part, "val": part if validation else None, "test": part}
