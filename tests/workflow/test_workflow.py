"""The real Snakemake on a tiny study: what it plans, what it repeats, what it survives.

One study is run to its end and shared; a test asks a dry run what would be done in it, or goes on
in a copy of its own. Snakemake, and the `kdpipe` that rules call, are processes of their own,
forked from a server that has done their imports (warm.py).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers import tiny_study
from helpers.snakemake_sandbox import RENDERS, ROOT, Lab
from snakemake_executor_plugin_slurm.utils import set_gres_string

from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.labels import label_nodes
from kdpipe.plan.nodes import Plan
from kdpipe.runs import records
from kdpipe.runs.integrity import archive

RECIPES = {"wrn10-0.75": {"lr": 0.02}}


def study(**changes) -> dict:
    """Two methods, two stops, two seeds; a chain; an ensemble. 16 runs and 2 ensembles."""
    main = {
        "name": "main",
        "teachers": ["wrn10-1"],
        "stops": ["full", "checkpoint 1"],
        "students": ["wrn10-0.5"],
        "methods": ["kd", "hot"],
    }
    chain = {
        "name": "chain",
        "teachers": ["wrn10-1"],
        "via": ["wrn10-0.75"],
        "students": ["wrn10-0.5"],
        "methods": ["kd"],
        "seeds": [0],
    }
    content = tiny_study.study(
        seeds=[0, 1],
        network_recipes=RECIPES,
        methods={"kd": {}, "hot": {"temperature": 8}},
        ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
        experiments=[main | changes.pop("main", {}), chain],
        tables={"teacher_size": ["main"], "ensembles": ["pair"]},
    )
    return content | changes


def build(content: dict) -> Plan:
    return planner.build_plan(load.validate_study(content, "a test"))


def names(content: dict) -> set[str]:
    planned = build(content)
    return {*planned.runs, *planned.ensembles}


@pytest.fixture
def lab(tmp_path, warm):
    """An empty one."""
    return Lab(tmp_path / "lab", warm)


@pytest.fixture(scope="session")
def finished(shared, warm):
    """The study, run to its end with two cores. Not to be changed."""

    def build(folder):
        message = Lab(folder, warm).run(study())
        (folder / "said").write_text(message)

    return Lab(tiny_study.once(shared / "workflow", build), warm)


@pytest.fixture
def copy(finished, lab):
    shutil.copytree(finished.folder, lab.folder, dirs_exist_ok=True)
    return lab


def the(content, **expected):
    """Names of the runs of a study whose spec has these values, by a test of each."""
    return {
        run.name
        for run in build(content).runs.values()
        if all(w(run.spec) for w in expected.values())
    }


# --- in which order


@pytest.mark.parametrize("options", [(), ("--scheduler", "greedy")], ids=["default", "greedy"])
def test_seeds_are_run_one_after_another_in_the_order_of_the_study(lab, options):
    """On one core the last of a seed ends before the first of the next, its ensemble too."""
    pair = {"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}}
    content = tiny_study.study(seeds=[7, 3], teacher_outputs="table", ensembles=pair)
    lab.run(content, "--cores", "1", *options)
    plan = build(content)
    seeds = {
        node.name: node.seed for items in plan.recorded_nodes.values() for node in items.values()
    }
    paths = sorted(lab.store.root.glob("*/*/record.json"), key=lambda path: path.stat().st_mtime_ns)
    order = [seeds[path.parent.name] for path in paths]
    assert len(order) == len(seeds) and order == sorted(order, key=[7, 3].index)


# --- the whole


def test_processes_share_one_network_to_the_same_bytes(lab, tmp_path, warm):
    """The digits, `shards: 2`: two processes a run, then one; each with two threads."""
    content = tiny_study.study(recipe={"shards": 2, "threads": 2}, processes_per_run=2)
    message = lab.run(content, "--cores", "4")
    assert set(lab.records()) == set(build(content).runs)
    command = (lab.folder / "logs/runs").glob("*.log")
    assert message and all("Traceback" not in path.read_text() for path in command)
    other = Lab(tmp_path / "other", warm)
    other.run(content, "--cores", "4", "--config", "processes_per_run=1")
    assert lab.exact() == other.exact() and len(lab.exact()) == 3
    assert other.planned(content) <= {"render"}, "it renames no run"


def test_from_nothing_everything_is_planned(lab):
    actual = lab.planned(study())
    assert len(names(study())) == 18
    assert actual == names(study()) | {"prepare", "render"}


def test_a_study_runs_to_its_end(finished):
    records = finished.records()
    assert set(records) == names(study())
    assert {record["status"] for record in records.values()} == {"done"}
    assert set(os.listdir(finished.folder / "reports")) == {"tiny"}
    assert {"index.md", "results.csv"} <= set(os.listdir(finished.folder / "reports/tiny"))
    assert "nan" not in (finished.folder / "reports/tiny/index.md").read_text()
    top = {entry for entry in os.listdir(finished.folder) if not entry.startswith("study-")}
    assert top == {"results", "logs", "reports", ".snakemake", "said"}
    logs = {path.stem for path in finished.folder.glob("logs/*/*.log")}
    assert logs >= names(study())


def test_a_log_without_a_terminal_is_a_line_for_each_job_and_the_decision(finished):
    message = (finished.folder / "said").read_text().splitlines()
    message = [line for line in message if not line.startswith("You do not need a student if")]
    plan = build(study())
    labels = label_nodes(plan)
    for label in (labels[name] for name in plan.nodes_by_name):  # and not its data set's
        (line,) = [line for line in message if f"] {label}: top-1 validation error " in line]
        assert re.match(r"\[\d+ %(, .* left(, at the current pace)?)?\] ", line)
    assert not any("test error" in line or "rule train" in line for line in message)
    finished_runs, first, second, page, weights, files, took = message[-7:]
    assert finished_runs == "study tiny: all 16 runs are done"
    assert first.startswith("Too few seeds to decide for wrn10-0.5: on labels alone ")
    assert second in ("Validation prefers distilling.", "Validation prefers labels alone.")
    # Both whole, since it was typed elsewhere; and where it ran has been renamed since.
    page, weights = (line.replace("workflow.new", "workflow") for line in (page, weights))
    assert page == f"page: {finished.folder}/reports/tiny/index.html"
    assert (finished.folder / weights.removeprefix("weights: ")).is_file()
    assert re.fullmatch(r"files to ship: kdpipe export .*study.*\.yaml --best --results .*", files)
    assert re.fullmatch(r"took (\d+ min )?[\d.]+ s, \d\.\d\d core-hours", took)
    assert len(message) < len(names(study())) + 13 and max(map(len, message)) < 200
    # Snakemake's own account is in its file.
    (log,) = (finished.folder / ".snakemake/log").glob("*.log")
    assert "21 of 21 steps (100%) done" in log.read_text()


def test_a_study_of_mixed_views_learns_from_tables_and_is_reported(lab):
    """Its student sees four mixtures of each image; made again, it has the same bytes."""
    content = tiny_study.study(
        data={"augment": {"policy": "rand"}, "views": 4},
        recipe={"mixup": 0.2, "cutmix": 1.0, "epochs": 4},
        teacher_outputs="auto",
        tables={"teacher_size": ["main"]},
    )
    plan = build(content)
    (student,) = (run for run in plan.runs.values() if run.spec.teacher)
    assert len(plan.logit_caches) == 1 and student.spec.teacher.outputs == "float16"
    lab.run(content)
    assert set(lab.records()) == set(plan.runs)
    assert {record["status"] for record in lab.records().values()} == {"done"}
    assert (lab.folder / "reports/tiny/tables/teacher_size.csv").exists()
    before = lab.exact()
    shutil.rmtree(lab.store.run(student.name))
    lab.run(content, "--cores", "1")
    assert lab.exact() == before


def test_a_second_start_does_nothing(finished):
    assert "Nothing to be done" in finished.dry(study())
    assert "Nothing to be done" in finished.dry(study(), "--", "report")


def test_a_report_of_which_a_file_was_altered_or_removed_is_rendered_again(copy):
    path = copy.folder / "reports/tiny/tables/teacher_size.csv"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1", b"2", 1))
    assert copy.planned(study()) == {"render"}
    path.unlink()
    assert copy.planned(study()) == {"render"}
    path.write_bytes(whole)
    assert "Nothing to be done" in copy.dry(study())


def test_a_second_start_says_so_and_what_was_found_quiet_or_not(copy):
    for options in ((), ("--quiet", "all")):
        message = copy.run(study(), *options)
        assert "study tiny: nothing to do, all 16 runs are done\nToo few seeds to decide" in message
        assert f"\npage: {copy.folder}/reports/tiny/index.html\n" in message


@pytest.mark.slow
def test_snakemake_s_report_of_a_finished_study_has_every_rule_and_its_times(copy):
    """Its finished runs are in the graph for that alone, and nothing is made."""
    before = copy.exact()
    copy.run(study(), "--report", "whole.html")
    text = (copy.folder / "whole.html").read_text()
    rules, times = (
        json.JSONDecoder().raw_decode(text, text.index(start) + len(start))[0]
        for start in ("var rules = ", "var runtimes_spec = ")
    )
    assert {"prepare", "train", "score", "render"} <= rules.keys()
    timed = [job["rule"] for job in times["data"]["values"] if job["runtime"] > 0]
    assert timed.count("train") == rules["train"]["n_jobs"] == len(build(study()).runs)
    assert {"prepare", "score", "render"} <= {*timed}
    assert copy.exact() == before


def test_verbose_brings_the_account_of_snakemake_back(copy):
    shutil.rmtree(copy.folder / "reports")
    message = copy.run(study(), "--verbose")
    assert RENDERS in message and "2 of 2 steps (100%) done" in message
    assert "Too few seeds to decide" not in message


def test_half_way_targets(lab):
    content = study()
    teachers = the(
        content, alone=lambda s: not s.teacher, of=lambda s: s.network.name != "wrn10-0.5"
    )
    assert len(teachers) == 3  # two seeds, and the middle of the chain, which also teaches directly
    assert lab.planned(content, "--", "teachers") == teachers | {"prepare"}
    students = lab.planned(content, "--", "students")
    assert students == names(content) - set(build(content).ensembles) | {"prepare"}
    assert lab.planned(content, "--", "report") == names(content) | {"prepare", "render"}


def test_a_start_that_finds_altered_files_says_so_and_decides_nothing_by_them(copy):
    path = next(copy.store.root.glob("runs/wrn10-0.5-labels-*/curve.jsonl"))
    path.write_text(path.read_text().replace("loss", "lost", 1))
    message = copy.run(study())
    assert "1 run has altered files and cannot be used; the first, " in message
    assert f"{path.parent.name}/curve.jsonl is damaged" in message and "from scratch" not in message


def test_what_a_cluster_measures_as_a_file_asks_for_no_gpu(lab):
    """Where a site names the model of its GPUs, the plugin asks one for each job that says so."""
    message = lab.dry(study(export=True), "--default-resources", "gpu_model=a100")
    requests = dict(
        re.findall(r"^rule (\w+):.*?gpu_model=(\w*)", message, re.MULTILINE | re.DOTALL)
    )
    assert requests["train"] == "a100" and requests["gauge"] == ""
    inputs = [SimpleNamespace(resources={"gpu_model": model}) for model in ("", "a100")]
    assert [set_gres_string(job) for job in inputs] == ["", " --gpus=a100:1"]


# --- what is run again


def test_one_methods_temperature(finished):
    warmer = study(methods={"kd": {}, "hot": {"temperature": 9}})
    hot = the(warmer, hot=lambda s: s.method and s.method["temperature"] == 9)
    assert len(hot) == 4
    assert finished.planned(warmer) == hot | {"render"}


def test_a_seed_or_a_student_more(finished):
    seed = study(seeds=[0, 1, 2])
    assert finished.planned(seed) == names(seed) - names(study()) | {"render"}
    assert len(names(seed) - names(study())) == 7
    student = study(main={"students": ["wrn10-0.5", "wrn10-0.25"]})
    new = the(student, narrow=lambda s: s.network.name == "wrn10-0.25")
    assert len(new) == 10
    assert finished.planned(student) == new | {"render"}


def test_a_changed_middle_renames_what_is_below_it(finished):
    changed = study(network_recipes={"wrn10-0.75": {"lr": 0.03}})
    middle = the(changed, mid=lambda s: s.network.name == "wrn10-0.75")
    below = the(
        changed,
        below=lambda s: s.teacher and s.members[0].network == "wrn10-0.75",
    )
    assert (len(middle), len(below)) == (2, 2)  # labels and from the teacher; their students
    assert finished.planned(changed) == middle | below | {"render"}


def test_what_means_nothing_runs_nothing(copy, warm):
    """A comment, other keys' order, touched and reformatted sources, other file times."""
    root = copied_root(copy.folder.parent / "checkout")
    for path in (root / "src/kdpipe").glob("*.py"):
        path.write_text("# a comment\n" + path.read_text())
    for path in [root / "Snakefile", *root.glob("workflow/rules/*.smk")]:
        os.utime(path)
    for number, path in enumerate(sorted(copy.store.root.rglob("*"))):
        os.utime(path, (1e9 + number, 1e9 - number))
    for path in (copy.folder / "reports").rglob("*"):
        os.utime(path)
    there = Lab(copy.folder, warm, root)
    reordered = dict(reversed(study().items()))
    path = tiny_study.write(copy.folder / "reordered.yaml", reordered)
    path.write_text("# what this is about\n" + path.read_text() + "\n# the end\n")
    assert "Nothing to be done" in there.dry(None, "--configfile", str(path))


