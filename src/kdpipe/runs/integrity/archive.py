"""Archiving a study: all that its report is rendered from, in one file; or its runs, in a bucket.

Records are merged into an archive and never removed: what it holds and the results lack stays, and
a second record of a run that says something else is refused. `runs.records` has the format.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.analysis import eval_point, per_image
from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.search import state
from kdpipe.errors import KdpipeError
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.runs import copies, records
from kdpipe.runs.files import FileInfo, find_damaged_file, find_temporary_files
from kdpipe.runs.integrity import bucket
from kdpipe.runs.records import ArchiveEntries, ArchiveEntry
from kdpipe.runs.store import Store, lock_published_folder
from kdpipe.text import format_count, join_names

# What results of a kind are called, for `format_count`.
KIND_WORDS = {
    "runs": "run",
    "ensembles": "ensemble",
    "probes": "probe",
    "gauges": "exported network",
}


def archive_study(plan: Plan, store: Store, folder: Path) -> str:
    """Merge the records of a plan into an archive.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        Its results.
    folder : Path
        Folder of the archive.

    Returns
    -------
    str
        What the archive holds, in words.

    Raises
    ------
    KdpipeError
        Before anything is written: if there are no records, if the archive has a different record
        of one of the runs, or if another registered study seals some of them.
    StoreError
        If the archive is damaged.
    """
    _require_archivable(plan, store)
    target = Store(folder)
    new_entries = {(entry.kind, entry.name): entry for entry in _collect_entries(plan, store)}
    with lock_published_folder(folder):  # another study may be put into the same archive
        _require_same_records(new_entries, store, target)
        old_entries = target.read_archive()
        merged = update_archive(
            target,
            {key: merge_entries(entry, old_entries.get(key)) for key, entry in new_entries.items()},
        )
        registration.store_registration(plan.study, store, target)
        copies.add_copies(target, _select_copies(plan, store))
        for path in find_temporary_files(folder, records.ARCHIVE_FILE):
            path.unlink(missing_ok=True)
    message = _format_archive(target.archive_path, merged, old_entries.keys() - new_entries.keys())
    return message + _describe_blinding(plan, store)


@dataclass(frozen=True)
class Upload:
    """What is uploaded of one result.

    Attributes
    ----------
    kind : str
        One of `records.RECORD_KINDS`.
    folder : Path
        Its folder here.
    files : dict
        The files that the bucket lacks, by name.
    record : dict
        The record to upload after them.
    """

    kind: str
    folder: Path
    files: dict[str, FileInfo]
    record: dict[str, Any]


def upload_study(plan: Plan, store: Store, url: str) -> str:
    """Upload the finished results of a plan to a bucket, with all their files.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        Its results.
    url : str
        Address of the bucket, with a prefix or without.

    Returns
    -------
    str
        What was uploaded, in words.

    Raises
    ------
    KdpipeError
        Before anything is uploaded: if there are no records, if the bucket cannot be read or has a
        different record of one of the runs, or if another registered study seals some of them.
        Later, if a file is damaged or the bucket cannot be written to; what was uploaded by then
        is whole, and is not uploaded again.
    """
    _require_archivable(plan, store)
    with (
        tempfile.TemporaryDirectory() as temporary,
        bucket.open_mirror(url, Path(temporary) / "staging") as mirror,
    ):
        uploads, n_present, n_archived = _collect_uploads(plan, store, mirror)
        # First, so that what a registration seals is never open.
        registration.store_registration(plan.study, store, mirror)
        copies.add_copies(mirror, _select_copies(plan, store))
        problems = list(state.copy_journals(store, mirror)) if plan.study.search else []
        mirror.upload_changes()
        for upload in uploads:
            if (damage := find_damaged_file(upload.folder, upload.files)) is not None:
                raise KdpipeError(
                    f"{upload.folder / damage[0]}: {damage[1]}; the results before this one were "
                    "uploaded"
                )
            mirror.upload_files(upload.folder, upload.files)
            mirror.upload_record(mirror.root / upload.kind / upload.folder.name, upload.record)
    counts = Counter(upload.kind for upload in uploads)
    words = [format_count(n, KIND_WORDS[kind]) for kind, n in counts.items()]
    message = f"{url}: {f'{join_names(words)} uploaded' if words else 'nothing to upload'}"
    message += f", {n_present:,} there already" if n_present else ""
    if n_archived:
        message += f"\n{n_archived:,} of which only {store.archive_path} has the record stayed here"
    return "\n".join([message, *problems]) + _describe_blinding(plan, store)


def _require_archivable(plan: Plan, store: Store) -> None:
    """Raise KdpipeError without records, or if another registered study seals some of them."""
    status.require_records(plan, store)
    reason = registration.find_shared_reason(plan, store, except_study=plan.study.study)
    if reason is not None:
        raise KdpipeError(f"{store.root}: {reason}; nothing was archived")


def _describe_blinding(plan: Plan, store: Store) -> str:
    """Return a line on test results that no report shows yet; empty if there are none."""
    reason = registration.find_blinding_reason(plan, store)
    return "" if reason is None else f"\nIt holds test results that no report shows yet: {reason}"


def _select_copies(plan: Plan, store: Store) -> copies.Copies:
    """Return the checksums of other copies of the plan's runs."""
    digests = {run.digest for run in plan.runs.values()}
    known = copies.read_copies(store)
    return {digest: checksums for digest, checksums in known.items() if digest in digests}


