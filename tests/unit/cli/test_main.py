"""Exit codes and messages: 0 done, 2 a mistake of the user or of the machine, else a traceback."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny_study

from kdpipe import __main__ as entry
from kdpipe import __version__
from kdpipe.cli import main as command_line
from kdpipe.cli.command import Command
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError


@pytest.fixture
def failing(monkeypatch):
    """Makes the one command there is, `do`, raise an error or return a code."""

    def set_to(outcome) -> None:
        def run(options):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        only = {"do": Command(10, "do it", lambda parser: None, run)}
        monkeypatch.setattr(command_line, "load_commands", lambda: only)

    return set_to


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (2, 2), (75, 75)])
def test_a_command_says_its_exit_code(failing, returned, code):
    failing(returned)
    assert main(["do"]) == code


def test_ctrl_c_is_one_line(failing, capsys):
    failing(KeyboardInterrupt())
    assert main(["do"]) == 130
    assert capsys.readouterr().err == "kdpipe: interrupted; no file is left incomplete\n"


@pytest.fixture
def handlers():
    """The handlers of this process are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_that_a_library_makes_another_error_of_is_one_line(capsys):
    def run(options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy") from None

    only = {"do": Command(10, "do it", lambda parser: None, run)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "load_commands", lambda: only)
        patch.setattr(sys, "argv", ["kdpipe", "do"])
        assert entry.run_command() == 130
    assert capsys.readouterr().err == "kdpipe: interrupted; no file is left incomplete\n"


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_while_modules_are_imported_is_one_line(monkeypatch, capsys):
    class Interrupted:
        def find_spec(self, name, *_):
            if name == "kdpipe.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "kdpipe.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert entry.run_command() == 130
    assert capsys.readouterr().err == "kdpipe: interrupted; nothing was started\n"


def test_a_mistake_of_the_user_is_one_message(failing, capsys):
    failing(KdpipeError("`lr` is -1: it must be above 0"))
    assert main(["do"]) == 2
    assert capsys.readouterr() == ("", "kdpipe: `lr` is -1: it must be above 0\n")


@pytest.mark.parametrize("code", command_line.SYSTEM_ERRORS)
def test_what_the_machine_denies_is_one_message(failing, capsys, code):
    failing(OSError(code, os.strerror(code), "results/runs"))
    assert main(["do"]) == 2
    assert capsys.readouterr().err == f"kdpipe: results/runs: {os.strerror(code)}\n"


@pytest.mark.parametrize("bug", [OSError(errno.EBADF, "broken"), KeyError("lr")])
def test_a_bug_shows_its_traceback(failing, bug):
    failing(bug)
    with pytest.raises(type(bug)):
        main(["do"])


def test_a_reader_that_leaves_is_no_mistake(tmp_path):
    tiny_study.write(tmp_path / "study.yaml", tiny_study.study())
    script = f"{sys.executable} -m kdpipe plan study.yaml --json | true; echo ${{PIPESTATUS[0]}}"
    command = ["bash", "-c", script]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("0\n", "")


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"kdpipe {__version__}\n"


def kdpipe(*arguments, closed=(), **keys) -> subprocess.CompletedProcess:
    """A command in a process of its own, some of whose standard streams are closed."""
    command = [sys.executable, "-m", "kdpipe", *arguments]
    if closed:
        redirections = " ".join(f"{number}>&-" for number in closed)
        command = ["bash", "-c", f'exec "$@" {redirections}', "bash", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **keys)


@pytest.mark.parametrize(("closed", "name", "code"), [([1], "s", 0), ([0, 1, 2], "missing", 2)])
def test_closed_standard_streams_are_no_error(tmp_path, closed, name, code):
    """Nor does a file that is opened take their place."""
    tiny_study.write(tmp_path / "s.yaml", tiny_study.study())
    process = kdpipe("check", f"{name}.yaml", closed=closed, cwd=tmp_path)
    assert (process.returncode, process.stdout, process.stderr) == (code, "", "")


def test_a_current_folder_that_was_removed_is_one_line(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f"cd {folder} && rmdir {folder} && exec {sys.executable} -P -m kdpipe --help"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (2, "")
    message = "kdpipe: the current folder cannot be used: No such file or directory\n"
    assert process.stderr == message


def test_sigterm_is_one_line(tmp_path):
    """While it waits for a study on standard input, say."""
    command = [sys.executable, "-m", "kdpipe", "report", "-", "--results", str(tmp_path)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **streams) as process:
        wait_until_handled(process.pid, signal.SIGTERM)
        process.terminate()
        assert process.wait(60) == 143
        assert process.stderr is not None
        assert process.stderr.read() == "kdpipe: ended by SIGTERM; no file is left incomplete\n"


def test_sigterm_ends_a_command_whose_output_nobody_reads():
    """As what a process measures that was killed itself."""
    command = [sys.executable, "-m", "kdpipe", "report", "-"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams) as process:
        wait_until_handled(process.pid, signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.close()
        process.terminate()
        assert process.wait(60) == 143


def wait_until_handled(pid: int, number: int) -> None:
    """Wait until a process has a handler of its own for a signal."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        (caught,) = [line for line in status.splitlines() if line.startswith("SigCgt")]
        if int(caught.split()[1], 16) & 1 << (number - 1):
            return
        time.sleep(0.01)


def test_without_a_path_the_systems_is_taken(tmp_path, monkeypatch, handlers):
    monkeypatch.delenv("PATH")
    monkeypatch.setattr(sys, "argv", ["kdpipe", "check", "missing.yaml"])
    assert entry.run_command() == 2
    assert os.environ["PATH"] == os.defpath


LATE = """
import os, signal, sys
from kdpipe import __main__
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=int(sys.argv[1])):
        kill(pid, number)
late = Late()
sys.argv = ["kdpipe", "--version"]
__main__.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_work_is_done_changes_no_exit_code(number):
    """While Python takes its modules down, when it has given signals back their defaults."""
    command = [sys.executable, "-c", LATE, str(int(number))]
    process = subprocess.run(command, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("kdpipe ")
