"""Where weights come from: what the study and their own metadata state, and nothing else."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_study
from safetensors.numpy import save_file

from kdpipe.analysis.preregistration import registration
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.models.config import InitFrom
from kdpipe.models.pretrained import origin
from kdpipe.models.pretrained.origin import NOT_STATED, find_origin, find_restriction

TIMM = {"architecture": "resnet18", "pretrained_cfg": {"license": "apache-2.0"}}


def weights(folder: Path, metadata: dict | None = None) -> InitFrom:
    """A folder with a file of weights, as a study names it."""
    folder.mkdir(exist_ok=True)
    save_file({"one": np.ones(3, np.float32)}, folder / "model.safetensors", metadata)
    return InitFrom(network="wrn10-1", path=str(folder), sha256=64 * "0")


def of_file(source: InitFrom) -> InitFrom:
    """The same by the path of the file itself."""
    return source.model_copy(update={"path": f"{source.path}/model.safetensors"})


def test_what_states_nothing_has_no_license(tmp_path):
    """Not even where the name of the folder says one."""
    found = find_origin(of_file(weights(tmp_path / "cc-by-nc-4.0")))
    assert (found.license, found.stated_by) == (NOT_STATED, "")
    assert found.source == "model.safetensors" and not found.base_models
    named = InitFrom(network="resnet18", weights="IMAGENET1K_V1")
    assert find_origin(named).source == "torchvision's IMAGENET1K_V1"
    assert find_origin(named).license == NOT_STATED


def test_the_header_of_the_file_the_config_of_timm_and_a_card_state_it(tmp_path):
    in_header = of_file(weights(tmp_path / "header", {"license": "cc-by-nc-4.0"}))
    found = find_origin(in_header)
    assert (found.license, found.stated_by) == ("cc-by-nc-4.0", "the header of its file")
    source = weights(tmp_path / "timm")
    (tmp_path / "timm/config.json").write_text(json.dumps(TIMM))
    found = find_origin(source)
    assert (found.license, found.stated_by) == ("apache-2.0", "its config.json")
    (tmp_path / "timm/config.json").write_text(json.dumps({"pretrained_cfg": {}}))
    (tmp_path / "timm/README.md").write_text("---\nlicense: other\nlicense_name: mine\n---\n# a\n")
    assert find_origin(source).license == "mine"
    for broken in ("---\n- a\n---\n", "no front matter", "---\nlicense: [mit]\n---\n", "\xff"):
        (tmp_path / "timm/README.md").write_text(broken, encoding="latin-1")
        assert find_origin(source).license == NOT_STATED


def test_the_study_states_what_the_weights_do_not_and_may_not_contradict(tmp_path):
    silent = of_file(weights(tmp_path / "silent")).model_copy(update={"license": "mit"})
    assert (find_origin(silent).license, find_origin(silent).stated_by) == ("mit", "the study")
    stated = of_file(weights(tmp_path / "stated", {"license": "CC-BY-NC-4.0"}))
    agrees = stated.model_copy(update={"license": "cc-by-nc-4.0"})
    assert find_origin(agrees).license == "cc-by-nc-4.0"
    with pytest.raises(KdpipeError, match="license: 'mit', but the header of its file states CC"):
        find_origin(stated.model_copy(update={"license": "mit"}))


@pytest.mark.parametrize(
    ("license", "words"),
    [
        ("cc-by-nc-4.0", "commercial"),
        ("CC BY-NC-SA 4.0", "commercial|keep it"),
        ("cc-by-nd-4.0", "sharing"),
        ("Creative Commons Attribution NonCommercial NoDerivatives", "commercial|sharing"),
        ("fair-noncommercial-research-license", "commercial"),
        ("research only", "commercial"),
        ("gpl-3.0", "copyleft"),
        ("AGPL-3.0-or-later", "copyleft"),
        ("lgpl-2.1", "copyleft"),
        ("dinov3-license", "terms of its own"),
        ("llama3.1", "terms of its own"),
        ("other", "terms of its own"),
        ("apache-2.0", ""),
        ("mit", ""),
        ("bsd-3-clause", ""),
        ("cc-by-4.0", ""),
        ("cc0-1.0", ""),
        ("afl-3.0", ""),
        ("Academic Free License v3.0", ""),
        (NOT_STATED, ""),
    ],
)
def test_a_restriction_is_read_from_the_name(license, words):
    text = find_restriction(license)
    assert bool(text) == bool(words)
    assert all(word in text for word in words.split("|"))


def study_from(path: Path, **keys) -> dict:
    """The tiny study with a teacher from a file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    start = {"network": "wrn10-1", "path": str(path), "sha256": digest} | keys
    return tiny_study.study(starts={"tuned": start}, main={"teachers": ["tuned"]})


@pytest.fixture
def restricted(tmp_path):
    """The path of a file whose header says that its license is not for commerce."""
    source = weights(tmp_path / "weights", {"license": "cc-by-nc-4.0"})
    return Path(str(source.path)) / "model.safetensors"


def test_plan_and_check_name_a_license_that_restricts(restricted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = tiny_study.write(Path("study.yaml"), study_from(restricted))
    lines = load.collect_notes(load.load_study(study))
    (line,) = [line for line in lines if "license" in line]
    assert line.startswith(
        "note: starts.tuned: the license of model.safetensors, cc-by-nc-4.0, says by its name "
        "that it forbids commercial use; "
    )
    assert main(["plan", "study.yaml"]) == 0
    assert line in capsys.readouterr().out
    tiny_study.write(study, study_from(restricted, license="mit"))
    assert main(["check", "study.yaml"]) == 2
    assert "starts.tuned.license: 'mit', but the header of" in capsys.readouterr().err


def test_a_license_renames_no_run_and_is_not_registered(restricted):
    """Nor is a license that is stated later a deviation."""
    without, stated = (
        load.validate_study(study_from(restricted, **keys), "tiny")
        for keys in ({}, {"license": "cc-by-nc-4.0"})
    )
    first, second = (registration.get_registered_content(one) for one in (without, stated))
    assert first == second
    assert origin.describe_restrictions(without.pretrained, without.starts)


@pytest.mark.parametrize("license", ["", " ", "two\nlines", "bell\x07"])
def test_a_license_is_one_line(tmp_path, license):
    with pytest.raises(ValueError, match="license"):
        InitFrom(network="wrn10-1", path="x", license=license)
