"""What a start tells, from the events of a Snakemake that is pretended."""

import dataclasses
import io
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
from helpers import tiny_study
from helpers.synthetic_study import write
from rich.console import Console
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from kdpipe.runs import records, run_folder, store
from kdpipe.runs.files import write_json
from kdpipe.runs.store import Store
from kdpipe.workflow import progress, run_snakemake, run_state
from kdpipe.workflow.rule_context import RuleContext, SnakemakeOptions
from snakemake_logger_plugin_kdpipe import LogHandler

FURTHER = "For further error details see the cluster/cloud log and the log files of the rule(s)."
CONTENT = tiny_study.study(
    teacher_outputs="table", ensembles={"two": {"networks": ["wrn10-0.5"], "copies": 2}}
)


SCRATCH, TEACHER = "wrn10-0.5 on labels, seed 0", "wrn10-1 on labels, seed 0"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pretended:
    """A Snakemake that says what it is told to, of a study of which nothing is done."""

    def __init__(self, stream, **settings):
        inputs = {"dryrun": False, "verbose": False, "quiet": None, "debug_dag": False}
        inputs |= {"printshellcmds": False, "show_failed_logs": False, "nocolor": True}
        self.handler = LogHandler(SimpleNamespace(**(inputs | settings)), None)  # type: ignore
        self.handler.reporter.stream = stream
        self.stream = stream
        self.ids: dict[str, int] = {}

    def study(self, to_do=None, remote=False, **keys):
        plan = tiny_study.planned(**{**CONTENT, **keys})
        names = frozenset(name for items in plan.recorded_nodes.values() for name in items)
        names = names if to_do is None else frozenset(to_do)
        dag = RuleContext(
            plan.study, plan, names, frozenset(), options=SnakemakeOptions(is_remote=remote)
        )
        progress.attach_study(dag, "mine.yaml")
        return plan

    def say(self, event=None, text="", level=logging.INFO, **more):
        record = logging.LogRecord("snakemake", level, "", 0, text, None, None)
        vars(record).update(more | ({"event": event} if event else {}))
        self.handler.emit(record)

    def started(self, **resources):
        self.say(LogEvent.RESOURCES_INFO, "Provided cores", **(resources or {"cores": 2}))
        self.say(LogEvent.RUN_INFO, "Job stats", stats={})

    def begin(self, rule, name):
        number = self.ids.setdefault(name, len(self.ids))
        self.say(LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards={"name": name})

    def end(self, name):
        self.say(LogEvent.JOB_FINISHED, "Finished", job_id=self.ids[name])

    def fail(self, rule, name, log="logs/x.log", message=None, slurm_job=None):
        """As Snakemake does: the command of a job on this machine first, then that it has failed;
        of one in a queue what the executor says of it (RemoteExecutor.print_job_error).
        """
        output = {"jobid": self.ids[name], "rule_name": rule, "log": [log], "rule_msg": None}
        output["aux"] = {"external_jobid": slurm_job} if slurm_job else {}
        if message is None:
            command = "RuleException:\nCalledProcessError in file runs.smk: kdpipe train --spec {}"
            more = {"exception": "RuleException"}
            self.say(LogEvent.ERROR, command, logging.ERROR, **more)
        else:
            output["rule_msg"] = message + FURTHER
        self.say(LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, **output)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture(autouse=True)
