"""A SLURM of our own for tests: two nodes, four pretended GPUs of two types, those of one type
shared by two, on one machine and as root.

Nothing of the machine's own configuration is used or changed: keys, sockets, ports, state and logs
lie in one folder, and only processes that were started here are ended. A GPU is a copy of
/dev/null, so SLURM counts it, gives it out and says so in CUDA_VISIBLE_DEVICES.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SYSTEM = "/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=kdpipe
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdPidFile={root}/slurmd-%n.pid
SlurmdLogFile={root}/slurmd-%n.log
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
AccountingStorageType=accounting_storage/none
# Without cgroups, so that it runs in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
# Nodes that promise more than the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu,shard
# A dead node is noticed within seconds, and everything else is quick as well.
SlurmdTimeout=10
MessageTimeout=8
KillWait=5
MinJobAge=600
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {node}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {node}
PartitionName=main Nodes=n[1-2] Default=YES LLN=YES MaxTime=60 State=UP
"""
NODE = "CPUs=4 RealMemory=12000 Gres=gpu:t4:1,gpu:a100:1,shard:2 State=UNKNOWN"


def missing() -> str | None:
    """Why there can be no SLURM here, or None."""
    if os.geteuid() != 0:
        return "a SLURM of our own is started as root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return (
            f"no {', '.join(absent)} (Debian: apt-get install --no-install-recommends "
            "slurm-wlm slurmctld slurmd slurm-client munge)"
        )
    return None


class Slurm:
    """`environment` is what a client of this cluster needs."""

    def __init__(self, root: Path):
        self.root = root
        # The plugin takes every SLURM_* variable away before it calls srun inside a job.
        (root / "bin").mkdir()
        srun = root / "bin" / "srun"
        real = shutil.which("srun", path=_path())
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {real} "$@"\n')
        srun.chmod(0o755)
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("SLURM")
        } | {"SLURM_CONF": str(root / "slurm.conf"), "PATH": f"{root}/bin:{_path()}"}

    def start(self) -> None:
        """Start munge, the controller and both nodes, and wait until the nodes are idle."""
        root = self.root
        root.chmod(0o755)
        (root / "state").mkdir()
        key = root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(root=root, host=host, ports=_free_ports(3), node=NODE)
        (root / "slurm.conf").write_text(text)
        for gpu in range(2):
            os.mknod(root / f"gpu{gpu}", 0o020666, os.makedev(1, 3))
        kinds = enumerate(("t4", "a100"))
        lines = (f"NodeName=n[1-2] Name=gpu Type={kind} File={root}/gpu{n}\n" for n, kind in kinds)
        shared = f"NodeName=n[1-2] Name=shard Count=2 File={root}/gpu1\n"
        (root / "gres.conf").write_text("".join(lines) + shared)
        munge = {
            "key-file": key,
            "socket": root / "munge.sock",
            "pid-file": root / "munged.pid",
            "log-file": root / "munged.log",
            "seed-file": root / "munge.seed",
        }
        self.run("munged", *(f"--{name}={path}" for name, path in munge.items()))
        self.run("slurmctld")
        self.start_node("n1")
        self.start_node("n2")
        self.until(lambda: self.run("sinfo", "-hN", "-o", "%T").split() == ["idle"] * 2, 30)

    def start_node(self, name: str) -> None:
        (self.root / f"spool-{name}").mkdir(exist_ok=True)
        self.run("slurmd", "-N", name)

    def kill_node(self, name: str) -> None:
        """End a node as if its power had gone: its daemon, then everything that runs on it."""
        # The step daemons before what they watch over: none may report how it ended.
        tasks = {pid for pid in _processes() if self._belongs(pid, name)}
        daemons = {parent for pid in tasks for parent in _ancestors(pid) if _is_step_daemon(parent)}
        for pid in [self._pid(f"slurmd-{name}"), *daemons, *tasks]:
            if pid:
                _kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End every job and every daemon that was started here."""
        if self._pid("slurmctld") is not None:
            with contextlib.suppress(AssertionError, subprocess.SubprocessError):
                self.run("scancel", "--user=root")
                self.until(lambda: not self.jobs(), 5)
        for name in ("slurmd-n1", "slurmd-n2", "slurmctld", "munged"):
            if (pid := self._pid(name)) is None:
                continue
            _kill(pid, signal.SIGTERM)
            for _ in range(50):
                if not Path(f"/proc/{pid}").exists():
                    break
                time.sleep(0.1)
            else:
                _kill(pid, signal.SIGKILL)

    def run(self, *command: str, check: bool = True) -> str:
        process = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if check and process.returncode:
            raise AssertionError(f"{command}: {process.stderr or process.stdout}")
        return process.stdout

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """The jobs in these states, or all that are not over."""
        chosen = ["--states", ",".join(states)] if states else []
        lines = self.run("squeue", "-h", *chosen, "-o", "%i|%T|%r|%N|%Z|%k").splitlines()
        keys = ("id", "state", "reason", "node", "folder", "run")
        actual = [dict(zip(keys, line.split("|"), strict=True)) for line in lines]
        for job in actual:
            job["run"] = job["run"].rpartition("_wildcards_")[2]
        return actual

    def shown(self, job: str) -> dict[str, str]:
        """What the controller knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job)))

    @staticmethod
    def until(true, seconds: float, every: float = 0.2):
        """Wait until a condition holds and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if actual := true():
                return actual
            time.sleep(every)
        raise AssertionError(f"not true within {seconds} s")

    def _pid(self, name: str) -> int | None:
        try:
            return int((self.root / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _belongs(self, pid: int, node: str) -> bool:
        """Whether a process is of a job on a node of this cluster."""
        try:
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        actual = f"SLURM_CONF={self.root}/slurm.conf"
        return {actual.encode(), f"SLURMD_NODENAME={node}".encode()} <= set(words)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _ancestors(pid: int) -> list[int]:
    actual = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
        actual.append(pid)
    return actual


def _is_step_daemon(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"slurmstepd")
    except OSError:
        return False


def _path() -> str:
    return f"{os.environ['PATH']}:{SYSTEM}"


def _kill(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
