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
    report = environment.get(TO)
    if AT not in environment and report is None:
        return
    seen = 0

    def wrapped(name, call):
        def one(*arguments, **keys):
            nonlocal seen
            mine, seen = seen, seen + 1
            if report:
                with open(report, "a") as file:
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
    from kdpipe.cli import scaffold
    from kdpipe.plan import estimate
    from kdpipe.workflow import machine_benchmark

    if Path(GRAPHS).is_dir():
        from kdpipe.export import onnx_graph, verify

        times = verify.LatencySummary(1.5, 1.0, 2.0, 5)
        onnx_graph.to_onnx = lambda *_: Path(GRAPHS, "float32.onnx").read_bytes()
        onnx_graph.quantize = lambda *_: Path(GRAPHS, "int8.onnx").read_bytes()
        verify.measure_latency = lambda requests, _: {
            name: dict.fromkeys(verify.BATCH_SIZES, times) for name in requests
        }
    facts = {"step": 0.25, "epoch": 0.5, "image": 0.125, "setup": 2.0, "start": 4.0}
    estimate.count_cores = lambda: 2
    scaffold.time_step = lambda *_: 0.001  # pyright: ignore[reportAttributeAccessIssue]
    machine_benchmark._run_benchmarks = lambda requests, abreast, *_: [
        [facts | {"megabytes": 500.0} for _ in json.loads(requests)] for _ in range(abreast)
    ]
