"""Commands of kdpipe in processes of their own, without seconds of imports for each.

`python forkserver.py SOCKET` does the imports once and then forks a child for each command that it
is asked for. A child is an ordinary process with its own folder, environment and output: it can be
killed, and it shares nothing with the next. One whose PYTHONPATH leads to another copy of kdpipe
imports that copy. `Warm` is the client.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is a script too
from helpers import killing
from helpers.waiting import readable

ROOT = Path(__file__).parents[2]
# What commands and jobs import of kdpipe, with all that these import.
MODULES = (
    *("cli.main", "cli.scaffold", "cli.scaffold_weights", "workflow.load", "workflow.preflight"),
    *("workflow.machine_benchmark", "workflow.progress", "report.render", "analysis.search.rounds"),
    *("jobs.train", "jobs.cache_logits", "jobs.eval_ensemble", "jobs.probe", "training.loop"),
    *("training.teachers.cached", "runs.integrity.archive", "runs.integrity.verify"),
    "runs.integrity.prune",
)
SHIM = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1:2] == ["run"] and not {forks_run}:  # which executes itself anew
    os.execv({python!r}, [{python!r}, "-m", "kdpipe", *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
order = {{"argv": [{program!r}, *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
socket.send_fds(server, [json.dumps(order).encode() + b"\\n"], [0, 1, 2])
answer = server.makefile().read().split()
sys.exit(int(answer[1]) if len(answer) == 2 else 137)
"""


class Warm:
    """The client of a server.

    forks_run: whether `kdpipe run` is forked too (see `forked_run`), and Snakemake.
    changes: a file of code with what the server is to change in kdpipe for all of its commands.
    """

    def __init__(self, folder: Path, forks_run: bool = False, changes: Path | None = None):
        self.path = str(folder / "socket")
        line = [sys.executable, __file__, self.path, *([str(changes)] if changes else [])]
        self.server = subprocess.Popen(line)
        while not os.path.exists(self.path):
            assert self.server.poll() is None, "the server of commands did not start"
            time.sleep(0.05)
        self.bin = folder / "bin"  # a `kdpipe` command that asks the server, to be put on PATH
        self.bin.mkdir()
        keys = {"python": sys.executable, "path": self.path, "forks_run": forks_run}
        for program in ("kdpipe", "snakemake") if forks_run else ("kdpipe",):
            (self.bin / program).write_text(SHIM.format(program=program, **keys))
            (self.bin / program).chmod(0o755)

    def start(self, *argv: str, cwd: Path, **env: str) -> "Child":
        """A kdpipe command; `env` is added to the environment (see `killing`)."""
        return Child(self.path, ("kdpipe", *argv), cwd, os.environ | env)

    def run(self, *argv: str, cwd: Path, **env: str) -> "Child":
        child = self.start(*argv, cwd=cwd, **env)
        child.wait()
        return child

    def snakemake(self, *argv: str, cwd: Path, env: dict[str, str]) -> "Child":
        child = Child(self.path, ("snakemake", *argv), cwd, env)
        child.wait(600)
        return child

    def close(self) -> None:
        self.server.kill()
        self.server.wait()


class Child:
    """A started command: `pid`, then `code` (None if it was killed) and `output`."""

    def __init__(self, path: str, argv: tuple[str, ...], cwd: Path, env: dict[str, str]):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.code: int | None = None
        self.log = open(os.memfd_create("output"), "w+b")  # noqa: SIM115
        order = {"argv": argv, "cwd": str(cwd), "env": env}
        null = os.open(os.devnull, os.O_RDONLY)
        fds = [null, self.log.fileno(), self.log.fileno()]
        socket.send_fds(self.socket, [json.dumps(order).encode() + b"\n"], fds)
        os.close(null)
        self.lines = self.socket.makefile()
        self.pid = int(self.lines.readline())

    @property
    def output(self) -> str:
        return os.pread(self.log.fileno(), 10**6, 0).decode()

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by then, or has; `wait` says how."""
        return readable(self.socket, seconds)

    def wait(self, timeout: float = 120) -> int | None:
        """The exit code, or None if it was killed."""
        self.socket.settimeout(timeout)
        answer = self.lines.readline()
        self.code = int(answer) if answer else None
        return self.code


def serve(path: str, changes: str | None = None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import jinja2  # noqa: F401
    import matplotlib.backends.backend_svg
    import matplotlib.pyplot
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import scipy.special  # noqa: F401
    import seaborn  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import snakemake.cli  # noqa: F401
    import tabulate  # noqa: F401
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # imports much that is only needed to compile
    for name in MODULES:
        importlib.import_module(f"kdpipe.{name}")
    if changes:
        runpy.run_path(changes)

    server = socket.socket(socket.AF_UNIX)
    server.bind(path + ".new")
    server.listen(64)
    os.rename(path + ".new", path)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    parent = os.getppid()
    server.settimeout(1)
    while os.getppid() == parent:  # and end with whoever started us
        try:
            client, _ = server.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            server.close()
            _child(client)
        client.close()


def _child(client: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    client.setblocking(True)
    data, fds, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += client.recv(1 << 16)
    order = json.loads(data)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    client.sendall(f"{os.getpid()}\n".encode())
    killing.arm(order["env"])
    code = 1
    try:
        program, *argv = sys.argv = order["argv"]
        _follow_pythonpath(order["env"].get("PYTHONPATH", ""))
        if program == "snakemake":
            from snakemake.cli import main
        elif argv[:1] == ["run"]:
            from helpers.forked_run import run as main
        else:
            from kdpipe.cli.main import main
        code = main(argv)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(f"{code}\n".encode())
    os._exit(0)


def _follow_pythonpath(paths: str) -> None:
    folders = [path for path in paths.split(":") if path]
    sys.path[:0] = folders
    copies = [path for path in folders if Path(path, "kdpipe", "__init__.py").exists()]
    if copies and not os.path.samefile(copies[0], ROOT / "src"):
        for name in [name for name in sys.modules if name.partition(".")[0] == "kdpipe"]:
            del sys.modules[name]


if __name__ == "__main__":
    serve(*sys.argv[1:])
