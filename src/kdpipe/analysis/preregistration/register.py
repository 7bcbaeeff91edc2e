"""Registering a study: what will be tested, frozen in a file before the first run.

`kdpipe register` writes it once, beside the study file, to be committed with it, and a copy into
the results folder. How it is read later is in `registration`.
"""

import datetime
from pathlib import Path

from kdpipe import __version__, version
from kdpipe.analysis.claim import Finding, load_claims
from kdpipe.analysis.preregistration import dry_analysis, pilots, registration
from kdpipe.config.paths import registration_path
from kdpipe.config.schema import Study
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan
from kdpipe.runs import registrations
from kdpipe.runs.files import write_bytes
from kdpipe.runs.store import Store

CHOICE_RULE = (
    "every choice is made on validation, for each seed by the other seeds; the tested seed, and of "
    "several splits the tested split, are left out"
)


def register_study(study: Study, folder: Path, store: Store) -> tuple[Path, bool]:
    """Register a study.

    A study that is registered as it is, and of which nothing was run, is left so.

    Parameters
    ----------
    study : Study
        The study.
    folder : Path
        Folder of its file.
    store : Store
        The results folder.

    Returns
    -------
    path : Path
        The registration.
    is_new : bool
        Whether it was written now.

    Raises
    ------
    KdpipeError
        If the study is registered as something else, here or in the results folder, or if any of
        its runs has a record: what has been run cannot be registered.
    """
    path = Path(study.registration or registration_path(folder, study.study))
    plan = planner.build_plan(study.model_copy(update={"look": len(study.looks or [0])}))
    recorded_names = [
        name
        for kind, items in plan.recorded_nodes.items()
        for name in items
        if store.has_record(kind, name)
    ]
    if path.exists():
        registered_study = study.model_copy(update={"registration": str(path)})
        content = registration.read_registration(registered_study) or {}
        if not recorded_names and not registration.find_study_deviations(registered_study, content):
            _check_unregistered(content, study.study, store)
            registration.store_registration(registered_study, store)
            return path, False
        raise KdpipeError(
            f"{path}: the study {study.study} is registered, and once is all: reports say what "
            "differs from it. To test something else give it another name and other seeds"
        )
    if study.look != 1:
        raise KdpipeError(f"look: {study.look}: a study is registered before its first look")
    if recorded_names:
        raise KdpipeError(
            f"{store.root} has records of {len(recorded_names):,} of the {study.study} "
            f"study's runs ({recorded_names[0]} the first): what has been run cannot be "
            "registered. Give it seeds that were never run, and if these were its pilot "
            "leave them to a study of their own, named under pilots"
        )
    _check_unregistered(None, study.study, store)
    content = _make_content(study, plan, pilots.list_pilots(study, plan, folder))
    write_bytes(path, registrations.encode_registration(content))
    registrations.copy_registration(path, study.study, store)
    return path, True


def _check_unregistered(content: dict | None, study: str, store: Store) -> None:
    """Raise KdpipeError if the results folder has another registration of the name."""
    if registrations.load_registration(study, store) not in (None, content):
        raise KdpipeError(
            f"{registrations.registration_path(study, store)}: a study {study} is "
            "registered in this folder already: give this one another name, or, "
            f"if it is that one, put the file back beside the study, as {study}.registration.json"
        )


def _make_content(study: Study, plan: Plan, pilot_entries: list[dict]) -> dict:
    """Return all that is frozen."""
    current = registration.get_registered_content(study)
    findings = dry_analysis.simulate_findings(study)
    primary = study.primary
    return {
        "format": registrations.REGISTRATION_FORMAT,
        "study": study.study,
        "registered": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kdpipe": __version__,
        "git": version.git_revision(),
        "code": version.hash_result_code(),
        "claims": {
            key: {
                "title": claim.title,
                "primary": claim.primary if primary is None else key in primary,
                **_list_contrasts(findings[key]),
            }
            for key, claim in load_claims().items()
        },
        "reads": current["claims"],
        **{
            key: current[key]
            for key in registration.REGISTERED_KEYS
            if key not in ("claims", "pilots")
        },
        "pilots": pilot_entries,
        "choice": CHOICE_RULE,
        "runs": len(plan.runs),
        "asked": current["study"],
        "names": registration.list_planned_names(study),
    }


def _list_contrasts(finding) -> dict:
    """Return the contrasts of a claim, or why it cannot be tested."""
    if not isinstance(finding, Finding):
        return {"not_tested": str(finding)}
    contrasts = [
        {"text": contrast.text, "asks": contrast.hypothesis, "needed": contrast.is_needed}
        for contrast in finding.contrasts
    ]
    return {"contrasts": contrasts}