def test_back_to_an_old_config_runs_nothing_but_the_report(copy):
    fewer = study(main={"methods": ["kd"]})
    assert copy.planned(fewer) == {"render"}
    copy.run(fewer)
    assert copy.planned(fewer) == set()
    assert copy.planned(study()) == {"render"}


def test_two_studies_share_their_runs(finished):
    other = study(study="other", seeds=[1, 5], main={"methods": ["kd"]})
    other["experiments"].pop()
    shared = names(other) & names(study())
    assert len(shared) == 5  # teacher, scratch, two students and the ensemble of seed 1
    assert finished.planned(other) == names(other) - shared | {"render"}


def test_restored_results_without_snakemakes_memory(finished, lab):
    """As after a fresh clone: copied without times, in any order, and no .snakemake."""
    shutil.copytree(finished.store.root, lab.store.root, copy_function=shutil.copyfile)
    lab.run(study())
    (log,) = (lab.folder / ".snakemake/log").glob("*.log")
    jobs = re.findall(r"^(?:(?:local)?rule|Job \d+: )(.+)", log.read_text(), re.MULTILINE)
    assert jobs == [f"report of tiny{RENDERS}", "tiny: everything"]
    assert lab.results_csv() == finished.results_csv()
    assert lab.exact() == finished.exact()


