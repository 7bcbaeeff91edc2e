"""Hosts that are reached by ssh: an sshd of our own on this machine, where each has a home.

A host is a port of it. Only the user who runs the tests can log in, with a key made for the test.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("ssh", "sshd", "ssh-keygen")
SYSTEM = f"{os.environ['PATH']}:/usr/sbin"

SSHD = """
{ports}
ListenAddress 127.0.0.1
HostKey {root}/host_key
AuthorizedKeysFile {root}/key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
PidFile none
ForceCommand {root}/log_in
"""
# What a login does, had each host a home of its own; a shell without a terminal reads no profile.
LOG_IN = """#!/bin/bash
set -- $SSH_CONNECTION
export HOME={machines}/$(cat {root}/port-$4) PATH={path} {variables}
mkdir -p "$HOME" && cd "$HOME" && exec bash -c "$SSH_ORIGINAL_COMMAND"
"""
SSH_CONFIG = """
IdentityFile {root}/key
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
"""


def missing() -> str | None:
    """Why there can be no sshd here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install openssh-server openssh-client)"
    return "an sshd of our own is started as root" if os.geteuid() != 0 else None


@contextlib.contextmanager
def serve(
    root: Path, machines: Path, hosts: tuple[str, ...], env: dict[str, str]
) -> Iterator[Path]:
    """Start an sshd, and yield a folder with an `ssh` that knows the hosts.

    `env` has what is set on the hosts besides HOME; its PATH is theirs.
    """
    root.mkdir()
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "key"):
        line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)]
        subprocess.run(line, check=True)
    ports = dict(zip(hosts, _free_ports(len(hosts)), strict=True))
    for host, port in ports.items():
        (root / f"port-{port}").write_text(host)
    variables = " ".join(f"{name}='{value}'" for name, value in env.items() if name != "PATH")
    log_in = LOG_IN.format(root=root, machines=machines, path=env["PATH"], variables=variables)
    lines = "\n".join(f"Port {port}" for port in ports.values())
    (root / "sshd_config").write_text(SSHD.format(ports=lines, root=root))
    blocks = [f"Host {host}\nHostName 127.0.0.1\nPort {port}\n" for host, port in ports.items()]
    (root / "ssh_config").write_text("".join(blocks) + "Host *" + SSH_CONFIG.format(root=root))
    (root / "bin").mkdir()
    ssh = f'#!/bin/sh\nexec {shutil.which("ssh")} -F {root}/ssh_config "$@"\n'
    for path, text in ((root / "log_in", log_in), (root / "bin" / "ssh", ssh)):
        path.write_text(text)
        path.chmod(0o755)
    sshd = shutil.which("sshd", path=SYSTEM)
    with open(root / "log", "wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", root / "sshd_config"], stderr=log)
    try:
        _wait_for(ports.values(), server, root / "log")
        yield root / "bin"
    finally:
        server.terminate()
        server.wait()


def _wait_for(ports, server: subprocess.Popen, log: Path) -> None:
    for port in ports:
        for _ in range(100):
            assert server.poll() is None, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
