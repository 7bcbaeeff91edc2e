"""The records of a study in a folder of their own: all that its report is rendered from.

Records and curves as they are, the reason of every failure, and the wrong test images of each
run (`outcomes.jsonl`) in place of its outputs: about 15 kB a run, to be kept with the report.
`kdpipe report STUDY --results FOLDER` renders from it. No weights, so nothing can be trained on.
"""

import json
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.evidence import wrong_images
from kdpipe.plan import status
from kdpipe.plan.items import Plan
from kdpipe.results import records, store
from kdpipe.results.files import write_bytes, write_json
from kdpipe.results.records import FAILURE

CURVE = "curve.jsonl"
KEPT = {records.RECORD, CURVE, FAILURE}  # in the folder of one run


def write(plan: Plan, place: store.Store, folder: Path) -> str:
    """Write the archive of a plan; returns what it holds, in words.

    Folders of runs that the plan no longer has are removed, if they hold nothing but records.
    Raises KdpipeError, before anything is written, if there are no records, if the archive holds
    some that the results lack, or if its folder is one of results.
    """
    status.refuse_nothing(plan, place)
    if next(folder.glob("runs/*/weights.safetensors"), None) is not None:
        raise KdpipeError(f"{folder} is a results folder, with weights in it: give another --to")
    if folder.resolve() == place.root.resolve():
        raise KdpipeError(f"{folder} is the results folder itself: give another --to or --results")
    target = store.Store(folder)
    found = wrong_images.Outcomes(plan, place)
    _refuse_loss(plan, found, wrong_images.Outcomes(plan, target))
    lines = list(wrong_images.lines(found))
    runs = sum(_copied(place.run(name), target.run(name)) for name in plan.runs)
    teams = sum(_copied(place.ensemble(name), target.ensemble(name)) for name in plan.ensembles)
    probes = sum(_copied(place.probe(name), target.probe(name)) for name in plan.probes)
    gone = _clear(folder / "runs", set(plan.runs))
    gone += _clear(folder / "ensembles", set(plan.ensembles))
    gone += _clear(folder / "probes", set(plan.probes))
    write_bytes(folder / wrong_images.FILE, "".join(lines).encode())
    said = f"{folder}: {runs:,} runs, {teams:,} ensembles, {len(lines):,} of them with outcomes"
    said += f"; {probes:,} probes" if plan.probes else ""
    return said + (f"; {gone:,} that the study no longer has were removed" if gone else "")


def _refuse_loss(plan: Plan, found: wrong_images.Outcomes, kept: wrong_images.Outcomes) -> None:
    """Raise KdpipeError if the archive has a record or an outcome that the results lack."""
    place, target = found.place, kept.place
    folders = [(place.run(name), target.run(name)) for name in plan.runs]
    folders += [(place.ensemble(name), target.ensemble(name)) for name in plan.ensembles]
    folders += [(place.probe(name), target.probe(name)) for name in plan.probes]
    lacking = [
        new.name
        for new, old in folders
        if (old / records.RECORD).exists() and not (new / records.RECORD).exists()
    ]
    what = "records"
    if not lacking:
        what = "outcomes (the wrong test images)"
        lacking = [
            name
            for name in (*plan.runs, *plan.ensembles)
            if name in kept.listed and found.wrong(name) is None
        ]
    if lacking:
        raise KdpipeError(
            f"{target.root} holds the {what} of {len(lacking):,} runs or ensembles that "
            f"{place.root} lacks, {lacking[0]} the first: finish the study, or remove "
            f"{target.root} first if they are to be lost; nothing was written"
        )


def _copied(source: Path, target: Path) -> bool:
    """Whether there is a record; a failure is told by its reason, without its traceback."""
    record = records.read(source, None)
    for old in KEPT:  # of what was archived before
        (target / old).unlink(missing_ok=True)
    if record is not None:
        write_bytes(target / records.RECORD, (source / records.RECORD).read_bytes())
        if (source / CURVE).exists():
            write_bytes(target / CURVE, (source / CURVE).read_bytes())
    elif (source / FAILURE).exists():
        reason = json.loads((source / FAILURE).read_text())["reason"]
        write_json(target / FAILURE, {"reason": reason, "traceback": None})
    return record is not None


def _clear(folder: Path, wanted: set[str]) -> int:
    """Remove the folders that are no longer wanted and hold records alone; returns how many."""
    gone = 0
    for old in folder.iterdir() if folder.is_dir() else ():
        files = list(old.iterdir()) if old.is_dir() else []
        if old.name not in wanted and files and {file.name for file in files} <= KEPT:
            for file in files:
                file.unlink()
            old.rmdir()
            gone += 1
    return gone
