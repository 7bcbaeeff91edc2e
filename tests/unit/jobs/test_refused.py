"""What a job is told and cannot be: it is refused before anything is written."""

import json

import pytest
from helpers import tiny_study
from helpers.trained_runs import runs

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.errors import StoreError
from kdpipe.jobs.train import train_run
from kdpipe.runs.store import Store


def altered(spec, path, value):
    spec = json.loads(hashing.canonical_json(spec))
    *keys, last = path
    part = spec
    for key in keys:
        part = part[key]
    part[last] = value
    return spec


@pytest.mark.parametrize(
    "path, value",
    [
        (["network", "name"], "../../wrn10-1"),
        (["network", "name"], "wrn10-1/../../../x"),
        (["network", "name"], 7),
        (["data", "name"], "../../../etc/passwd"),
        (["data", "card"], "0" * 64),
        (["seed"], "0/../../../x"),
        (["recipe", "epochs"], "../2"),
        (["teacher", "members", 0, "run"], "../../" * 10 + "etc"),
        (["teacher", "members", 0, "run"], "*" * 64),
        (["teacher", "members", 0, "network"], "../x"),
        (["teacher", "members", 0, "epoch"], "../../x"),
        (["revision", "training"], 99),
        (["method", "revision"], 0),
        (["teacher"], {}),
        (["recipe"], None),
    ],
)
def test_a_hostile_or_foreign_spec_is_refused(tmp_path, capsys, path, value):
    store = Store(tmp_path / "inner" / "results")
    spec = altered(runs()[2].spec, path, value)
    code = main(["train", "--spec", json.dumps(spec), "--results", str(store.root)])
    message = capsys.readouterr().err
    assert code == 2 and message.startswith("kdpipe: ") and "Traceback" not in message
    assert not list(tmp_path.rglob("*")), "something was written"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"a": NaN}', "[" * 100_000, '"x"'])
@pytest.mark.parametrize("verb", ["train", "score"])
def test_what_is_no_spec_is_refused(tmp_path, capsys, verb, text):
    assert main([verb, "--spec", text, "--results", str(tmp_path / "results")]) == 2
    assert "--spec" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", ["x", "1,,y", "-1", "3", "0,99", "1.5"])
def test_checkpoints_that_are_never_passed_are_refused(finished, capsys, keep):
    run = runs()[1]
    command = [
        "train",
        "--spec",
        hashing.canonical_json(run.spec),
        f"--keep={keep}",
        "--results",
        str(finished.root),
    ]
    before = tiny_study.exact(finished.run(run.name))
    assert main(command) == 2
    assert "--keep" in capsys.readouterr().err
    assert tiny_study.exact(finished.run(run.name)) == before


def test_a_student_waits_for_its_teacher(store):
    with pytest.raises(StoreError, match="a parent is missing"):
        train_run(runs()[2].spec, [], store)
    store.run(runs()[1].name).mkdir(parents=True)
    with pytest.raises(StoreError, match="have to wait"):
        train_run(runs()[2].spec, [], store)
