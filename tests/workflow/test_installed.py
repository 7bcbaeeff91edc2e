"""The package as pip installs it, from a wheel and from an sdist: no clone is there.

The environments are new ones, in which the packages that kdpipe requires are links to those that
the tests have, so that pip finds them installed and nothing is downloaded.
"""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from helpers import synthetic_data
from helpers.snakemake_sandbox import ROOT
from packaging.requirements import Requirement

# What docs/how-to/ship.md says is enough where an export is used.
ENOUGH_FOR_PREDICT = ("onnxruntime", "numpy", "pillow")
pytestmark = pytest.mark.slow


def run_to_end(*command: str | Path, cwd: Path = ROOT, env: dict | None = None) -> str:
    line = list(map(str, command))
    process = subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=env)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The wheel and the sdist, as release.yml builds them."""
    folder = tmp_path_factory.mktemp("dist")
    run_to_end(sys.executable, "-m", "hatchling", "build", "-d", folder)
    return {path.suffix: path for path in folder.iterdir()}


def require(names: Iterable[str]) -> set[str]:
    """The distributions with these names, and all that they require."""
    result, to_do = set(), list(names)
    while to_do:
        name = to_do.pop().lower()
        if name in result:
            continue
        result.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                to_do.append(requirement.name)
    return result


def make_environment(folder: Path, distributions: Iterable[str] | None = None) -> Path:
    """A new environment with links to these installed distributions; default: all but kdpipe."""
    run_to_end(sys.executable, "-m", "venv", "--without-pip", folder)
    (site,) = folder.glob("lib/python*/site-packages")
    found = map(metadata.distribution, distributions or {each.name for each in every()})
    for distribution in found:
        for file in distribution.files or ():
            top = file.parts[0]
            path = Path(distribution.locate_file(top)).absolute()
            if top not in ("..", "__pycache__") and path.exists() and not (site / top).exists():
                (site / top).symlink_to(path)
    return folder / "bin/python"


def every() -> list[metadata.Distribution]:
    return [each for each in metadata.distributions() if each.name != "kdpipe"]


def install(python: Path, source: str) -> None:
    """As `pip install SOURCE`: every requirement is met by what is there."""
    options = ["--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    run_to_end(python, "-m", "pip", "install", "-q", *options, source)


def test_an_installed_wheel_goes_from_images_to_predictions(built, tmp_path):
    install(make_environment(tmp_path / "venv"), f"{built['.whl']}[export]")
    here = tmp_path / "here"
    synthetic_data.photographs(here / "flowers", ["daisy", "rose"], 40, 10)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"KDPIPE_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}

    def kdpipe(*words: str) -> str:
        return run_to_end(tmp_path / "venv/bin/kdpipe", *words, cwd=here, env=env)

    kdpipe("init", "flowers")
    study = here / "flowers.yaml"
    content = yaml.safe_load(study.read_text())  # the same study, for seconds
    content |= {"seeds": [0], "recipe": content["recipe"] | {"epochs": 2, "drop_epochs": [1]}}
    study.write_text(yaml.safe_dump(content, sort_keys=False))
    message = kdpipe("run", "flowers.yaml", "--cores", "2", "--verbose")
    assert (here / "reports/flowers/index.html").is_file()
    # Nothing that the package carries is taken from the clone.
    for part in ("Snakefile", "workflow", "profiles", "src"):
        assert f"{ROOT}/{part}" not in message
    kdpipe("export", "flowers.yaml", "--best", "--to", "shipped")
    (image, *_) = sorted((here / "flowers/test/rose").iterdir())
    line = json.loads(kdpipe("predict", "shipped", image, "--json").splitlines()[-1])
    assert line["class"] in ("daisy", "rose")
    (smoke,) = (tmp_path / "venv").rglob("kdpipe/carried/studies/smoke.yaml")
    assert "no errors" in kdpipe("check", smoke)

    # Where it is used: onnxruntime, numpy and pillow, and no other package.
    bare = make_environment(tmp_path / "bare", require(ENOUGH_FOR_PREDICT))
    without_requirements = ["install", "-q", "--no-deps", "--no-index", built[".whl"]]
    run_to_end(sys.executable, "-m", "pip", "--python", bare, *without_requirements)
    command = [tmp_path / "bare/bin/kdpipe", "predict", "shipped", image, "--json"]
    assert json.loads(run_to_end(*command, cwd=here, env=env)) == line
    code = f"import kdpipe; print(kdpipe.load('shipped')({str(image)!r}))"
    assert "'rose'" in run_to_end(bare, "-c", code, cwd=here, env=env)
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        run_to_end(bare, "-c", "import torch", env=env)


def test_an_installed_sdist_is_the_wheel(built, tmp_path):
    install(make_environment(tmp_path / "venv"), f"{built['.gz']}[export]")
    with zipfile.ZipFile(built[".whl"]) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist() if "dist-info" not in name}
    (site,) = tmp_path.glob("venv/lib/python*/site-packages")
    assert len(files) > 300
    assert [name for name in files if (site / name).read_bytes() != files[name]] == []
