"""What PyPI, GitHub and type checkers find: metadata, workflows, templates, the public API."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from helpers.snakemake_sandbox import ROOT
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from validate_pyproject import api

from kdpipe import __version__

# What docs/reference/api.md lists: for exports, custom terms, tables and figures.
PUBLIC = (
    "kdpipe.load",
    "kdpipe.export.classifier.",
    "kdpipe.losses.base.",
    "kdpipe.pydantic_base.",
)
PUBLIC += tuple(f"kdpipe.report.{name}." for name in ("table", "figure", "style"))
PUBLIC += tuple(
    f"kdpipe.analysis.dataframe.{name}"
    for name in (
        *("filter_rows", "group_rows", "normalize_frame"),
        *("select_direct_students", "get_series_by_seed"),
    )
)


def test_pyproject_is_valid():
    api.Validator()(tomllib.loads((ROOT / "pyproject.toml").read_text()))


def test_the_oldest_versions_are_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "requirements-oldest.txt").read_text()
    oldest = dict(re.findall(r"^([\w-]+)==(.+)$", text, re.MULTILINE))
    bounds = {
        requirement.name: specifier.version
        for requirement in map(Requirement, project["dependencies"])
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    assert len(bounds) == len(project["dependencies"])
    assert {name: oldest[name] for name in bounds} == bounds
    assert set(oldest) - set(bounds) == {"numpy", "pillow"}


def test_what_is_cited_has_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"version = {{{__version__}}}," in (ROOT / "docs/faq.md").read_text()


def test_the_change_log_begins_with_ten_lines_for_each_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    versions = [title.split()[0] for title in titles if not title.startswith("Details of")]
    assert versions[0] == __version__
    assert titles[len(versions) :] == [f"Details of {version}" for version in versions]
    for section in text.split("\n## ")[1 : len(versions) + 1]:
        assert 1 < len(section.strip().splitlines()) <= 11  # with the heading


def test_workflows_are_valid():
    files = sorted(map(str, (ROOT / ".github/workflows").glob("*.yml")))
    assert len(files) == 2
    line = [f"{sys.exec_prefix}/bin/actionlint", *files]
    process = subprocess.run(line, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_a_bug_report_asks_for_what_doctor_prints():
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    texts = [form.read_text() for form in forms]
    assert all(yaml.safe_load(text) for text in texts)
    assert any("kdpipe doctor" in text for text in texts)


@pytest.mark.slow
def test_pypi_accepts_the_package(tmp_path):
    line = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    files = sorted(map(str, tmp_path.iterdir()))
    assert len(files) == 2
    line = [sys.executable, "-m", "twine", "check", "--strict", *files]
    process = subprocess.run(line, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
    import zipfile

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = Metadata.from_email(archive.read(name))
        assert "kdpipe/py.typed" in archive.namelist()
    assert metadata.license_expression == "MIT" and str(metadata.version) == __version__
    # On PyPI a relative link leads nowhere.
    assert "](docs/" not in metadata.description and "](reports/" not in metadata.description
    assert f"/v{__version__}/reports/published/" in metadata.description


@pytest.mark.slow
def test_the_types_of_the_public_api_are_known():
    line = [sys.executable, "-m", "pyright", "--verifytypes", "kdpipe", "--ignoreexternal"]
    process = subprocess.run([*line, "--outputjson"], cwd=ROOT, capture_output=True, text=True)
    symbols = json.loads(process.stdout)["typeCompleteness"]["symbols"]
    public = [symbol for symbol in symbols if symbol["name"].startswith(PUBLIC)]
    assert {"kdpipe.load", "kdpipe.losses.base.LossTerm"} <= {one["name"] for one in public}
    assert [one["name"] for one in public if not one["isTypeKnown"]] == []
