"""A process that kills itself before or after one of the calls that make a file final or remove it.

Which calls there are is found by wrapping them and counting, not known from a list of the code.
"""

import json
import os
import signal
from pathlib import Path

PRETEND = "PRETEND"  # that whatever is measured takes as long each time
CALLS = ("fsync", "replace", "rename", "remove", "unlink", "rmdir", "link", "symlink", "truncate")
GRAPHS = "graphs"  # a folder with what `gauge` makes anew each time, in seconds: NAME.onnx
AT = "KILL_AT"  # "NUMBER before" or "NUMBER after"; the calls are counted into the file COUNT_TO
TO = "COUNT_TO"


def arm(environment: dict[str, str]) -> None:
    """Wrap the calls of this process, as its environment asks."""
    if PRETEND in environment:
        _pretend()
    number, _, when = environment.get(AT, "-1 never").partition(" ")
    told = environment.get(TO)
    if AT not in environment and told is None:
        return
    seen = 0

    def wrapped(name, call):
        def one(*arguments, **keys):
            nonlocal seen
            mine, seen = seen, seen + 1
            if told:
                with open(told, "a") as file:
                    file.write(f"{name} {arguments[0]}\n")
            if mine == int(number) and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*arguments, **keys)
            finally:
                if mine == int(number):
                    os.kill(os.getpid(), signal.SIGKILL)

        return one

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))


def _pretend() -> None:
    from kdpipe.plan.cost import schedule
    from kdpipe.sketch import speed
    from kdpipe.upkeep import measuring

    if Path(GRAPHS).is_dir():
        from kdpipe.shipping import graph, latency

        times = latency.Times(1.5, 1.0, 2.0, 5)
        graph.of = lambda *_: Path(GRAPHS, "float32.onnx").read_bytes()
        graph.quantised = lambda *_: Path(GRAPHS, "int8.onnx").read_bytes()
        latency.measure = lambda asked, _: {
            name: dict.fromkeys(latency.BATCHES, times) for name in asked
        }
    facts = {"step": 0.25, "epoch": 0.5, "image": 0.125, "setup": 2.0, "start": 4.0}
    schedule.cores = lambda: 2
    speed.step = lambda *_: 0.001  # pyright: ignore[reportAttributeAccessIssue]
    measuring._answers = lambda asked, abreast, *_: [
        [facts | {"megabytes": 500.0} for _ in json.loads(asked)] for _ in range(abreast)
    ]