def _collect_uploads(
    plan: Plan, store: Store, mirror: bucket.Mirror
) -> tuple[list[Upload], int, int]:
    """Return what the bucket lacks.

    Returns
    -------
    uploads : list of Upload
        What is to be uploaded of each result.
    n_present : int
        The number of results that the bucket has.
    n_archived : int
        The number of results of which only an archive has the record.

    Raises
    ------
    KdpipeError
        If a record is damaged, or that of the bucket says something else.
    """
    uploads: list[Upload] = []
    conflicts: list[Conflict] = []
    n_present = n_archived = 0
    for kind, items in plan.recorded_nodes.items():
        records_by_name, damaged = store.scan_records(kind)
        for name in items.keys() & damaged.keys():
            raise KdpipeError(f"{damaged[name]}; nothing was uploaded")
        for name in filter(records_by_name.__contains__, items):
            folder = store.root / kind / name
            record = records.find_whole_record(folder)
            if record is None:
                n_archived += 1
                continue
            files = mirror.find_missing_files(mirror.root / kind / name, record)
            there = records.read_finished_record(mirror.root / kind / name, None)
            if there is None:
                uploads.append(Upload(kind, folder, files, record))
            elif (difference := records.diff_records(record, there)) is not None:
                conflicts.append((folder, difference, record, there))
            elif files or records.merge_records(there, record) != there:
                uploads.append(Upload(kind, folder, files, records.merge_records(there, record)))
            else:
                n_present += 1
    _refuse_conflicts(conflicts, store, mirror.root)
    return uploads, n_present, n_archived


def update_archive(target: Store, new_entries: ArchiveEntries) -> ArchiveEntries:
    """Write entries into an archive, which the caller has locked; return all that it held or holds.

    An entry replaces the one of the same result. Labels that no run refers to are not written.
    """
    merged = target.read_archive() | new_entries
    records.write_archive(target.archive_path, records.drop_unused_labels(merged.values()))
    return merged


