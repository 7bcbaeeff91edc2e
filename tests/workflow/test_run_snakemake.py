"""`kdpipe run`: what it starts, and what it refuses; of a wheel: test_installed.py."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import tiny_study
from helpers.snakemake_sandbox import ROOT

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.plan import estimate
from kdpipe.workflow import run_snakemake

HOME = Path("/there")


def started(*options: str, study: str | None = "mine.yaml") -> list[str]:
    """What follows `python -P -m snakemake`."""
    return run_snakemake.build_command(HOME, study, options)[4:]


def test_all_cores_are_used_unless_it_is_said_how_many():
    assert started("-n")[-3:] == ["--cores", "all", "-n"]
    for typed in (["--cores", "2"], ["--cores=2"], ["-c2"], ["-j", "1"], ["--profile", "mine"]):
        assert "all" not in started(*typed) and started(*typed)[-len(typed) :] == typed


def test_targets_follow_no_option_that_would_swallow_them():
    assert started("teachers")[:2] == ["--configfile", "mine.yaml"]
    assert started("teachers")[-3:] == ["--cores", "all", "teachers"]


def test_without_a_study_it_is_the_one_beside_the_snakefile():
    assert "--configfile" not in started(study=None)
    assert started(study=None)[:2] == ["--snakefile", "/there/Snakefile"]


def test_the_profiles_of_the_workflow_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    actual = run_snakemake.build_command(
        ROOT, None, ["--profile", "profiles/slurm", "profiles/mine"]
    )
    assert actual[-2:] == [str(ROOT / "profiles/slurm"), "profiles/mine"]
    (tmp_path / "studies/profiles/site").mkdir(parents=True)  # it may lie beside the study
    (tmp_path / "studies/other").mkdir()
    for typed in (["--profile", "profiles/slurm", "profiles/site"], ["--profile=profiles/site"]):
        actual = run_snakemake.build_command(ROOT, "studies/mine.yaml", typed)
        assert actual[-1].removeprefix("--profile=") == "studies/profiles/site"
    actual = run_snakemake.build_command(ROOT, "studies/mine.yaml", ["--profile", "other", "-n"])
    assert actual[-2:] == ["studies/other", "-n"]
    actual = run_snakemake.build_command(ROOT, "studies/mine.yaml", ["-c1", "other"])
    assert actual[-1] == "other"  # a target
    (tmp_path / "profiles/slurm").mkdir(parents=True)  # one's own goes first
    assert (
        run_snakemake.build_command(ROOT, None, ["--profile=profiles/slurm"])[-1]
        == "--profile=profiles/slurm"
    )


@pytest.mark.parametrize("option", ["--configfile", "--configfile=x", "-s", "--snakefile"])
def test_what_it_says_itself_is_refused(option):
    with pytest.raises(KdpipeError, match="give the study first"):
        started(option)


@pytest.mark.parametrize("options", [["--results", "elsewhere"], ["--results=elsewhere"]])
def test_an_option_of_the_other_commands_is_said_to_be_none_here(options):
    with pytest.raises(KdpipeError, match="or to that of --directory"):
        started(*options)


@pytest.mark.parametrize("options", ["--cores 0", "--cores=x", "-c0", "-j 0", "--jobs -1", "-j1.5"])
def test_a_number_of_jobs_with_which_none_would_start_is_refused(options):
    with pytest.raises(KdpipeError, match=r"must be a whole number above 0, or `(all|unlimited)`$"):
        started(*options.split())


def test_a_study_among_the_options_is_refused(tmp_path, monkeypatch):
    """Snakemake would take it for a target, after the digits had been measured."""
    monkeypatch.chdir(tmp_path)
    for name in ("flowers.yaml", "site.yaml"):
        Path(name).touch()
    with pytest.raises(KdpipeError, match=r"first: `kdpipe run flowers\.yaml --cores 2`$"):
        started("--cores", "2", "flowers.yaml", study=None)
    with pytest.raises(KdpipeError, match=r"only one study can be run at a time \(mine\.yaml\)"):
        started("--cores", "2", "flowers.yaml")
    assert started("--profile", "site.yaml", study=None)[-1] == "site.yaml"
    assert started("--cores", "2", "missing.yaml")[-1] == "missing.yaml"  # Snakemake says it


def test_measuring_ends_with_who_asked_for_it(tmp_path):
    """In whatever way: it is killed before the study has begun."""
    path = tiny_study.write(tmp_path / "study.yaml", tiny_study.study(device="cpu"))
    env = os.environ | {estimate.CACHE_ENV: str(tmp_path / "cache")}
    command = [sys.executable, "-m", "kdpipe", "run", path, "--cores", "2"]
    with open(tmp_path / "said", "wb") as message:
        head = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=message, stderr=message)
    below = psutil.Process(head.pid)
    until = time.monotonic() + 60
    while not (there := [each for each in below.children() if len(each.threads()) > 1]):
        assert head.poll() is None and time.monotonic() < until, (tmp_path / "said").read_text()
        time.sleep(0.01)
    assert "measure" in there[0].cmdline()
    head.kill()
    head.wait()
    _, left = psutil.wait_procs(there, timeout=20)
    assert not left


def test_what_check_refuses_is_not_started(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("was started"))
    path = tiny_study.write(tmp_path / "wrong.yaml", tiny_study.study(seeds=[]))
    assert main(["run", str(path), "--cores", "2"]) == 2
    assert f"{path}" in capsys.readouterr().err


def test_options_are_handed_on_as_they_are(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(os, "execv", lambda _, line: lines.append(line))
    path = str(tiny_study.write(tmp_path / "study.yaml", tiny_study.study()))
    typed = ["-n", "--set-threads", "train=2", "--", "teachers"]
    monkeypatch.setenv(run_snakemake.INVOCATION_ENV, "")
    main(["run", path, *typed])
    assert os.environ[run_snakemake.INVOCATION_ENV] == f"{os.getpid()} {shlex.join([path, *typed])}"
    assert lines == [run_snakemake.build_command(ROOT, path, typed)]


TIMER_TOY = """
from snakemake.scheduling.job_scheduler import JobScheduler
from kdpipe.workflow.run_snakemake import lift_rate_limit

