"""The job that scores one ensemble: the mean of its members' probabilities, from their outputs.

It has both readings: `last`, of its members as its spec names them, and `best`, of each at its own
best epoch on validation. Where a member kept no outputs of that, the record says null, and the
ensemble is scored again once all have them.
"""

from kdpipe import identity
from kdpipe.errors import StoreError
from kdpipe.jobs.failures import failures_noted
from kdpipe.jobs.record import blank, summary, tidy
from kdpipe.results import parents, records, run_folder
from kdpipe.results.parents import failed_member, made_of
from kdpipe.results.store import Store, only_one
from kdpipe.specs import admission


def score(spec: dict, place: Store) -> str:
    """Score an ensemble from the stored outputs of its members; returns a line."""
    digest = identity.digest(spec)
    name = admission.name_of("ensemble", spec, digest)
    folder = place.ensemble(name)
    record = blank("ensemble", name, digest, spec)
    with only_one(folder), failures_noted(folder, f"{len(spec['members'])} members"):
        if (reason := failed_member(spec["members"], place)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            record[records.PARENTS] = made_of(spec["members"], place, run_folder.outputs)
            record |= {"status": "done"} | _scores(name, spec["members"], place)
        records.publish(folder, record)
        tidy(folder)
    return summary(record)


def _scores(name: str, members: list[dict], place: Store) -> dict:
    """Both readings of an ensemble; best is None where a member has none."""
    last = [parents.outputs(member, place) for member in members]
    best = [parents.best_outputs(member, place) for member in members]
    known = [one for one in best if one is not None]
    whole = len(known) == len(members)
    return {"last": _averaged(name, last), "best": _averaged(name, known) if whole else None}


def _averaged(name: str, outputs: list[dict]) -> dict:
    """The metrics by split; None where a split is empty. Raises StoreError for unlike members."""
    import numpy as np

    from kdpipe.results import metrics

    found: dict = {"epoch": None, "train": None, "val": None}
    for split in ("val", "test"):
        if f"{split}_labels" in outputs[0]:
            labels = [output[f"{split}_labels"] for output in outputs]
            if not all(np.array_equal(labels[0], other) for other in labels):
                raise StoreError(f"{name}: its members saw different images on {split}")
            logits = np.stack([output[f"{split}_logits"] for output in outputs])
            found[split] = metrics.of(metrics.averaged_logits(logits), labels[0])
    return found
