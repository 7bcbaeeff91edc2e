"""A folder in which the real Snakemake runs a study."""

import json
import os
import re
import sys
from pathlib import Path

from helpers import tiny_study
from helpers.forkserver import Warm
from kdpipe.runs.store import Store

ROOT = Path(__file__).parents[2]
RENDERS = ", from all its records"  # what Snakemake says of that job, by its message


class Lab:
    """A folder that a study is run in, by the Snakefile of `root`."""

    def __init__(self, folder: Path, warm: Warm, root: Path = ROOT):
        self.folder, self.warm, self.root = folder, warm, root
        self.store = Store(folder / "results")
        self.env = os.environ | {
            "PATH": f"{warm.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        }
        self.env |= {"PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
        folder.mkdir(exist_ok=True)

    def command(self, *options: str, content: dict | None) -> list[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.root / "Snakefile")]
        command += ["--directory", str(self.folder)]
        if content is not None:
            path = tiny_study.write(self.folder / f"study-{os.getpid()}.yaml", content)
            command += ["--configfile", str(path)]
        if "--cores" not in options:
            command += ["--cores", "2"]
        return command + list(options)

    def run(self, content: dict | None, *options: str, code: int = 0) -> str:
        _, _, _, *command = self.command(*options, content=content)
        process = self.warm.snakemake(*command, cwd=Path.cwd(), env=self.env)
        assert process.code == code, process.output
        return process.output

    def dry(self, content: dict | None, *options: str, code: int = 0) -> str:
        return self.run(content, "--dry-run", *options, code=code)

    def planned(self, content: dict, *options: str) -> set[str]:
        """Names of the runs and ensembles that would be made, and of the rules but for those."""
        message = self.dry(content, *options)
        actual = re.findall(r"output: results/(?:runs|ensembles)/([^/]+)/record.json", message)
        rules = re.findall(r"^(?:local)?rule (\w+):", message, re.MULTILINE)
        render = {"render"} if RENDERS in message else set()
        return {*actual, *render, *(rule for rule in rules if rule in ("prepare", "table"))}

    def records(self) -> dict[str, dict]:
        return {
            path.parent.name: json.loads(path.read_text())
            for path in self.store.root.glob("*/*/record.json")
        }

    def exact(self) -> dict[str, dict[str, str]]:
        return {folder.name: tiny_study.exact(folder) for folder in self.store.root.glob("runs/*")}

    def results_csv(self) -> str:
        return (self.folder / "reports/tiny/results.csv").read_text()
