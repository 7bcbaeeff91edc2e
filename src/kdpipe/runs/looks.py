"""The log of the looks of a registered study: which records each of them showed.

The first rendering of a look that is reached notes the SHA-256 of every record of the runs that are
registered for it, in `registrations/STUDY.looks.json` of the results folder. A record that another
one replaces afterwards is a deviation that reports name: its test result could be known. The log
also keeps which other registrations had runs of this one, since their copies can be removed.

Like a registration it protects an honest user from mistakes, not anybody from a cheat: it is a file
on the disk of the person whom it binds.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.json_types import JsonObject
from kdpipe.runs import registrations
from kdpipe.runs.files import read_regular_file, write_json
from kdpipe.runs.records import RECORD_KINDS
from kdpipe.runs.store import Store
from kdpipe.text import join_names

N_NAMED = 3  # names that a sentence lists


def looks_path(study: str, store: Store) -> Path:
    """Return the path of the log of a study's looks in a results folder."""
    return registrations.registration_path(study, store).with_suffix(registrations.LOOKS_SUFFIX)


def read_looks(study: str, store: Store) -> JsonObject | None:
    """Return the log of a study's looks; None if no look was rendered here.

    Raises
    ------
    KdpipeError
        If it is not as it was written.
    """
    path = looks_path(study, store)
    if not path.exists():
        return None
    try:
        log: Any = json.loads(read_regular_file(path))
        is_intact = hashing.add_checksum(log) == log and log["study"] == study
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        is_intact, log = False, {}
    if not is_intact:
        raise KdpipeError(
            f"{path} is not the log of looks that kdpipe wrote (altered or cut off): restore it, "
            "from git or a backup"
        )
    return log


def find_log_errors(store: Store) -> Iterator[str]:
    """Yield a message for each log of looks that was altered or renamed."""
    folder = store.root / registrations.REGISTRATIONS_FOLDER
    for path in sorted(folder.glob(f"*{registrations.LOOKS_SUFFIX}")):
        try:
            read_looks(path.name.removesuffix(registrations.LOOKS_SUFFIX), store)
        except KdpipeError as error:
            yield str(error)


def note_looks(registration: JsonObject, store: Store, committed: str | None) -> None:
    """Note the looks that are reached and have not been noted yet.

    Parameters
    ----------
    registration : dict
        The registration of the study whose report is rendered.
    store : Store
        The results folder.
    committed : str or None
        The date of the commit that added the registration; None if it is not known.

    Raises
    ------
    KdpipeError
        If the log was altered.
    """
    study = registration["study"]
    digest = registrations.compute_registration_digest(registration)
    log = read_looks(study, store) or {
        "study": study,
        "registration": digest,
        "committed": committed or "no git",
        "looks": {},
        "others": [],
    }
    if log["registration"] != digest or not registration.get("names"):
        return  # of another registration, which is a deviation, or of one that lists no names
    digests, now = _hash_records(store), datetime.datetime.now().astimezone()
    looks = dict(log["looks"])
    for count in registration["looks"]:
        names = registrations.list_registered_names(registration, count)
        if str(count) not in looks and names <= digests.keys():
            looks[str(count)] = {
                "rendered": now.isoformat(timespec="seconds"),
                "records": {name: digests[name] for name in sorted(names)},
            }
    others = _merge_others(log["others"], _find_others(registration, store))
    if (looks, others) != (log["looks"], log["others"]):
        write_json(
            looks_path(study, store), hashing.add_checksum(log | {"looks": looks, "others": others})
        )


def copy_looks(study: str, store: Store, target: Store) -> None:
    """Copy the log of a study's looks into another results folder, where each look's first stays.

    Raises
    ------
    KdpipeError
        If one of both was altered.
    """
    log, kept = read_looks(study, store), read_looks(study, target)
    if log is None or log == kept:
        return
    if kept is not None and kept["registration"] != log["registration"]:
        return
    if kept is not None:
        others = _merge_others(kept["others"], log["others"])
        log = kept | {"looks": log["looks"] | kept["looks"], "others": others}
    write_json(looks_path(study, target), hashing.add_checksum(log))


