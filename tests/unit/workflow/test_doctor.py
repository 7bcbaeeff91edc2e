"""`kdpipe doctor`: what a bug report needs, on this machine and on one where much is missing."""

import json
import os
import platform

import torch
from helpers.fake_nvidia_smi import nvidia_smi

from kdpipe.cli.main import main
from kdpipe.workflow import doctor


def facts(capsys, *options: str) -> dict[str, str]:
    assert main(["doctor", *options]) == 0
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_versions_are_those_that_are_imported(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = facts(capsys)
    assert known["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert known["python"].startswith(platform.python_version())
    assert known["last"] == "failure   none"
    assert known["results"].startswith(str(tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_the_last_of_several_failures_is_shown(capsys, tmp_path):
    for age, (kind, name) in enumerate([("runs", "new"), ("runs", "old"), ("tables", "older")]):
        folder = tmp_path / kind / name
        folder.mkdir(parents=True)
        path = folder / "failure.json"
        path.write_text(json.dumps({"reason": f"{name} \x1b[31m broke"}))
        os.utime(path, (2e9 - age, 2e9 - age))
    known = facts(capsys, "--results", str(tmp_path))
    assert known["last"] == r"failure   runs/new: new \x1b[31m broke"


def test_a_library_that_is_missing_hides_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-library"))
    monkeypatch.setenv("PATH", str(tmp_path))
    known = facts(capsys, "--results", str(tmp_path))
    assert known["no-such-library"] == "not installed"
    assert known["SLURM"].startswith("none of its commands was found; plugin ")
    assert "C++ compiler" in known["compiler"] and known["GPUs"] == "none"


def test_gpus_are_named_with_their_driver(capsys, tmp_path, monkeypatch):
    nvidia_smi(monkeypatch, tmp_path, "GPU 0: Tesla (UUID: GPU-0a1b2c3d)\n")
    monkeypatch.setattr(doctor.gpus, "find_unusable_reason", lambda: "too old\nfor it")
    known = facts(capsys, "--results", str(tmp_path / "results"))
    assert known["GPUs"] == "GPU-0a1b2c3d; driver 470.82.01; unusable: too old for it"
