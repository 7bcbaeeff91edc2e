"""A study as if it had been run: which claims it can test, and by which contrasts.

What a claim compares follows from the plan, but is found by the claim's own function, which reads a
frame. So it is given one whose numbers mean nothing and meet every premise: larger networks are
better, a teacher helps, a much larger one helps less.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from kdpipe.evidence import claim, frames
from kdpipe.evidence.selections import read_by
from kdpipe.evidence.verdicts import Finding, Untested
from kdpipe.plan import planner
from kdpipe.plan.items import Averaged, Plan, Recorded, Run
from kdpipe.results.store import Store
from kdpipe.study.grammar import Study

SEEDS = 3  # are enough to see what is compared


@dataclass(frozen=True)
class Pretended(Store):
    """A results folder that is nowhere, with a record of all that a plan asks for."""

    root: Path = Path(os.devnull)  # below which nothing is
    plan: Plan | None = None

    def scan(self, kind: str) -> tuple[dict[str, dict], dict[str, str]]:
        assert self.plan is not None
        items = self.plan.recorded[kind]
        return {name: _record(item, self.plan) for name, item in items.items()}, {}

    def curve(self, name: str) -> list[dict]:
        assert self.plan is not None
        run = self.plan.runs[name]
        error, drops = _error(run), run.spec["recipe"]["drop_epochs"]
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


def findings(study: Study) -> dict[str, Finding | Untested]:
    """What each claim would compare in a study, or why it cannot be tested there.

    Seeds and splits do not matter for that, and few are looked at.
    """
    seeds = [*study.seeds, *(seed for seed in range(SEEDS) if seed not in study.seeds)][:SEEDS]
    if any(block.seeds for block in study.experiments):
        seeds = study.seeds  # what they are crossed with, nobody knows better
    few = study.model_copy(update={"seeds": seeds, "looks": None, "splits": study.splits[:1]})
    plan = planner.make(few)
    store = Pretended(plan=plan)
    frame, curves = frames.frame(plan, store), frames.curves(plan, store)
    found = {}
    for key, one in claim.claims().items():
        part = read_by(frame, study.claims[key]) if key in study.claims else frame
        found[key] = claim.find(one, part, curves, study.smallest_effect)
    return found


def _record(item: Recorded, plan: Plan) -> dict:
    """The record of what is done, as far as a frame reads it."""
    record = {"digest": item.digest, "status": "done", "reason": None, "checkpoints": {}}
    record |= {"versions": {}, "device": None, "seconds": {}, "best": None}
    validation = plan.card.validated(plan.study.data.validation)
    if isinstance(item, Run):
        error = _error(item)
        last = _metrics(error, validation, bool(item.spec["teacher"]))
        checkpoints = {
            str(epoch): _metrics(error + 5 * (1 - epoch / item.epochs), validation, False)
            | {"lr": 0.1}
            for epoch in plan.keep.get(item.name, ())
        }
        best = last | {"epoch": item.epochs} if validation else None
        return record | {"last": last, "best": best, "checkpoints": checkpoints}
    runs = [run for run, _ in item.members] if isinstance(item, Averaged) else [item.run]
    error = sum(map(_error, runs)) / len(runs) - (1 if isinstance(item, Averaged) else 0)
    return record | {"last": _metrics(error, 1, False)}


def _error(run: Run) -> float:
    """In points; between 1 and 99."""
    size = math.log10(run.cost.multiply_adds + 1)
    error = 40 - 2 * size
    if run.spec["teacher"]:
        largest = max(math.log10(parent.cost.multiply_adds + 1) for parent in run.parents)
        error += 0.5 * (largest - size) - 2 - run.spec["stage"]
    return min(99.0, max(1.0, error))


def _metrics(error: float, validation: int, taught: bool) -> dict:
    part = {"n": 100, "accuracy": 1 - error / 100, "nll": error / 30, "ece": 0.02}
    part |= {"entropy": error / 40, "confidence": 1 - error / 200}
    if taught:
        part |= {"agreement": 1 - error / 90, "kl": error / 50, "cross_entropy": 20.0}
    return {"train": part, "val": part if validation else None, "test": part}
