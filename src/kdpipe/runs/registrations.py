"""The preregistrations in a results folder, which seal test numbers until an interim analysis.

`kdpipe register` leaves a copy here of the file that it writes next to the study file. So a run is
known to be registered whatever the name of the study, or its file, that it is planned from. A
registration lists the names of its runs for each interim analysis (key `looks`); until all of one
have a record, its test numbers are sealed: not shown, though the records hold them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.runs.files import open_regular_file, read_regular_file, write_bytes
from kdpipe.runs.records import RECORD_KINDS
from kdpipe.runs.store import Store

REGISTRATIONS_FOLDER = "registrations"
LOOKS_SUFFIX = ".looks.json"  # of the log of a study's looks, beside its registration
REGISTRATION_FORMAT = 2
# A registration of this format lists no names: it seals the runs of its own study.
FORMAT_WITHOUT_NAMES = 1
# What every version has listed of a claim.
CLAIM_KEYS = {"id", "verdict", "reason", "n", "effect", "low", "high", "p_corrected"}
FIRST_RULES = 1  # of verdicts, in a registration that names none


@dataclass(frozen=True)
class RegisteredVerdicts:
    """The verdicts of a registered study by the rules that it was registered under.

    They were computed by an earlier version and are kept in the results folder, since the code
    holds the current rules alone.

    Attributes
    ----------
    rules : int
        The rules.
    seeds : list of int
        The seeds that were judged.
    commit : str
        The commit of kdpipe that computes them again.
    claims : list of dict
        The claims.json of that commit.
    """

    rules: int
    seeds: list[int]
    commit: str
    claims: list[dict[str, Any]]


def list_registrations(store: Store) -> list[Path]:
    """Return the paths of all registrations in a results folder, sorted."""
    paths = (store.root / REGISTRATIONS_FOLDER).glob("*.json")
    return sorted(path for path in paths if not path.name.endswith(LOOKS_SUFFIX))


def registration_path(study: str, store: Store) -> Path:
    """Return the path of the registration of a study in a results folder."""
    return store.root / REGISTRATIONS_FOLDER / f"{study}.json"


def copy_registration(path: Path, study: str, store: Store) -> None:
    """Copy the registration of a study into a results folder, unless one exists there."""
    target = registration_path(study, store)
    if not target.exists():
        write_bytes(target, read_regular_file(path))


def read_registration(path: Path) -> dict[str, Any]:
    """Return the content of a registration, without its checksum.

    Raises
    ------
    KdpipeError
        If it is not as `kdpipe register` wrote it.
    """
    try:
        registration = json.loads(read_regular_file(path))
        is_intact = registration.pop("sha256") == compute_registration_digest(
            registration
        ) and registration["format"] in (FORMAT_WITHOUT_NAMES, REGISTRATION_FORMAT)
    except OSError as error:
        raise KdpipeError(f"registration: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        is_intact, registration = False, dict[str, Any]()
    if not is_intact:
        raise KdpipeError(
            f"registration: {path} is not what kdpipe register has written (altered, cut off or of "
            "another version): restore it, from git or a backup"
        )
    return registration


def get_rules(registration: dict[str, Any]) -> int:
    """Return the rules of verdicts that a registration was made under."""
    return registration.get("rules", FIRST_RULES)


def registered_verdicts_path(registration: dict[str, Any], store: Store) -> Path:
    """Return the path of the verdicts by the rules of a registration."""
    return store.root / f"claims_rules_{get_rules(registration)}.json"


def load_registered_verdicts(
    registration: dict[str, Any], store: Store
) -> RegisteredVerdicts | None:
    """Return the kept verdicts of a registered study, or None.

    Those of another study in the same results folder are none of it.

    Raises
    ------
    KdpipeError
        If the file cannot be read, or holds no verdicts.
    """
    path = registered_verdicts_path(registration, store)
    if not path.exists():
        return None
    try:
        content = json.loads(read_regular_file(path))
        registered = content["registration"]
        verdicts = RegisteredVerdicts(
            content["rules"], content["seeds"], content["commit"], list(content["claims"])
        )
        if any(not {"id", "verdict"} <= claim.keys() for claim in verdicts.claims):
            raise ValueError("no verdicts")
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise KdpipeError(
            f"{path} does not hold the verdicts of a registered study (altered or cut off): "
            "restore it, from git or a backup"
        ) from None
    return verdicts if registered == compute_registration_digest(registration) else None


def write_registered_verdicts(
    registration: dict[str, Any], seeds: list[int], path: Path, store: Store
) -> Path:
    """Write the verdicts of a registered study, as the registered version has computed them.

    Parameters
    ----------
    registration : dict
        The content of the registration.
    seeds : list of int
        The seeds that were judged.
    path : Path
        The claims.json of the registered version.
    store : Store
        The results folder.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    KdpipeError
        If the file cannot be read, does not hold the claims that are registered, or holds those of
        more seeds, or if the folder has those of another study.
    """
    target = registered_verdicts_path(registration, store)
    if target.exists() and load_registered_verdicts(registration, store) is None:
        raise KdpipeError(
            f"{target} has the claims of another study, which would be lost: keep one of the two "
            "studies in a results folder of its own"
        )
    claims: list[dict[str, Any]] = []
    try:
        with open_regular_file(path) as file:
            claims = json.loads(file.read(), parse_constant=_refuse_constant)
        complete = [claim for claim in claims if claim.keys() >= CLAIM_KEYS]
        verdicts = {claim["id"]: claim["verdict"] for claim in complete}
        n_seeds = max((int(claim["n"]) for claim in complete), default=0)
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        claims, verdicts, n_seeds = [], {}, 0
    if verdicts.keys() != registration["claims"].keys() or len(claims) != len(verdicts):
        raise KdpipeError(
            f"{path} is not the claims.json of the registered version of kdpipe: it has to list "
            "all claims of the registration, and no others"
        )
    if n_seeds > len(seeds):
        raise KdpipeError(
            f"{path} has a claim on {n_seeds} seeds, where this look has {len(seeds)}: let the "
            "registered version make the report of the same seeds, and keep its claims.json"
        )
    content = {
        "study": registration["study"],
        "rules": get_rules(registration),
        "registration": compute_registration_digest(registration),
        "seeds": seeds,
        "commit": registration["git"] or "unknown",
        "claims": claims,
    }
    write_bytes(target, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return target


def _refuse_constant(text: str) -> None:
    """Raise ValueError: NaN and Infinity are no JSON, and kdpipe writes none."""
    raise ValueError(text)


def copy_registered_verdicts(registration: dict[str, Any], store: Store, target: Store) -> None:
    """Copy the kept verdicts of a registered study into another results folder, if any."""
    if load_registered_verdicts(registration, store) is not None:
        path = registered_verdicts_path(registration, target)
        if not path.exists():
            write_bytes(path, read_regular_file(registered_verdicts_path(registration, store)))


def find_registration_errors(store: Store) -> Iterator[str]:
    """Yield a message for each registration that was altered or renamed."""
    for path in list_registrations(store):
        try:
            registration = read_registration(path)
            load_registered_verdicts(registration, store)
        except KdpipeError as error:
            yield str(error)
        else:
            if path != registration_path(registration["study"], store):
                yield (
                    f"{path}: the registration of the study {registration['study']}: rename it back"
                )


def encode_registration(registration: dict[str, Any]) -> bytes:
    """Return the bytes of a registration's file, whose last key is the checksum of the others."""
    body = json.dumps(registration, indent=1, allow_nan=False).removesuffix("\n}")
    return f'{body},\n "sha256": "{compute_registration_digest(registration)}"\n}}\n'.encode()


