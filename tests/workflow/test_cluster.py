"""The study on a real SLURM: what it computes, and what happens when something goes wrong there.

`make test-cluster` runs these, one after another; they start a cluster of their own (slurm.py).
Byte equality is with the same study run on this machine without SLURM.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import every_file, tiny_study
from helpers import slurm as cluster
from helpers.snakemake_sandbox import Lab
from helpers.tiny_study import exact

from kdpipe.analysis.search import rounds
from kdpipe.config import load
from kdpipe.plan import planner

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(cluster.missing() is not None, reason=f"NO SLURM: {cluster.missing()}"),
]
ROOT = Path(__file__).parents[2]
STUDIES = {name: ROOT / "tests" / "workflow" / f"{name}.yaml" for name in ("cluster", "long")}
PATIENCE = 900  # seconds, on a machine with other work


@pytest.fixture(scope="module")
def slurm():
    # Not in pytest's own folder: munge wants its socket where everybody may look.
    with tempfile.TemporaryDirectory(prefix="kdpipe-slurm-") as folder:
        there = cluster.Slurm(Path(folder))
        try:
            there.start()
            yield there
        finally:
            there.stop()


@pytest.fixture(scope="module")
def cluster_locally(tmp_path_factory, warm):
    """The short study without SLURM."""
    return run_locally(tmp_path_factory.mktemp("cluster"), "cluster", warm)


@pytest.fixture(scope="module")
def long_locally(tmp_path_factory, warm):
    """The long one, whose steps do not wait here."""
    return run_locally(tmp_path_factory.mktemp("long"), "long", warm)


def run_locally(folder: Path, study: str, warm) -> Path:
    Lab(folder, warm).run(None, "--configfile", str(STUDIES[study]))
    return folder


def path_with(helper: str, folder: Path, slurm) -> str:
    """A PATH whose `kdpipe` is a script of tests/helpers."""
    (folder / "bin").mkdir()
    shim = folder / "bin" / "kdpipe"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/helpers/{helper} "$@"\n')
    shim.chmod(0o755)
    return f"{folder}/bin:{slurm.environment['PATH']}"


def snakemake(*options) -> list[str]:
    return [sys.executable, str(ROOT / "tests" / "helpers" / "fast_polling.py"), *map(str, options)]


class Head:
    """Snakemake with profiles/slurm and a site of the test's own, running in the background.

    by: `snakemake`, or `kdpipe run`.
    """

    def __init__(
        self,
        slurm,
        folder: Path,
        study: Path,
        *options,
        longest_job=10,
        by="snakemake",
        gpu_gres=None,
        **environment,
    ):
        self.folder = folder
        site = {
            "default-resources": {"slurm_partition": "main", "longest_job": longest_job}
            | ({"gpu_gres": gpu_gres} if gpu_gres else {}),
            "set-resources": {
                rule: {"slurm_extra": "'--signal=TERM@20'"} for rule in ("train", "pack")
            },
            "latency-wait": 20,
        }
        (folder / "site.yaml").write_text(yaml.safe_dump(site))
        profiles = ("--profile", "profiles/slurm", "--profile", folder / "site.yaml")
        if by == "kdpipe run":
            start = snakemake("run", study, "--directory", folder)
        else:
            start = snakemake("--directory", folder, "--configfile", study)
        self.command = [*map(str, (*start, *profiles, *options))]
        self.log = folder / "snakemake.log"
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=slurm.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def finished(self) -> None:
        assert self.wait() == 0, self.log.read_text()[-5000:]


def runs(folder: Path) -> dict[str, dict[str, str]]:
    return {path.name: exact(path) for path in sorted((folder / "results" / "runs").iterdir())}


def named(folder: Path, part: str) -> str:
    """The one run of a folder whose name begins so."""
    (actual,) = (folder / "results" / "runs").glob(f"{part}*")
    return actual.name


def record(folder: Path, run: str) -> str:
    return f"results/runs/{run}/record.json"


def at_work(slurm, folder: Path, run: str) -> dict[str, str]:
    """The SLURM job of a run, as soon as the run has trained an epoch."""
    slurm.until((folder / "results/runs" / run / ".state.safetensors").exists, PATIENCE)
    (job,) = (
        job for job in slurm.jobs("RUNNING") if job["run"] == run and job["folder"] == str(folder)
    )
    return job


def sent(slurm, folder: Path, run: str | None = None) -> list[str]:
    """The SLURM jobs that were sent from a folder, or those of one run, oldest first."""
    jobs = [job for job in slurm.jobs("all") if job["folder"] == str(folder)]
    return sorted((job["id"] for job in jobs if run in (None, job["run"])), key=int)


def test_the_study_ends_in_the_same_bytes_as_without_slurm(slurm, cluster_locally, tmp_path):
    Head(slurm, tmp_path, STUDIES["cluster"]).finished()
    assert runs(tmp_path) == runs(cluster_locally)
    for kind in ("runs", "ensembles"):
        actual, reference = (folder / "results" / kind for folder in (tmp_path, cluster_locally))
        assert sorted(os.listdir(actual)) == sorted(os.listdir(reference))
    assert (tmp_path / "reports/cluster/index.md").exists()
    jobs = [slurm.shown(job) for job in sent(slurm, tmp_path)]
    # Five short jobs are sent as one: four runs and the table of the teacher.
    assert len(jobs) == 1
    assert {job["TimeLimit"] for job in jobs} == {"00:10:00"}
    assert all(job["JobName"].startswith("kdpipe_") for job in jobs)
    before = sent(slurm, tmp_path)
    Head(slurm, tmp_path, STUDIES["cluster"]).finished()
    assert sent(slurm, tmp_path) == before  # a finished study sends nothing


def test_an_array_runs_the_shares_of_a_study_in_folders_of_their_own(
    slurm, cluster_locally, tmp_path
):
    """As examples/shares/slurm-array.sh says; a share that was lost is sent again by its number."""
    script = ROOT / "examples/shares/slurm-array.sh"
    content = yaml.safe_load(STUDIES["cluster"].read_text()) | {"seeds": [0, 1]}
    plan = planner.build_plan(load.load_study(tiny_study.write(tmp_path / "mine.yaml", content)))
    every_file.speeds_of(plan, tmp_path / "cache")  # nothing is benchmarked
    environment = slurm.environment | {
        "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        "KDPIPE_CACHE": str(tmp_path / "cache"),
    }

    def send(array: str) -> None:
        line = ["sbatch", "--wait", "--cpus-per-task=1", "--mem=3G", "--time=20"]
        line += [f"--array={array}", str(script), "mine.yaml", "2"]
        subprocess.run(line, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)

    def type_line(line: str) -> None:
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, check=True)

    send("1-2")
    for number in (1, 2):
        log = (tmp_path / f"share-{number}.log").read_text()
        assert f"study cluster, share {number}/2: all 4 runs" in log, log
        assert not (tmp_path / f"share-{number}" / "reports").exists()
    done = runs(tmp_path / "share-2")
    shutil.rmtree(
        tmp_path / "share-2" / "results" / "runs" / named(tmp_path / "share-2", "wrn10-1")
    )
    send("2")
    assert runs(tmp_path / "share-2") == done
    (line,) = re.findall(r"#     (kdpipe merge .*?) && kdpipe run", script.read_text())
    type_line(line)
    assert runs(tmp_path).items() >= runs(cluster_locally).items()
    assert len(runs(tmp_path)) == 2 * len(runs(cluster_locally))


def test_a_failing_job_leaves_a_hole_and_nothing_else(slurm, cluster_locally, tmp_path):
    shutil.copytree(cluster_locally / "results", tmp_path / "results")
    lost = sorted((tmp_path / "results/runs").glob("wrn10-0.5-from-*"))
    for folder in lost:
        shutil.rmtree(folder)
    failing, *others = lost
    (failing / "weights.safetensors" / "in the way").mkdir(parents=True)
    study = STUDIES["cluster"]
    head = Head(slurm, tmp_path, study, "--retries", "1", by="kdpipe run")
    assert head.wait() == 1
    message = head.log.read_text()
    assert "and the time in the queue" in message and "one job at a time" not in message
    # The two students share a job. It is sent again once, by the head alone, for the one that
    # failed; then that one has failed, and by itself.
    lines = re.findall(rf"^failed  wrn10-0\.5 from .*{failing.name}\.log\)$", message, re.M)
    assert len(lines) == 1 and "CalledProcessError" not in message
    assert len(re.findall(r"^failed  a job of \d short runs: .*\.log\)$", message, re.M)) == 1
    again = shlex.join(["kdpipe", *head.command[2:]])
    assert f"`kdpipe status {study} --results {tmp_path}/results` shows the reasons" in message
    assert f"`{again}` continues" in message
    assert len(sent(slurm, tmp_path)) == 2
    assert "directory" in json.loads((failing / "failure.json").read_text())["reason"]
    for folder in others:
        assert exact(folder) == exact(cluster_locally / "results/runs" / folder.name)
    rows = pd.read_csv(tmp_path / "reports/cluster/results.csv").drop_duplicates("run")
    assert rows.run[rows.status == "failed"].tolist() == [failing.name]
    assert set(rows.status) == {"failed", "done"}


def test_a_search_goes_through_its_rounds(slurm, tmp_path, warm):
    """Killed when a round is decided and typed again: no job of a dropped cell, the same bytes."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    grid = {"methods": ["kd", "eskd"], "teacher_seed": 0}
    requests = {"seeds": [0, 1, 2, 3], "search": {"blocks": ["main"], "fresh_seeds": 3}}
    methods = {"kd": {}, "eskd": {"stop_epoch": 1}}
    study = tiny_study.study(study="sought", device="cpu", main=grid, methods=methods, **requests)
    path = tiny_study.write(tmp_path / "study.yaml", study)
    lab, known = Lab(here, warm), load.validate_study(study, "sought")
    while rounds.get_search_state(known, lab.store).current_round is not None:
        lab.run(study)
    head = Head(slurm, there, path, by="kdpipe run")
    slurm.until(lambda: "round 2 of the search is decided" in head.log.read_text(), PATIENCE)
    head.process.kill()
    head.wait()
    again = Head(slurm, there, path, by="kdpipe run")
    again.finished()
    assert runs(there) == runs(here)
    assert len(sent(slurm, there)) < len(runs(there))
    decided = [sorted(each.glob("results/searches/*/round-*.json")) for each in (here, there)]
    one, other = ([each.read_bytes() for each in paths] for paths in decided)
    assert one == other and len(one) > 1
    assert (there / "reports/sought/tables/search.csv").exists()


