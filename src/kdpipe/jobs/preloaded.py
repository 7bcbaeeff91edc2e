"""The preloaded parent: torch is imported once, and every job of a study is forked from it.

A job of some seconds pays more for its imports than for its training. So `kdpipe run` starts this
process, and puts a command of its own, SHIM, before `kdpipe` on the path of its jobs: that hands
its arguments, folder, environment and streams over, and leaves with the code that comes back. A
job is one process as before, forked for it and for nothing else; it computes the same bytes.

It is single-threaded when it forks, or it does not serve. Who is gone takes the others along: a
job ends with its shim, with its head and with its parent (`leash`); the parent ends with the head.
A shim whose parent is gone starts the job as if there had been none, which goes on from the saved
state of the one that ended.
"""

import contextlib
import gc
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from kdpipe.jobs import leash

# What is found as `kdpipe`: /bin/sh takes a path with spaces, the kernel's `#!` takes none.
COMMAND = """#!/bin/sh
exec {python} -IS {shim} "$@"
"""
SHIM = """import json, os, signal, socket, sys
# Of a terminal, as the job gets it too: what that does of it is waited for.
before = signal.signal(signal.SIGINT, signal.SIG_IGN)
def connected():
    server = socket.socket(socket.AF_UNIX)
    server.connect({path!r})
    return server
def plainly():
    signal.signal(signal.SIGINT, before)
    os.execv({python!r}, [{python!r}, "-P", "-m", "kdpipe", *sys.argv[1:]])
try:
    server = connected()
    order = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(order).encode() + b"\\n"], [0, 1, 2])
    answer = server.makefile().read().split()
    code = int(answer[0]) if answer else 137  # killed
    if code in (75, 137):
        connected()  # not because its parent has ended
except OSError:
    plainly()
if code == 137:
    print({killed!r}, file=sys.stderr)
sys.exit(code)
"""
KILLED = (
    "killed from outside, as the system does for want of memory: fewer jobs at a time (--cores) "
    "need less"
)
# One thread of each: a fork has only the thread that forks.
ALONE = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}


# Seconds after the head's end until a job that it has just started has surely read its command.
READ = 2.0
STARTED = "KDPIPE_PRELOADED"  # in the environment of a head that has such a parent


def start() -> dict[str, str]:
    """Start the parent for the study whose head this process is; what its environment has then."""
    folder = Path(tempfile.mkdtemp(prefix="kdpipe-"))
    shim, command = folder / "shim.py", folder / "bin" / "kdpipe"
    path = str(folder / "socket")
    shim.write_text(SHIM.format(python=sys.executable, path=path, killed=KILLED))
    command.parent.mkdir()
    words = {"python": shlex.quote(sys.executable), "shim": shlex.quote(str(shim))}
    command.write_text(COMMAND.format(**words))
    command.chmod(0o755)
    subprocess.Popen(
        [sys.executable, "-P", "-m", "kdpipe", "preload", str(folder), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | ALONE,
    )
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    return {"PATH": path, STARTED: str(folder)}


def serve(folder: Path, head: str, main: Callable[[list[str]], int]) -> None:
    """Fork a job for whoever asks in a folder, until the head of the study has ended.

    head: its process id; main: what a job does with its arguments; it returns an exit code.
    """
    try:
        (end,) = leash.end_of(head)
        _preload()
        if len(os.listdir("/proc/self/task")) == 1:
            _serve(folder, end, main)
    finally:
        time.sleep(READ)
        shutil.rmtree(folder, ignore_errors=True)


def _serve(folder: Path, head: int, main: Callable[[list[str]], int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: meant for head and jobs
    gc.collect()
    gc.freeze()  # what is here stays, and is shared
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen(256)
        own = os.pidfd_open(os.getpid())
        while True:
            ready, _, _ = select.select([server, head], [], [], 1.0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # their seconds count as this one's
                    pass
            if head in ready:
                return
            if server not in ready:
                continue
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os.close(head)
                _job(client, own, main)
            client.close()


def _preload() -> None:
    """What jobs import; nothing of it starts a thread or looks at a GPU."""
    import torch

    torch.set_num_threads(1)
    from kdpipe.jobs import probe, score, tabulate, train  # noqa: F401
    from kdpipe.training import loop  # noqa: F401
    from kdpipe.training.teachers import tables  # noqa: F401


def _job(client: socket.socket, parent: int, main: Callable[[list[str]], int]) -> None:
    """In the child: become the process that was asked for, and never return."""
    code = 1
    try:
        gc.unfreeze()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        order, streams = _order(client)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = ["kdpipe", *order["argv"]]
        leash.hold([client.fileno(), parent])  # and main holds on to the head
        code = main(order["argv"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            client.sendall(f"{code}\n".encode())
        os._exit(0)


def _order(client: socket.socket) -> tuple[dict, list[int]]:
    data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while not data.endswith(b"\n"):
        more = client.recv(1 << 16)
        if not more:
            os._exit(0)  # who asked is gone
        data += more
    return json.loads(data), list(streams)
