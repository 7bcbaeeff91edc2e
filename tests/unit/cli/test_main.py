"""Exit codes and messages: 0 done, 2 a mistake of the user or of the machine, else a traceback."""

import errno
import os
import subprocess
import sys

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


def test_ctrl_c_while_modules_are_imported_is_one_line(monkeypatch, capsys):
    class Interrupted:
        def find_spec(self, name, *_):
            if name == "kdpipe.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "kdpipe.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert entry.main() == 130
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
