"""Counts the damages and kills of tests/faults, in a sample or in a share of all of them.

`KDPIPE_FAULTS=all` tries every case; `KDPIPE_SHARD=2/5` the second fifth of them, which
`KDPIPE_SEED` draws: the same shards on every machine, no case in two of them, none left out. A
failure is printed at once, and the next case is tried. `KDPIPE_TALLY=FILE` keeps what was tried so
far as JSON, so that the count of a session that was ended is known too.
"""

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

FAULTS = os.environ.get("KDPIPE_FAULTS", "")
FULL = FAULTS == "all"
SEED = os.environ.get("KDPIPE_SEED", "0")


def read_shard(text: str | None) -> tuple[int, int]:
    """The number of a shard, from 0, and how many there are, of `i/n`."""
    number, _, count = (text or "1/1").partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise pytest.UsageError(f"KDPIPE_SHARD={text}: expected i/n, with i from 1 to n")
    return int(number) - 1, int(count)


T = TypeVar("T")
SHARD = read_shard(os.environ.get("KDPIPE_SHARD"))


def is_in_shard(case: object, shard: tuple[int, int] = SHARD, seed: str = SEED) -> bool:
    digest = hashlib.sha256(f"{seed}:{case!r}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % shard[1] == shard[0]


class Tally:
    """The cases of one test."""

    def __init__(self, name: str, config: pytest.Config):
        self.name, self.config = name, config
        self.n_all = self.n_tried = 0
        self.failures: list[str] = []

    def choose(self, cases: Sequence[T], sample: int, seed: object = None) -> list[T]:
        """The cases of the shard if all are wanted, else a sample that the seed draws."""
        self.n_all += len(cases)
        if FULL:
            return [case for case in cases if is_in_shard((self.name, case))]
        order = random.Random(SEED if seed is None else seed)
        return order.sample(list(cases), min(sample, len(cases)))

    @contextlib.contextmanager
    def trying(self, case: object) -> Iterator[None]:
        """Count one case; its failure is printed at once and raised at the end."""
        self.n_tried += 1
        try:
            yield
        except Exception as error:
            self.failures.append(f"{case}: {error if str(error) else repr(error)}")
            self.print_now(f"FAULT {self.name}: {self.failures[-1]}")
        self.write()

    def check(self) -> None:
        assert not self.failures, "\n".join(self.failures)

    def print_now(self, line: str) -> None:
        """Print a line to the terminal, whatever pytest captures; workers of xdist have none."""
        capture = self.config.pluginmanager.getplugin("capturemanager")
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if capture is None or reporter is None:
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    def write(self) -> None:
        if not (path := os.environ.get("KDPIPE_TALLY")):
            return
        file = Path(path)
        content = json.loads(file.read_text("utf-8")) if file.exists() else {}
        content[self.name] = {
            "cases": self.n_all,
            "tried": self.n_tried,
            "failures": self.failures,
        }
        file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
