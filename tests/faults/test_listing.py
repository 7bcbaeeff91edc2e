"""Every file that a report reads is compared with its digest: what is altered is never shown.

Which files it reads is found by listening to `open`, not known from a list of the code.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_world import World

from kdpipe.cli.main import main

LISTEN = """
import json, os, sys
read = set()
sys.addaudithook(lambda name, found: read.add(str(found[0])) if name == "open" else None)
from kdpipe.cli.main import main
code = main(sys.argv[1:])
root = os.getcwd()
print("READ", json.dumps(sorted({os.path.relpath(each, root) for each in read
    if os.path.realpath(each).startswith(root + os.sep)})), file=sys.stderr)
sys.exit(code)
"""


FULL = os.environ.get("KDPIPE_FAULTS") == "all"  # else one file of each kind
NAMES = re.compile(r"(?<=s/)[^/]+-[0-9a-f]{12}")  # of folders, in which the same files lie


def read_by(world: World, *command: str) -> list[str]:
    """The files of the world that a command opens and has not written itself."""
    whole = world.files()
    script = [sys.executable, "-c", LISTEN, *command]
    done = subprocess.run(script, cwd=world.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stderr.split("READ ")[1])
    return [path for path in opened if path in whole and not path.startswith("reports/")]


def altered(data: bytes) -> bytes:
    """One digit is another: what a checksum finds, and no parser."""
    for place in range(len(data) // 3, len(data)):
        if chr(data[place]).isdigit():
            new = b"1" if data[place : place + 1] != b"1" else b"2"
            return data[:place] + new + data[place + 1 :]
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("source", ["results", "published"])
def test_an_altered_file_is_never_shown(source, finished, tmp_path, monkeypatch, capsys):
    world = finished.copied(tmp_path / "world")
    monkeypatch.chdir(world.folder)
    command = ["report", "study.yaml", "--results", source]
    opened = read_by(world, *command)
    kinds = {Path(path).name for path in opened}
    if source == "results":
        assert {"record.json", "curve.jsonl", "outputs.safetensors", "mine.card.json"} <= kinds
    else:
        assert "records.jsonl.gz" in kinds
    capsys.readouterr()
    shown = Path("reports/world/results.csv").read_bytes(), Path("reports/world/claims.json")
    csv, claims = shown[0], shown[1].read_bytes()
    chosen = opened if FULL else {NAMES.sub("", path): path for path in opened}.values()
    for path in chosen:
        if path.endswith((".py", "study.yaml")):
            continue
        whole = Path(path).read_bytes()
        copies = [Path(path)]
        if path.endswith("record.json"):  # with its copy, which would be taken in its place
            copies = list(Path(path).parent.glob("*record.json"))
        for each in copies:
            each.write_bytes(altered(whole))
        code = main(command)
        said = capsys.readouterr()
        text = said.out + said.err + Path("reports/world/results.csv").read_text() * (code == 0)
        folder = Path(path).parent.name or path
        named = folder in text and ("damaged" in text or "altered" in text)
        assert code in (0, 2), path
        if code == 0 and not named:
            assert Path("reports/world/results.csv").read_bytes() == csv, path
            assert Path("reports/world/claims.json").read_bytes() == claims, path
            raise AssertionError(f"{path}: altered, and nothing is said of it")
        assert named or (code == 2 and path.rsplit("/", 1)[-1] in said.err), (path, said.err)
        for each in copies:
            each.write_bytes(whole)
    assert main(command) == 0 and Path("reports/world/results.csv").read_bytes() == csv
    shutil.rmtree("reports")
