"""After `kill -INT` of the head alone jobs get SIGTERM; the server and other programs do not."""

import subprocess
import sys
import time

import psutil

SLEEP = "import time; time.sleep(60)"
# Stands for the server, whose forks have its command line.
SERVER = f"import os, time; os.fork(); {SLEEP}"
HEAD = f"""
import subprocess, sys, time
from kdpipe.workflow import stopped_processes

stopped_processes.GRACE_SECONDS = 0.2
children = [
    subprocess.Popen([sys.executable, "-c", {SLEEP!r}, "kdpipe", "train"]),
    subprocess.Popen([sys.executable, "-c", {SERVER!r}, "kdpipe", "preload"]),
    subprocess.Popen([sys.executable, "-c", {SLEEP!r}, "other", "train"]),
]
print("started", flush=True)
sys.stdin.readline()
stopped_processes.end_jobs_later()
time.sleep(60)
"""


def test_jobs_are_ended_and_nothing_else():
    pipe = subprocess.PIPE
    head = subprocess.Popen([sys.executable, "-c", HEAD], stdin=pipe, stdout=pipe, text=True)
    process = psutil.Process(head.pid)
    try:
        assert head.stdin and head.stdout and head.stdout.readline() == "started\n"
        job, server, other = _wait_for(lambda: process.children(), 3)
        (forked,) = _wait_for(lambda: server.children(), 1)
        time.sleep(1)
        assert all(each.is_running() for each in (job, server, other, forked))
        head.stdin.write("now\n")
        head.stdin.flush()
        _wait_for(lambda: [each for each in (job, forked) if _is_alive(each)], 0)
        assert _is_alive(server) and _is_alive(other)
    finally:
        for each in (*process.children(recursive=True), process):
            each.kill()
        head.wait()


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_for(find, count: int) -> list:
    deadline = time.monotonic() + 30
    while len(found := find()) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == count
    return found
