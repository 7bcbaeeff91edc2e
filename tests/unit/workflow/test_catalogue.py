"""What the Snakemake workflow catalogue and snakedeploy look for is there, and is this workflow."""

import re

import yaml
from helpers import tiny_study
from helpers.snakemake_sandbox import ROOT, Lab


def rules(message: str) -> list[tuple[str, str]]:
    """The jobs of a dry run: their rules and outputs, without the targets."""
    actual = re.findall(r"^(?:local)?rule (\w+):.*?\n    output: (.*?)\n", message, re.M | re.S)
    return sorted(actual)


def test_the_snakefile_in_its_place_makes_the_same(tmp_path, warm):
    lab = Lab(tmp_path / "lab", warm)
    here = lab.dry(tiny_study.study())
    path = str(lab.folder / "study.yaml")
    tiny_study.write(lab.folder / "study.yaml", tiny_study.study())
    line = ["--dry-run", "--cores", "2", "--configfile", path]
    line += ["--snakefile", str(ROOT / "workflow/Snakefile")]
    process = warm.snakemake(*line, cwd=lab.folder, env=lab.env)
    assert process.code == 0, process.output
    assert len(rules(here)) == 4 and rules(process.output) == rules(here)


def test_without_a_study_it_is_the_digits(tmp_path, warm):
    lab = Lab(tmp_path / "lab", warm)
    line = ["--dry-run", "-q", "rules", "--cores", "2"]
    line += ["--snakefile", str(ROOT / "workflow/Snakefile")]
    process = warm.snakemake(*line, cwd=lab.folder, env=lab.env)
    assert re.search(r"^train +114$", process.output, re.MULTILINE), process.output


def test_the_files_that_it_asks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert not any(usage["software-stack-deployment"].values()) and usage["report"]
    assert (ROOT / "config/config.yaml").samefile(ROOT / "config.yaml")
    assert "docs/start.md" in (ROOT / "config/README.md").read_text()
