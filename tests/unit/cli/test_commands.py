"""Each file of `cli/commands`: its command, and the libraries that it promises never to import."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
from helpers import exported_study, synthetic_study, tiny_study
from PIL import Image

import kdpipe
from kdpipe import registry
from kdpipe.cli.command import Command
from kdpipe.cli.main import build_parser, load_commands
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.runs.store import Store

WORDS = registry.list_names("kdpipe.cli.commands")
# What is typed of each command with `never_imports`, in a folder with study.yaml and its results.
TYPED = {
    "archive": ["archive", "study.yaml", "--to", "kept"],
    "check": ["check", "study.yaml"],
    "doctor": ["doctor"],
    "merge": ["merge", "elsewhere"],
    "networks": ["networks", "study.yaml"],
    "pack": ["pack", "pack.json", "--finished", "pack.done"],
    "plan": ["plan", "study.yaml"],
    "predict": ["predict", "export", "image.png"],
    "prune": ["prune", "study.yaml"],
    "register": ["register", "study.yaml", "--results", "none"],
    "report": ["report", "study.yaml"],
    "schema": ["schema"],
    "status": ["status", "study.yaml"],
    "verify": ["verify"],
}
LISTED = "import sys; from kdpipe.cli.main import build_parser; build_parser(); print(*sys.modules)"
RUN = """
import sys
from kdpipe.cli.main import main
code = main(sys.argv[1:])
print()
print(code, *sys.modules)
"""


def process(code: str, *arguments: str, cwd: Path) -> list[str]:
    """The words that a fresh process prints last."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return process.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("word", WORDS)
def test_a_file_defines_one_command_that_can_be_typed(word):
    command = registry.load_object("kdpipe.cli.commands", word, "COMMAND", Command)
    assert command.help and command.help[0].islower() and not command.help.endswith(".")
    module = importlib.import_module(f"kdpipe.cli.commands.{word}")
    assert str(module.__doc__).startswith(f"`kdpipe {word.replace('_', '-')}")
    command.add_arguments(ArgumentParser())


def test_commands_stand_in_one_order_those_of_the_rules_last():
    orders = [command.order for command in load_commands().values()]
    assert len(set(orders)) == len(WORDS) and orders == sorted(orders)
    of_rules = [word for word, command in load_commands().items() if command.order > 200]
    assert of_rules == [
        *("prepare", "train", "pack", "tabulate", "score", "probe", "gauge", "measure", "preload")
    ]
    message = build_parser().format_help()
    places = [re.search(rf"\n    {word}\s", message).start() for word in load_commands()]
    assert places == sorted(places)


def test_help_reads_every_file_and_no_library(tmp_path):
    loaded = process(LISTED, cwd=tmp_path)
    assert {f"kdpipe.cli.commands.{word}" for word in WORDS} <= set(loaded)
    assert not {"torch", "pandas", "numpy", "pydantic", "yaml", "snakemake"} & set(loaded)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared):
    """A folder with a study and made results, and an export."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(exported_study.once(shared) / "export", folder / "export")
    Image.new("L", (8, 8)).save(folder / "image.png")
    plan = planner.build_plan(
        load.load_study(tiny_study.write(folder / "study.yaml", tiny_study.study()))
    )
    synthetic_study.write(plan, Store(folder / "results"))
    sizes = {"threads": 1, "minutes": 10, "megabytes": 1200, "attempts": 1}
    (folder / "pack.json").write_text(json.dumps({"jobs": [], **sizes}))
    return folder


@pytest.mark.parametrize(
    "word", [word for word, command in load_commands().items() if command.never_imports]
)
def test_a_command_never_imports_what_it_says(word, finished):
    if word == "merge":
        shutil.copytree(finished / "results", finished / "elsewhere")
    code, *loaded = process(RUN, *TYPED[word], cwd=finished)
    assert code == "0"
    assert not set(load_commands()[word].never_imports) & set(loaded)


def test_a_report_without_records_says_so_before_any_library_that_computes(finished):
    code, *loaded = process(RUN, "report", "study.yaml", "--results", "none", cwd=finished)
    assert code == "2"
    assert not {"numpy", "pandas", "matplotlib", "scipy", "torch"} & set(loaded)


@pytest.mark.parametrize("word", ["check", "plan", "status", "schema", "report", "archive"])
def test_what_a_head_node_is_asked_for_promises_to_do_without_torch(word):
    """Promised to users: weakening it is no change of one file."""
    remaining = {"torch", "pandas"} if word in ("check", "plan", "status", "schema") else {"torch"}
    assert remaining <= set(load_commands()[word].never_imports)


@pytest.fixture
def typed(tmp_path):
    """Types a command into a copy of the package that has one more file."""
    root = Path(kdpipe.__file__).parent
    shutil.copytree(root, tmp_path / "kdpipe", ignore=shutil.ignore_patterns("__pycache__"))

    def say(content: str, *arguments: str) -> subprocess.CompletedProcess:
        (tmp_path / "kdpipe/cli/commands/greet.py").write_text(content)
        command = [sys.executable, "-m", "kdpipe", *arguments]
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return say


GREET = '''"""`kdpipe greet`: a word to somebody."""

from kdpipe.cli.command import Command

COMMAND = Command(
    order=5,
    help="greet somebody",
    add_arguments=lambda parser: parser.add_argument("who"),
    run=lambda options: print("good day,", options.who),
)
'''


def test_a_file_that_is_dropped_in_is_a_command(typed):
    assert typed(GREET, "greet", "you").stdout == "good day, you\n"


def test_a_file_without_a_command_stops_every_command(typed):
    process = typed('"""Nothing yet."""\n', "schema")
    assert process.returncode == 2 and process.stdout == "" and "Traceback" not in process.stderr
    assert "greet.py: every file in commands/ defines COMMAND" in process.stderr
