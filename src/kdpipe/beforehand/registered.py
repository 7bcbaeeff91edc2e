"""What a study's registration says, how the study differs from it, and what may be shown.

The file lies beside the study file, its last key is the digest of all before it. Of a registered
study nothing is said of test before a registered look is reached: when nothing of what it asks for
is to do. The records hold what came out all the time. No pandas: it is asked on a head node.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from kdpipe import __version__, version
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner, status
from kdpipe.plan.items import Plan
from kdpipe.results.store import Store
from kdpipe.study.grammar import Study
from kdpipe.wording import listed, shown

FORMAT = 1
# How a study is run and shown, and where files lie on one machine: no part of what is tested.
NOT_TESTED = {"device", "runs_per_gpu", "workers", "look", "registration", "code", "tables"}
# Keys of a study that a registration says by itself.
SAID = ("seeds", "splits", "looks", "reading", "smallest_effect", "primary", "claims", "pilots")


def read(study: Study) -> dict | None:
    """The registration of a study; None if it has none. Raises KdpipeError if it is altered."""
    if study.registration is None:
        return None
    path = Path(study.registration)
    try:
        found = json.loads(path.read_bytes())
        sealed = found.pop("sha256") == digest(found) and found["format"] == FORMAT
    except OSError as error:
        raise KdpipeError(f"registration: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        sealed, found = False, {}
    if not sealed:
        raise KdpipeError(
            f"registration: {path} is not what kdpipe register has written (altered, cut off or of "
            "another version): restore it, from git or a backup"
        )
    if found["study"] != study.study:
        raise KdpipeError(
            f"registration: {path} is that of the study {found['study']}, not of {study.study}"
        )
    return found


def said(study: Study, known: dict | None) -> list[str]:
    """What a report says of it: one line, and one more for each deviation."""
    if known is None:
        return ["Explored, not registered: nothing says what was to be tested before it was run."]
    differ = deviations(study, known)
    code = f", git {known['git']}" if known["git"] else ""
    tested = [key for key, claim in known["claims"].items() if "contrasts" in claim]
    primary = [key for key in tested if known["claims"][key]["primary"]]
    line = (
        f"Registered on {known['registered'][:10]}, before the first run, with kdpipe "
        f"{known['kdpipe']}{code} (sha256 {digest(known)[:12]}): {len(tested)} claims that can be "
        f"tested, of which primary {listed(primary)}; seeds {listed(known['seeds'])}, looked at "
        f"after {listed(known['looks'])}; reading {known['reading']}; "
        f"smallest effect {known['smallest_effect']:g}"
    )
    if known["pilots"]:
        line += f"; pilots {listed(pilot['study'] for pilot in known['pilots'])}"
    return [f"{line}. {'Deviations' if differ else 'No deviation'}.", *differ]


def deviations(study: Study, known: dict) -> list[str]:
    """In what a study and this version differ from the registration."""
    found = []
    if known["judging"] != version.judging():
        ours = version.git_revision()
        found.append(
            f"The code that judges is another one: kdpipe {known['kdpipe']} "
            f"(git {known['git'] or 'unknown'}) was registered, this is {__version__} "
            f"(git {ours or 'unknown'})."
        )
    now = asked(study)
    if now["seeds"] != known["seeds"]:
        found.append(_other_seeds(known, now["seeds"]))
    for key in SAID[1:]:
        before = known[key] if key != "claims" else known["reads"]
        if key == "looks" and now["seeds"] != known["seeds"] and study.looks is None:
            continue  # said of the seeds
        before = [pilot["study"] for pilot in before] if key == "pilots" else before
        if now[key] != before:
            found.append(f"{key}: {shown(before)} was registered, it is {shown(now[key])}.")
    for key in sorted({*now["study"], *known["asked"]}):
        if (before := known["asked"].get(key)) != (after := now["study"].get(key)):
            found.append(f"{key} of the study is another one: {_difference(before, after)}.")
    if not found and names_of(whole(study)) != known["plan"]:
        found.append("The runs are other ones: this version means something else by their specs.")
    return found


def sealed(plan: Plan, place: Store) -> str | None:
    """Why nothing may be said of test; None if it may."""
    known = read(plan.study)
    if known is None:
        return None
    seeds, first = len(plan.study.due_seeds), known["looks"][0]
    states = status.of(plan, place)
    waiting = sum(state == "to do" for state in states.values())
    if not waiting and seeds >= first:
        return None
    look = next((count for count in known["looks"] if count >= seeds), known["looks"][-1])
    missing = f"{waiting:,} of {len(states):,} runs and ensembles are to do"
    if seeds < first:
        missing = f"the study asks for {seeds} seeds only"
    return (
        f"the study is registered, and test is not looked at before the look at {look} seeds is "
        f"reached: {missing}"
    )


def whole(study: Study) -> Plan:
    """The plan of all looks of a study."""
    return planner.make(study.model_copy(update={"look": len(study.looks or [0])}))


def asked(study: Study) -> dict:
    """What is tested of a study: what a registration says by itself, and the rest of its keys."""
    keys = json.loads(study.model_dump_json(exclude_defaults=True, exclude=NOT_TESTED))
    found = json.loads(study.model_dump_json(include=set(SAID)))
    found["looks"] = study.looks or [len(study.seeds)]
    rest = {key: value for key, value in keys.items() if key not in (*SAID, "study")}
    for part in [rest.get("data", {}), *rest.get("pretrained", {}).values()]:
        for key in ("path", "card"):
            part.pop(key, None)
    for transfer in rest.get("transfers", {}).values():
        for key in ("path", "card"):
            transfer["data"].pop(key, None)
    return found | {"study": rest}


def names_of(plan: Plan) -> str:
    """SHA-256 of the names of everything in a plan."""
    names = sorted(name for items in plan.recorded.values() for name in items)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def digest(known: dict) -> str:
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _other_seeds(known: dict, seeds: list[int]) -> str:
    from kdpipe.statistics import looks  # slow to import, and seldom asked

    before = known["seeds"]
    text = f"seeds: {listed(before)} were registered, they are {listed(seeds)}"
    if seeds[: len(before)] != before:
        return f"{text}: other ones."
    counts = [*known["looks"], len(seeds)]
    information = [count / counts[-1] for count in counts]
    planned = [looks.Look(tuple(known["looks"]), n + 1).level() for n in range(len(counts) - 1)]
    error = looks.error(information, [*planned, planned[-1]])
    return (
        f"{text}: an unplanned look, the {len(counts)}th of {len(counts) - 1} registered; all of "
        f"them err in up to {100 * error:.1f} % where 5 % is stated."
    )


def _difference(before: Any, after: Any) -> str:
    """The first place where two values of a key differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        key = next(k for k in [*before, *after] if before.get(k) != after.get(k))
        return f"{key}: {_difference(before.get(key), after.get(key))}"
    return f"{shown(before)} was registered, it is {shown(after)}"
