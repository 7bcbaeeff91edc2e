"""The registration of a study: what will be tested, frozen in a file before the first run.

`kdpipe register` writes it once, beside the study file, to be committed with it. What it says later
is `registered`'s business.
"""

import datetime
import json
from pathlib import Path

from kdpipe import __version__, version
from kdpipe.beforehand import pilots, pretended, registered
from kdpipe.errors import KdpipeError
from kdpipe.evidence.claim import claims
from kdpipe.evidence.verdicts import Finding
from kdpipe.plan.items import Plan
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
    it is registered as something else, or if any of its runs has a record: what has been run cannot
    be registered.
    """
    path = Path(study.registration or registration_of(folder, study.study))
    plan = registered.whole(study)
    begun = [
        name
        for kind, items in plan.recorded.items()
        for name in items
        if place.has_record(kind, name)
    ]
    if path.exists():
        there = study.model_copy(update={"registration": str(path)})
        if not begun and not registered.deviations(there, registered.read(there) or {}):
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
    known = _content(study, plan, pilots.named(study, plan, folder))
    text = json.dumps(known, indent=1, allow_nan=False).removesuffix("\n}")
    write_bytes(path, f'{text},\n "sha256": "{registered.digest(known)}"\n}}\n'.encode())
    return path, True


def _content(study: Study, plan: Plan, of_pilots: list[dict]) -> dict:
    """All that is frozen."""
    now = registered.asked(study)
    found = pretended.findings(study)
    primary = study.primary
    return {
        "format": registered.FORMAT,
        "study": study.study,
        "registered": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kdpipe": __version__,
        "git": version.git_revision(),
        "judging": version.judging(),
        "claims": {
            key: {
                "title": claim.title,
                "primary": claim.primary if primary is None else key in primary,
                **_compared(found[key]),
            }
            for key, claim in claims().items()
        },
        "reads": now["claims"],
        **{key: now[key] for key in registered.SAID if key not in ("claims", "pilots")},
        "pilots": of_pilots,
        "choice": CHOICE,
        "runs": len(plan.runs),
        "plan": registered.names_of(plan),
        "asked": now["study"],
    }


def _compared(found) -> dict:
    """The contrasts of a claim, or why it cannot be tested."""
    if not isinstance(found, Finding):
        return {"not_tested": str(found)}
    contrasts = [
        {"text": one.text, "asks": one.asks, "needed": one.needed} for one in found.contrasts
    ]
    return {"contrasts": contrasts}
