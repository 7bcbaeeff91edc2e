"""One record: the JSON object in which a run, an ensemble or a probe says what came out.

It is written last of all files, under both of its names, and its last key is the checksum of all
before it, so a record that is there is whole and its own. Whatever else the run left is listed in
it with size and SHA-256.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results import form
from kdpipe.results.files import write_bytes
from kdpipe.results.run_folder import KEPT_RECORD, RECORD

# The last key of a record is the SHA-256 of the text before it.
SEAL = b',\n "sha256": "'
# Another training of the same run has others of these, and is the same run.
OF_THE_MACHINE = {"versions", "started", "device", "seconds", "images_per_second"}
# What a record may have more or less of: a checkpoint is made when it is asked for.
GROWING = ("checkpoints", "files")

PARENTS = "parents"  # what a run was made of; records from before version 0.3 do not say it


def read(folder: Path, digest: str | None, filename: str = RECORD) -> dict | None:
    """The record in a folder, or None. Raises StoreError if it is damaged or another run's.

    With `digest` None any run's will do.
    """
    path = folder / filename
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    record = parse(data, path)
    if digest is not None and record["digest"] != digest:
        raise StoreError(
            f"{path} is the record of another run (digest {record['digest'][:12]}, expected "
            f"{digest[:12]}): remove the folder {folder}, the run is then made again"
        )
    return record


def finished(folder: Path, digest: str | None) -> dict | None:
    """The record of a finished run, under whichever of its names it is whole; None if unfinished.

    Of both the copy is the newer. Raises StoreError if what is there is damaged or another run's.
    """
    damaged = None
    for filename in (KEPT_RECORD, RECORD):
        try:
            if (record := read(folder, digest, filename)) is not None:
                return record
        except StoreError as error:
            damaged = error
    if damaged is not None:
        raise damaged
    return None


def restored(folder: Path, filename: str = RECORD) -> dict | None:
    """The record of a folder in which that of one name is damaged, from its copy, if that is whole.

    It is put back on disk too, where that can be done.
    """
    copy = KEPT_RECORD if filename == RECORD else RECORD
    try:
        record = read(folder, None, copy)
    except StoreError:
        return None
    if record is not None and is_at_home(record, folder.name):
        with contextlib.suppress(StoreError):
            write_bytes(folder / filename, (folder / copy).read_bytes())
        return record
    return None


def facts(record: dict, folder: Path, path: Path) -> dict | None:
    """What a record says of a file in its folder: size and SHA-256; None if it lists none such."""
    return record.get("files", {}).get(path.relative_to(folder).as_posix())


def is_at_home(record: dict, name: str) -> bool:
    """Whether a record lies in the folder that has its name, and was not moved there."""
    return record.get("name", name) == name


def publish(folder: Path, record: dict) -> None:
    """Write a run's record, last of all its files, under both of its names."""
    body = json.dumps(record, indent=1, allow_nan=False).removesuffix("\n}").encode()
    sealed = body + SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    write_bytes(folder / KEPT_RECORD, sealed)
    write_bytes(folder / RECORD, sealed)


def parse(data: bytes, path: Path | str) -> dict:
    """The record in the bytes of a file. Raises StoreError, with its path, if it is none."""
    try:
        body, _, seal = data.rpartition(SEAL)
        if hashlib.sha256(body).hexdigest() != seal[:64].decode():
            raise ValueError("altered")
        record = json.loads(body + b"\n}")
        wrong = next(form.faults(record), None)
    except (ValueError, RecursionError):
        wrong = "empty, cut off or altered"
    if wrong is None:
        return record
    raise StoreError(
        f"{path} is not a record ({wrong}): remove its folder {Path(path).parent}, the run is then "
        "made again"
    )


def disagreement(one: dict, other: dict) -> str | None:
    """What two records of one run say differently, the first of it; None if they are of one run.

    Time, machine and versions may differ, and so may which checkpoints were kept, and whether an
    ensemble was scored at its members' best: what both have has to be equal, to the checksums of
    the files.
    """
    for key in dict.fromkeys([*one, *other]):
        if key in GROWING:
            mine, theirs = one.get(key, {}), other.get(key, {})
            for name in sorted(mine.keys() & theirs.keys()):
                if mine[name] != theirs[name]:
                    return f"{key.removesuffix('s')} {name}"
        elif any(_not_said(key, record) for record in (one, other)):
            continue
        elif key not in OF_THE_MACHINE and one.get(key) != other.get(key):
            return key
    return None


def _not_said(key: str, record: dict) -> bool:
    """What records did not always say: parents, images, and the best reading of an ensemble."""
    if key == "best":
        return record.get("kind") == "ensemble" and record[key] is None
    return key in (PARENTS, "images") and key not in record


def united(one: dict, other: dict) -> dict:
    """Of two records of one run the first, with the checkpoints that the second has besides.

    Of an ensemble, with the best reading of the second if the first has none.
    """
    if _not_said("best", one):
        one = one | {"best": other.get("best")}
    both = {key: other.get(key, {}) | one.get(key, {}) for key in GROWING}
    grown = {key: each for key, each in both.items() if each.keys() != one.get(key, {}).keys()}
    return one | grown
