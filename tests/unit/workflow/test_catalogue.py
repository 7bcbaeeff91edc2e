"""What the Snakemake workflow catalogue and snakedeploy look for is there, and is this workflow."""

import re

import jsonschema
import pytest
import yaml
from helpers import tiny_study
from helpers.snakemake_sandbox import ROOT, Lab

from kdpipe import __version__


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
    # In two places, since the catalogue has read it in both.
    assert usage["report"] and usage["software-stack-deployment"].pop("report")
    assert not any(usage["software-stack-deployment"].values())
    assert (ROOT / "config/config.yaml").samefile(ROOT / "config.yaml")
    assert "docs/start.md" in (ROOT / "config/README.md").read_text()


def test_the_study_of_the_test_folder_is_three_runs(tmp_path, warm):
    lab = Lab(tmp_path / "lab", warm)
    config = ROOT / ".test/config/config.yaml"
    line = ["--dry-run", "-q", "rules", "--cores", "2", "--configfile", str(config)]
    line += ["--snakefile", str(ROOT / "workflow/Snakefile")]
    process = warm.snakemake(*line, cwd=lab.folder, env=lab.env)
    assert re.search(r"^train +3$", process.output, re.MULTILINE), process.output
    assert f"--directory .test --configfile {config.relative_to(ROOT)}" in config.read_text()


def test_the_schema_that_the_catalogue_shows_is_that_of_a_study():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    jsonschema.validate(study, schema)
    for wrong in (study | {"seeds": 3}, {"study": "mine"}, study | {"recipe": {"epochs": "ten"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)

    def described(part: dict) -> int:
        """The keys of which the catalogue can show a type and what they mean."""
        keys = part.get("properties", {}).values()
        assert all(key["type"] and key["description"] and "$ref" not in key for key in keys)
        return len(keys) + sum(map(described, keys))

    assert described(schema) > 70


def test_the_environment_of_a_rule_has_kdpipe_itself():
    *_, pip = yaml.safe_load((ROOT / "envs/kdpipe.yaml").read_text())["dependencies"]
    assert pip == {"pip": [f"kdpipe =={__version__}"]}