def _collect_entries(plan: Plan, store: Store) -> Iterator[ArchiveEntry]:
    """Return an entry for each node of the plan that has a record or a failure.

    A failure is archived by its reason alone: its traceback names folders of this machine.
    """
    last, best = (per_image.PerImageMetrics(plan, store, point) for point in records.EVAL_POINTS)
    for kind, items in plan.recorded_nodes.items():
        records_by_name, damaged = store.scan_records(kind)
        for name in items.keys() & damaged.keys():
            raise KdpipeError(f"{damaged[name]}; nothing was archived")
        for name, item in items.items():
            record = records_by_name.get(name)
            if record is not None:
                curve = store.load_curve(name) if kind == "runs" else None
                image_fields: dict[str, Any] = {}
                if kind not in ("probes", "gauges"):
                    image_fields |= _collect_wrong_images(last.errors, kind, name, "")
                    if not records.is_best_last(record):
                        image_fields |= _collect_wrong_images(best.errors, kind, name, "_at_best")
                labels = last.export_labels(name) if kind == "runs" else {}
                predictions = {}
                if plan.study.metric != "top1" and kind in ("runs", "ensembles"):
                    predictions, ensemble_labels = _collect_predictions(last, best, kind, record)
                    labels = labels or ensemble_labels
                for digest, encoded in labels.values():
                    yield ArchiveEntry(records.LABELS_KIND, digest, digest, labels=encoded)
                digests = {split: digest for split, (digest, _) in labels.items()}
                if kind == "runs":
                    image_fields["per_image"] = _collect_per_image(last, best, record, digests)
                if predictions:
                    per_image_fields = image_fields.get("per_image") or {"labels": digests}
                    image_fields["per_image"] = per_image_fields | {"predictions": predictions}
                yield ArchiveEntry(kind, name, record["digest"], record, curve, **image_fields)
            elif (reason := status.find_missing_reason(item, plan, store, damaged)[1]) is not None:
                yield ArchiveEntry(kind, name, item.digest, failure=reason)


def _collect_wrong_images(
    outcomes: eval_point.PerImageErrors, kind: str, name: str, suffix: str
) -> dict[str, Any]:
    """Return the misclassified test images, and for a run what it takes them for."""
    error_mask = outcomes.load_error_mask(name)
    packed = None if error_mask is None else eval_point.pack_error_mask(error_mask)
    fields: dict[str, Any] = {f"wrong{suffix}": packed}
    if kind == "runs" and (misclassified := outcomes.load_misclassified(name)) is not None:
        # Their labels are those of the test set, which has a line of its own.
        missed = misclassified.to_json()
        fields[f"missed{suffix}"] = {key: missed[key] for key in ("sizes", "predicted")}
    return fields


def _collect_per_image(
    last: per_image.PerImageMetrics,
    best: per_image.PerImageMetrics,
    record: dict[str, Any],
    labels: dict[str, str],
) -> dict[str, Any] | None:
    """Return the metrics of single images of a run, with the SHA-256 of its labels by split."""
    name = record["name"]
    parts = {
        "last": last.export_point(name),
        "best": None if records.is_best_last(record) else best.export_point(name),
        "epochs": last.export_epochs(name),
    }
    known = {key: part for key, part in parts.items() if part}
    return {"labels": labels, **known} if labels else None


def _collect_predictions(
    last: per_image.PerImageMetrics,
    best: per_image.PerImageMetrics,
    kind: str,
    record: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, tuple[str, dict[str, Any]]]]:
    """Return what a metric other than top-1 needs of checkpoints and ensembles, and its labels.

    By epoch, or by evaluation point, and by split the wrong images and what they are taken for.
    """
    if kind == "runs":
        exported = {
            epoch: last.export_predictions(record["name"], int(epoch))
            for epoch in record["checkpoints"]
        }
    else:
        exported = {"last": last.export_predictions(record["name"])}
        if not records.is_best_last(record):
            exported["best"] = best.export_predictions(record["name"])
    labels: dict[str, tuple[str, dict[str, Any]]] = {}
    for _, labels_by_split in exported.values():
        labels |= labels_by_split
    return {point: wrong for point, (wrong, _) in exported.items() if wrong}, labels