def find_deviations(registration: JsonObject, store: Store) -> Iterator[str]:
    """Yield what happened to a registered study that its looks would not show by themselves.

    Parameters
    ----------
    registration : dict
        Its registration.
    store : Store
        The results folder.

    Yields
    ------
    str
        A sentence for records that were replaced or removed after a look, for runs of a reached
        look that have no result, and for each other registration of the same runs.

    Raises
    ------
    KdpipeError
        If the log of looks was altered.
    """
    log = read_looks(registration["study"], store)
    if log is not None:
        digest = registrations.compute_registration_digest(registration)
        if log["registration"] != digest:
            yield (
                f"The looks rendered here are those of another registration (sha256 "
                f"{log['registration'][:12]})."
            )
        yield from _find_replaced_records(log, store)
    yield from _find_missing_results(registration, store)
    known: list[JsonObject] = [] if log is None else log["others"]
    for other in _merge_others(known, _find_others(registration, store)):
        yield (
            f"{other['shared']:,} of its runs and ensembles are also registered by the study "
            f"{other['study']} (sha256 {other['sha256'][:12]}, looks after "
            f"{join_names(other['looks'])} seeds)."
        )


def _find_replaced_records(log: JsonObject, store: Store) -> Iterator[str]:
    digests = _hash_records(store)
    for count, look in log["looks"].items():
        changed = [name for name, old in look["records"].items() if digests.get(name) != old]
        if changed:
            yield (
                f"{len(changed):,} of {len(look['records']):,} records of the look at {count} "
                f"seeds were replaced or removed after it was rendered on {look['rendered'][:10]}: "
                f"{_list_names(changed)}."
            )


def _find_missing_results(registration: JsonObject, store: Store) -> Iterator[str]:
    """Yield a sentence for the runs of the last look reached that ended without a result."""
    status = {
        name: record.get("status")
        for kind in RECORD_KINDS
        for name, record in store.load_records(kind).items()
    }
    for count in reversed(registration["looks"]):
        names = registrations.list_registered_names(registration, count)
        if names and names <= status.keys():
            failed = sorted(name for name in names if status[name] not in (None, "done"))
            if failed:
                yield (
                    f"{len(failed):,} of the {len(names):,} runs and ensembles registered for the "
                    f"look at {count} seeds have no result: {_list_names(failed)}."
                )
            return


def _find_others(registration: JsonObject, store: Store) -> list[JsonObject]:
    """Return the other registrations in a results folder that have runs of this one."""
    names = registrations.list_registered_names(registration)
    others: list[JsonObject] = []
    for path in registrations.list_registrations(store):
        other = registrations.read_registration(path)
        shared = names & registrations.list_registered_names(other)
        if other["study"] != registration["study"] and shared:
            others.append(
                {
                    "study": other["study"],
                    "sha256": registrations.compute_registration_digest(other),
                    "looks": other["looks"],
                    "shared": len(shared),
                }
            )
    return others


def _merge_others(known: list[JsonObject], found: list[JsonObject]) -> list[JsonObject]:
    """Return the other registrations of two lists, each once."""
    by_digest = {other["sha256"]: other for other in (*known, *found)}
    return list(by_digest.values())


def _hash_records(store: Store) -> dict[str, str]:
    """Return the SHA-256 of each record."""
    return {
        name: hashing.add_checksum(record)["seal"]
        for kind in RECORD_KINDS
        for name, record in store.load_records(kind).items()
    }


def _list_names(names: list[str]) -> str:
    remaining = len(names) - N_NAMED
    return join_names(names[:N_NAMED]) + (f" and {remaining:,} more" if remaining > 0 else "")