@pytest.mark.parametrize(
    ("gpu_gres", "inputs"),
    [
        (None, ["n1 0", "n1 1", "n2 0", "n2 1"]),
        ("gpu:a100:1", ["n1 1", "n2 1"]),
        ("shard:1", ["n1 1", "n1 1", "n2 1", "n2 1"]),
    ],
)
def test_as_many_runs_as_gpus_and_the_others_wait(slurm, tmp_path, gpu_gres, inputs):
    """Of any type, of the one that the site's profile names, or in parts that it offers."""
    count = len(inputs) + 1
    more = {"seeds": [*range(count)], "device": "cuda"}
    study = yaml.safe_load(STUDIES["cluster"].read_text()) | more
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "seen").mkdir()
    plan = subprocess.run(
        [sys.executable, "-m", "kdpipe", "plan", "--json", tmp_path / "study.yaml"],
        capture_output=True,
        text=True,
        check=True,
    )
    teachers = [run["name"] for run in json.loads(plan.stdout)["runs"] if "teacher" in run["roles"]]
    head = Head(
        slurm,
        tmp_path,
        tmp_path / "study.yaml",
        "--",
        *(record(tmp_path, run) for run in teachers),
        PATH=path_with("fake_gpus.py", tmp_path, slurm),
        gpu_gres=gpu_gres,
        PRETENDED=str(tmp_path / "seen"),
    )
    slurm.until(lambda: len(os.listdir(tmp_path / "seen")) == len(inputs), PATIENCE)
    seen = sorted(path.read_text() for path in (tmp_path / "seen").iterdir())
    assert seen == inputs
    slurm.until(lambda: len(slurm.jobs("PENDING")) == 1, PATIENCE)
    assert {job["reason"] for job in slurm.jobs("PENDING")} <= {"Resources", "Priority"}
    (tmp_path / "seen" / "go").touch()
    head.finished()
    assert len(os.listdir(tmp_path / "seen")) == count + 1
    actual = [json.loads((tmp_path / record(tmp_path, run)).read_text()) for run in teachers]
    assert [each["device"]["type"] for each in actual] == ["cuda"] * count


