"""The registration of a study: what will be tested, frozen in a file before the first run.

`kdpipe register` writes it once, beside the study file, to be committed with it, and a copy into
the results folder. What it says later is `registered`'s business.
"""

import datetime
from pathlib import Path

from kdpipe import __version__, version
from kdpipe.beforehand import deviations, pilots, pretended, registered
from kdpipe.errors import KdpipeError
from kdpipe.evidence.claim import claims
from kdpipe.evidence.verdicts import Finding
from kdpipe.plan import planner
from kdpipe.plan.items import Plan
from kdpipe.results import registrations
from kdpipe.results.files import write_bytes
from kdpipe.results.store import Store
from kdpipe.study.grammar import Study
from kdpipe.study.locations import registration_of

CHOICE = (
    "every choice is made on validation, for each seed by the other seeds; the tested seed, and of "
    "several splits the tested split, are left out"
)


def write(study: Study, folder: Path, place: Store) -> tuple[Path, bool]:
    """Register a study whose file lies in a folder; returns the path, and if it is new.

    One that is registered as it is, and of which nothing was run, is left so. Raises KdpipeError if
    it is registered as something else, here or in the results folder, or if any of its runs has a
    record: what has been run cannot be registered.
    """
    path = Path(study.registration or registration_of(folder, study.study))
    plan = planner.make(study.model_copy(update={"look": len(study.looks or [0])}))
    begun = [
        name
        for kind, items in plan.recorded.items()
        for name in items
        if place.has_record(kind, name)
    ]
    if path.exists():
        there = study.model_copy(update={"registration": str(path)})
        known = registered.read(there) or {}
        if not begun and not deviations.of_study(there, known):
            _refuse_another(known, study.study, place)
            registered.keep(there, place)
            return path, False
        raise KdpipeError(
            f"{path}: the study {study.study} is registered, and once is all: reports say what "
            "differs from it. To test something else give it another name and other seeds"
        )
    if study.look != 1:
        raise KdpipeError(f"look: {study.look}: a study is registered before its first look")
    if begun:
        raise KdpipeError(
            f"{place.root} has records of {len(begun):,} of the {study.study} study's runs "
            f"({begun[0]} the first): what has been run cannot be registered. Give it seeds that "
            "were never run, and if these were its pilot leave them to a study of their own, "
            "named under pilots"
        )
    _refuse_another(None, study.study, place)
    known = _content(study, plan, pilots.named(study, plan, folder))
    write_bytes(path, registrations.text(known))
    registrations.keep(path, study.study, place)
    return path, True


def _refuse_another(known: dict | None, study: str, place: Store) -> None:
    """Raise KdpipeError if the results folder has another registration of a study of that name."""
    if registrations.of(study, place) not in (None, known):
        raise KdpipeError(
            f"{registrations.path_of(study, place)}: a study {study} is registered in this folder "
            "already: give this one another name, or, if it is that one, put the file back beside "
            f"the study, as {study}.registration.json"
        )


def _content(study: Study, plan: Plan, of_pilots: list[dict]) -> dict:
    """All that is frozen."""
    now = deviations.asked(study)
    found = pretended.findings(study)
    primary = study.primary
    return {
        "format": registrations.FORMAT,
        "study": study.study,
        "registered": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kdpipe": __version__,
        "git": version.git_revision(),
        "code": version.code(),
        "claims": {
            key: {
                "title": claim.title,
                "primary": claim.primary if primary is None else key in primary,
                **_compared(found[key]),
            }
            for key, claim in claims().items()
        },
        "reads": now["claims"],
        **{key: now[key] for key in deviations.SAID if key not in ("claims", "pilots")},
        "pilots": of_pilots,
        "choice": CHOICE,
        "runs": len(plan.runs),
        "asked": now["study"],
        "names": deviations.names_of(study),
    }


def _compared(found) -> dict:
    """The contrasts of a claim, or why it cannot be tested."""
    if not isinstance(found, Finding):
        return {"not_tested": str(found)}
    contrasts = [
        {"text": one.text, "asks": one.asks, "needed": one.needed} for one in found.contrasts
    ]
    return {"contrasts": contrasts}
