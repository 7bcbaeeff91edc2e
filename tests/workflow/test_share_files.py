"""The files of examples/shares and the Containerfile: engines would take them, and they work.

There is no Kubernetes and no SkyPilot here. Their files are compared with the schemas of both, and
what they start is run as it stands, that of the pod as another user in a root of its own. The other
files are run in test_shares.py (hosts.sh) and test_cluster.py (slurm-array.sh).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import bucket_server, every_file, tiny_study
from helpers.bucket_server import s3, server  # noqa: F401
from helpers.snakemake_sandbox import ROOT

from kdpipe.jobs.train import train_run
from kdpipe.plan import estimate, share
from kdpipe.plan.nodes import Share
from kdpipe.runs.integrity import merge
from kdpipe.runs.store import Store

SHARES = ROOT / "examples" / "shares"
SCHEMAS = Path(__file__).parent / "schemas"
CONTENT = {"seeds": [0, 1, 2, 3, 4], "device": "cpu"}
URL = "s3://my-bucket/mine"
FILES = {"kubernetes": "kubernetes-job", "skypilot": "skypilot-task"}


def load(name: str) -> dict:
    return yaml.safe_load((SHARES / f"{name}.yaml").read_text())


def find_errors(content: dict, name: str) -> list[str]:
    schema = json.loads((SCHEMAS / f"{FILES[name]}.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [error.json_path for error in validator.iter_errors(content)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_engine_reads(name):
    assert find_errors(load(name), name) == []


def test_the_schemas_know_each_key():
    """So that a key that is misspelled, or at the wrong place, would be noticed."""
    job, task = load("kubernetes"), load("skypilot")
    job["spec"]["template"]["spec"]["containers"][0]["workdir"] = "/study"
    job["spec"]["completion"] = 5
    task["resources"]["spot"] = True
    task["command"] = "true"
    places = ["$.spec", "$.spec.template.spec.containers[0]"]
    assert sorted(find_errors(job, "kubernetes")) == places
    assert sorted(find_errors(task, "skypilot")) == ["$", "$.resources"]


def test_there_are_as_many_shares_as_pods_and_jobs():
    spec = load("kubernetes")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert re.findall(r"/(\d+)\"", container["args"][0]) == [str(spec["completions"])]
    assert spec["completionMode"] == "Indexed" and spec["template"]["spec"]["securityContext"]
    text = (SHARES / "skypilot.yaml").read_text()
    (numbers,) = re.findall(r"for n in ([\d ]+);", text)
    assert f"SHARE=$n/{len(numbers.split())} " in text
    assert load("skypilot")["envs"] == {"SHARE": f"1/{len(numbers.split())}", "BUCKET": URL}


def test_the_image_holds_the_lock_and_does_not_run_as_root():
    text = (ROOT / "Containerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    (install,) = [line for line in lines if "pip install" in line]
    assert "--constraint /opt/kdpipe/requirements.lock" in install and "[s3]" in install
    pod = load("kubernetes")["spec"]["template"]["spec"]["securityContext"]
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == [f"{pod['runAsUser']}:{pod['runAsGroup']}"] and pod["runAsNonRoot"]
    assert 'VOLUME ["/study", "/data"]' in lines and "WORKDIR /study" in lines
    for path in re.findall(r"/opt/kdpipe/(\S+)", text):
        assert (ROOT / path).is_file()
    ignored = (ROOT / ".containerignore").read_text().split()
    assert not {"src", "workflow", "profiles", "studies", "envs", "examples"} & set(ignored)


def test_scripts_are_read_by_bash():
    scripts = sorted(SHARES.glob("*.sh"))
    assert [path.name for path in scripts] == ["bucket.sh", "hosts.sh", "slurm-array.sh"]
    for path in scripts:
        subprocess.run(["bash", "-n", path], check=True)


@pytest.fixture
def machine(tmp_path, s3):  # noqa: F811
    """The environment of a machine, on which nothing is benchmarked, with an empty bucket."""
    s3.call("PUT", "/my-bucket")
    every_file.speeds_of(tiny_study.planned(**CONTENT), tmp_path / "cache")
    return bucket_server.CREDENTIALS | {
        "AWS_ENDPOINT_URL": s3.url,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        estimate.CACHE_ENV: str(tmp_path / "cache"),
    }


def isolate(root: Path, environment: dict[str, str], number: int) -> list[str]:
    """The line that starts a command as in a pod: another user, only its volumes are writable."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(SHARES / "bucket.sh", root / "bin" / "kdpipe-share")
    (root / "study").mkdir()
    (root / "config").mkdir()
    tiny_study.write(root / "config" / "mine.yaml", tiny_study.study(**CONTENT))
    cache = environment[estimate.CACHE_ENV]
    variables = environment | {
        "PATH": f"/opt/bin:{environment['PATH']}",
        "HOME": "/home/kdpipe",
        "JOB_COMPLETION_INDEX": str(number),
    }
    line = ["bwrap", "--unshare-user", "--unshare-pid", "--die-with-parent", "--clearenv"]
    line += ["--uid", "1000", "--gid", "1000", "--dev", "/dev", "--proc", "/proc"]
    line += ["--tmpfs", "/tmp", "--dir", "/home/kdpipe", "--ro-bind", root / "bin", "/opt/bin"]
    for name in ("usr", "etc"):
        line += ["--ro-bind", f"/{name}", f"/{name}"]
    for name in ("bin", "lib", "lib64"):
        line += ["--symlink", f"usr/{name}", f"/{name}"]
    for path in dict.fromkeys((sys.base_prefix, str(ROOT), sys.prefix)):
        line += ["--ro-bind", path, path]
    line += ["--bind", cache, cache, "--bind", root / "study", "/study", "--chdir", "/study"]
    line += ["--ro-bind", root / "config", "/config"]
    for name, value in variables.items():
        line += ["--setenv", name, value]
    return [*map(str, line), "--"]


