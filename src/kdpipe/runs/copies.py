"""Other copies of the runs in a results folder, known by the checksums of their files.

Two machines with unequal processors train one run to unequal bytes. When their results are merged,
the copy that is here stays, but students of the other copy are merged too. `copies.json` keeps the
checksums of the other copy: a student that learned from it is not outdated, since its teacher was
not trained again; it was trained elsewhere.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.errors import StoreError
from kdpipe.json_types import JsonObject
from kdpipe.runs.files import READ_ERRORS, read_regular_file, write_json
from kdpipe.runs.store import Store

COPIES_FILE = "copies.json"

# By the digest of a run the SHA-256 of the files of its other copies.
Copies = dict[str, set[str]]


def copies_path(store: Store) -> Path:
    """Return the path of the list of other copies in a results folder."""
    return store.root / COPIES_FILE


def read_copies(store: Store) -> Copies:
    """Return the checksums of the other copies of runs; none where nothing unequal was merged.

    Raises
    ------
    StoreError
        If the list is not as it was written.
    """
    path = copies_path(store)
    try:
        content: JsonObject = dict(json.loads(read_regular_file(path)))
        if content != hashing.add_checksum(content):
            raise ValueError
        return {digest: set(checksums) for digest, checksums in content["copies"].items()}
    except (FileNotFoundError, NotADirectoryError):  # an empty store is /dev/null
        return {}
    except READ_ERRORS:
        raise StoreError(
            f"{path} is damaged or altered: restore it (a backup), or remove it and merge again: "
            "it lists copies of runs on other machines, whose students would count as outdated"
        ) from None


def add_copies(store: Store, new: Mapping[str, set[str]]) -> None:
    """Add other copies to the list of a results folder; nothing is written if all are known."""
    known = read_copies(store)
    merged = {
        digest: known.get(digest, set()) | new.get(digest, set())
        for digest in known.keys() | new.keys()
    }
    if merged != known:
        content = {"copies": {digest: sorted(merged[digest]) for digest in sorted(merged)}}
        write_json(copies_path(store), hashing.add_checksum(content))


def list_checksums(record: Mapping[str, Any]) -> set[str]:
    """Return the SHA-256 of the files that a record lists."""
    return {info["sha256"] for info in record.get("files", {}).values()}
