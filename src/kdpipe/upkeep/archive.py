"""The records of a study put into an archive: all that its report is rendered from, in one file.

An archive is merged into and never shortened: what it holds and the results lack stays, and of
one run it takes no second record that says something else. `results.archived` has the format.
"""

from collections.abc import Iterator
from pathlib import Path

from kdpipe.beforehand import registered
from kdpipe.errors import KdpipeError
from kdpipe.evidence import reading
from kdpipe.plan import hindrances, status
from kdpipe.plan.items import Plan
from kdpipe.results import archived, readings, records
from kdpipe.results.archived import Entries, Entry
from kdpipe.results.files import temporary_files
from kdpipe.results.store import Store, alone


def write(plan: Plan, place: Store, folder: Path) -> str:
    """Merge what the results hold of a plan into the archive in a folder; returns it in words.

    Raises KdpipeError, before anything is written, if there are no records, or if the archive has
    another record of one of the runs, or if another study that is registered seals some of them;
    StoreError if it is damaged.
    """
    status.refuse_nothing(plan, place)
    if (why := registered.shared(plan, place, but=plan.study.study)) is not None:
        raise KdpipeError(f"{place.root}: {why}; nothing was archived")
    target = Store(folder)
    found = {(entry.kind, entry.name): entry for entry in _entries(plan, place)}
    with alone(folder):  # another study may be put into the same archive
        _refuse_another(found, place, target)
        kept = target.archived()
        merged = kept | {key: _merged(entry, kept.get(key)) for key, entry in found.items()}
        archived.write(target.archive, merged.values())
        registered.keep(plan.study, place, target)
        for path in temporary_files(folder, archived.FILE):
            path.unlink(missing_ok=True)
    return _in_words(target.archive, merged, kept.keys() - found.keys())


def _entries(plan: Plan, place: Store) -> Iterator[Entry]:
    """Everything of the plan that has a record or a failure.

    A failure is told by its reason alone: its traceback names folders of this machine.
    """
    last, best = (reading.Outcomes(plan, place, each) for each in readings.READINGS)
    for kind, items in plan.recorded.items():
        known, damaged = place.scan(kind)
        for name in items.keys() & damaged.keys():
            raise KdpipeError(f"{damaged[name]}; nothing was archived")
        for name, item in items.items():
            record = known.get(name)
            if record is not None:
                curve = place.curve(name) if kind == "runs" else None
                of_images = {}
                if kind not in ("probes", "gauges"):
                    of_images |= _of_images(last, kind, name, "")
                    if not readings.is_last(record):
                        of_images |= _of_images(best, kind, name, "_at_best")
                yield Entry(kind, name, record["digest"], record, curve, **of_images)
            elif (reason := hindrances.of(item, plan, place, damaged)[1]) is not None:
                yield Entry(kind, name, item.digest, failure=reason)


def _of_images(outcomes: reading.Outcomes, kind: str, name: str, when: str) -> dict:
    """The test images that it gets wrong, and of a run what it takes them for."""
    wrong = outcomes.wrong(name)
    found: dict = {f"wrong{when}": None if wrong is None else reading.as_bits(wrong)}
    if kind == "runs" and (missed := outcomes.missed(name)) is not None:
        found[f"missed{when}"] = missed.listed()
    return found


def _refuse_another(found: Entries, place: Store, target: Store) -> None:
    """Raise KdpipeError if the target has another record of a run, and say both."""
    # In the archive, whatever lies beside it; and in folders of records, as kdpipe 0.1 kept them.
    kept = target.archived()
    beside = {kind: target.records(kind) for kind in archived.KINDS}
    others = []
    for (kind, name), entry in found.items():
        there = kept.get((kind, name))
        for old in (there.record if there else None, beside[kind].get(name)):
            if entry.record is not None and old is not None:
                differs = records.disagreement(entry.record, old)
                if differs is not None:
                    others.append((place.root / kind / name, differs, entry.record, old))
                    break
    if others:
        folder, differs, new, old = others[0]
        raise KdpipeError(
            f"{target.archive} has other records of {len(others):,} runs or ensembles than "
            f"{place.root}, {folder.name} the first ({differs}): there {_said(old)}; here "
            f"{_said(new)}. Keep one of the two: remove {folder}, or move {target.archive} "
            "away; nothing was written"
        )


def _said(record: dict) -> str:
    """What tells two records of one run apart: what came out, when and where."""
    validation = (record["last"] or {}).get("val")
    facts = [record["status"], *([record["reason"]] if record["reason"] else [])]
    facts += [f"validation error {100 * (1 - validation['accuracy']):.2f} %"] if validation else []
    facts += [f"started {record['started']}"] if record.get("started") else []
    device = record.get("device")
    return ", ".join([*facts, *([f"on {device['name']}"] if device else [])])


def _merged(entry: Entry, kept: Entry | None) -> Entry:
    """The entry of the results, with what they have lost of it and the archive has not."""
    if kept is None:
        return entry
    if entry.record is None:
        return entry if kept.record is None else kept
    if kept.record is None:
        return entry
    return Entry(
        entry.kind,
        entry.name,
        entry.digest,
        records.united(entry.record, kept.record),
        kept.curve if entry.curve is None else entry.curve,
        kept.wrong if entry.wrong is None else entry.wrong,
        wrong_at_best=entry.wrong_at_best or kept.wrong_at_best,
        missed=entry.missed or kept.missed,
        missed_at_best=entry.missed_at_best or kept.missed_at_best,
    )


def _in_words(path: Path, merged: Entries, stayed: set[tuple[str, str]]) -> str:
    there = [entry for entry in merged.values() if entry.record is not None]
    runs, teams, probes, gauges = (sum(e.kind == k for e in there) for k in archived.KINDS)
    outcomes = sum(entry.wrong is not None for entry in there)
    said = f"{path}: {runs:,} runs, {teams:,} ensembles, {outcomes:,} of them with outcomes"
    said += f"; {probes:,} probes" if probes else ""
    said += f"; {gauges:,} gauges" if gauges else ""
    return said + (f"; {len(stayed):,} of them were there and stayed" if stayed else "")
