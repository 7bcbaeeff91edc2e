"""The registrations of a results folder: whose test numbers are not to be seen yet.

`kdpipe register` leaves here a copy of what it writes beside the study file. So a run is known to
be registered under whatever name, and from whatever file, it is asked for. A registration lists
what it is about by name, look by look; until all of a look has a record, its test numbers are
sealed. The records hold them all the time.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.results.archived import KINDS
from kdpipe.results.files import write_bytes
from kdpipe.results.store import Store

FOLDER = "registrations"
FORMAT = 2
NAMELESS = 1  # the format of those that listed no names: they seal what their own study asks for


def paths(place: Store) -> list[Path]:
    return sorted((place.root / FOLDER).glob("*.json"))


def path_of(study: str, place: Store) -> Path:
    return place.root / FOLDER / f"{study}.json"


def keep(path: Path, study: str, place: Store) -> None:
    """Copy the registration of a study into a results folder; one that is there stays."""
    there = path_of(study, place)
    if not there.exists():
        write_bytes(there, path.read_bytes())


def read(path: Path) -> dict:
    """A registration. Raises KdpipeError if it is not as it was written."""
    try:
        found = json.loads(path.read_bytes())
        whole = found.pop("sha256") == digest(found) and found["format"] in (NAMELESS, FORMAT)
    except OSError as error:
        raise KdpipeError(f"registration: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole, found = False, {}
    if not whole:
        raise KdpipeError(
            f"registration: {path} is not what kdpipe register has written (altered, cut off or of "
            "another version): restore it, from git or a backup"
        )
    return found


def faults(place: Store) -> Iterator[str]:
    """One line for each registration of a results folder that is not as it was written."""
    for path in paths(place):
        try:
            found = read(path)
        except KdpipeError as error:
            yield str(error)
        else:
            if path != path_of(found["study"], place):
                yield f"{path}: the registration of the study {found['study']}: rename it back"


def text(known: dict) -> bytes:
    """A registration as its file has it: its last key is the digest of all before it."""
    body = json.dumps(known, indent=1, allow_nan=False).removesuffix("\n}")
    return f'{body},\n "sha256": "{digest(known)}"\n}}\n'.encode()


def digest(known: dict) -> str:
    compact = json.dumps(known, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(compact.encode()).hexdigest()


def of(study: str, place: Store) -> dict | None:
    """The registration of the study of that name in a results folder."""
    path = path_of(study, place)
    return read(path) if path.exists() else None


def names(known: dict, look: int | None = None) -> set[str]:
    """What a registration is about up to the look at so many seeds, or in all."""
    stages = zip(known["looks"], known.get("names", ()), strict=False)
    return {name for count, part in stages if look is None or count <= look for name in part}


def recorded(place: Store) -> set[str]:
    """The names of everything that has a record, which is whole."""
    return {name for kind in KINDS for name in place.records(kind)}


def sealed(place: Store) -> dict[str, tuple[str, int]]:
    """By the name of what is sealed in a results folder, the study and the look that it waits for.

    What belongs to a reached look of one registration is sealed by no other.
    """
    found: dict[str, tuple[str, int]] = {}
    if not (registered := [read(path) for path in paths(place)]):
        return found
    there, seen = recorded(place), set()
    for known in registered:
        for look in known["looks"]:
            asked = names(known, look)
            if asked <= there:
                seen |= asked
            else:
                found = dict.fromkeys(asked, (known["study"], look)) | found
    return {name: why for name, why in found.items() if name not in seen}
