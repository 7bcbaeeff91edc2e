"""One reading of a study for all arms: at the last epoch, or at the best one on validation.

`at` turns the tidy frame of the records into the asked reading: its columns `<split>_<metric>` are
then those of that reading for whatever was trained on the study's data, students, scratch runs and
ensembles alike, and every table, claim and answer reads these. Teachers stay as they taught, at the
epoch that their students learned from, and probes at the last. What lacks a reading (validation: 0,
an ensemble whose members kept none) is a hole there. `Outcomes` are the test images that runs and
ensembles get wrong in a reading, from their stored outputs or, in an archive, from the bits that
stand in their place; without either they are not known, and the report says so. What a run takes
them for is known of outputs, and of archives that were made since they keep it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kdpipe.errors import Missing, StoreError
from kdpipe.evidence.selections import MEASURED
from kdpipe.plan.items import Plan
from kdpipe.results import metrics, parents, readings, records, store
from kdpipe.results.files import read_arrays
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.traced import Wrong

SAID: dict[str, str] = {"last": "the last epoch", "best": "the best epoch on validation"}


def at(frame: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The frame (see frames) in a reading, which stands in its column `reading`.

    `last_<split>_error` and `best_<split>_error` keep both, whichever it is.
    """
    of_best = [column for column in frame if str(column).startswith("best_")]
    pairs = {str(column).removeprefix("best_"): column for column in of_best}
    pairs = {column: best for column, best in pairs.items() if column in frame}
    errors = [column for column in pairs if column.endswith("_error")]
    found = frame.assign(reading=reading, **{f"last_{column}": frame[column] for column in errors})
    if reading == "last":
        return found
    trained = frame.kind.isin(MEASURED)
    both = {column: (frame[best], frame[column]) for column, best in pairs.items()}
    return found.assign(**{column: np.where(trained, *each) for column, each in both.items()})


def of(frame: pd.DataFrame) -> Reading:
    """The reading of a frame; one that does not say is at the last epoch."""
    best = "reading" in frame and (frame.reading == "best").any()
    return "best" if best else "last"


def beside(frame: pd.DataFrame) -> str:
    """The column of the test errors in the other reading."""
    return f"{other(of(frame))}_test_error"


def lacking(frame: pd.DataFrame, wrong: Mapping[Reading, Wrong]) -> str:
    """What was made before both readings were kept, and what it lacks; nothing if all have both.

    frame: of the records; wrong: the images that each run gets wrong, by reading.
    """
    if "best_test_error" not in frame:  # sealed until a registered look
        return ""
    trained = frame.loc[frame.kind.isin(MEASURED) & (frame.status == "done")]
    trained = trained.drop_duplicates("run")
    if trained.best_test_error.isna().all():  # no validation
        return ""
    teams = trained.kind == "ensemble"
    none = int((teams & trained.best_test_error.isna()).sum())
    numbers = sum(
        wrong["last"](run) is not None and wrong["best"](run) is None
        for run in trained.run[~teams & trained.best_test_error.notna()]
    )
    said = []
    if numbers:
        said.append(
            f"{numbers:,} runs were made before both were kept: their best reading is a number "
            "only, with no interval over images"
        )
    if none:
        said.append(f"{none:,} ensembles have no best reading, for their members kept none")
    return "; ".join(said)


@dataclass(frozen=True)
class Missed:
    """The test images that a run gets wrong, each with its class and what it is taken for.

    sizes: (classes,) test images of each; images: (wrong,) their places in the test set.
    """

    sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    def listed(self) -> dict[str, list[int]]:
        """As an archive has it, beside the places."""
        return {key: getattr(self, key).tolist() for key in ("sizes", "labels", "predicted")}


class Outcomes:
    """The test images that the runs and ensembles of a plan get wrong, in one reading."""

    def __init__(self, plan: Plan, place: store.Store, reading: Reading = "last"):
        self.plan = plan
        self.place = place
        self.reading: Reading = reading
        self.known: dict[str, np.ndarray | None] = {}
        self.listed = place.wrong_images(reading)

    def wrong(self, name: str) -> np.ndarray | None:
        """(test images,) bool by the name of a run or ensemble; None where it is not known.

        Raises StoreError if what is stored is damaged or another run's.
        """
        if name not in self.known:
            found = self._from_outputs(name)
            self.known[name] = self._listed(name) if found is None else found
        return self.known[name]

    def missed(self, name: str) -> Missed | None:
        """What a run of the plan takes its wrong test images for; None where it is not known.

        Raises StoreError if what is stored is damaged or another run's.
        """
        if (arrays := self._arrays(name)) is not None:
            logits, labels = arrays["test_logits"], arrays["test_labels"]
            predicted = logits.argmax(axis=1)
            images = np.flatnonzero(predicted != labels)
            sizes = np.bincount(labels, minlength=logits.shape[1])
            return Missed(sizes, images, labels[images], predicted[images])
        wrong, listed = self._listed(name), (self.listed.get(name) or {}).get("missed")
        if wrong is None or listed is None:
            return None
        of = [np.asarray(listed[key], dtype=int) for key in ("sizes", "labels", "predicted")]
        found = Missed(of[0], np.flatnonzero(wrong), of[1], of[2])
        counts = {len(found.images), len(found.labels), len(found.predicted)}
        if len(counts) > 1 or found.sizes.sum() != len(wrong):
            raise StoreError(f"{self.place.archive}: the wrong images of {name} disagree")
        return found

    def _listed(self, name: str) -> np.ndarray | None:
        digest = (self.plan.runs.get(name) or self.plan.ensembles[name]).digest
        listed = self.listed.get(name)
        if listed is None or listed["digest"] != digest:
            return None
        bits = np.frombuffer(bytes.fromhex(listed["wrong"]), np.uint8)
        return np.unpackbits(bits, count=listed["images"]).astype(bool)

    def _arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The stored outputs of a run."""
        run, folder = self.plan.runs[name], self.place.run(name)
        record = _record(folder, run.digest)
        path = readings.outputs(folder, record, self.reading) if record else None
        if record is None or path is None or not path.exists():
            return None
        arrays, about = read_arrays(path, records.facts(record, folder, path))
        if about != {"run": run.digest, "epoch": readings.epoch(record, self.reading)}:
            raise StoreError(f"{path} is of another run or epoch: remove its folder")
        return arrays

    def _from_outputs(self, name: str) -> np.ndarray | None:
        if name in self.plan.runs:
            arrays = self._arrays(name)
            if arrays is None:
                return None
            return arrays["test_logits"].argmax(axis=1) != arrays["test_labels"]
        folder = self.place.ensemble(name)
        members = self.plan.ensembles[name].spec["members"]
        if _record(folder, self.plan.ensembles[name].digest) is None:
            return None
        read = parents.outputs if self.reading == "last" else parents.best_outputs
        outputs = []
        for member in members:
            try:
                one = read(member, self.place)
            except Missing:  # scored, and a member has gone since
                return None
            if one is None:
                return None
            outputs.append(one)
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
