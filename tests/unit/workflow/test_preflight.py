"""What is checked before Snakemake can fail at it: study files, folders, and paths in braces."""

import io
import os
import shutil

import pytest
import yaml
from helpers import tiny_study
from helpers.snakemake_sandbox import ROOT, Lab

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.workflow import preflight, progress
from kdpipe.workflow.load import load_rule_context
from kdpipe.workflow.rule_context import SnakemakeOptions

TEXT = yaml.safe_dump(tiny_study.study())
TEMPLATE = "__use_yte__: true\n__definitions__:\n- open('ran', 'w').close()\n"
FILES = {
    "UTF-16": (TEXT.encode("utf-16"), "not UTF-8 text"),
    "deep": (f"{TEXT}x: {'[' * 3000}{']' * 3000}\n".encode(), "is nested deeper than 12 levels"),
    "digits": (TEXT.replace("- 0", f"- {'9' * 5000}", 1).encode(), "not valid YAML"),
    "a template": ((TEMPLATE + TEXT).encode(), "the key __use_yte__ is not allowed"),
    "gone": (None, "there is no such file"),
}


@pytest.fixture
def lab(tmp_path, warm):
    return Lab(tmp_path / "lab", warm)


@pytest.mark.parametrize("option", ["--configfile", "--configfiles", "--configfile="])
@pytest.mark.parametrize("case", FILES)
def test_a_file_that_snakemake_would_stumble_over_is_one_message(case, option, tmp_path, capsys):
    data, output = FILES[case]
    path = tmp_path / "study.yaml"
    if data is not None:
        path.write_bytes(data)
    named = [f"{option}{path}"] if option.endswith("=") else [option, str(path)]
    with pytest.raises(SystemExit) as left:
        preflight.check_files(["--cores", "2", *named, "--config", "device=cpu", "--", "report"])
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"kdpipe: {path}: ") and output in message
    assert message.count("\n") == 1


SLURM = ["--profile", str(ROOT / "profiles/slurm")]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--configfile", "x.yaml", *SLURM, "-n"], True),
        ([f"--profile={ROOT / 'profiles/slurm'}", "report"], True),
        ([*SLURM, str(ROOT / "profiles/site-example")], True),
        (["-e", "slurm"], True),
        ([*SLURM, "--executor", "local"], False),
        (["--profile", "nowhere", "--cores", "2"], False),
    ],
)
def test_a_slurm_that_is_not_there_is_said_once_before_any_job(
    arguments, refused, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    if not refused:
        return preflight.require_slurm(arguments)
    message = "no SLURM on this machine: sacct, sbatch, squeue not found: start where"
    with pytest.raises(KdpipeError, match=message):
        preflight.require_slurm(arguments)
    (tmp_path / "sbatch").touch(mode=0o755)
    preflight.require_slurm(arguments)


def test_what_is_sound_passes_and_arguments_are_snakemakes_affair(tmp_path, capsys):
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study())
    for arguments in (
        [],
        ["--configfile"],
        ["--configfile", str(path), "--cores", "all", "-n"],
        ["--config", "device=cuda", "--keep-going"],
    ):
        preflight.check_files(arguments)
    assert capsys.readouterr() == ("", "")


def test_snakemake_itself_never_reads_it(lab):
    """Not in a dry run either: what a template says is run when it is read."""
    path = lab.folder / "study.yaml"
    path.write_bytes(FILES["a template"][0])
    message = lab.run(None, "--configfile", str(path), "--dry-run", code=2)
    assert "__use_yte__ is not allowed" in message and "Traceback" not in message
    assert {path.name for path in lab.folder.iterdir()} == {"study.yaml"}
    assert not os.path.exists("ran")  # what the template would make


def test_braces_in_paths(tmp_path, warm):
    """Of the images, the code and the folder; those of the checkout are refused."""
    lab = Lab(tmp_path / "a {name} and {b}", warm)
    content = tiny_study.study()
    images = lab.folder / "{seed} of {name}"
    images.mkdir()
    content["data"] |= {"name": "mnist", "path": str(images)}
    assert "render" in lab.planned(content)
    checkout = tmp_path / "co{name}"
    for part in ("src", "workflow", "profiles"):
        shutil.copytree(ROOT / part, checkout / part)
    for part in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / part, checkout / part)
    message = Lab(tmp_path / "other", warm, checkout).dry(tiny_study.study(), code=2)
    assert f"kdpipe: {checkout}: Snakemake would interpret braces" in message


