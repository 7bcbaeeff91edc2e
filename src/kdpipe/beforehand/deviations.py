"""In what a study, its runs and this version differ from what was registered."""

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from kdpipe import __version__, version
from kdpipe.data.own.unlabelled import card as unlabelled
from kdpipe.plan import planner
from kdpipe.results import registrations
from kdpipe.study.grammar import Study
from kdpipe.wording import listed, shown

# How a study is run and shown, and where files lie on one machine: no part of what is tested.
NOT_TESTED = {"device", "runs_per_gpu", "kernels", "workers"}
NOT_TESTED |= {"look", "registration", "code", "tables"}
# Keys of a study that a registration says by itself.
SAID = ("seeds", "splits", "looks", "reading", "smallest_effect", "primary", "claims", "pilots")


def of_study(study: Study, known: dict) -> list[str]:
    """In what a study and this version differ from its registration."""
    found = list(_other_code(known))
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
    return [*found, *_other_runs(known, names_of(study))]


def of_runs(made: list[dict], known: dict) -> list[str]:
    """In what records of the study differ: made by another version, or before it was registered."""
    return [*too_early(made, known), *_made_otherwise(made, known)]


def asked(study: Study) -> dict:
    """What is tested of a study: what a registration says by itself, and the rest of its keys."""
    keys = json.loads(study.model_dump_json(exclude_defaults=True, exclude=NOT_TESTED))
    found = json.loads(study.model_dump_json(include=set(SAID)))
    found["looks"] = study.looks or [len(study.seeds)]
    rest = {key: value for key, value in keys.items() if key not in (*SAID, "study")}
    brought = [*rest.get("pretrained", {}).values(), *rest.get("starts", {}).values()]
    for part in [rest.get("data", {}), *brought]:
        for key in ("path", "card"):
            part.pop(key, None)
    if "unlabelled" in rest.get("data", {}) and unlabelled.is_own(study.data):
        rest["data"]["unlabelled"] = "of one's own"  # which these are, say the names of the runs
    for transfer in rest.get("transfers", {}).values():
        for key in ("path", "card"):
            transfer["data"].pop(key, None)
    return found | {"study": rest}


def names_of(study: Study) -> list[list[str]]:
    """The names of everything that a study asks for; one list for each look, of what it adds."""
    found, before = [], set()
    for look in range(1, len(study.looks or [0]) + 1):
        plan = planner.make(study.model_copy(update={"look": look}))
        new = {name for items in plan.recorded.values() for name in items} - before
        found.append(sorted(new))
        before |= new
    return found


def too_early(made: list[dict], known: dict) -> Iterator[str]:
    """What was made before it was registered, or may have been."""
    begun = {record["name"]: _time(record.get("started")) for record in made}
    since = _time(known["registered"])
    early = {name: time for name, time in begun.items() if time and since and time < since}
    if early:
        yield (
            f"{len(early):,} of {len(made):,} runs and ensembles were made before they were "
            f"registered, {min(early, key=early.__getitem__)} the first: what came out was to be "
            "seen."
        )
    if silent := sum(time is None for time in begun.values()):
        yield (
            f"The records of {silent:,} of {len(made):,} runs and ensembles do not say if they "
            "were made before they were registered."
        )


def _time(said: object) -> datetime.datetime | None:
    """A time with its zone; None where it is not said."""
    try:
        time = datetime.datetime.fromisoformat(str(said))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _made_otherwise(made: list[dict], known: dict) -> Iterator[str]:
    """What another version of kdpipe has made than the registered one.

    Another commit of the same one is none: the registration itself may have been committed there.
    """
    versions = [record.get("versions") or {} for record in made]
    others = Counter(one.get("kdpipe") for one in versions)
    others.pop(known["kdpipe"], None)
    for other, count in others.most_common():
        yield (
            f"{count:,} of {len(made):,} runs and ensembles were made by kdpipe "
            f"{other or 'of an unknown version'}, where {known['kdpipe']} was registered."
        )


def _version(kdpipe: str | None, git: str | None) -> str:
    return f"kdpipe {kdpipe or 'unknown'} (git {git or 'unknown'})"


def _other_code(known: dict) -> Iterator[str]:
    """That what renders this makes numbers, or judges by them, by other code than was registered.

    It names no commit of its own: the same records are to give the same page at the next one. By
    which commit runs were made is said of their records.
    """
    if known["format"] == registrations.NAMELESS:
        before, now = {"what judges": known["judging"]}, {"what judges": version.judging()}
    else:
        before, now = known["code"], version.code()
    changed = [part for part in sorted({*before, *now}) if before.get(part) != now.get(part)]
    if changed or known["kdpipe"] != __version__:
        parts = f" ({listed(changed)})" if changed else ""
        now_is = "" if known["kdpipe"] == __version__ else f", this is kdpipe {__version__}"
        yield (
            f"The code that rendered this is another one{parts}: "
            f"{_version(known['kdpipe'], known['git'])} was registered{now_is}."
        )


def _other_runs(known: dict, now: list[list[str]]) -> Iterator[str]:
    """By their names, which say all that a run is made by: of this version too."""
    names = set().union(*now)
    if known["format"] == registrations.NAMELESS:
        if of_names(names) != known["plan"]:
            yield "The runs are other ones."
        return
    before = registrations.names(known)
    if gone := len(before - names):
        yield f"{gone:,} of {len(before):,} registered runs and ensembles are not asked for now."
    if new := len(names - before):
        yield f"{new:,} runs and ensembles that were not registered are asked for now."


def of_names(names: set[str]) -> str:
    """SHA-256 of names, as a registration without names has it."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


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
