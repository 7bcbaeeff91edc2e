"""The decisions of a search as files: what was known, who was dropped, why, what comes next.

Rounds are decided by the records, and by nothing else; these files say how it was decided when it
was, so that a record which changes later is noticed. One is written for each round that has ended,
as results/searches/<study>-<digest>/round-N.json; the digest is of all that decides beside the
records: the rule, the options and their runs.
"""

import json
import math
from pathlib import Path

from kdpipe import identity
from kdpipe.errors import StoreError
from kdpipe.results.files import DAMAGED, write_json
from kdpipe.results.store import Store
from kdpipe.search import rule
from kdpipe.search.searched import Round, Searched

FOLDER = "searches"  # of a results folder
DECIDE = ("round", "seeds", "runs", "known", "kept", "dropped")  # the rest are words


def folder(searched: Searched, store: Store) -> Path:
    """Where the decisions of a study's search lie."""
    study = searched.plan.study
    assert study.search is not None
    asked = study.search.model_dump()
    for later in ("hours", "latency"):  # keys that searches begun before they were there lack
        if asked[later] is None:
            del asked[later]
    ones = [one for alive in searched.competing.values() for one in alive]
    spec = {
        "rule": rule.REVISION,
        "search": asked,
        "reading": study.reading,
        "options": {
            f"{one.option.student}: {one.option}": {
                str(seed): cell.run.digest for seed, cell in sorted(one.cells.items())
            }
            for one in ones
        },
    }
    return store.root / FOLDER / f"{study.study}-{identity.digest(spec)[:12]}"


def keep(searched: Searched, store: Store) -> None:
    """Write the decisions that are not there, and compare those that are.

    Raises StoreError where one was made on other numbers than the records have now.
    """
    place = folder(searched, store)
    for one in searched.rounds:
        if not one.decided:
            break
        said, path = as_json(searched, one), place / f"round-{one.number}.json"
        if not path.exists():
            write_json(path, said)
            continue
        then = _read(path)
        if changed := [key for key in DECIDE if then.get(key) != said[key]]:
            raise StoreError(
                f"{path}: round {one.number} of the search was decided on other records than there "
                f"are now (of it {', '.join(changed)} would differ): restore the records, or "
                f"remove {place} to go on by those that are there"
            )


def as_json(searched: Searched, one: Round) -> dict:
    """A decision in plain values; null stands for what has no number, as what diverged."""
    following = next((r for r in searched.rounds if r.number == one.number + 1), None)
    return {
        "round": one.number,
        "what": one.what,
        "seeds": list(one.seeds),
        "runs": sorted(one.runs),
        "known": {
            name: value if math.isfinite(value) else None for name, value in one.known.items()
        },
        "kept": [f"{option.student}: {option}" for option in one.kept],
        "dropped": [
            f"{option.student}: {option}"
            for option in searched.field(one)
            if option not in one.kept
        ],
        "why": list(one.why),
        "next": str(following) if following else "the end",
    }


def _read(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_bytes()))
    except DAMAGED:
        raise StoreError(
            f"{path} is damaged: remove it, and it is written again from the records"
        ) from None