def _require_same_records(new_entries: ArchiveEntries, store: Store, target: Store) -> None:
    """Raise KdpipeError if the target has a different record of a run, with both in the message."""
    # In the archive itself, and in folders of runs beside it.
    old_entries = target.read_archive()
    target_records = {kind: target.load_records(kind) for kind in records.RECORD_KINDS}
    conflicts: list[Conflict] = []
    for (kind, name), entry in new_entries.items():
        old_entry = old_entries.get((kind, name))
        for old in (
            old_entry.record if old_entry else None,
            target_records.get(kind, {}).get(name),
        ):
            if entry.record is not None and old is not None:
                difference = records.diff_records(entry.record, old)
                if difference is not None:
                    conflicts.append((store.root / kind / name, difference, entry.record, old))
                    break
    _refuse_conflicts(conflicts, store, target.archive_path)


# The folder of a result, the difference, its record there and the other one.
Conflict = tuple[Path, str, dict[str, Any], dict[str, Any]]


def _refuse_conflicts(conflicts: list[Conflict], store: Store, place: Path) -> None:
    """Raise KdpipeError if there are records that differ from those of another place."""
    if conflicts:
        folder, difference, new, old = conflicts[0]
        raise KdpipeError(
            f"{place} has other records of {len(conflicts):,} runs or ensembles than "
            f"{store.root}, {folder.name} the first ({difference}): there {describe_record(old)}; "
            f"here {describe_record(new)}. Keep one of the two: remove {folder}, or move "
            f"{place} away; nothing was written"
        )


def describe_record(record: dict[str, Any]) -> str:
    """Return what distinguishes two records of a run: results, time and machine."""
    last: dict[str, Any] = record["last"] or {}
    validation = last.get("val")
    parts = [record["status"], *([record["reason"]] if record["reason"] else [])]
    parts += [f"validation error {100 * (1 - validation['accuracy']):.2f} %"] if validation else []
    parts += [f"started {record['started']}"] if record.get("started") else []
    device = record.get("device")
    return ", ".join([*parts, *([f"on {device['name']}"] if device else [])])


def merge_entries(entry: ArchiveEntry, old_entry: ArchiveEntry | None) -> ArchiveEntry:
    """Return the entry of the results, completed by what only the archive still has."""
    if old_entry is None:
        return entry
    if entry.record is None:
        return entry if old_entry.record is None else old_entry
    if old_entry.record is None:
        return entry
    return ArchiveEntry(
        entry.kind,
        entry.name,
        entry.digest,
        records.merge_records(entry.record, old_entry.record),
        old_entry.curve if entry.curve is None else entry.curve,
        old_entry.wrong if entry.wrong is None else entry.wrong,
        wrong_at_best=entry.wrong_at_best or old_entry.wrong_at_best,
        missed=entry.missed or old_entry.missed,
        missed_at_best=entry.missed_at_best or old_entry.missed_at_best,
        per_image=_merge_per_image(entry.per_image, old_entry.per_image),
    )


def _merge_per_image(
    new: dict[str, Any] | None, old: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the metrics of single images of the results, with those that only the archive has."""
    if new is None or old is None:
        return new or old
    points = {point: old.get(point, {}) | new.get(point, {}) for point in records.EVAL_POINTS}
    known = {point: metrics for point, metrics in points.items() if metrics}
    return {"labels": old["labels"] | new["labels"]} | old | new | known


def _format_archive(path: Path, merged: ArchiveEntries, unchanged: set[tuple[str, str]]) -> str:
    """Return in words what an archive holds."""
    recorded = [entry for entry in merged.values() if entry.record is not None]
    runs, ensembles, probes, gauges = (
        sum(entry.kind == kind for entry in recorded) for kind in records.RECORD_KINDS
    )
    with_outcomes = sum(entry.wrong is not None for entry in recorded)
    stayed = {key for key in unchanged if key[0] in records.RECORD_KINDS}
    text = (
        f"{path}: {runs:,} runs, {ensembles:,} ensembles, {with_outcomes:,} of them with outcomes"
    )
    text += f"; {probes:,} probes" if probes else ""
    text += f"; {gauges:,} gauges" if gauges else ""
    return text + (f"; {len(stayed):,} of them were there and stayed" if stayed else "")
