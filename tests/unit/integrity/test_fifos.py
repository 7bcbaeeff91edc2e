"""A FIFO in the place of any kept file: no command waits for a writer that never comes."""

import os
import re
import shutil

import pytest
from helpers.finished_study import PLAN, TEACHER
from helpers.hanging import end_within

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.report import render
from kdpipe.runs import copies, looks, registrations, run_folder
from kdpipe.runs.files import write_bytes, write_json
from kdpipe.runs.integrity import archive as archived_now

DIGESTS = re.compile(r"-[0-9a-f]{12}|\d+")
COMMANDS = {
    "verify": ["verify"],
    "merge": ["merge", "results", "--results", "new/results"],
    "merge into": ["merge", "other/results"],
    "status": ["status", "study.yaml"],
    "plan": ["plan", "study.yaml"],
    "prune": ["prune", "study.yaml"],
    "report": ["report", "study.yaml"],
    "archive": ["archive", "study.yaml", "--to", "new"],
    "status of an archive": ["status", "study.yaml", "--results", "archived"],
}
SLOW = ("report", "archive", "plan", "prune", "status of an archive")


@pytest.fixture
def kept(store, monkeypatch):
    """A results folder with a file of each kind, and by kind the path of one."""
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    archived_now.archive_study(PLAN, store, store.root)
    archived_now.archive_study(PLAN, store, store.root.parent / "archived")
    registration = {"format": 1, "study": "another", "looks": [5], "rules": 1}
    path = registrations.registration_path("another", store)
    write_bytes(path, registrations.encode_registration(registration))
    log = {"study": "another", "registration": "", "committed": "", "looks": {}, "others": []}
    write_json(looks.looks_path("another", store), hashing.add_checksum(log))
    verdicts = {"registration": "", "rules": 1, "seeds": [0], "commit": "", "claims": []}
    write_json(registrations.registered_verdicts_path(registration, store), verdicts)
    copies.add_copies(store, {TEACHER.digest: {"ab" * 32}})
    round_path = store.root / "searches" / "another-0123456789ab" / "round-1.json"
    write_json(round_path, hashing.add_checksum({"round": 1}))
    failed = store.run("failed-0123456789ab")
    write_json(run_folder.failure_path(failed), {"reason": "for a test"})
    write_json(run_folder.progress_path(failed), {"epoch": 1, "curve": []})
    kinds = {}
    for path in sorted(store.root.parent.rglob("*")):
        relative = path.relative_to(store.root.parent)
        if path.is_file() and relative.parts[0] in ("results", "archived"):
            kinds.setdefault(re.sub(DIGESTS, "", str(relative)), relative)
    assert len(kinds) > 25
    return store, list(kinds.values())


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in COMMANDS],
)
def test_no_command_waits_for_a_fifo(command, kept, capsys):
    store, paths = kept
    if command == "merge into":
        shutil.copytree("results", "other/results")
        for path in sorted(store.root.parent.glob("results/runs/*-from-*"))[:1]:
            shutil.rmtree(path)
    for path in paths:
        path.rename("whole")
        os.mkfifo(path)
        try:
            with end_within(120):
                code = main(COMMANDS[command])
        except Exception as error:
            raise AssertionError(f"{command}, {path}: {error!r}") from error
        finally:
            path.unlink(missing_ok=True)
            os.replace("whole", path)
            for made in ("new", "reports"):
                shutil.rmtree(made, ignore_errors=True)
        captured = capsys.readouterr()
        assert code in (0, 2), f"{command}, {path}: {code}"
        if code:
            assert captured.out + captured.err, path
