"""What a start tells, from the events of a Snakemake that is pretended."""

import dataclasses
import io
import logging
import re
from types import SimpleNamespace

import pytest
import tiny
from made_study import write
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

from kdpipe.results import records, run_folder, store
from kdpipe.results.files import write_json
from kdpipe.results.store import Store
from kdpipe.workflow import screen, telling
from kdpipe.workflow.dag import Dag
from snakemake_logger_plugin_kdpipe import LogHandler

CONTENT = tiny.study(
    teacher_outputs="table", ensembles={"two": {"networks": ["wrn10-0.5"], "copies": 2}}
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pretended:
    """A Snakemake that says what it is told to, of a study of which nothing is done."""

    def __init__(self, stream, **settings):
        given = {"dryrun": False, "verbose": False, "quiet": None, "debug_dag": False}
        given |= {"printshellcmds": False, "show_failed_logs": False, "nocolor": True}
        self.handler = LogHandler(SimpleNamespace(**(given | settings)), None)  # type: ignore
        self.handler.teller.stream = stream
        self.stream = stream
        self.ids: dict[str, int] = {}

    def study(self, to_do=None, **keys):
        plan = tiny.planned(**{**CONTENT, **keys})
        names = [name for items in plan.recorded.values() for name in items]
        dag = Dag(plan.study, plan, frozenset(names if to_do is None else to_do), frozenset())
        telling.tell_of(dag, "mine.yaml")
        return plan

    def say(self, event=None, text="", level=logging.INFO, **more):
        record = logging.LogRecord("snakemake", level, "", 0, text, None, None)
        vars(record).update(more | ({"event": event} if event else {}))
        self.handler.emit(record)

    def started(self, cores=2):
        self.say(LogEvent.RESOURCES_INFO, "Provided cores", cores=cores)
        self.say(LogEvent.RUN_INFO, "Job stats", stats={})

    def begin(self, rule, name):
        number = self.ids.setdefault(name, len(self.ids))
        self.say(LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards={"name": name})

    def end(self, name):
        self.say(LogEvent.JOB_FINISHED, "Finished", job_id=self.ids[name])

    def fail(self, rule, name, log="logs/x.log"):
        said = {"jobid": self.ids[name], "rule_name": rule, "log": [log]}
        self.say(LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, **said)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def snakemake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield Pretended(io.StringIO())
    telling.current = None


def test_a_line_for_each_job_that_made_something(snakemake):
    plan = snakemake.study()
    write(plan, Store())
    scratch, teacher = list(plan.runs.values())[:2]
    (table,) = plan.tables.values()
    snakemake.say(text="Building DAG of jobs...")
    snakemake.started()
    for rule, name in (("prepare", "digits-1"), ("train", scratch.name), ("table", table.name)):
        snakemake.begin(rule, name)
        snakemake.end(name)
    first, *lines = snakemake.lines
    assert first.startswith("study tiny: runs 0 of 4, teacher tables 0 of 1, ensembles 0 of 1; ")
    error = 100 * (1 - tiny.record(Store(), scratch)["last"]["val"]["accuracy"])
    assert re.fullmatch(
        rf"\[\d+ %, .* left\] {scratch.name}: validation error {error:.2f} %, 0.0 s", lines[0]
    )
    assert lines[1].split("] ")[1] == f"{table.name}: made, 0.0 s"
    assert len(lines) == 2 and teacher.name not in str(lines)


def test_the_bar_is_over_the_price(snakemake):
    """Not over jobs: a large network that is done is more of it than a small one."""
    plan = snakemake.study(recipe={"epochs": 400})
    write(plan, Store())
    small, large = list(plan.runs.values())[:2]
    folder = Store().run(large.name)
    records.publish(folder, records.read(folder, None) | {"seconds": {"total": 30.0}})
    snakemake.started()
    shares = []
    for run in (small, large):
        snakemake.begin("train", run.name)
        snakemake.end(run.name)
        shares.append(snakemake.handler.teller.course.fraction())
    price = snakemake.handler.teller.course.price
    everything = [*plan.runs.values(), *plan.tables.values(), *plan.ensembles.values()]
    whole = sum(map(price.of, everything))
    assert shares[1] == pytest.approx((price.of(small) + price.of(large)) / whole)
    assert price.of(large) == pytest.approx(3 * price.of(small))


def test_what_is_not_asked_for_is_neither_counted_nor_priced(snakemake, monkeypatch):
    monkeypatch.setattr(Dag, "asked", property(lambda dag: frozenset(list(dag.plan.runs)[:1])))
    plan = snakemake.study()
    (first, *_) = plan.runs.values()  # on labels: it waits for nothing
    snakemake.started()
    course = snakemake.handler.teller.course
    assert course.counts() == "runs 0 of 1"
    assert course.left().schedule.core_seconds == pytest.approx(course.price.of(first))


def test_a_table_that_was_made_is_no_time_to_come(snakemake):
    """Nor while its student is still to do; and one that stood before the start never was."""
    plan = snakemake.study()
    (table,) = plan.tables.values()
    snakemake.started()
    course = snakemake.handler.teller.course
    before = course.left().schedule.core_seconds
    snakemake.begin("table", table.name)
    snakemake.end(table.name)
    price = course.price.of(table)
    assert course.left().schedule.core_seconds == pytest.approx(before - price)
    Store().table(table.name).mkdir(parents=True)
    other = dataclasses.replace(course, ended=set())
    assert other.left().schedule.core_seconds == pytest.approx(before - price)
    assert other.fraction() == pytest.approx(
        price / sum(map(course.price.of, course.items.values()))
    )


def test_a_failed_job_is_its_reason_in_one_line_and_not_its_spec(snakemake):
    plan = snakemake.study()
    scratch, teacher = list(plan.runs.values())[:2]
    for run in (scratch, teacher):
        snakemake.begin("train", run.name)
    snakemake.started()
    write_json(run_folder.failure(Store().run(scratch.name)), {"reason": "no\nspace " + 200 * "x "})
    snakemake.fail("train", scratch.name)
    snakemake.say(LogEvent.ERROR, "CalledProcessError: kdpipe train --spec '{...}'", logging.ERROR)
    (line,) = [line for line in snakemake.lines if line.startswith("failed")]
    assert line.startswith(f"failed  {scratch.name}: no space x x") and line.endswith(
        " ... (logs/x.log)"
    )
    snakemake.handler.close()
    first, then, _ = snakemake.lines[-3:]
    begins = "study tiny: 0 of 4 runs are done, 1 failed; the first, "
    assert first.startswith(f"{begins}{scratch.name}: no space x")
    assert (
        then.startswith("`kdpipe status mine.yaml` says why") and "`kdpipe run mine.yaml`" in then
    )
    assert "--spec" not in snakemake.stream.getvalue()


def test_of_a_job_that_noted_nothing_the_last_line_of_its_log_is_the_reason(snakemake, tmp_path):
    plan = snakemake.study()
    name = next(iter(plan.runs))
    (tmp_path / "x.log").write_text("begun\nKilled\n")
    snakemake.started()
    snakemake.begin("train", name)
    snakemake.fail("train", name, str(tmp_path / "x.log"))
    assert f"failed  {name}: Killed ({tmp_path}/x.log)" in snakemake.lines


@pytest.mark.parametrize("quiet", [None, {"all"}])
def test_nothing_to_do_is_said(snakemake, quiet):
    plan = snakemake.study(to_do=[])
    write(plan, Store())
    snakemake.say(text="Building DAG of jobs...")
    snakemake.say(text="Nothing to be done (all requested files are present and up to date).")
    snakemake.handler.close()
    snakemake.handler.close()  # Snakemake does so
    assert snakemake.lines == ["study tiny: nothing to do, all 4 runs are done"]


def test_what_was_stopped_goes_on(snakemake):
    snakemake.study()
    snakemake.started()
    snakemake.say(text="Terminating processes on user request, this might take some time.")
    snakemake.say(LogEvent.ERROR, "Cancelling", logging.ERROR)
    snakemake.handler.close()
    assert snakemake.lines[1:] == [
        "study tiny: 0 of 4 runs are done; it was stopped, `kdpipe run mine.yaml` goes on where "
        "each run stood"
    ]


def test_words_before_the_first_job_are_kept_for_when_none_starts(snakemake):
    snakemake.study()
    snakemake.say(text="Unlocked working directory.")
    assert snakemake.lines == []
    snakemake.handler.close()
    assert snakemake.lines == ["Unlocked working directory."]


def test_a_warning_is_said_at_once(snakemake):
    snakemake.study()
    snakemake.say(text="the disk is slow", level=logging.WARNING)
    assert snakemake.lines == ["the disk is slow"]


@pytest.mark.parametrize("settings", [{"dryrun": True}, {"verbose": True}])
def test_a_dry_run_and_verbose_are_snakemakes_own(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Pretended(io.StringIO(), **settings)
    own.study()
    own.started()
    own.say(text="Removing temporary output")
    own.handler.close()
    telling.current = None
    assert own.lines == ["Provided cores", "Job stats", "Removing temporary output"]


def test_a_terminal_has_a_bar_and_what_runs_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = Pretended(Terminal())
    plan = head.study()
    write(plan, Store())
    scratch, teacher = list(plan.runs.values())[:2]
    head.started()
    for run in (scratch, teacher):
        head.begin("train", run.name)
    with store.only_one(Store().run(scratch.name)):
        shown = text_of(head.handler.teller.screen)
    head.end(scratch.name)
    head.begin("train", "unknown")
    later = text_of(head.handler.teller.screen)
    head.fail("train", teacher.name)
    head.handler.close()
    telling.current = None
    bar, counts, *rows = shown
    assert re.match(r"tiny .* 0 % .* gone, time left: ", bar)
    assert counts.startswith("runs 0 of 4")
    assert rows[0].split() == ["training", scratch.name, *["epoch", "0", "of", "2"]]
    assert rows[1].split()[:2] == ["starting", teacher.name]
    assert later[1].startswith("runs 1 of 4") and len(later) == 4
    assert f"failed  {teacher.name}:" in head.stream.getvalue()


def text_of(display: screen.Screen) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    display._looked = 0.0
    console.print(display.shown())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore
