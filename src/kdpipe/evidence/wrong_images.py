"""Which test images each run and ensemble gets wrong: what a second interval is resampled from.

They are read from the stored outputs of a results folder. A folder of records alone has them in
`outcomes.jsonl`, one line for each run and ensemble with the wrong images as bits; without
either they are not known, and the report says so.
"""

import json
from collections.abc import Iterator

import numpy as np

from kdpipe.errors import StoreError
from kdpipe.plan.items import Plan
from kdpipe.results import metrics, parents, records, store
from kdpipe.results.files import read_arrays

FILE = "outcomes.jsonl"


class Outcomes:
    """The test images that the runs and ensembles of a plan get wrong, after their last epoch."""

    def __init__(self, plan: Plan, place: store.Store):
        self.plan = plan
        self.place = place
        self.known: dict[str, np.ndarray | None] = {}
        self.listed = _listed(place)

    def wrong(self, name: str) -> np.ndarray | None:
        """(test images,) bool by the name of a run or ensemble; None where it is not known.

        Raises StoreError if what is stored is damaged or another run's.
        """
        if name not in self.known:
            digest = (self.plan.runs.get(name) or self.plan.ensembles[name]).digest
            listed = self.listed.get(name)
            if listed is not None and listed["digest"] == digest:
                bits = np.frombuffer(bytes.fromhex(listed["wrong"]), np.uint8)
                self.known[name] = np.unpackbits(bits, count=listed["images"]).astype(bool)
            else:
                self.known[name] = self._from_outputs(name)
        return self.known[name]

    def _from_outputs(self, name: str) -> np.ndarray | None:
        if (run := self.plan.runs.get(name)) is not None:
            path = self.place.run(name) / "outputs.safetensors"
            if not path.exists():
                return None
            arrays, about = read_arrays(path)
            if about != {"run": run.digest, "epoch": run.epochs}:
                raise StoreError(f"{path} is of another run or epoch: remove its folder")
            return arrays["test_logits"].argmax(axis=1) != arrays["test_labels"]
        folder = self.place.ensemble(name)
        members = self.plan.ensembles[name].spec["members"]
        known = records.finished(folder, self.plan.ensembles[name].digest)
        if known is None or known["status"] != "done":
            return None
        try:
            outputs = [parents.outputs(member, self.place) for member in members]
        except StoreError:  # scored, and a member has gone since
            return None
        averaged = metrics.averaged_logits(np.stack([one["test_logits"] for one in outputs]))
        return averaged.argmax(axis=1) != outputs[0]["test_labels"]


def lines(outcomes: Outcomes) -> Iterator[str]:
    """The lines of an `outcomes.jsonl` for everything in the plan that has a known outcome."""
    for item in (*outcomes.plan.runs.values(), *outcomes.plan.ensembles.values()):
        if (wrong := outcomes.wrong(item.name)) is not None:
            bits = np.packbits(wrong).tobytes().hex()
            line = {"name": item.name, "digest": item.digest, "images": len(wrong), "wrong": bits}
            yield json.dumps(line) + "\n"


def _listed(place: store.Store) -> dict[str, dict]:
    path = place.root / FILE
    if not path.exists():
        return {}
    try:
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return {one["name"]: one for one in found if {"digest", "images", "wrong"} <= one.keys()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}): restore it, or remove it; the report is then rendered "
            "without the intervals that rest on it"
        ) from None