def typed(monkeypatch, tmp_path):
    """`kdpipe run mine.yaml --cores 2` in an empty folder, on a terminal that can do all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(run_snakemake.INVOCATION_ENV, f"{os.getpid()} mine.yaml --cores 2")
    monkeypatch.setenv("TERM", "xterm")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    progress.current_reporter = None


@pytest.fixture
def snakemake(typed):
    return Pretended(io.StringIO())


def test_a_line_for_each_job_that_made_something(snakemake):
    plan = snakemake.study()
    write(plan, Store())
    scratch = next(iter(plan.runs.values()))
    (table,) = plan.logit_caches.values()
    snakemake.say(text="Building DAG of jobs...")
    snakemake.started()
    for rule, name in (("prepare", "digits-1"), ("train", scratch.name), ("table", table.name)):
        snakemake.begin(rule, name)
        snakemake.end(name)
    first, *lines = snakemake.lines
    assert first.startswith("study tiny: runs 0 of 4, logit caches 0 of 1, ensembles 0 of 1; ")
    error = 100 * (1 - tiny_study.record(Store(), scratch)["last"]["val"]["accuracy"])
    assert re.fullmatch(
        rf"\[\d+ %, .* left\] {SCRATCH}: top-1 validation error {error:.2f} %, 0.0 s", lines[0]
    )
    assert lines[1].split("] ")[1] == f"logits of {TEACHER}: made, 0.0 s"
    assert len(lines) == 2


def test_the_bar_is_over_the_price(snakemake):
    """Not over jobs: a large network that is done is more of it than a small one."""
    plan = snakemake.study(recipe={"epochs": 400})
    write(plan, Store())
    small, large = list(plan.runs.values())[:2]
    folder = Store().run(large.name)
    records.publish_record(folder, records.read_record(folder, None) | {"seconds": {"total": 30.0}})
    snakemake.started()
    shares = []
    for run in (small, large):
        snakemake.begin("train", run.name)
        snakemake.end(run.name)
        shares.append(snakemake.handler.reporter.run_state.compute_fraction_done())
    price = snakemake.handler.reporter.run_state.cost_model
    everything = [*plan.runs.values(), *plan.logit_caches.values(), *plan.ensembles.values()]
    whole = sum(map(price.estimate_seconds, everything))
    assert shares[1] == pytest.approx(
        (price.estimate_seconds(small) + price.estimate_seconds(large)) / whole
    )
    assert price.estimate_seconds(large) == pytest.approx(3 * price.estimate_seconds(small))


def test_finished_epochs_of_a_running_run_correct_the_time_left(snakemake, monkeypatch):
    """By hand: ten epochs in twenty seconds are 2 s each, and 400 of them 800 s.

    One reading is enough, and the two epochs of an earlier start do not count.
    """
    plan = snakemake.study(recipe={"epochs": 400}, ensembles={})
    snakemake.started()
    course = snakemake.handler.reporter.run_state
    run = next(iter(plan.runs.values()))
    progress_path = run_folder.progress_path(Store().run(run.name))
    write_json(progress_path, {"epoch": 2, "seconds": 100.0, "curve": []})
    snakemake.begin("train", run.name)
    course._compute_seconds_done()
    assert not course.paces  # it waits: what an earlier start has saved is no pace
    monkeypatch.setattr(run_state, "is_running", lambda _: True)
    course._compute_seconds_done()
    assert not course.paces  # no epoch of this start is finished
    write_json(progress_path, {"epoch": 12, "seconds": 120.0, "curve": []})
    course._compute_seconds_done()
    price = course.cost_model
    seconds = price.estimate_seconds(run) - price._start_seconds
    assert seconds == pytest.approx(800.0) and price.is_known
    assert re.fullmatch(r"\d+ to \d+ minutes, at the current pace", course.format_time_left())
    other = list(plan.runs)[1]
    snakemake.begin("train", other)
    snakemake.end(other)
    assert " minutes left, at the current pace] " in snakemake.lines[-1]
    course.records[run.name] = {"status": "done", "seconds": {"total": 100.0}}
    course._cost_model = None
    assert not course.cost_model.paces  # the record says it all


def test_what_is_not_asked_for_is_neither_counted_nor_priced(snakemake, monkeypatch):
    monkeypatch.setattr(
        RuleContext, "requested", property(lambda dag: frozenset(list(dag.plan.runs)[:1]))
    )
    plan = snakemake.study()
    (first, *_) = plan.runs.values()  # on labels: it waits for nothing
    snakemake.started()
    course = snakemake.handler.reporter.run_state
    assert course.format_counts() == "runs 0 of 1"
    assert course.estimate_left().schedule.core_seconds == pytest.approx(
        course.cost_model.estimate_seconds(first)
    )


def test_a_table_that_was_made_is_no_time_to_come(snakemake):
    """Nor while its student is still to do; and one that stood before the start never was."""
    plan = snakemake.study()
    (table,) = plan.logit_caches.values()
    snakemake.started()
    course = snakemake.handler.reporter.run_state
    before = course.estimate_left().schedule.core_seconds
    snakemake.begin("table", table.name)
    snakemake.end(table.name)
    price = course.cost_model.estimate_seconds(table)
    assert course.estimate_left().schedule.core_seconds == pytest.approx(before - price)
    Store().logit_cache(table.name).mkdir(parents=True)
    other = dataclasses.replace(course, ended=set())
    assert other.estimate_left().schedule.core_seconds == pytest.approx(before - price)
    assert other.compute_fraction_done() == pytest.approx(
        price / sum(map(course.cost_model.estimate_seconds, course.nodes.values()))
    )


def test_a_failed_job_is_its_reason_in_one_line_and_not_its_spec(snakemake, tmp_path):
    plan = snakemake.study()
    scratch, teacher = list(plan.runs.values())[:2]
    snakemake.started()
    for run in (scratch, teacher):
        snakemake.begin("train", run.name)
    write_json(
        run_folder.failure_path(Store().run(scratch.name)), {"reason": "no\nspace " + 200 * "x "}
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/x.log").touch()
    snakemake.fail("train", scratch.name)
    snakemake.say(text="the disk is slow", level=logging.WARNING)  # of what comes after it
    snakemake.say(text="Exiting because a job execution failed. Look above", level=logging.ERROR)
    (line,) = [line for line in snakemake.lines if line.startswith("failed")]
    assert line.startswith(f"failed  {SCRATCH}: no space x x") and line.endswith(
        " ... (logs/x.log)"
    )
    snakemake.handler.close()
    first, then, _ = snakemake.lines[-3:]
    begins = "study tiny: 0 of 4 runs are done, 1 failed; the first, "
    assert first.startswith(f"{begins}{SCRATCH}: no space x")
    assert then.startswith("`kdpipe status mine.yaml` shows the reasons")
    assert "`kdpipe run mine.yaml --cores 2` continues" in then
    message = snakemake.stream.getvalue()
    assert "--spec" not in message and "Exiting" not in message and "the disk is slow" in message


def test_of_a_job_that_noted_nothing_the_last_line_of_its_log_is_the_reason(snakemake, tmp_path):
    plan = snakemake.study()
    name = next(iter(plan.runs))
    (tmp_path / "x.log").write_text("begun\nKilled\n")
    snakemake.started()
    snakemake.begin("train", name)
    snakemake.fail("train", name, str(tmp_path / "x.log"))
    assert f"failed  {SCRATCH}: Killed ({tmp_path}/x.log)" in snakemake.lines


@pytest.mark.parametrize(("blocks", "is_full"), [(3, True), (10**6, False)])
def test_of_a_job_that_could_log_nothing_the_full_disk_is_the_reason(
    snakemake, tmp_path, monkeypatch, blocks, is_full
):
    plan = snakemake.study()
    name = next(iter(plan.runs))
    (tmp_path / "x.log").touch()
    space = SimpleNamespace(f_bavail=blocks, f_frsize=4096)
    monkeypatch.setattr(progress.os, "statvfs", lambda _: space)
    snakemake.started()
    snakemake.begin("train", name)
    snakemake.fail("train", name, str(tmp_path / "x.log"))
    (line,) = [line for line in snakemake.lines if line.startswith("failed")]
    assert (f"no space left on the disk of {tmp_path}/" in line) == is_full
    assert ("out of memory" in line) != is_full


@pytest.mark.parametrize("quiet", [None, {"all"}])
def test_nothing_to_do_is_said(snakemake, quiet):
    plan = snakemake.study(to_do=[])
    write(plan, Store())
    snakemake.say(text="Building DAG of jobs...")
    snakemake.say(text="Nothing to be done (all requested files are present and up to date).")
    snakemake.handler.close()
    snakemake.handler.close()  # Snakemake does so
    assert snakemake.lines == ["study tiny: nothing to do, all 4 runs are done"]


def test_what_was_stopped_goes_on_and_nothing_of_it_has_failed(snakemake, tmp_path):
    """A terminal sends the jobs the same signal, so they end before Snakemake says a word of it."""
    plan = snakemake.study()
    name = next(iter(plan.runs))
    snakemake.started()
    snakemake.begin("train", name)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    snakemake.fail("train", name)
    snakemake.say(text="Terminating processes on user request, this might take some time.")
    snakemake.say(LogEvent.ERROR, "Cancelling", logging.ERROR)
    snakemake.handler.close()
    assert snakemake.lines[1:3] == [
        "stopping: its jobs end now, their progress is kept",
        "study tiny: 0 of 4 runs are done; it was stopped, `kdpipe run mine.yaml --cores 2` "
        "resumes each run from its saved state",
    ]


def test_stopped_before_the_first_job(snakemake):
    snakemake.study()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    snakemake.say(LogEvent.ERROR, "Cancelling snakemake on user request.", logging.ERROR)
    snakemake.handler.close()
    begins = "`kdpipe run mine.yaml --cores 2` starts it"
    assert snakemake.lines == [f"stopped before anything was started; {begins}"]


def test_a_start_that_is_stopped_renders_no_report(snakemake, monkeypatch):
    plan = snakemake.study()
    write(plan, Store())
    rendered = []
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: rendered.append(1))
    dag = snakemake.handler.reporter.context
    progress.render_partial_report(dag)
    assert rendered == [1]
    snakemake.handler.reporter.is_stopped = True
    progress.render_partial_report(dag)
    snakemake.handler.reporter.is_stopped = False
    shutil.rmtree("results")
    progress.render_partial_report(
        dag
    )  # of no record there is no report, and no message that says so
    assert rendered == [1]


def test_a_folder_that_another_start_works_in(snakemake, tmp_path):
    snakemake.study()
    message = "LockException:\nError: Directory cannot be locked. Please make sure that"
    snakemake.say(LogEvent.ERROR, message, logging.ERROR)
    (line,) = snakemake.lines
    assert line.startswith(
        f"{tmp_path} is locked, since another invocation of this study is running in it"
    )
    assert "`kdpipe run mine.yaml --cores 2 --unlock`" in line


def test_words_before_the_first_job_are_kept_for_when_none_starts(snakemake):
    snakemake.study()
    snakemake.say(text="Unlocked working directory.")
    assert snakemake.lines == []
    snakemake.handler.close()
    assert snakemake.lines == ["Unlocked working directory."]


def test_a_warning_is_said_at_once_and_not_with_every_job(snakemake):
    snakemake.study()
    snakemake.say(text="the disk is slow", level=logging.WARNING)
    assert snakemake.lines == ["the disk is slow"]
    snakemake.started()
    for _ in range(3):
        snakemake.say(text="No account was given", level=logging.WARNING)
    assert snakemake.lines[2:] == ["No account was given"]


@pytest.mark.parametrize("settings", [{"dryrun": True}, {"verbose": True}])
def test_a_dry_run_and_verbose_are_snakemakes_own(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(run_snakemake.INVOCATION_ENV)
    own = Pretended(io.StringIO(), **settings)
    own.study()
    own.started()
    own.say(text="Removing temporary output")
    own.handler.close()
    progress.current_reporter = None
    assert own.lines == ["Provided cores", "Job stats", "Removing temporary output"]


def test_a_terminal_has_a_bar_and_what_runs_now():
    head = Pretended(Terminal())
    plan = head.study()
    write(plan, Store())
    scratch, teacher = list(plan.runs.values())[:2]
    head.started()
    for run in (scratch, teacher):
        head.begin("train", run.name)
    with store.lock_run_folder(Store().run(scratch.name)):
        displayed = text_of(head.handler.reporter.display)
    head.end(scratch.name)
    head.begin("train", "unknown")
    later = text_of(head.handler.reporter.display)
    head.fail("train", teacher.name)
    head.handler.reporter.print_line("\x1b]0;a title\a")
    head.handler.close()
    assert "\\x1b]0;a title" in head.stream.getvalue() and "\x1b]0;" not in head.stream.getvalue()
    bar, times, counts, *rows = displayed
    assert re.fullmatch(r"tiny .* 0 %", bar) and re.match(r"\S+ s elapsed, time left: ", times)
    assert all(len(line) <= 80 for line in (bar, times))  # a narrow terminal breaks none of them
    assert counts.startswith("runs 0 of 4")
    assert rows[0].split() == ["training", *SCRATCH.split(), *["epoch", "0", "of", "2"]]
    assert rows[1].split()[:6] == ["starting", *TEACHER.split()]
    assert later[2].startswith("runs 1 of 4") and len(later) == 5
    assert f"failed  {TEACHER}:" in head.stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_run_that_diverged_is_said_and_counted(stream):
    head = Pretended(stream())
    plan = head.study(ensembles={})
    write(plan, Store())
    scratch, teacher = list(plan.runs.values())[:2]
    folder = Store().run(teacher.name)
    reason = {"status": "diverged", "reason": "epoch 1: the loss is nan"}
    records.publish_record(folder, records.read_record(folder, None) | reason)
    head.started()
    for run in (scratch, teacher):
        head.begin("train", run.name)
        head.end(run.name)
    head.handler.close()
    message = head.stream.getvalue()
    pattern = rf"{re.escape(TEACHER)}: diverged \(epoch 1: the loss is nan\), 0\.\d s"
    assert re.search(pattern, message)
    assert (f"{SCRATCH}: " in message) == (stream is io.StringIO)
    assert "study tiny: all 3 runs are done (1 diverged)" in message


def test_a_terminal_that_cannot_go_back_has_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    head = Pretended(Terminal())
    head.study()
    head.started()
    assert head.lines[0].startswith("study tiny: runs 0 of 4")


def test_a_report_that_could_not_be_rendered(snakemake):
    plan = snakemake.study()
    write(plan, Store())
    snakemake.started()
    number = snakemake.ids.setdefault("render", 0)
    snakemake.say(LogEvent.JOB_INFO, jobid=number, rule_name="render", wildcards={})
    snakemake.fail("render", "render")
    snakemake.handler.close()
    assert "study tiny: all 4 runs are done, the report failed: it ended" in snakemake.lines[-3]
    assert snakemake.lines[-2] == "`kdpipe report mine.yaml` renders it again"


def test_with_directory_what_is_said_can_be_typed_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setenv(run_snakemake.INVOCATION_ENV, f"{os.getpid()} mine.yaml --directory there")
    head = Pretended(io.StringIO())
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")  # as Snakemake does
    plan = head.study()
    head.started()
    name = next(iter(plan.runs))
    head.begin("train", name)
    log = tmp_path / "there/x.log"
    log.write_text("no space\n")
    head.fail("train", name, "x.log")
    head.handler.close()
    assert f"failed  {SCRATCH}: no space ({log})" in head.lines
    assert (
        f"`kdpipe status mine.yaml --results {tmp_path}/there/results` shows the reasons"
        in head.lines[-2]
    )
    assert "`kdpipe run mine.yaml --directory there` continues" in head.lines[-2]


@pytest.mark.parametrize(
    "typed", ["mine.yaml -c2 -- teachers", "mine.yaml results/runs/a-0123456789ab/record.json -c2"]
)
def test_targets_are_left_out_of_what_does_the_rest(typed, monkeypatch):
    """With them it would do nothing more."""
    monkeypatch.setenv(run_snakemake.INVOCATION_ENV, f"{os.getpid()} {typed}")
    head = Pretended(io.StringIO())
    head.study()
    head.started()
    head.handler.close()
    assert head.lines[-1].endswith("`kdpipe run mine.yaml -c2` runs the rest")


def test_what_snakemake_itself_was_typed_for(monkeypatch):
    monkeypatch.delenv(run_snakemake.INVOCATION_ENV)
    monkeypatch.setattr("sys.argv", ["/bin/snakemake", "--profile", "profiles/slurm"])
    head = Pretended(io.StringIO())
    head.study()
    head.started()
    head.handler.close()
    assert head.lines[-1].endswith("`snakemake --profile profiles/slurm` runs the rest")


# --- a cluster: events as the SLURM plugin 2.8 sends them

SBATCH = """SLURM sbatch failed. The error message was 'sbatch: error: invalid partition: nope'.
    sbatch call:
        sbatch --parsable --wrap="kdpipe train --spec"
