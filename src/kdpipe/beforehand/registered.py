"""What a study's registration says, how the study differs from it, and what may be shown.

The file lies beside the study file, and a copy of it in the results folder. Nothing is said of the
test numbers of what is registered before a registered look is reached: when all that was registered
for it, and all that the study asks for now, has a record. So a study that was edited, renamed or
copied shows no more than the one that was registered. No pandas: it is asked on a head node.
"""

from collections import Counter
from pathlib import Path

from kdpipe.beforehand import deviations
from kdpipe.errors import KdpipeError
from kdpipe.plan.items import Plan
from kdpipe.results import registrations
from kdpipe.results.archived import KINDS
from kdpipe.results.store import Store
from kdpipe.study.grammar import Study
from kdpipe.wording import listed


def read(study: Study) -> dict | None:
    """The registration beside a study file; None if there is none.

    Raises KdpipeError if it is altered, or another study's.
    """
    if study.registration is None:
        return None
    found = registrations.read(Path(study.registration))
    if found["study"] != study.study:
        raise KdpipeError(
            f"registration: {study.registration} is that of the study {found['study']}, not of "
            f"{study.study}"
        )
    return found


def of(study: Study, place: Store) -> dict | None:
    """The registration of a study: beside its file, or else in the results."""
    return read(study) or registrations.of(study.study, place)


def keep(study: Study, place: Store, target: Store | None = None) -> None:
    """Put the registration of a study into its results; target: where those are copied to."""
    path = registrations.path_of(study.study, place)
    if read(study) is not None:
        path = Path(str(study.registration))
    if path.exists():
        registrations.keep(path, study.study, target or place)


def said(plan: Plan, place: Store) -> list[str]:
    """What a report says of it: one line, and one more for each deviation."""
    study = plan.study
    known = of(study, place)
    if known is None:
        return ["Explored, not registered: nothing says what was to be tested before it was run."]
    made = _made(plan, known, place)
    differ = [*deviations.of_study(study, known), *deviations.of_runs(made, known)]
    first = "" if any(deviations.too_early(made, known)) else ", before the first run"
    if (copy := registrations.of(study.study, place)) not in (None, known):
        differ.append(
            f"The registration beside the study file (sha256 {registrations.digest(known)[:12]}) "
            f"is not the one in the results folder (sha256 {registrations.digest(copy)[:12]})."
        )
    code = f", git {known['git']}" if known["git"] else ""
    tested = [key for key, claim in known["claims"].items() if "contrasts" in claim]
    primary = [key for key in tested if known["claims"][key]["primary"]]
    line = (
        f"Registered on {known['registered'][:10]}{first}, with "
        f"kdpipe {known['kdpipe']}{code} (sha256 {registrations.digest(known)[:12]}): "
        f"{len(tested)} claims that can be tested, of which primary {listed(primary)}; seeds "
        f"{listed(known['seeds'])}, looked at after {listed(known['looks'])}; reading "
        f"{known['reading']}; smallest effect {known['smallest_effect']:g}"
    )
    gits = {str(git) for git in map(_git, made) if git not in (None, known["git"])}
    line += f"; run at git {listed(sorted(gits))}" if gits else ""
    if known["pilots"]:
        line += f"; pilots {listed(pilot['study'] for pilot in known['pilots'])}"
    return [f"{line}. {'Deviations' if differ else 'No deviation'}.", *differ]


def sealed(plan: Plan, place: Store) -> str | None:
    """Why nothing may be said of test; None if it may."""
    known = of(plan.study, place)
    if known is not None and (missing := _missing(plan, known, place)) is not None:
        count = len(plan.study.due_seeds)
        look = next((one for one in known["looks"] if one >= count), known["looks"][-1])
        return (
            f"the study is registered, and test is not looked at before the look at {look} seeds "
            f"is reached: {missing}"
        )
    return shared(plan, place)


def shared(plan: Plan, place: Store, but: str | None = None) -> str | None:
    """Why nothing may be said of test, where runs of a plan are those of a registered study.

    but: the name of a study whose registration is not asked.
    """
    closed = registrations.sealed(place)
    ours = [closed[name] for items in plan.recorded.values() for name in items if name in closed]
    if not (waiting := Counter(one for one in ours if one[0] != but)):
        return None
    (study, look), count = waiting.most_common(1)[0]
    return (
        f"{count:,} of its runs and ensembles are those of the study {study}, which is registered, "
        f"and test is not looked at before its look at {look} seeds is reached"
    )


def _missing(plan: Plan, known: dict, place: Store) -> str | None:
    """What a registered study lacks at the seeds that are due; None if its look is reached."""
    looks, count = known["looks"], len(plan.study.due_seeds)
    if count < looks[-1] and count not in looks:
        return f"the study asks for {count} seeds only"
    names = {name for items in plan.recorded.values() for name in items}
    names |= registrations.names(known, count)
    waiting = names - registrations.recorded(place)
    return f"{len(waiting):,} of {len(names):,} runs and ensembles are to do" if waiting else None


def _made(plan: Plan, known: dict, place: Store) -> list[dict]:
    """The records of all that was registered, and of all that the study asks for now."""
    names = {name for items in plan.recorded.values() for name in items}
    names |= registrations.names(known)
    return [
        record for kind in KINDS for name, record in place.records(kind).items() if name in names
    ]


def _git(record: dict) -> str | None:
    """The commit that a record was made by."""
    return (record.get("versions") or {}).get("git")
