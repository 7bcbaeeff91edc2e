"""Which test images each run and ensemble gets wrong: what a second interval is resampled from.

They are read from the stored outputs of a results folder. An archive has them as bits in their
place; without either they are not known, and the report says so.
"""

from pathlib import Path

import numpy as np

from kdpipe.errors import Missing, StoreError
from kdpipe.plan.items import Plan
from kdpipe.results import metrics, parents, records, run_folder, store
from kdpipe.results.files import read_arrays


class Outcomes:
    """The test images that the runs and ensembles of a plan get wrong, after their last epoch."""

    def __init__(self, plan: Plan, place: store.Store):
        self.plan = plan
        self.place = place
        self.known: dict[str, np.ndarray | None] = {}
        self.listed = place.wrong_images()

    def wrong(self, name: str) -> np.ndarray | None:
        """(test images,) bool by the name of a run or ensemble; None where it is not known.

        Raises StoreError if what is stored is damaged or another run's.
        """
        if name not in self.known:
            found = self._from_outputs(name)
            self.known[name] = self._listed(name) if found is None else found
        return self.known[name]

    def _listed(self, name: str) -> np.ndarray | None:
        digest = (self.plan.runs.get(name) or self.plan.ensembles[name]).digest
        listed = self.listed.get(name)
        if listed is None or listed["digest"] != digest:
            return None
        bits = np.frombuffer(bytes.fromhex(listed["wrong"]), np.uint8)
        return np.unpackbits(bits, count=listed["images"]).astype(bool)

    def _from_outputs(self, name: str) -> np.ndarray | None:
        if (run := self.plan.runs.get(name)) is not None:
            folder = self.place.run(name)
            path = run_folder.outputs(folder)
            record = _record(folder, run.digest)
            facts = records.facts(record, folder, path) if record else None
            if facts is None or not path.exists():
                return None
            arrays, about = read_arrays(path, facts)
            if about != {"run": run.digest, "epoch": run.epochs}:
                raise StoreError(f"{path} is of another run or epoch: remove its folder")
            return arrays["test_logits"].argmax(axis=1) != arrays["test_labels"]
        folder = self.place.ensemble(name)
        members = self.plan.ensembles[name].spec["members"]
        if _record(folder, self.plan.ensembles[name].digest) is None:
            return None
        try:
            outputs = [parents.outputs(member, self.place) for member in members]
        except Missing:  # scored, and a member has gone since
            return None
        averaged = metrics.averaged_logits(np.stack([one["test_logits"] for one in outputs]))
        return averaged.argmax(axis=1) != outputs[0]["test_labels"]


def _record(folder: Path, digest: str) -> dict | None:
    """The record of what is done; of a damaged one it is said elsewhere."""
    try:
        record = records.finished(folder, digest)
    except StoreError:
        return None
    return record if record and record["status"] == "done" else None


def as_bits(wrong: np.ndarray) -> dict:
    """Wrong images as an archive has them."""
    return {"images": len(wrong), "wrong": np.packbits(wrong).tobytes().hex()}