def test_what_compiled_runs_need_is_looked_for_before_any_of_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDPIPE_DEVICE", "cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    plain, compiled = (
        tiny_study.study(device="cpu", recipe={"compile": compile}) for compile in (False, True)
    )
    path = tiny_study.write(tmp_path / "study.yaml", compiled)
    assert load_rule_context(plain, [path], ROOT / "config.yaml", is_head=True).records()
    with pytest.raises(SystemExit):
        load_rule_context(compiled, [path], ROOT / "config.yaml", is_head=True)
    message = capsys.readouterr().err
    assert (
        "recipe.compile requires a C++ compiler, and there is no no-such-compiler here" in message
    )
    for more in (
        {"is_head": False},
        {"is_head": True, "options": SnakemakeOptions(is_remote=True)},
    ):  # of a node nothing is known
        assert load_rule_context(compiled, [path], ROOT / "config.yaml", **more).records()


ROOMS = ["results/runs", "results/data", "logs/runs", "logs/data", "reports/tiny"]


@pytest.mark.parametrize("name", ["", "results", "logs", "reports", ".snakemake", *ROOMS])
def test_a_folder_that_cannot_be_written_in_is_named(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDPIPE_DEVICE", "cpu")
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(device="cpu"))
    if name:
        (tmp_path / name).mkdir(parents=True)
    allowed = os.access

    def access(folder, mode):  # as for one who is not root
        return os.path.abspath(folder) != str(tmp_path / name) and allowed(folder, mode)

    monkeypatch.setattr(os, "access", access)
    inputs = (tiny_study.study(device="cpu"), [path], ROOT / "config.yaml")
    with pytest.raises(SystemExit):
        load_rule_context(*inputs, is_head=True)
    message = capsys.readouterr().err
    assert message.startswith(f"kdpipe: {tmp_path / name} is not writable: results, logs and")
    assert load_rule_context(*inputs, is_head=False).records()  # a job was let in by its head


@pytest.mark.parametrize("name", ["results", "logs"])
def test_a_link_to_nothing_is_named(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "unmounted")
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(device="cpu"))
    with pytest.raises(SystemExit):
        load_rule_context(
            tiny_study.study(device="cpu"), [path], ROOT / "config.yaml", is_head=True
        )
    message = capsys.readouterr().err
    assert message.startswith(f"kdpipe: {name} is a link to {tmp_path}/unmounted, which does not")


def test_no_jobs_at_a_time_are_refused(tmp_path, monkeypatch, capsys):
    """As `snakemake --cores 0`, which would wait for ever."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDPIPE_DEVICE", "cpu")
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(device="cpu"))
    inputs = (tiny_study.study(device="cpu"), [path], ROOT / "config.yaml")
    with pytest.raises(SystemExit):
        load_rule_context(*inputs, is_head=True, options=SnakemakeOptions(job_limit=0))
    assert "kdpipe: 0 cores or jobs at a time: must be 1 or more" in capsys.readouterr().err
    assert load_rule_context(*inputs, is_head=True, options=SnakemakeOptions(job_limit=1))


def test_a_mistake_steers_no_terminal(capsys):
    with pytest.raises(SystemExit):
        preflight.exit_with_error(KdpipeError("data.path: \x1b]0;x\a\n  and more"))
    assert capsys.readouterr().err == "kdpipe: data.path: \\x1b]0;x\\x07\n  and more\n"


def test_a_study_is_named_as_it_can_be_typed_here(tmp_path, monkeypatch):
    """That of a clone or a wheel is somewhere else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDPIPE_DEVICE", "cpu")
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(device="cpu"))
    reporter = progress.ProgressReporter(io.StringIO())
    monkeypatch.setattr(progress, "current_reporter", reporter)
    for files, named in (([path], "study.yaml"), ([], str(ROOT / "config.yaml"))):
        load_rule_context({}, files, ROOT / "config.yaml", is_head=True)
        assert reporter.study_file == named


def test_a_start_puts_the_registration_where_its_results_are_to_lie(tmp_path, monkeypatch):
    """It may have been written on another machine, and have come with the study."""
    monkeypatch.chdir(tmp_path)
    content = tiny_study.study(device="cpu", seeds=[0, 1, 2])
    path = tiny_study.write(tmp_path / "tiny.yaml", content)
    assert main(["register", "tiny.yaml", "--results", "elsewhere"]) == 0
    for dry in (True, False):
        load_rule_context(
            content,
            [path],
            ROOT / "config.yaml",
            is_head=True,
            options=SnakemakeOptions(is_dry_run=dry),
        )
        copied = tmp_path / "results" / "registrations" / "tiny.json"
        assert copied.exists() is not dry
    assert copied.read_bytes() == (tmp_path / "tiny.registration.json").read_bytes()


@pytest.mark.parametrize("verb", ["check", "plan", "status", "report", "verify", "prune"])
def test_a_name_that_is_too_long_is_one_message(verb, tmp_path, capsys):
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study())
    long = "x" * 300
    commands = [[verb, str(tmp_path / long)]] if verb != "verify" else []
    if verb != "check":
        study = [] if verb == "verify" else [str(path)]
        commands.append([verb, *study, "--results", str(tmp_path / long)])
    for command in commands:
        assert main(command) == 2
        message = capsys.readouterr().err
        assert "File name too long" in message and message.count("\n") == 1