def test_time_limit_dead_node_and_cancelling_end_in_the_same_bytes(slurm, long_locally, tmp_path):
    """All at once: the teacher's time ends, a person cancels a job, and a node dies.

    The limit is two minutes: on a busy machine most of one minute, the shortest, can pass before
    the first epoch, and SLURM looks at limits only now and then.
    """
    teacher = named(long_locally, "wrn10-1-labels")
    scratch = [named(long_locally, f"wrn10-0.5-labels-6e-s{seed}") for seed in (0, 1)]
    path = path_with("slow_steps.py", tmp_path, slurm)
    options = {"longest_job": 2, "PATH": path}
    head = Head(slurm, tmp_path, STUDIES["long"], "--retries", "20", **options)

    cancelled = at_work(slurm, tmp_path, scratch[0])
    slurm.run("scancel", cancelled["id"])
    killed = at_work(slurm, tmp_path, teacher)
    slurm.kill_node(killed["node"])
    # The controller notices, queues the job again and holds it for two minutes.
    slurm.until(lambda: slurm.shown(killed["id"])["Restarts"] == "1", PATIENCE)
    slurm.until(lambda: slurm.shown(killed["id"])["JobState"] == "PENDING", PATIENCE)
    for job in slurm.jobs("PENDING"):
        slurm.run("scontrol", "update", f"JobId={job['id']}", "StartTime=now", check=False)

    head.finished()
    slurm.start_node(killed["node"])
    assert runs(tmp_path) == runs(long_locally)
    assert slurm.shown(cancelled["id"])["JobState"] == "CANCELLED"
    assert len(sent(slurm, tmp_path, scratch[0])) > 1
    sent_again = sent(slurm, tmp_path, teacher)
    assert killed["id"] in sent_again and len(sent_again) > 1


