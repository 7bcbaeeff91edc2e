"""The job that evaluates one ensemble: the mean of its members' probabilities, from stored outputs.

Its record has both evaluation points: `last`, with the members of its spec, and `best`, with each
member at its best epoch on validation. If a member has no outputs of that epoch the record has
null, and the ensemble is evaluated again once all members have them.
"""

from collections.abc import Sequence

from kdpipe.errors import StoreError
from kdpipe.jobs import validate
from kdpipe.jobs.run_record import clean_up, format_summary, new_record, record_failures
from kdpipe.runs import records, run_folder, upstream
from kdpipe.runs.spec import EnsembleSpec, Member
from kdpipe.runs.store import Store, lock_run_folder
from kdpipe.runs.upstream import find_failed_parent, list_parent_checksums


def eval_ensemble(spec: EnsembleSpec, store: Store) -> str:
    """Evaluate an ensemble from its members' stored outputs; return the last line of the log."""
    validate.validate_spec(spec)
    name = spec.name
    folder = store.ensemble(name)
    record = new_record(spec)
    with lock_run_folder(folder), record_failures(folder, f"{len(spec.members)} members"):
        if (reason := find_failed_parent(spec.members, store)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            record[records.PARENTS_KEY] = list_parent_checksums(
                spec.members, store, run_folder.outputs_path
            )
            record |= {"status": "done"} | _eval_both_points(name, spec.members, store)
        records.publish_record(folder, record)
        clean_up(folder)
    return format_summary(record)


def _eval_both_points(name: str, members: Sequence[Member], store: Store) -> dict:
    """Return the metrics at both evaluation points; best is None if a member has none."""
    last = [upstream.load_outputs(member, store) for member in members]
    best = [upstream.load_best_outputs(member, store) for member in members]
    available = [outputs for outputs in best if outputs is not None]
    is_complete = len(available) == len(members)
    return {
        "last": _eval_average(name, last),
        "best": _eval_average(name, available) if is_complete else None,
    }


def _eval_average(name: str, outputs: list[dict]) -> dict:
    """Return the metrics by split; raise StoreError if the members' images differ."""
    import numpy as np

    from kdpipe.runs import metrics

    scores: dict = {"epoch": None, "train": None, "val": None}
    for split in ("val", "test"):
        if f"{split}_labels" in outputs[0]:
            labels = [output[f"{split}_labels"] for output in outputs]
            if not all(np.array_equal(labels[0], other) for other in labels):
                raise StoreError(
                    f"{name}: its members were evaluated on different images of {split}"
                )
            logits = np.stack([output[f"{split}_logits"] for output in outputs])
            scores[split] = metrics.compute_metrics(metrics.average_logits(logits), labels[0])
    return scores
