"""`kdpipe run` in a process that was forked, and so cannot execute itself anew as Snakemake.

Snakemake runs in the same process, in those of a search in forks of it; and its jobs are forked by
the server of commands, so that the study needs no fork server of its own. The real `kdpipe run` is
typed in test_run_snakemake.py, test_forkserver.py, test_search.py and test_installed.py.
"""

import logging
import os
import sys
import traceback
from types import SimpleNamespace

from kdpipe.cli.main import main
from kdpipe.jobs import forkserver
from kdpipe.workflow import run_snakemake, snakemake_entry


class Executed(BaseException):
    """The command line that this process is to execute."""


class ForkedHead:
    """What `run_rounds` uses of `subprocess.Popen`."""

    def __init__(self, line: list[str], env: dict[str, str], process_group: int):
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, process_group)
            os.environ.update(env)
            code = 1
            try:
                code = run_as_snakemake(line)
            except BaseException:
                traceback.print_exc()
            os._exit(code)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def execute(path: str, line: list[str]) -> None:
    raise Executed(line)


def run_as_snakemake(line: list[str]) -> int:
    python, _, _, entry, *options = line
    assert (python, entry) == (sys.executable, run_snakemake.ENTRY_MODULE)
    sys.argv = [entry, *options]
    code = snakemake_entry.main()
    logging.shutdown()  # prints the summary
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def run(argv: list[str]) -> int:
    """Do what `kdpipe run` does with these arguments, and return its exit code."""
    os.execv = execute
    forkserver.start_forkserver = dict
    run_snakemake.subprocess = SimpleNamespace(Popen=ForkedHead)  # pyright: ignore
    try:
        return main(argv)
    except Executed as executed:
        return run_as_snakemake(executed.args[0])