def compute_registration_digest(registration: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a registration."""
    compact = json.dumps(registration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(compact.encode()).hexdigest()


def load_registration(study: str, store: Store) -> dict[str, Any] | None:
    """Return the registration of a study in a results folder, or None.

    Raises
    ------
    KdpipeError
        If it was altered.
    """
    path = registration_path(study, store)
    return read_registration(path) if path.exists() else None


def list_registered_names(registration: dict[str, Any], interim: int | None = None) -> set[str]:
    """Return the names that a registration lists.

    Parameters
    ----------
    registration : dict
        Its content.
    interim : int or None
        The number of seeds of an interim analysis, up to which names are listed; None lists all.
    """
    stages = zip(registration["looks"], registration.get("names", ()), strict=False)
    return {
        name
        for count, stage_names in stages
        if interim is None or count <= interim
        for name in stage_names
    }


def list_recorded_names(store: Store) -> set[str]:
    """Return the names of all results with a usable record."""
    return {name for kind in RECORD_KINDS for name in store.load_records(kind)}


def find_sealed_names(store: Store) -> dict[str, tuple[str, int]]:
    """Return what is sealed in a results folder.

    A name of an interim analysis that is complete in one registration is sealed by no other.

    Returns
    -------
    dict
        By name (study, number of seeds): the interim analysis that it waits for.
    """
    reasons: dict[str, tuple[str, int]] = {}
    if not (registrations := [read_registration(path) for path in list_registrations(store)]):
        return reasons
    recorded, unsealed = list_recorded_names(store), set[str]()
    for registration in registrations:
        for interim in registration["looks"]:
            registered_names = list_registered_names(registration, interim)
            if registered_names <= recorded:
                unsealed |= registered_names
            else:
                reasons = (
                    dict.fromkeys(registered_names, (registration["study"], interim)) | reasons
                )
    return {name: reason for name, reason in reasons.items() if name not in unsealed}
