"""Every command of README and docs is typed, page by page, as a reader would type it.

A page is a script: its blocks of `sh` are run in their order, and files that it shows (their first
line is their name) are written where they stand; a YAML file that is there already is added to.
What a page says of the output, in a block of `text`, has to come out. The machine is pretended to
be slow and measured, so that `kdpipe init` writes the smallest study, of ten epochs, and nothing
waits for clocks.
"""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml
from helpers import forkserver, synthetic_data, tiny_study
from helpers.snakemake_sandbox import ROOT

from kdpipe.analysis.claim import load_claims
from kdpipe.cli import main
from kdpipe.runs.registrations import CLAIM_KEYS

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [*sorted((ROOT / "docs/how-to").glob("*.md")), ROOT / "docs/reference/errors.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What is not typed here, and why not.
ELSEWHERE = {
    ". .venv/bin/activate": "the environment of the tests stands for it",
    "make test": "it is what runs this",
    "kdpipe gpu-check": "tests/gpu/test_gpu_check.py",
    "make run": "six minutes; its records are reports/published/digits_noisy",
    "kdpipe run studies/": "minutes; the page has what came out",
    "kdpipe report config.yaml": "tests/unit/integrity/test_archive.py types it",
    "snakemake --profile profiles/slurm": "tests/workflow/test_cluster.py",
    "kdpipe export": "tests/unit/export/test_export.py",
    "kdpipe predict": "tests/unit/export/test_classifier.py, tests/unit/export/test_export.py",
    "squeue": "tests/workflow/test_cluster.py types the line of docs/how-to/resume.md",
}
MACHINE = """
from kdpipe.plan import estimate as cache
from kdpipe.cli import scaffold
from kdpipe.workflow import machine_benchmark

def measure_missing(plan, names, device, plans=None):
    speed = cache.Speed(
        step=0.01, epoch=0.1, image=0.0001, setup=0.1, start=1.0, megabytes=500.0
    )
    runs = plan.runs.values()
    cache.save_speeds({cache.make_speed_key(plan, run, device): speed for run in runs})

machine_benchmark.measure_missing = measure_missing
scaffold.time_step = lambda *_: 100.0
scaffold.MAX_EPOCHS = 10
"""
MINE = tiny_study.study(study="mine", teacher_outputs="auto")

EXAMPLE = ROOT / "examples" / "own_images"
SHORTER = {  # the road is what is tried here, not where it leads to
    "study.yaml": {"seeds: [0, 1, 2]": "seeds: [0]", "epochs: 30": "epochs: 2"},
    "before.py": {", 15,": ", 1,", ", 5,": ", 1,"},
}


@functools.cache
def blocks(page: Path) -> tuple[tuple[str, str], ...]:
    return tuple(BLOCK.findall(page.read_text()))


def typed(text: str) -> list[str]:
    """The commands of a block, each with its comment; a line that ends in \\ goes on."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def bare(line: str) -> str:
    """A command without its comment and the blanks before it."""
    return re.sub(r"\s+# .*", "", line).strip()


def elsewhere(line: str) -> str | None:
    """Of which of the commands that are not typed here this is one."""
    return next((known for known in ELSEWHERE if bare(line).split("  ")[0].startswith(known)), None)


@pytest.fixture(scope="session")
def bin(tmp_path_factory):
    """A folder with commands whose machine is as it is pretended to be."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "machine.py").write_text(MACHINE)
    server = forkserver.Warm(folder, forks_run=True, changes=folder / "machine.py")
    yield server.bin
    server.close()


@pytest.fixture(scope="session")
def env(bin, tmp_path_factory):
    path = f"{bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    cache = str(tmp_path_factory.mktemp("cache"))
    actual = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return actual | {"KDPIPE_CACHE": cache, "MAKEFLAGS": "--dry-run"}


@pytest.fixture(scope="session")
def finished(shared, env):
    """mine.yaml, run to its end: three runs, with all that Snakemake keeps of them."""

    def build(folder):
        folder.mkdir()
        tiny_study.write(folder / "mine.yaml", MINE)
        line = ["kdpipe", "run", "mine.yaml", "--cores", "2"]
        process = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr

    return tiny_study.once(shared / "docs", build)


def scene(page: Path, here: Path, finished) -> None:
    """What a reader of the page has before its first command."""
    (here.parent / "kdpipe").symlink_to(ROOT)
    if page.stem in ("start", "data"):
        synthetic_data.photographs(here / "flowers", ["daisy", "rose", "tulip"], 60, 15)
    if page.stem in ("start", "cluster"):
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            (here / name).symlink_to(ROOT / name)
    if page.stem == "cluster":
        for name in ("Snakefile", "config.yaml", "workflow", "profiles", "envs"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, here / name)
    elif page.stem in ("register", "data", "errors"):
        tiny_study.write(here / "mine.yaml", MINE)
    elif page.stem not in ("workflow", "start"):
        shutil.copytree(finished, here, dirs_exist_ok=True, symlinks=True)
    if page.stem == "hugging_face":
        (here / "studies").symlink_to(ROOT / "studies")
    if page.stem == "unlabelled":
        synthetic_data.photographs(here, ["more"], 0, 80, held="")
    if page.stem == "register":
        old = here / "old/reports/mine"
        old.mkdir(parents=True)
        untested = dict.fromkeys(CLAIM_KEYS) | {"verdict": "not tested", "n": 0}
        claims = [untested | {"id": name} for name in load_claims()]
        (old / "claims.json").write_text(json.dumps(claims))
    if page.stem == "older":
        shutil.copytree(finished / "results", here / "old", symlinks=True)


def displayed(name: str, lang: str, text: str, folder: Path) -> str:
    """A line that writes a file which the page shows; to a study that is there it adds."""
    if lang == "yaml" and name == "mine.yaml":
        before = [file for file in sorted(folder.iterdir()) if file.name.endswith("-mine.yaml")]
        there = yaml.safe_load(before[-1].read_text()) if before else MINE
        text = yaml.safe_dump(there | yaml.safe_load(text), sort_keys=False)
    remaining = folder / f"{len(list(folder.iterdir())):02d}-{Path(name).name}"
    remaining.write_text(text)
    return f"mkdir -p {shlex.quote(str(Path(name).parent))} && cp {remaining} {shlex.quote(name)}"


def script(
    page: Path, folder: Path, but: Collection[str] = ELSEWHERE
) -> tuple[list[str], list[tuple[str, int, list[str]]]]:
    """The lines of a page as a script; each command with its exit code and what it has to say.

    but: how commands begin that are not typed.
    """
    lines, expected = [], []
    for lang, text in blocks(page):
        name = re.match(r"# ([\w./-]+\.\w+|Snakefile)(?::.*)?\n", text)
        if lang == "sh":
            for line in (one for one in typed(text) if not bare(one).startswith(tuple(but))):
                code = int((re.search(r"# exit code (\d)", line) or [0, 0])[1])
                lines += [line, f'echo "<<<{len(expected)} $?>>>"']
                expected.append((bare(line), code, []))
        elif lang == "text":
            expected[-1][2].extend(text.splitlines())
        elif name:
            lines.append(displayed(name[1], lang, text, folder))
    return lines, expected


def has_commands(page: Path) -> bool:
    """Those of the README stand in the manual too, and are typed there."""
    return page != README and any(
        not elsewhere(one) for lang, text in blocks(page) if lang == "sh" for one in typed(text)
    )


@pytest.mark.parametrize("page", list(filter(has_commands, PAGES)), ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_typed(page, tmp_path, env, finished):
    here, files = tmp_path / "here", tmp_path / "files"
    here.mkdir(), files.mkdir()
    scene(page, here, finished)
    lines, expected = script(page, files)
    process = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=here,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    parts = re.split(r"<<<\d+ (\d+)>>>\n", process.stdout)
    assert len(parts) // 2 == len(expected), process.stdout
    for (command, code, says), message, ended in zip(
        expected, parts[::2], parts[1::2], strict=False
    ):
        assert int(ended) == code, f"{command} ended with {ended}:\n{message}"
        for line in says:
            pattern = ".*".join(map(re.escape, line.split("...")))
            assert re.search(f"^{pattern}$", message, re.MULTILINE), (
                f"{command} says not: {line}\n{message}"
            )


def commands(page: Path) -> list[str]:
    return [bare(line) for lang, text in blocks(page) if lang == "sh" for line in typed(text)]


def test_what_is_not_typed_here_is_still_written_there():
    every = [line for page in PAGES for line in commands(page)]
    assert {elsewhere(line) for line in every} - {None} == set(ELSEWHERE)
    tests = re.findall(r"tests/\S+\.py", " ".join(ELSEWHERE.values()))
    assert tests and all((ROOT / path).exists() for path in tests)


def test_every_command_of_the_readme_is_typed_on_a_page():
    manual = {line for page in PAGES if page != README for line in commands(page)}
    assert not [line for line in commands(README) if not elsewhere(line) and line not in manual]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_where_it_is_not_typed(page):
    """In blocks that are not `sh`; and what is said within a line exists, with its options."""
    text = page.read_text()
    plain = BLOCK.sub("", text)
    hidden = re.findall(r"^    ((?:kdpipe|snakemake|make|pip|git|sbatch) .*)$", plain, re.MULTILINE)
    assert not hidden
    for message in re.findall(r"`kdpipe ([^`]+)`", plain.replace("\n", " ")):
        word, *rest = message.split()
        if word in ("COMMAND", "--version"):
            continue
        assert word in main.load_commands(), message
        if word != "run":
            known = (ROOT / "docs/reference/commands.md").read_text()
            below = known.split(f"### kdpipe {word}\n")[1].split("\n### ")[0]
            options = {one.partition("=")[0] for one in rest if one.startswith("--")} - {"--help"}
            assert all(f"`{one}" in below for one in options), message


def test_the_whole_road_of_the_example(tmp_path, warm):
    """From photographs to a file that ships, with fewer epochs; but for its pip install."""
    here = tmp_path / "examples" / "own_images"
    shutil.copytree(EXAMPLE, here, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name, changes in SHORTER.items():
        text = (here / name).read_text()
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        (here / name).write_text(text)
    (tmp_path / "files").mkdir()
    lines, expected = script(EXAMPLE / "README.md", tmp_path / "files", {"pip install"})
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    env["PATH"] = f"{warm.bin}:{Path(sys.executable).parent}:{env['PATH']}"
    process = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    parts = re.split(r"<<<\d+ (\d+)>>>\n", process.stdout)
    assert len(parts) // 2 == len(expected), process.stdout + process.stderr
    for (command, _, says), message, ended in zip(expected, parts[::2], parts[1::2], strict=False):
        assert int(ended) == 0, f"{command}:\n{message}\n{process.stderr}"
        for line in says:
            assert line in message.splitlines(), f"{command} says not: {line}\n{message}"
    assert len(list((here / "results" / "runs").iterdir())) == 7
    classes = ["cat", "coffee", "flower", "rocket", "stars", "temple"]
    *_, predicted = [part for part in parts[::2] if "cat" in part and ".jpg" in part]
    assert predicted.count(".jpg") == 60 and any(name in predicted for name in classes)
    assert {path.name for path in (here / "shipped").iterdir()} >= {"model.int8.onnx", "README.md"}
