"""One record: the JSON object in which a run, an ensemble or a probe says what came out.

It is written last of all files, under both of its names, and its last key is the checksum of all
before it, so a record that is there is whole and its own. Whatever else the run left is listed in
it with size and SHA-256.
"""

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from kdpipe import identity
from kdpipe.errors import StoreError
from kdpipe.results import form, run_folder
from kdpipe.results.archived import Entry
from kdpipe.results.files import write_bytes
from kdpipe.results.run_folder import KEPT_RECORD, RECORD

# The last key of a record is the SHA-256 of the text before it.
SEAL = b',\n "sha256": "'
# Another training of the same run has others of these, and is the same run.
OF_THE_MACHINE = {"versions", "started", "device", "seconds", "images_per_second"}
# What a record may have more or less of: a checkpoint is made when it is asked for.
GROWING = ("checkpoints", "files")

_ENDING = re.compile("-[0-9a-f]{12}$")  # of a folder that is named by a digest

UNAVERAGED = "unaveraged"  # of a run whose weights are averaged, from version 0.3 on
PARENTS = "parents"  # what a run was made of; records from before version 0.3 do not say it


def read(folder: Path, digest: str | None, filename: str = RECORD) -> dict | None:
    """The record in a folder, or None. Raises StoreError if it is damaged or another run's.

    With `digest` None any run's will do.
    """
    path = folder / filename
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
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


def kept(folder: Path) -> dict | None:
    """The record of a folder, which lies there twice; None if it is unfinished.

    One that is damaged or gone is put back from the other, on disk too where that can be done: of a
    job that is to add to a run Snakemake removes the one that it knows, and it may be killed then.
    Raises StoreError if none is whole and one is damaged.
    """
    damaged = None
    for filename in (RECORD, KEPT_RECORD):
        try:
            record = read(folder, None, filename)
        except StoreError as error:
            damaged = damaged or error
            continue
        if record is not None:
            if filename == KEPT_RECORD:
                put_back(folder, RECORD)
            return record
    if damaged is not None:
        raise damaged
    return None


def keep_twice(folder: Path) -> None:
    """See to it that a whole record has its copy, before Snakemake removes it for a job."""
    with contextlib.suppress(StoreError):
        if read(folder, None, KEPT_RECORD) is not None:
            return
    put_back(folder, KEPT_RECORD)


def put_back(folder: Path, filename: str) -> bool:
    """Write the record of that name from the other, if that is whole and at home.

    Returns whether it is there then: the folder may be somebody else's.
    """
    copy = KEPT_RECORD if filename == RECORD else RECORD
    with contextlib.suppress(StoreError, OSError):
        record = read(folder, None, copy)
        if record is not None and is_at_home(record, folder.name):
            write_bytes(folder / filename, (folder / copy).read_bytes())
            return True
    return False


def facts(record: dict, folder: Path, path: Path) -> dict | None:
    """What a record says of a file in its folder: size and SHA-256; None if it lists none such."""
    return record.get("files", {}).get(path.relative_to(folder).as_posix())


def is_at_home(record: dict, name: str) -> bool:
    """Whether a record lies in the folder that has its name, and was not moved there."""
    return record.get("name", name) == name


def of_another(record: dict, name: str) -> str:
    """Whose a record is that has the place of a run and is not its own; nothing if it is.

    To its last digit: a name has the first twelve of them.
    """
    if not is_at_home(record, name):
        return f"in the place of {name} is the record of {record['name']}"
    digest, ends = record["digest"], _ENDING.search(name) is not None
    if ends and not (name.endswith(digest[:12]) and digest == _of_its_spec(record)):
        return f"the record of {name} belongs to another spec (digest {digest})"
    return ""


def _of_its_spec(record: dict) -> str:
    """The digest of the spec in a record; what kdpipe 0.1 kept without one has none other."""
    try:
        return identity.digest(record["spec"]) if "spec" in record else record["digest"]
    except ValueError:  # not a number, written by hand
        return ""


def unusable(record: dict, folder: Path, left_out: bool = False, entry: Entry | None = None) -> str:
    """What is the matter with a whole record where it lies; nothing if it can be used.

    A file that it lists may be missing on purpose (left_out), or stand in an archive as well: in
    the entry of its run.
    """
    if why := of_another(record, folder.name):
        return f"{why}: remove or rename the folder {folder}, the run is then made again"
    if left_out or record["status"] == "skipped":  # of one that was skipped nothing is there
        return ""
    listed = record.get("files", {})
    weights = run_folder.weights(folder)
    if record.get("kind") == "run" and record["status"] == "done" and weights.name not in listed:
        return (
            f"the record of {folder.name} is done and lists no {weights.name}: remove the folder "
            f"{folder}, the run is then made again"
        )
    for name in listed:
        # Files of checkpoints are looked for by whoever needs them.
        if "/" not in name and not (os.path.exists(f"{folder}/{name}") or _holds(entry, name)):
            return (
                f"{folder / name} is missing, which its record lists: put it back, or remove the "
                f"folder {folder}, the run is then made again"
            )
    return ""


def _holds(entry: Entry | None, name: str) -> bool:
    """Whether an archive has what a report reads of a file of a run."""
    if entry is None:
        return False
    held = {run_folder.CURVE: entry.curve, run_folder.outputs(Path()).name: entry.wrong}
    held[run_folder.best_outputs(Path()).name] = entry.wrong_at_best
    return held.get(name) is not None


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
    """What records did not always say: parents, images, what a network does without averaging, and
    the best reading of an ensemble."""
    if key == "best":
        return record.get("kind") == "ensemble" and record[key] is None
    return key in (PARENTS, "images", UNAVERAGED) and key not in record


def united(one: dict, other: dict) -> dict:
    """Of two records of one run the first, with the checkpoints that the second has besides.

    Of an ensemble, with the best reading of the second if the first has none; of an average, with
    what the second says of the network without it.
    """
    if _not_said("best", one):
        one = one | {"best": other.get("best")}
    if UNAVERAGED in other:
        one = {UNAVERAGED: other[UNAVERAGED]} | one
    both = {key: other.get(key, {}) | one.get(key, {}) for key in GROWING}
    grown = {key: each for key, each in both.items() if each.keys() != one.get(key, {}).keys()}
    return one | grown
