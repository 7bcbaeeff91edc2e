"""The form of a record: what each of its keys may hold, as far as others rely on it.

Its seal says that a record is as it was written. Somebody may have written and sealed one by hand;
this says, before a number of it is used, whether it has the form of one.
"""

import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

STATUSES = ("done", "diverged", "skipped")
NEEDED = ("digest", "status")
# What a record of format 1 has said in every version of kdpipe (`jobs.record.blank`), and by kind
# what one that is done says besides.
ALWAYS = ("format", "kind", "name", "digest", "status", "reason", "spec", "versions", "started")
ALWAYS += ("last", "best", "checkpoints", "files")
BESIDES = {"run": ("device", "seconds"), "gauge": ("device", "graphs", "agreement")}


def faults(record: Any) -> Iterator[str]:
    """What is wrong with the form of a record, a key at a time."""
    if not isinstance(record, dict):
        yield "it is no mapping"
        return
    status, of_run = record.get("status"), record.get("kind") == "run"
    needed = ALWAYS if "format" in record else NEEDED
    besides = BESIDES.get(str(record.get("kind")), ()) if status == "done" else ()
    for key in (*needed, *besides):
        if key not in record:
            yield f"it has no {key}"
    for key, is_right in _KEYS.items():
        if key in record and not is_right(record[key]):
            yield f"its {key} is none"
    for key in ("last", "spec") if status == "done" else ():
        if key in record and not record[key]:
            yield f"it is done, and its {key} is empty"
    if of_run and "spec" in record and not _is_of_run(record["spec"]):
        yield "its spec is none of a run"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 10**18 and isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18


def _is_hex(length: int) -> Callable[[Any], bool]:
    return lambda value: _is_text(value) and bool(re.fullmatch(f"[0-9a-f]{{{length}}}", value))


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _of(key: Callable[[Any], bool], each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping whose keys and values are right."""
    return lambda value: (
        isinstance(value, dict) and all(key(k) and each(v) for k, v in value.items())
    )


def _has(**keys: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping that has these keys, each of them right, and maybe others."""
    return lambda value: (
        isinstance(value, dict)
        and all(key in value and is_right(value[key]) for key, is_right in keys.items())
    )


def _split(value: Any) -> bool:
    """The metrics of one split, or none."""
    return value is None or (
        _of(_is_text, _or_none(_is_number))(value) and _is_number(value.get("accuracy"))
    )


def _is_metrics(value: Any) -> bool:
    """The numbers of each split after an epoch."""
    if not isinstance(value, dict) or not _or_none(_is_count)(value.get("epoch")):
        return False
    splits = [value.get(split) for split in ("train", "val", "test")]
    return all(map(_split, splits)) and _or_none(_is_number)(value.get("lr"))


def _is_seconds(value: Any) -> bool:
    """What a run took: others divide by the total."""
    return _of(_is_text, _is_number)(value) and value.get("total", 0) > 0


def _is_of_run(spec: Any) -> bool:
    """Whether a spec says after which epoch the weights of a run are its last."""
    return _has(recipe=_has(epochs=_is_count))(spec)


def _is_parents(value: Any) -> bool:
    of_one = _has(run=_is_hex(64), epoch=_is_count, sha256=_is_hex(64))
    return isinstance(value, list) and all(map(of_one, value))


def _is_graph(value: Any) -> bool:
    """What a graph takes: bytes, and milliseconds by the images of a batch."""
    times = _has(**{key: _is_number for key in ("median", "low", "high")})
    return _has(bytes=_is_count, latency=_has(**{"1": times, "64": times}))(value)


_KEYS: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: value == 1 and type(value) is int,
    "kind": lambda value: value in ("run", "ensemble", "probe", "gauge"),
    "name": _is_text,
    "digest": _is_hex(64),
    "status": lambda value: value in STATUSES,
    "reason": _or_none(_is_text),
    "spec": lambda value: isinstance(value, dict),
    "versions": _of(_is_text, _or_none(_is_text)),
    "started": _is_text,
    "parents": _is_parents,
    "device": _has(type=_is_text, name=_is_text),
    "seconds": _is_seconds,
    "images_per_second": _is_number,
    "parameters": _is_count,
    "multiply_adds": _is_count,
    "strength": _is_number,
    "converged": lambda value: type(value) is bool,
    "graphs": _has(float32=_is_graph, int8=_is_graph),
    "agreement": _is_number,
    "last": _or_none(_is_metrics),
    "best": _or_none(_is_metrics),
    "unaveraged": _or_none(_is_metrics),
    "checkpoints": _of(lambda key: _is_text(key) and key.isdecimal(), _is_metrics),
    "files": _of(_is_text, _has(bytes=_is_count, sha256=_is_hex(64))),
}