def test_an_archived_run_is_done_until_something_new_is_to_learn_from_it(copy, finished):
    for name in ("kept", "results"):  # the first as a report of a clone has it
        archive.archive_study(build(study()), copy.store, copy.folder / name)
    for kind in ("runs", "ensembles"):
        shutil.rmtree(copy.store.root / kind)
    assert copy.planned(study()) == set()  # it says the same
    shutil.rmtree(copy.folder / "reports")
    copy.run(study())
    assert copy.planned(study()) == set()
    assert copy.results_csv() == finished.results_csv()

    team = study(ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.75"]}})
    members = the(team, m=lambda s: s.network.name != "wrn10-0.5" and not s.teacher)
    assert members & names(study())
    assert copy.planned(team) == members | {*build(team).ensembles, "render"}

    warmer = study(methods={"kd": {}, "hot": {"temperature": 9}})
    hot = the(warmer, hot=lambda s: s.method and s.method["temperature"] == 9)
    teachers = the(warmer, t=lambda s: s.network.name == "wrn10-1")
    assert (len(hot), len(teachers)) == (4, 2)
    assert copy.planned(warmer) == hot | teachers | {"render"}
    copy.run(warmer)
    assert set(copy.exact()) == hot | teachers
    assert all(copy.exact()[name] == finished.exact()[name] for name in teachers)
    assert copy.planned(warmer) == set() and copy.planned(study()) == {"render"}
    # what was trained again is the same run; the archive takes what is new beside it
    before = records.read_archive(copy.store.archive_path)
    archive.archive_study(build(warmer), copy.store, copy.store.root)
    after = records.read_archive(copy.store.archive_path)
    assert {name for _, name in after.keys() - before.keys()} == hot
    assert before.keys() < after.keys()


def test_a_removed_run_is_made_again(copy):
    """That is what messages tell a person to do with a damaged one."""
    student = next(name for name in names(study()) if "-from-wrn10-1-e2" in name and "s1" in name)
    shutil.rmtree(copy.store.run(student))
    assert copy.planned(study()) == {student, "render"}


def test_a_report_that_lacks_a_record_is_rendered_again(copy):
    """Snakemake may have been killed between the last run and the report."""
    student = next(name for name in names(study()) if "-from-wrn10-1-e2" in name and "s1" in name)
    shutil.rmtree(copy.store.run(student))
    copy.run(study(), "--", "students")
    assert copy.planned(study()) == {"render"}


def test_a_report_is_fresh_by_what_it_says_and_not_by_its_age(copy):
    """A run that was missing comes back with the time it had; no time at all means anything."""
    student = next(name for name in names(study()) if "-from-wrn10-1-e2" in name and "s1" in name)
    aside = copy.folder / "aside"
    shutil.move(copy.store.run(student), aside)
    path = tiny_study.write(copy.folder / "study-now.yaml", study())
    assert copy.warm.run("report", str(path), cwd=copy.folder).code == 0
    assert "not run" in copy.results_csv()
    shutil.move(aside, copy.store.run(student))
    for record in copy.store.run(student).glob("*record.json"):
        os.utime(record, (1e9, 1e9))
    assert copy.planned(study()) == {"render"}
    mine = [
        copy.folder / "reports/tiny" / name for name in ("tables/my.csv", "my.txt", "figures/a")
    ]
    for path in mine:
        path.write_text("mine")
    copy.run(study())
    assert "not run" not in copy.results_csv() and copy.planned(study()) == set()
    assert all(path.read_text() == "mine" for path in mine)  # Snakemake empties no folder
    copy.run(study())
    assert [path.name for path in (copy.folder / "logs/reports").iterdir()] == ["tiny.log"]


def test_a_report_of_another_study_with_the_same_name_is_not_this_ones(copy):
    """Without Snakemake's memory, and younger than every record."""
    path = tiny_study.write(copy.folder / "study-now.yaml", study(seeds=[0]))
    assert copy.warm.run("report", str(path), cwd=copy.folder).code == 0
    shutil.rmtree(copy.folder / ".snakemake")
    assert copy.planned(study(seeds=[0])) == set()
    assert copy.planned(study()) == {"render"}
    assert copy.planned(study(seeds=[0]), "--config", "device=cpu") == set()


def test_a_checkpoint_asked_for_later_is_replayed(copy, finished):
    more = study(keep_checkpoints={"wrn10-1": ["checkpoint 0", "checkpoint 1"]})
    teachers = the(more, t=lambda s: s.network.name == "wrn10-1")
    assert copy.planned(more) == teachers | {"render"}
    shutil.rmtree(copy.folder / ".snakemake")  # it has no memory of how results came to be
    assert copy.planned(more) == teachers | {"render"}
    for name in teachers:  # Snakemake removes the one that it knows: the run is in the other
        (copy.store.run(name) / ".record.json").unlink()
    message = copy.run(more)
    labels = label_nodes(build(more))
    assert all(message.count(f"] {labels[name]}: ") == 1 for name in teachers)
    assert copy.planned(more) == set()
    for name, files in finished.exact().items():
        now = tiny_study.exact(copy.store.run(name))
        added = set(now) - set(files)
        assert now.items() >= files.items()
        assert added == (
            {f"checkpoints/epoch-0000{end}.safetensors" for end in ("", "-outputs")}
            if name in teachers
            else set()
        )


def copied_root(folder: Path) -> Path:
    """What a checkout of the repository has of the workflow."""
    for part in ("src", "workflow", "profiles"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / part, folder / part)
    return folder


@pytest.mark.parametrize(
    "module, old, new, reruns",
    [
        ("losses/kd", "revision=1,", "revision=2,", lambda s: s.teacher),
        ("models/families/wrn", "revision=1,", "revision=2,", lambda s: True),
    ],
)
def test_a_raised_revision_reruns_what_it_touches(
    finished, warm, tmp_path, module, old, new, reruns
):
    root = copied_root(tmp_path / "checkout")
    path = root / f"src/kdpipe/{module}.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    there = Lab(finished.folder, warm, root)
    planned = there.planned(study()) - {"render"}
    runs = {name for name in planned if not name.startswith("ensemble")}
    assert not planned & set(finished.records())
    assert len(runs) == len(the(study(), touched=reruns))


# --- outcomes and faults


def test_a_diverged_middle_leaves_the_rest_alone(lab, finished):
    """The report renders, with the hole; and the exit code is 0: it is an outcome."""
    absurd = study(network_recipes={"wrn10-0.75": {"lr": 99.0, "epochs": 60, "drop_epochs": []}})
    shutil.copytree(finished.store.root, lab.store.root)
    lab.run(absurd)
    actual = {name: lab.records()[name]["status"] for name in names(absurd)}
    middle = the(absurd, mid=lambda s: s.network.name == "wrn10-0.75")
    below = {name for name in names(absurd) if "from-wrn10-0.75" in name}
    assert {name for name in actual if actual[name] == "diverged"} == middle
    assert {name for name in actual if actual[name] == "skipped"} == below
    assert len(middle) == len(below) == 2
    for name in middle | below:
        assert lab.records()[name]["reason"] in lab.results_csv()
    assert "Nothing to be done" in lab.dry(absurd)


def test_a_failed_run_leaves_the_rest_alone_and_is_tried_again(copy):
    seeds = study(seeds=[0, 1, 2])
    new = names(seeds) - names(study())
    teacher = next(name for name in new if name.startswith("wrn10-1-"))
    broken = copy.store.run(teacher) / ".state.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"rubbish")
    message = copy.run(seeds, code=1)
    (line,) = [line for line in message.splitlines() if line.startswith("failed  ")]
    assert (
        line.startswith(f"failed  {label_nodes(build(seeds))[teacher]}: ")
        and f"logs/runs/{teacher}.log" in line
    )
    assert str(broken.relative_to(copy.folder)) in line
    first, then, _ = message.splitlines()[-3:]
    assert "17 of 22 runs are done, 1 failed" in first and "kdpipe status " in then
    assert max(map(len, message.splitlines())) < 500 and '"recipe"' not in message
    log = (copy.folder / f"logs/runs/{teacher}.log").read_text()
    assert str(broken.relative_to(copy.folder)) in log and "Traceback" not in log
    assert set(copy.records()) & new == {name for name in new if "0.5-labels" in name}
    failed = [line for line in copy.results_csv().splitlines() if f",{teacher}," in line]
    assert any("failed" in line and "rubbish" not in line for line in failed)
    assert "not run" in copy.results_csv()
    shutil.rmtree(copy.store.run(teacher))
    assert copy.planned(seeds) == new - set(copy.records()) | {"render"}
    copy.run(seeds)
    assert new <= set(copy.records())
    assert "failed" not in copy.results_csv() and "not run" not in copy.results_csv()


def test_snakemake_killed_in_the_middle(lab, finished):
    """And a chain cut in the middle, and one core instead of two: the same bytes."""
    head = subprocess.Popen(
        lab.command("--cores", "1", content=study()),
        env=lab.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    middle = next(name for name in names(study()) if name.startswith("wrn10-0.75-from"))
    while len(lab.records()) < 4 and not (lab.store.run(middle) / ".lock").exists():
        assert head.poll() is None
        time.sleep(0.02)
    head.send_signal(signal.SIGKILL)
    head.wait()
    before = lab.records()
    assert 0 < len(before) < len(names(study()))
    message = lab.run(study(), "--cores", "1")
    assert "\nthe previous invocation was killed: its lock of this folder is removed\n" in message
    after = lab.records()
    assert {name: after[name] for name in before} == before  # nothing of it was done again
    assert lab.exact() == finished.exact()
    assert [
        path.name for path in lab.store.root.rglob(".*") if path.suffix in (".tmp", ".safetensors")
    ] == []


def test_two_snakemakes_on_shared_results_leave_each_other_their_tables(tmp_path, warm):
    """One has a student more of each teacher, and is behind: its tables are wanted to the end."""
    content = tiny_study.study(
        teacher_outputs="table", methods={"kd": {}, "hot": {"temperature": 8}}
    )
    content["experiments"][0]["methods"] = ["kd", "hot"]
    more = content | {"methods": content["methods"] | {"cool": {"temperature": 3}}}
    more["experiments"] = [content["experiments"][0] | {"methods": ["kd", "hot", "cool"]}]
    one, two = Lab(tmp_path / "one", warm), Lab(tmp_path / "two", warm)
    one.store.root.mkdir()
    (two.folder / "results").symlink_to(one.store.root)
    started = []
    for lab, requests in ((one, content), (two, more)):
        command = lab.command("--cores", "1", content=requests)
        with open(lab.folder / "said", "wb") as message:
            started.append(subprocess.Popen(command, env=lab.env, stdout=message, stderr=message))
    for lab, each in zip((one, two), started, strict=True):
        assert each.wait() == 0, (lab.folder / "said").read_text()
    assert set(one.records()) == names(more)
    left = [path.relative_to(tmp_path) for path in one.store.root.glob("tables/[!.]*")]
    left += tmp_path.glob("*/logs/tables/*.made")
    assert left == []


def test_a_snakemake_that_fails_to_prepare_leaves_the_data_of_another(lab):
    """Which has prepared it in the meantime, and whose jobs read its card."""
    (folder,) = build(tiny_study.study()).datasets
    card = lab.store.data(folder) / "card.json"
    meanwhile = lab.folder / "bin"
    meanwhile.mkdir()
    (meanwhile / "kdpipe").write_text(
        f"#!/bin/sh\nmkdir -p {card.parent}; echo {{}} > {card}; false"
    )
    (meanwhile / "kdpipe").chmod(0o755)
    lab.env["PATH"] = f"{meanwhile}:{lab.env['PATH']}"
    lab.run(tiny_study.study(), code=1)
    assert card.exists()


def test_a_table_that_nobody_awaits_is_taken_away_and_not_by_a_dry_run(lab):
    """A student has ended, and was killed before it could take its table away."""
    content = tiny_study.study(teacher_outputs="table")
    lab.run(content)
    (name, *_) = build(content).logit_caches
    student = next(run.name for run in build(content).runs.values() if run.logit_caches)
    table, waiting = lab.store.logit_cache(name), lab.store.logit_cache(f".{name}") / "students"
    for folder in (table, waiting):
        folder.mkdir(parents=True)
    (table / "about.json").write_text("{}")
    (waiting / student).touch()
    lab.dry(content)
    assert table.exists() and (waiting / student).exists()
    lab.run(content)
    assert not table.exists() and not waiting.exists()


# --- a wrong study, and the form of the workflow


@pytest.mark.parametrize("origin", ["--configfile", "config.yaml"])
def test_a_wrong_study_is_one_message(lab, warm, origin):
    errors = study(seeds=[])
    errors["methods"]["kd"]["alpha"] = 0.9
    if origin == "--configfile":
        message = lab.run(errors, code=2)
    else:
        there = Lab(lab.folder, warm, copied_root(lab.folder.parent / "checkout"))
        tiny_study.write(there.root / "config.yaml", errors)
        message = there.run(None, code=2)
    assert "2 errors" in message and "seeds" in message and "alpha" in message
    assert "Traceback" not in message
    assert not (lab.folder / "results").exists()


def test_without_a_configfile_the_one_beside_the_snakefile_is_run(lab, warm):
    there = Lab(lab.folder, warm, copied_root(lab.folder.parent / "checkout"))
    tiny_study.write(there.root / "config.yaml", study())
    before = sorted(path for path in there.root.rglob("*") if "__pycache__" not in path.parts)
    assert re.search(r"^train\s+16$", there.dry(None), re.MULTILINE)
    after = sorted(path for path in there.root.rglob("*") if "__pycache__" not in path.parts)
    assert after == before  # nothing is written beside the Snakefile


def test_lint_and_format(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--lint"]
    process = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]
    snakefmt = Path(sys.executable).parent / "snakefmt"
    process = subprocess.run([snakefmt, "--check", *files], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_smoke_study_has_every_kind_and_the_same_bytes_again(lab):
    """studies/smoke.yaml to its end; then the ends of three roads once more, one after another."""
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    planned = build(content)
    assert (
        len(planned.runs) == 20 and len(planned.ensembles) == 3 and len(planned.logit_caches) >= 6
    )
    roles = set().union(*planned.roles.values())
    assert roles == {"teacher", "scratch", "student", "member", "scratch_long"}
    lab.run(content, "--cores", "2")
    records = lab.records()
    assert {name for name in records if name in planned.runs} == set(planned.runs)
    assert {record["status"] for record in records.values()} == {"done"}
    assert not list((lab.folder / "results/tables").glob("[!.]*")), "no table outlives its students"
    for name, run in planned.runs.items():
        folder = lab.store.run(name)
        assert {"weights.safetensors", "outputs.safetensors", "curve.jsonl"} <= set(
            os.listdir(folder)
        )
        assert set(records[name]["checkpoints"]) == set(
            map(str, planned.checkpoints_to_keep.get(name, ()))
        )
        assert len((folder / "curve.jsonl").read_text().splitlines()) == run.epochs
    reported = {path.stem for path in (lab.folder / "reports/smoke/tables").glob("*.csv")}
    assert reported == {*content["tables"], "a_or_b", "by_class"}

    before = lab.exact()
    ends = [cell.run.name for cell in planned.cells if cell.last and cell.block != "grid"][:3]
    for name in ends:
        shutil.rmtree(lab.store.run(name))
    lab.run(content, "--cores", "1")
    assert lab.exact() == before