"""
STATUS = (
    "SLURM-job '12' failed, SLURM status is: '{}'. Detailed failure reason unavailable (status "
    "command is not 'sacct')."
)


@pytest.fixture
def cluster(snakemake):
    snakemake.plan = snakemake.study(remote=True, recipe={"threads": 2})
    snakemake.started(nodes=100)
    snakemake.name = next(iter(snakemake.plan.runs))
    snakemake.begin("train", snakemake.name)
    return snakemake


def test_a_job_that_the_queue_refuses(cluster, tmp_path):
    (tmp_path / "x.log").write_text("of the time before\n")
    cluster.fail("train", cluster.name, str(tmp_path / "x.log"), message=SBATCH)
    (line,) = [line for line in cluster.lines if line.startswith("failed")]
    reason = "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition: nope'."
    assert line == f"failed  {SCRATCH}: {reason}"


@pytest.mark.parametrize(
    "state, displayed",
    [("TIMEOUT", "TIMEOUT"), ("OUT_OF_MEMORY", "MEMORY"), ("FAILED", "no space")],
)
def test_a_job_that_the_queue_ended_and_one_that_failed(cluster, tmp_path, state, displayed):
    log = tmp_path / "x.log"
    log.write_text("training\nno space\n")
    cluster.fail("train", cluster.name, str(log), STATUS.format(state), slurm_job="12")
    (line,) = [line for line in cluster.lines if line.startswith("failed")]
    assert displayed in line and line.endswith(f" ({log})") and "further" not in line
    cluster.say(text="one more thing", level=logging.WARNING)
    assert cluster.lines[-1] == "one more thing"


def test_a_job_whose_time_was_over_has_not_failed(cluster, tmp_path):
    """It saves its state, leaves with 75, and is sent again."""
    log = tmp_path / "x.log"
    log.write_text("interrupted: SIGTERM; the state is saved, start it again to resume\n")
    cluster.fail("train", cluster.name, str(log), STATUS.format("FAILED"), slurm_job="12")
    assert cluster.lines[-1].startswith(f"interrupted  {SCRATCH}: its state is saved")
    assert (
        not cluster.handler.reporter.run_state.failed and "failed" not in cluster.stream.getvalue()
    )


def test_a_queue_has_jobs_at_a_time_and_its_time_is_nobodys(cluster, monkeypatch):
    run = cluster.plan.runs[cluster.name]
    there = cluster.handler.reporter.run_state
    assert there.slots == 200  # of two threads each
    assert there.estimate_left().schedule.max_jobs == 3  # of four runs one waits for its teacher
    assert "time left: unknown until a run has finished" in cluster.lines[0]
    assert "measure" not in cluster.lines[0]
    clock = iter((1000.0, 1200.0, 1500.0))  # begun long ago, out of the queue, over
    monkeypatch.setattr(run_state.time, "monotonic", lambda: next(clock))
    there.running[run.name] = next(clock)
    with store.lock_run_folder(Store().run(run.name)):
        assert there.list_jobs()[0].activity == "training"
    there.fail_job(run.name, "")
    assert there.core_seconds == 2 * 300.0 and not there.startup_seconds


def test_what_goes_on_is_typed_with_its_profile(monkeypatch):
    monkeypatch.setenv(
        run_snakemake.INVOCATION_ENV, f"{os.getpid()} mine.yaml --profile profiles/slurm"
    )
    head = Pretended(io.StringIO())
    head.study(remote=True)
    head.started(nodes=100)
    head.say(text="Terminating processes on user request, this might take some time.")
    head.handler.close()
    assert "`kdpipe run mine.yaml --profile profiles/slurm` resumes" in head.lines[-1]
    assert "from the queue" in head.lines[-2]


# --- large plans


def test_what_is_left_is_not_counted_anew_for_every_line(snakemake, monkeypatch):
    """It goes through the whole plan, which for every line would be quadratic."""
    plan = snakemake.study(ensembles={})
    write(plan, Store())
    snakemake.started()
    counted = []

    def left(of):
        counted.append(of)
        time.sleep(2 * run_state.SLOW_SECONDS)
        return before(of)

    before = run_state.RunState.estimate_left
    monkeypatch.setattr(run_state.RunState, "estimate_left", left)
    run = next(iter(plan.runs))
    for _ in range(50):
        snakemake.begin("train", run)
        snakemake.end(run)
    assert len(snakemake.lines) == 51 and len(counted) < 10


def test_a_job_may_end_while_the_display_looks(snakemake, monkeypatch):
    """The display has a thread of its own."""
    snakemake.study()
    snakemake.started()
    there = snakemake.handler.reporter.run_state
    one, *others = there.nodes
    there.ended.add(one)
    before, requests = run_state.CostModel.estimate_seconds, []

    def of(price, item):
        requests.append(item)
        if len(requests) > len(there.nodes):  # of all that is to do; now of what has ended
            there.ended.update(others)
        return before(price, item)

    monkeypatch.setattr(run_state.CostModel, "estimate_seconds", of)
    assert 0.0 < there.compute_fraction_done() < 1.0


def text_of(display: progress.LiveDisplay) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    display._render_time = 0.0
    console.print(display.render())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore


def test_what_it_took_has_the_measuring_in_it(monkeypatch):
    """`kdpipe run` says when it was typed; a minute of measuring is one of one core."""
    monkeypatch.setenv(run_snakemake.START_TIME_ENV, repr(time.monotonic() - 60))
    head = Pretended(io.StringIO())
    plan = head.study()
    assert run_snakemake.START_TIME_ENV not in os.environ  # it is of this start, and of no job
    head.started()
    name = next(iter(plan.runs))
    head.begin("train", name)
    write(plan, Store())
    head.end(name)
    head.handler.close()
    hours = re.fullmatch(r"took 1 min \d+ s, (0\.\d\d) core-hours", head.lines[-1])
    assert hours is not None and float(hours[1]) == pytest.approx(60 / 3600, abs=0.011)


def test_a_dry_run_is_a_summary(typed):
    """Of `kdpipe run -n`; what is first is what Snakemake would start first."""
    pretended = Pretended(io.StringIO(), dryrun=True)
    plan = pretended.study()
    runs = list(plan.runs)
    pretended.say(text="Building DAG of jobs...")
    stats = {"prepare": 1, "train": 1200, "all": 1, "total": 1202}
    pretended.say(LogEvent.RUN_INFO, "Job stats", stats=stats)
    for number, name in enumerate(runs):
        pretended.say(
            LogEvent.JOB_INFO,
            jobid=number,
            rule_name="train",
            wildcards={"name": name},
            priority=3 if name == runs[-1] else 1,
        )
    pretended.say(LogEvent.JOB_INFO, jobid=99, rule_name="all", wildcards={}, priority=0)
    pretended.say(text="Reasons:\n many")
    pretended.say(text="This was a dry-run")
    pretended.handler.close()
    assert pretended.lines == [
        "study tiny: a dry run; to do: 1 data set, 1,200 runs",
        "runs by kind: 1 teacher, 1 scratch, 1 student (some in more than one role)",
        f"first: wrn10-0.5 on labels, member 1, seed 0; {SCRATCH}; {TEACHER}",
        "`--verbose` lists every job as Snakemake does",
    ]


@pytest.mark.parametrize("settings", [{"quiet": {Quietness.RULES}}, {"printshellcmds": True}])
def test_a_dry_run_with_options_for_its_output_is_snakemakes_own(typed, settings):
    assert Pretended(io.StringIO(), dryrun=True, **settings).handler.uses_own_output


@pytest.mark.parametrize("variable", ["1 mine.yaml --cores 2", "mine.yaml 'unclosed", "", "x"])
def test_a_command_line_of_another_start_is_ignored(variable, monkeypatch, capsys):
    monkeypatch.setenv(run_snakemake.INVOCATION_ENV, variable)
    monkeypatch.setenv(run_snakemake.START_TIME_ENV, "-inf")
    monkeypatch.setattr("sys.argv", ["/bin/snakemake", "--cores", "3"])
    reporter = progress.ProgressReporter(io.StringIO())
    assert reporter.invocation.repeat_command() == "snakemake --cores 3"
    assert time.monotonic() - reporter.start_time < 10
    assert "is of another start and is ignored" in capsys.readouterr().err


def test_a_pack_fails_in_one_line_and_its_runs_end_and_fail_one_by_one(snakemake):
    plan = snakemake.study(remote=True)
    reporter = snakemake.handler.reporter
    (name,) = reporter.context.packs
    snakemake.started(nodes=4)
    first, second, *_ = plan.runs
    snakemake.begin("pack", name)
    assert reporter.run_state.running.keys() == {*plan.runs, *plan.logit_caches}
    write(plan, Store())
    shutil.rmtree(Store().run(second))
    assert first not in [row.name for row in reporter.run_state.list_jobs()]
    snakemake.fail("pack", name, message="status is: 'FAILED'. ", slurm_job="7")
    count = len(plan.runs) + len(plan.logit_caches)
    assert snakemake.lines[-1].startswith(f"failed  a job of {count} short runs: ")
    assert reporter.run_state.failed.keys() & plan.runs.keys() == {second}
    snakemake.begin("pack", name)
    snakemake.end(name)
    assert not reporter.run_state.running and not reporter.run_state.failed
    snakemake.begin("packed", first)
    snakemake.end(first)
    assert "validation error" in snakemake.lines[-1]
    for _ in range(2):  # as often as jobs are tried again
        snakemake.begin("packed", second)
        snakemake.fail("packed", second)
    (line,) = [line for line in snakemake.lines if line.startswith("failed  wrn")]
    assert reporter.run_state.failed.keys() == {second} and line