def run(line: list[str], **options) -> None:
    process = subprocess.run(line, capture_output=True, text=True, timeout=500, **options)
    assert process.returncode == 0, process.stdout + process.stderr


def has_bubblewrap() -> bool:
    if shutil.which("bwrap") is None:
        return False
    line = ["bwrap", "--unshare-user", "--uid", "1000", "--ro-bind", "/", "/", "true"]
    return subprocess.run(line, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_bubblewrap(), reason="NO ROOT OF ITS OWN: no bwrap that runs here")
def test_a_pod_and_a_spot_instance_bring_their_shares_through_a_bucket(tmp_path, shared, machine):
    plan = tiny_study.planned(**CONTENT)
    parts = [share.select_share(plan, Share(number, 5)).runs for number in (2, 1)]
    here = tiny_study.results(tmp_path / "here", shared)
    for part in parts:
        for planned in part.values():
            train_run(planned.spec, sorted(plan.checkpoints_to_keep.get(planned.name, ())), here)

    (container,) = load("kubernetes")["spec"]["template"]["spec"]["containers"]
    run([*isolate(tmp_path / "pod", machine, 1), *container["command"], *container["args"]])
    assert {path.name for path in (tmp_path / "pod/study/results/runs").iterdir()} == {*parts[0]}

    instance = tmp_path / "instance"
    instance.mkdir()
    shutil.copy(SHARES / "bucket.sh", instance)
    tiny_study.write(instance / "mine.yaml", tiny_study.study(**CONTENT))
    task = load("skypilot")
    run(["bash", "-c", task["run"]], cwd=instance, env=os.environ | machine | task["envs"])

    merged = Store(tmp_path / "merged" / "results")
    with merge.open_sources([URL], merged) as sources:
        (summary,) = merge.merge_results(sources, merged)
    assert (
        not summary.problems
        and merged.load_records("runs").keys() == parts[0].keys() | parts[1].keys()
    )
    for name in merged.load_records("runs"):
        assert tiny_study.exact(merged.run(name)) == tiny_study.exact(here.run(name))
