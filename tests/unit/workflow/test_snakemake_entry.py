"""Snakemake as `kdpipe run` starts it: one line for a misspelt option, a plugin, a signal."""

import os
import resource
import signal
import sys
from types import SimpleNamespace

import pytest
from snakemake import cli, exceptions
from snakemake.exceptions import CliException

from kdpipe.workflow import progress, snakemake_entry


@pytest.fixture(autouse=True)
def handlers(monkeypatch):
    """The handlers of this process are put back, and there is no reporter but one's own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(progress, "current_reporter", None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def starting(monkeypatch):
    """Snakemake that does this in place of parsing its arguments."""

    def set_to(act):
        monkeypatch.setattr(cli, "parse_args", lambda argv: act())
        return snakemake_entry.main()

    return set_to


def usage_error():
    print("usage: snakemake [-h]\n" * 100 + "x.py: error: no such thing: --wrong", file=sys.stderr)
    sys.exit(2)


def test_a_misspelt_option_is_one_line(starting, capsys):
    assert starting(usage_error) == 2
    assert capsys.readouterr().err == (
        "kdpipe run: no such thing: --wrong; `snakemake --help` lists the options that are passed "
        "on\n"
    )


def test_what_a_check_prints_is_kept_whole(starting, capsys):
    def refuse():
        print("kdpipe: x.yaml: 2 errors\n  one\n  two: error: three", file=sys.stderr)
        sys.exit(2)

    assert starting(refuse) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["  one", "  two: error: three"]


def test_a_value_that_cannot_be_read_is_one_line(starting, capsys):
    def refuse():
        raise CliException("must be integer or 'all'.")

    assert starting(refuse) == 2
    assert capsys.readouterr().err == "kdpipe: must be integer or 'all'.\n"


def test_a_plugin_that_cannot_be_imported_is_named(starting, capsys, tmp_path, monkeypatch):
    package = tmp_path / "snakemake_executor_plugin_broken"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('no library')")
    monkeypatch.syspath_prepend(tmp_path)

    def fail():
        raise OSError("no library")

    assert starting(fail) == 2
    assert capsys.readouterr().err == (
        "kdpipe: the Snakemake plugin snakemake-executor-plugin-broken cannot be imported "
        "(OSError: no library): update it, or remove it with "
        "`pip uninstall snakemake-executor-plugin-broken`\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_signal_while_it_starts_is_one_line(starting, capsys, number, swallowed):
    """Also where an import makes another error of it."""
    if swallowed and number == signal.SIGTERM:
        pytest.skip("nothing turns SystemExit into an error")

    def stop():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            if swallowed:
                raise ImportError("numpy") from None
            raise

    words = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}
    assert starting(stop) == 128 + number
    assert capsys.readouterr().err == f"kdpipe: {words[number]}; nothing was started\n"


def test_a_summary_that_is_printed_is_not_followed_by_another(starting, capsys, monkeypatch):
    """Snakemake handles both signals itself once it runs, and exits with 1."""
    reporter = SimpleNamespace(is_ending=True, has_summary=True, is_stopped=False)
    monkeypatch.setattr(progress, "current_reporter", reporter)
    monkeypatch.setattr(cli, "args_to_api", lambda *_: False)
    assert starting(lambda: (None, None)) == 143
    assert capsys.readouterr().err == ""


def test_a_failed_job_is_1_and_the_end_is_0(starting, monkeypatch):
    for success, code in ((False, 1), (True, 0)):
        monkeypatch.setattr(cli, "args_to_api", lambda *_, success=success: success)
        assert starting(lambda: (None, None)) == code


def test_a_cache_folder_that_is_full_is_named(starting, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "snakemake.common.get_appdirs", lambda: SimpleNamespace(user_cache_dir=str(tmp_path))
    )
    monkeypatch.setattr(cli, "args_to_api", lambda *_: True)
    assert starting(lambda: (None, None)) == 0 and not list(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as if that were left
    try:
        assert starting(lambda: (None, None)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = f"kdpipe: {tmp_path}, where Snakemake keeps files, is not writable (File too"
    assert capsys.readouterr().err.startswith(message)


def test_a_cache_folder_that_cannot_be_made_is_named(starting, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        "snakemake.common.get_appdirs",
        lambda: SimpleNamespace(user_cache_dir=str(tmp_path / "file" / "snakemake")),
    )
    assert starting(lambda: (None, None)) == 2
    message = (
        f"kdpipe: {tmp_path}/file/snakemake, where Snakemake keeps files, is not writable (Not"
    )
    assert capsys.readouterr().err.startswith(message)


def test_snakemakes_line_on_its_own_profile_goes_and_its_warnings_stay(tmp_path, capsys):
    """The line is the one that the parser of Snakemake prints itself."""
    profile = tmp_path / "profiles/default"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("keep-going: true\n")
    snakefile = tmp_path / "Snakefile"
    snakefile.touch()
    options = ["--snakefile", str(snakefile), "--workflow-profile", str(profile)]
    cli.parse_args([*options, "--cores", "1"])
    line = capsys.readouterr().err
    assert str(profile) in line and line.count("\n") == 1
    assert snakemake_entry._drop_profile_line(line) == ""
    others = "Using profile mine and workflow specific profile x\na warning\n"
    assert snakemake_entry._drop_profile_line(others + line) == others


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_an_error_after_a_stop_is_no_traceback(starting, monkeypatch, capsys, is_interrupted):
    """Of a second Ctrl-C, while Snakemake waits for its jobs; any other error is printed."""
    printed = []

    def fail(options, parser):
        if is_interrupted:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Cannot close a running event loop")

    reporter = SimpleNamespace(is_stopped=False, is_ending=False, has_summary=True)
    monkeypatch.setattr(progress, "current_reporter", reporter)
    monkeypatch.setattr(cli, "args_to_api", fail)
    monkeypatch.setattr(exceptions, "print_exception", printed.append)
    assert starting(lambda: (None, None)) == (130 if is_interrupted else 1)
    assert len(printed) == (not is_interrupted) and capsys.readouterr().err == ""
