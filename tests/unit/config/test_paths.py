"""Paths in a study: written as seen from the file, absolute afterwards."""

from pathlib import Path

from kdpipe.config.paths import make_paths_relative, resolve_paths

FOLDER = Path("/studies")


def test_every_path_is_seen_from_the_folder_of_the_file():
    content = {
        "networks": {"mine": {}},
        "data": {"name": "own", "path": "images", "card": "../cards/own.json"},
        "pretrained": {"big": {"network": "resnet18", "path": "w.pt"}, "odd": 5},
        "transfers": {"t": {"data": {"path": "/else/where"}, "blocks": ["path"]}, "odd": 5},
    }
    before = repr(content)
    assert resolve_paths(content, FOLDER) == {
        "networks": {"mine": {}},
        "code": "/studies",
        "data": {"name": "own", "path": "/studies/images", "card": "/cards/own.json"},
        "pretrained": {"big": {"network": "resnet18", "path": "/studies/w.pt"}, "odd": 5},
        "transfers": {"t": {"data": {"path": "/else/where"}, "blocks": ["path"]}, "odd": 5},
    }
    assert repr(content) == before


def test_what_is_no_path_stays_as_it_is():
    for content in (5, None, [], {}, {"data": 5, "pretrained": [], "transfers": None}):
        assert resolve_paths(content, FOLDER) == content
    assert resolve_paths({"data": {"path": 5, "card": ""}}, FOLDER) == {
        "data": {"path": 5, "card": ""}
    }
    assert resolve_paths({"code": "src"}, FOLDER) == {"code": "src"}  # of no network of one's own
    assert resolve_paths({"code": "src", "networks": {"n": {}}}, FOLDER)["code"] == "/studies/src"


def test_a_page_has_the_paths_of_the_file_and_none_of_the_machine(monkeypatch):
    content = {
        "networks": {"mine": {}},
        "code": ".",
        "data": {"path": "/usr/share/images", "card": "../cards/own.json", "unlabelled": "more"},
        "starts": {"big": {"path": "../weights/big.safetensors"}, "odd": 5},
        "transfers": {"t": {"data": {"path": "flowers"}}},
    }
    folder = Path("/home/me/project/studies")
    resolved = resolve_paths(content, folder)
    assert resolved["starts"]["big"]["path"] == "/home/me/project/weights/big.safetensors"
    assert make_paths_relative(resolved, folder) == content
    monkeypatch.chdir("/usr")
    assert make_paths_relative({"data": {"path": "/usr/share"}}, Path()) == {
        "data": {"path": "share"}
    }
