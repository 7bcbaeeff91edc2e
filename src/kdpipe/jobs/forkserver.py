"""A fork server: torch is imported once, and every job of a study is forked from that process.

A job of a few seconds spends more time on imports than on training. So `kdpipe run` starts this
server, and puts a script called `kdpipe` (COMMAND_SCRIPT) first on the PATH of its jobs. It runs
SHIM_SCRIPT, which hands arguments, folder, environment and streams over to the server and exits
with the code that comes back. A job is still one process, forked for it alone, and computes the
same bytes.

The server has a single thread when it forks, or it does not serve. A job ends with its shim, with
the head of its study and with the server (`parent_watchdog`); the server ends with the head. A shim
whose server is gone starts the job as if there had been none, and that resumes from the saved state
of the one that ended.
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
from typing import NoReturn

from kdpipe.errors import KdpipeError
from kdpipe.jobs import parent_watchdog
from kdpipe.text import format_value

# The script called `kdpipe`: unlike the kernel's `#!`, /bin/sh accepts paths with spaces.
COMMAND_SCRIPT = """#!/bin/sh
exec {python} -IS {shim} "$@"
"""
SHIM_SCRIPT = """import json, os, signal, socket, sys
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
    if code in (75, 137, 143):
        connected()  # not because its parent has ended
except OSError:
    plainly()
if code == 137:
    print({killed!r}, file=sys.stderr)
sys.exit(code)
"""
KILLED_MESSAGE = "killed by the system, usually out of memory: run fewer jobs at a time (--cores)"
# A fork has only the forking thread, so libraries must not have started others.
SINGLE_THREADED = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
# Seconds after the head's end until a job that it has just started has read its command.
READ_SECONDS = 2.0
HEAD_FILE = "head"  # in its folder: the head process
ALIVE_FILE = "alive"  # its process id; written anew each second while it answers
FORKSERVER_VARIABLE = "KDPIPE_PRELOADED"  # in the environment of a head with such a server


def start_forkserver() -> dict[str, str]:
    """Start the server for the study whose head this process is.

    Returns
    -------
    dict
        The environment variables with which its jobs are started.
    """
    folder = Path(tempfile.mkdtemp(prefix="kdpipe-"))
    shim, command = folder / "shim.py", folder / "bin" / "kdpipe"
    path = str(folder / "socket")
    shim.write_text(
        SHIM_SCRIPT.format(python=sys.executable, path=path, killed=KILLED_MESSAGE), "utf-8"
    )
    command.parent.mkdir()
    substitutions = {"python": shlex.quote(sys.executable), "shim": shlex.quote(str(shim))}
    command.write_bytes(os.fsencode(COMMAND_SCRIPT.format(**substitutions)))
    command.chmod(0o755)
    head = parent_watchdog.Head.of_this_process()
    (folder / HEAD_FILE).write_text(str(head), "utf-8")
    subprocess.Popen(
        [sys.executable, "-P", "-m", "kdpipe", "preload", str(folder), str(head)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | SINGLE_THREADED,
    )
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    return {"PATH": path, FORKSERVER_VARIABLE: str(folder)}


def has_forkserver() -> bool:
    """Return whether a server was started for the study of this process.

    A variable of another start is ignored with a warning.
    """
    variable = os.environ.get(FORKSERVER_VARIABLE)
    if variable is None:
        return False
    with contextlib.suppress(OSError, ValueError):
        head = parent_watchdog.Head.parse((Path(variable) / HEAD_FILE).read_text("utf-8"))
        if head is not None and head.is_alive and head.pid in (os.getpid(), os.getppid()):
            return True
    print(
        f"kdpipe: {FORKSERVER_VARIABLE}={format_value(variable)} is of another start and is "
        f"ignored: unset {FORKSERVER_VARIABLE}",
        file=sys.stderr,
    )
    del os.environ[FORKSERVER_VARIABLE]
    return False


def read_heartbeat() -> tuple[int, int] | None:
    """Return the process id of this study's server and when it last showed that it answers.

    None without a server, and while it starts. The time is of the file system: only whether it
    changes says anything.
    """
    path = Path(os.environ.get(FORKSERVER_VARIABLE, ""), ALIVE_FILE)
    try:
        return int(path.read_text("utf-8")), path.stat().st_mtime_ns
    except (OSError, ValueError):
        return None


def serve_forks(folder: Path, head_text: str, main: Callable[[list[str]], int]) -> None:
    """Fork a job for each request in a folder, until the head of the study has ended.

    Parameters
    ----------
    folder : Path
        The folder of the socket, which is removed at the end.
    head_text : str
        The head process (`parent_watchdog.Head`).
    main : callable
        Runs a job from its arguments and returns its exit code.
    """
    try:
        head = parent_watchdog.Head.parse(head_text)
        if head is None:
            raise KdpipeError(f"kdpipe preload: {format_value(head_text)} is no head process")
        (head_fd,) = parent_watchdog.open_process(head)
        _import_job_modules()
        if len(os.listdir("/proc/self/task")) == 1:
            _accept_jobs(folder, head_fd, main)
    finally:
        time.sleep(READ_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _accept_jobs(folder: Path, head_fd: int, main: Callable[[list[str]], int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for head and jobs
    gc.collect()
    gc.freeze()  # all objects so far are kept and shared
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen(256)
        server_fd = os.pidfd_open(os.getpid())
        alive_file = folder / ALIVE_FILE
        alive_file.write_text(str(os.getpid()), "utf-8")
        while True:
            with contextlib.suppress(OSError):
                os.utime(alive_file)
            ready, _, _ = select.select([server, head_fd], [], [], 1.0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # its CPU time is added to this process's
                    pass
            if head_fd in ready:
                return
            if server not in ready:
                continue
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os.close(head_fd)
                _run_forked_job(client, server_fd, main)
            client.close()


def _import_job_modules() -> None:
    """Import what jobs need; no import starts a thread or looks for a GPU."""
    import torch

    torch.set_num_threads(1)
    from kdpipe.jobs import cache_logits, eval_ensemble, probe, train  # noqa: F401
    from kdpipe.training import loop  # noqa: F401
    from kdpipe.training.teachers import cached  # noqa: F401


def _run_forked_job(
    client: socket.socket, server_fd: int, main: Callable[[list[str]], int]
) -> None:
    """Become the requested job, in the child process, and never return."""
    code = 1
    try:
        gc.unfreeze()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: _end_forked_job(client))
        order, streams = _receive_order(client)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = ["kdpipe", *order["argv"]]
        parent_watchdog.watch_parents([client.fileno(), server_fd])  # main watches the head
        code = main(order["argv"])
    except SystemExit as exit_error:
        code = exit_error.code if isinstance(exit_error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a log on a full disk is not the job's outcome
                stream.flush()
        with contextlib.suppress(OSError):
            client.sendall(f"{code}\n".encode())
        os._exit(0)


def _end_forked_job(client: socket.socket) -> NoReturn:
    """End a job after SIGTERM, at once."""
    with contextlib.suppress(OSError):
        os.write(2, b"kdpipe: ended by SIGTERM; no file is left incomplete\n")
    with contextlib.suppress(OSError):
        client.sendall(b"143\n")
    os._exit(143)


def _receive_order(client: socket.socket) -> tuple[dict, list[int]]:
    data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while not data.endswith(b"\n"):
        chunk = client.recv(1 << 16)
        if not chunk:
            os._exit(0)  # the shim is gone
        data += chunk
    return json.loads(data), list(streams)