start_timer, timers = JobScheduler._schedule_reevalutation, []


def count_timer(scheduler, delay):
    timers.append(delay)
    start_timer(scheduler, delay)


onstart:
    lifted = lift_rate_limit(
        workflow.scheduler, workflow.scheduling_settings.max_jobs_per_timespan, True
    )
    assert lifted is True
    JobScheduler._schedule_reevalutation = count_timer


onsuccess:
    with open("timers", "w") as file:
        file.write(str(len(timers)))


rule all:
    input:
        [f"{number}.out" for number in range(20)],


rule job:
    output:
        touch("{number}.out"),
"""


def test_the_head_of_a_local_run_starts_no_timers(tmp_path):
    """Snakemake itself with 20 jobs: as it is it starts a timer for each of them, and more."""
    (tmp_path / "Snakefile").write_text(TIMER_TOY)
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--scheduler", "greedy"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "timers").read_text() == "0"
    assert len(list(tmp_path.glob("*.out"))) == 20


def test_the_rate_is_limited_where_snakemake_or_its_user_says_so(monkeypatch):
    from snakemake.scheduling.job_scheduler import JobScheduler
    from snakemake.settings.types import MaxJobsPerTimespan

    class OtherScheduler(JobScheduler):
        def _schedule_reevalutation(self, delay):
            pass

    def lift(scheduler_class=JobScheduler, limit="100/1s", limiter: object = "limiter", ours=True):
        scheduler = scheduler_class.__new__(scheduler_class)
        scheduler.job_rate_limiter = limiter
        parsed = limit and MaxJobsPerTimespan.parse_choice(limit)
        was_lifted = run_snakemake.lift_rate_limit(scheduler, parsed, ours)
        assert scheduler.job_rate_limiter is (None if was_lifted else limiter)
        return was_lifted

    assert not lift(ours=False)  # a plain `snakemake`
    assert lift()
    assert not lift(OtherScheduler)  # a Snakemake whose code is another
    assert not lift(limit="3/1m")
    assert not lift(limiter=None)
    monkeypatch.setattr(run_snakemake.inspect, "getsource", lambda _: exec("raise OSError"))
    assert not lift()


def test_a_clone_is_its_own_home():
    assert run_snakemake.find_workflow_dir() == ROOT
