"""What was found, as one table to read and one file to send."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdpipe.results.files import write_json
from kdpipe.selfcheck.look import Found

WORDS = {True: "pass", False: "FAIL", None: "-"}


def line(found: Found) -> str:
    """A row of the table; of a failure with what to set meanwhile."""
    outcome = found.outcome
    text = f"{WORDS[outcome.passed]:<5} {found.check.title:<44} {outcome.said}"
    if outcome.passed is False:
        text += f"\n      {'meanwhile':<44} {found.check.meanwhile}"
    return text


def last(found: Sequence[Found], path: Path) -> str:
    """How many passed, and where the file is."""
    failed = sum(one.outcome.passed is False for one in found)
    passed = sum(one.outcome.passed is True for one in found)
    seconds = sum(one.seconds for one in found)
    rest = f", {len(found) - failed - passed} measured or not tried here"
    send = ": please send it with an issue" if failed else ""
    return f"{passed} passed, {failed} failed{rest}, in {seconds:.0f} seconds; {path}{send}"


def write(path: Path, gpu: Mapping, versions: Mapping, quick: bool, found: Sequence[Found]) -> None:
    """The file: the GPU as a record says it, versions, and every check with its numbers."""
    checks = [
        {
            "name": one.name,
            "title": one.check.title,
            "passed": one.outcome.passed,
            "said": one.outcome.said,
            "seconds": round(one.seconds, 3),
            "meanwhile": None if one.outcome.passed is not False else one.check.meanwhile,
            "numbers": dict(one.outcome.numbers),
        }
        for one in found
    ]
    about = {"format": 1, "quick": quick, "gpu": dict(gpu), "versions": dict(versions)}
    write_json(path, about | {"checks": checks})
