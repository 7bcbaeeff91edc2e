"""The records of a study in a folder of their own: all that its report is rendered from.

Records and curves as they are, the reason of every failure, and the wrong test images of each
run (`outcomes.jsonl`) in place of its outputs: about 15 kB a run, to be kept with the report.
`kdpipe report STUDY --results FOLDER` renders from it. No weights, so nothing can be trained on.
"""

import json
from pathlib import Path

from kdpipe import outcomes, store
from kdpipe.errors import KdpipeError
from kdpipe.jobs import FAILURE
from kdpipe.plan import Plan

__all__ = ["write"]

CURVE = "curve.jsonl"
KEPT = {store.RECORD, CURVE, FAILURE}  # in the folder of one run


def write(plan: Plan, place: store.Store, folder: Path) -> str:
    """Write the archive of a plan; returns what it holds, in words.

    Folders of runs that the plan no longer has are removed, if they hold nothing but records.
    Raises KdpipeError if the folder is one of results, with weights in it.
    """
    target = store.Store(folder)
    if next(folder.glob("runs/*/weights.safetensors"), None) is not None:
        raise KdpipeError(f"{folder} is a results folder, with weights in it: give another --to")
    runs = sum(_copied(place.run(name), target.run(name)) for name in plan.runs)
    teams = sum(_copied(place.ensemble(name), target.ensemble(name)) for name in plan.ensembles)
    probes = sum(_copied(place.probe(name), target.probe(name)) for name in plan.probes)
    for kind, wanted in (
        ("runs", plan.runs),
        ("ensembles", plan.ensembles),
        ("probes", plan.probes),
    ):
        _clear(folder / kind, set(wanted))
    lines = list(outcomes.lines(outcomes.Outcomes(plan, place)))
    store.write_bytes(folder / outcomes.FILE, "".join(lines).encode())
    found = f"{folder}: {runs:,} runs, {teams:,} ensembles, {len(lines):,} of them with outcomes"
    return f"{found}; {probes:,} probes" if plan.probes else found


def _copied(source: Path, target: Path) -> bool:
    """Whether there is a record; a failure is told by its reason, without its traceback."""
    record = store.read_record(source, None)
    for old in KEPT:  # of what was archived before
        (target / old).unlink(missing_ok=True)
    if record is not None:
        store.write_bytes(target / store.RECORD, (source / store.RECORD).read_bytes())
        if (source / CURVE).exists():
            store.write_bytes(target / CURVE, (source / CURVE).read_bytes())
    elif (source / FAILURE).exists():
        reason = json.loads((source / FAILURE).read_text())["reason"]
        store.write_json(target / FAILURE, {"reason": reason, "traceback": None})
    return record is not None


def _clear(folder: Path, wanted: set[str]) -> None:
    for old in folder.iterdir() if folder.is_dir() else ():
        files = list(old.iterdir()) if old.is_dir() else []
        if old.name not in wanted and files and {file.name for file in files} <= KEPT:
            for file in files:
                file.unlink()
            old.rmdir()
