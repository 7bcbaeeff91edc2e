"""TODO jobs.score, from jobs."""

from kdpipe import identity
from kdpipe.errors import StoreError
from kdpipe.jobs.failures import failures_noted
from kdpipe.jobs.record import begun, said
from kdpipe.results import parents, records, store
from kdpipe.results.parents import failed_member
from kdpipe.specs import admission


def score(spec: dict, place: store.Store) -> str:
    """Score an ensemble from the stored outputs of its members; returns a line."""
    import numpy as np

    from kdpipe.results import metrics

    digest = identity.digest(spec)
    name = admission.name_of("ensemble", spec, digest)
    folder = place.ensemble(name)
    record = begun("ensemble", name, digest, spec)
    with store.only_one(folder), failures_noted(folder, f"{len(spec['members'])} members"):
        if (reason := failed_member(spec["members"], place)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            outputs = [parents.outputs(member, place) for member in spec["members"]]
            last = {}
            for split in ("val", "test"):
                if f"{split}_labels" in outputs[0]:
                    labels = [output[f"{split}_labels"] for output in outputs]
                    if not all(np.array_equal(labels[0], other) for other in labels):
                        raise StoreError(f"{name}: its members saw different images on {split}")
                    logits = np.stack([output[f"{split}_logits"] for output in outputs])
                    averaged = metrics.averaged_logits(logits)
                    last[split] = metrics.of(averaged, labels[0])
            record |= {"status": "done", "last": {"epoch": None, "train": None, "val": None} | last}
        records.publish(folder, record)
    return said(record)