def test_a_killed_head_starts_again_while_its_jobs_go_on(slurm, long_locally, tmp_path):
    """One orphan is cancelled with the manual's line, the other works on beside its twin."""
    teacher = named(long_locally, "wrn10-1-labels")
    cancelled = named(long_locally, "wrn10-0.5-labels-6e-s0")
    expected = (teacher, cancelled)
    targets = ["--", *(record(tmp_path, run) for run in expected)]
    path = path_with("slow_steps.py", tmp_path, slurm)
    head = Head(slurm, tmp_path, STUDIES["long"], *targets, PATH=path)
    orphans = {run: at_work(slurm, tmp_path, run)["id"] for run in expected}
    os.kill(head.process.pid, signal.SIGKILL)
    head.wait()
    slurm.run("scontrol", "update", f"JobId={orphans[teacher]}", "JobName=forgotten")
    subprocess.run(orphans_cancelled(), shell=True, cwd=tmp_path, env=slurm.environment, check=True)
    assert [job["id"] for job in slurm.jobs("RUNNING")] == [orphans[teacher]]

    again = Head(slurm, tmp_path, STUDIES["long"], *targets, PATH=path)
    again.finished()
    assert "the previous invocation was killed" in again.log.read_text()
    for run in expected:
        assert exact(tmp_path / "results/runs" / run) == exact(long_locally / "results/runs" / run)
        assert len(sent(slurm, tmp_path, run)) == 2
    twin = (tmp_path / "logs/runs" / f"{teacher}.log").read_text()
    assert "another process works on it" in twin
    assert "finished before" in twin  # so it has not trained


def orphans_cancelled() -> str:
    """The line of the manual that cancels the jobs of a head that has died."""
    page = ROOT / "docs/how-to/resume.md"
    (line,) = re.findall(r"^(squeue .*scancel)$", page.read_text(), re.M)
    return line
