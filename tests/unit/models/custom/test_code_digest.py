"""Digests of code: equal on all versions of Python, kept in cards, and in no name of a run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from helpers import tiny_study
from helpers.custom_networks import CODE, NETWORKS, Folder, forget, study, trained

from kdpipe import hashing, user_code
from kdpipe.analysis import dataframe
from kdpipe.cli.main import main
from kdpipe.code_digest import hash_code, hash_reached_code, join_digests
from kdpipe.training import checkpoint

SAMPLE = '''# -*- coding: utf-8 -*-
"""A module."""
import os, sys as system
from . import a
from ..b import *

x = 1; y = 1.0; z = True; n = None; e = ...; c = 2j; b = b"x\\xff"; t = "e\\ud800" u"a"
f = f"a{x}b" "c" f"{y!r:>{z}}" f"{x=}" f"{{}}" f"{x:}" f"" f"{x}{y}" f"a" "b"
g = f"{x:{y}.{z}f} {'nested'} {x!s:^10} { x + 1 = }" rf"\\d{x}\\n"
h = f"""lines
{x:%Y-%m-%d} {x:{{}}}""" if z else 0xFFFFFFFFFFFFFFFFFFFFFFFF + 1_000 + 1e999

class A(B, metaclass=C):
    """A class."""
    v: int = 3
    "a note on v"

    @property
    def f(self, a, /, b=1, *args, c, d=2, **rest) -> "int":
        """Nothing else."""

    async def g(self):
        async with a as b, c:
            pass
        return [await i async for i in x if i]

    def h(self):
        return (yield), (lambda q=1, *r, k=2: q)

try:
    pass
except* ValueError as error:
    raise X from error
else:
    pass
finally:
    pass
match x:
    case {"a": 1, **rest}:
        pass
    case [1, *_] | A(v=2) as q if x:
        pass
    case None | -1:
        pass
with (open("a") as f, open("b")):
    a[1:2, ::3] += (w := 3)
print(*a, **{**b, "k": 1}, k=not y if x else {1, 2})
'''
SAMPLE_DIGEST = "733e54d02253d968a328efe1170af603e67957ff86c745debb1ee27f562dae2d"
PYTHONS = {"3.11": "3.11.7", "3.12": "3.12.1", "3.13": "3.13.0"}


@pytest.mark.parametrize("version", PYTHONS)
def test_it_is_equal_on_each_version_of_python(version, tmp_path):
    python = Path.home() / f".pyenv/versions/{PYTHONS[version]}/bin/python"
    python = python if python.exists() else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    (tmp_path / "sample.py").write_text(SAMPLE)
    code = (
        "import sys; from kdpipe.code_digest import hash_code, hash_reached_code, join_digests; "
        "print(hash_code(open(sys.argv[1], 'rb').read()), 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(user_code.__file__).parents[1])}
    process = subprocess.run(
        [python, "-c", code, tmp_path / "sample.py"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.stdout.split() == [SAMPLE_DIGEST, "False"], process.stderr


SAME = {
    "a comment": ("x = 1", "x = 1  # one"),
    "a docstring": ("def f(x):\n    return x", 'def f(x):\n    """Return x."""\n    return x'),
    "layout": ("f(1, 2)", "f(\n    1,\n\n    2,\n)"),
    "quotes": ("x = 'a'", 'x = "a"'),
    "joined texts": ("x = 'ab'", "x = 'a' 'b'"),
    "an empty format": ("x = f'{y}'", "x = f'{y:}'"),
    "a number's spelling": ("x = 1000", "x = 1_000"),
}
OTHER = {
    "a number": ("x = 1", "x = 2"),
    "its type": ("x = 1", "x = 1.0"),
    "a truth": ("x = 1", "x = True"),
    "a text": ("x = 1", "x = '1'"),
    "a name": ("x = a", "x = b"),
    "a name for a text": ("x = a", "x = 'a'"),
    "none": ("return_ = None", "return_ = ''"),
    "a default": ("def f(x, y=None): pass", "def f(x, y): pass"),
    "the order": ("f(); g()", "g(); f()"),
    "an operator": ("x = a + b", "x = a - b"),
    "nesting": ("x = (a + b) + c", "x = a + (b + c)"),
    "a condition": ("x = [a for a in b]", "x = [a for a in b if a]"),
    "a text in a format": ("x = f'a{b}c'", "x = f'a{b}d'"),
    "an async loop": ("x = [a for a in b]", "x = [a async for a in b]"),
    "a statement after a text": ("'a'; x = 1", "'a'; x = 3"),
    "an end": ("if a:\n    f()\ng()", "if a:\n    f()\n    g()"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_changes_nothing_is_left_out(case):
    before, after = SAME[case]
    assert hash_code(before) == hash_code(after)


@pytest.mark.parametrize("case", OTHER)
def test_what_may_change_a_computation_is_in_it(case):
    before, after = OTHER[case]
    assert hash_code(before) != hash_code(after)


def test_a_long_sum_is_no_trouble():
    assert hash_code("x = " + " + ".join(["1"] * 500)) != hash_code("x = 1")


@pytest.fixture
def imports_of(folder):
    """What a command imports of torch and of the code, in a process of its own."""

    def run(verb: str, expected: str = "0") -> set[str]:
        code = (
            "import sys; from kdpipe.cli.main import main; "
            f"code = main([{verb!r}, {str(folder.study)!r}]); "
            "print(code, *{'torch', 'mine'} & set(sys.modules), file=sys.stderr)"
        )
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        code, *names = process.stderr.splitlines()[-1].split()
        assert code == expected, process.stderr
        return set(names)

    return run


def test_check_imports_nothing_until_the_code_is_another(folder, imports_of):
    digests = folder.card("small")["code"]
    assert digests == hash_reached_code(folder.path, "mine.small")
    assert folder.card("grouped")["code"] == hash_reached_code(folder.path, "mine.Grouped")
    assert imports_of("check") == set()
    folder.code("# a comment\n" + CODE)
    assert imports_of("check") == set()
    folder.change("nn.ReLU(inplace=True)", "nn.ReLU()")
    assert imports_of("check", "2") == {"torch", "mine"}, "it computes the same"
    assert folder.kdpipe("network", "--same") == 0
    assert imports_of("check") == set()


def test_a_refactoring_renames_nothing(folder):
    runs, card = list(folder.plan().runs), folder.card("small")
    folder.change("nn.ReLU(inplace=True)", "nn.ReLU()")
    assert folder.kdpipe("network", "--same") == 0
    assert folder.card("small")["code"] != card["code"]
    assert list(folder.plan().runs) == runs
    specs = json.dumps([run.spec.to_dict() for run in folder.plan().runs.values()])
    assert not any(digest in specs for digest in card["code"].values())


def test_each_file_that_is_reached_is_digested(folder):
    (folder.path / "parts").mkdir()
    (folder.path / "parts/__init__.py").write_text("")
    (folder.path / "parts/layers.py").write_text("WIDTH = 6\n")
    (folder.path / "unused.py").write_text("WIDTH = 6\n")
    folder.code(
        "from parts.layers import WIDTH\n" + CODE.replace("in_channels, 6", "in_channels, WIDTH")
    )
    try:
        assert folder.kdpipe("network", "--same") == 0
    finally:
        for name in ("parts", "parts.layers"):
            sys.modules.pop(name, None)
    assert set(folder.card("small")["code"]) == {
        "mine.py", "parts/layers.py",
    }  # fmt: skip
    (folder.path / "parts/layers.py").write_text("WIDTH = 8\n")
    assert folder.kdpipe("check") == 2
    sys.modules.pop("parts.layers", None)


def test_a_card_without_a_digest_goes_on(folder, imports_of):
    runs = list(folder.plan().runs)
    for path in folder.path.glob("*.network.json"):
        card = json.loads(path.read_text())
        del card["code"], card["gpu_checked"]
        path.write_text(json.dumps(hashing.add_checksum(card)))
    assert list(folder.plan().runs) == runs
    assert imports_of("check") == {"torch", "mine"}, "once"
    assert folder.card("small")["code"] == hash_reached_code(folder.path, "mine.small")
    assert imports_of("check") == set() and list(folder.plan().runs) == runs


@pytest.mark.parametrize("code", [{"mine.py": "x"}, {"../mine.py": "0" * 64}, ["mine.py"], 3])
def test_digests_that_are_none_are_refused(code, folder, capsys):
    path = folder.path / "small-1x8x8-10.network.json"
    path.write_text(json.dumps(hashing.add_checksum(folder.card("small") | {"code": code})))
    assert folder.kdpipe("check") == 2
    assert "is not a card of a network" in capsys.readouterr().err


def test_a_card_from_a_cpu_study_is_tried_again_for_gpus(tmp_path, capsys):
    errors = CODE.replace("self.linear(second", "self.linear(ZEROS + second")
    folder = Folder(tmp_path, study(device="cpu"), errors + "\n\nZEROS = torch.zeros(64, 1, 1)\n")
    folder.change("ZEROS + second.mean((2, 3))", "(ZEROS + second).mean((2, 3))")
    assert folder.kdpipe("network") == folder.kdpipe("check") == 0
    assert folder.card("grouped")["gpu_checked"] is False
    folder.write(study(device="cuda"))
    assert folder.kdpipe("check") == 2
    assert "it would fail on a GPU" in capsys.readouterr().err


def test_a_change_that_no_trial_shows_is_at_least_tried(folder, imports_of):
    """It acts late: the trial does not find it, and the digest does."""
    folder.change("second.mean((2, 3))", "second.mean((2, 3)) * (1 if LATE.pop() else 2)")
    folder.code((folder.path / "mine.py").read_text() + "\n\nLATE = [1] * 10_000\n")
    assert imports_of("check", "2") == {"torch", "mine"}


DROPPING = NETWORKS | {"dropping": {"build": "mine.dropping"}}
CARDS_BEFORE = Path(__file__).with_name("cards_before_digests.json")


def test_cards_of_the_version_before_name_the_same_runs(tmp_path):
    """They were written by kdpipe at 604ad10; machines round otherwise, and the cards are kept."""
    blocks = {"teachers": ["small", "grouped"], "students": ["dropping"]}
    folder = Folder(tmp_path, study(networks=DROPPING, main=blocks))
    before = json.loads(CARDS_BEFORE.read_text())
    paths = {name: tmp_path / f"{name}-1x8x8-10.network.json" for name in DROPPING}
    for name, path in paths.items():
        path.write_text(json.dumps(before["cards"][name]))
    assert sorted(folder.plan().runs) == before["runs"]
    assert folder.kdpipe("check") == 0
    assert folder.kdpipe("network") == 0, "typed again"
    assert sorted(folder.plan().runs) == before["runs"]
    for name in DROPPING:
        added = {"code", "gpu_checked", "libraries", "seal"}
        remaining = {key: value for key, value in folder.card(name).items() if key not in added}
        assert remaining == {
            key: value for key, value in before["cards"][name].items() if key != "seal"
        }
    for path in paths.values():
        path.unlink()
    assert folder.kdpipe("network") == 0, "made anew"
    for name in DROPPING:
        result, old = folder.card(name), before["cards"][name]
        for key in ("answer", "trained", "of_groups"):
            assert result.get(key, ()) == pytest.approx(old.get(key, ()), rel=1e-3, abs=1e-4)


TERM = """
from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    power: int = 2


def loss(student, teacher, labels, keys):
    apart = to_float32(student.logits) - to_float32(teacher.logits).detach()
    return apart.abs().pow(keys["power"]).mean()


TERM = LossTerm(title="t", short_title="T", part="tt", revision=1, keys=Keys, loss=loss)
"""


def test_the_card_of_a_term_has_them_too(tmp_path, capsys):
    method = {"term": "mine.TERM", "term_weight": 0.5, "kd_weight": 0.0, "ce_weight": 1.0}
    content = tiny_study.study(methods={"mine": method}, main={"methods": ["mine"]})
    folder = Folder(tmp_path, content, TERM)
    assert folder.kdpipe("term") == 0
    path = tmp_path / "mine.TERM.term.json"
    card = json.loads(path.read_text())
    assert card["code"] == hash_reached_code(tmp_path, "mine.TERM")
    code = (
        "import sys; from kdpipe.cli.main import main; "
        f"code = main(['check', {str(folder.study)!r}]); "
        "sys.exit(code or 'torch' in sys.modules or 'mine' in sys.modules)"
    )
    line = [sys.executable, "-c", code]
    assert subprocess.run(line, stdout=subprocess.DEVNULL).returncode == 0
    names = list(folder.plan().runs)
    folder.change(".abs().pow", ".abs() .add(0).pow")
    assert folder.kdpipe("check") == 2 and list(folder.plan().runs) == names
    assert "its code is not as in its card (mine.py), and it computes" in capsys.readouterr().err
    assert folder.kdpipe("term") == 2 and json.loads(path.read_text()) == card
    assert folder.kdpipe("term", "--same") == folder.kdpipe("check") == 0
    assert list(folder.plan().runs) == names
    folder.change(".add(0)", ".add(1)")
    assert folder.kdpipe("term", "--same") == 2, "the trial finds it"
    assert folder.kdpipe("check") == 2
    assert "it does not match its card" in capsys.readouterr().err
    folder.code(TERM)
    content["methods"]["mine"]["term_keys"] = {"power": 3}
    folder.write(content)
    assert folder.kdpipe("check") == 2
    assert "is not validated with these values yet" in capsys.readouterr().err
    for key in ("code", "gpu_checked"):
        del card[key]
    path.write_text(json.dumps(hashing.add_checksum(card)))
    content["methods"]["mine"]["term_keys"] = {}
    folder.write(content)
    assert list(folder.plan().runs) == names and folder.kdpipe("check") == 0


CARDS_OF_WHOLE_FILES = Path(__file__).with_name("cards_of_whole_files.json")


def test_cards_with_digests_of_whole_files_go_on_once(tmp_path, capsys):
    """They were written by kdpipe at 0f49ad84 for this code, before digests of reached code."""
    method = {"term": "mine.TERM", "term_weight": 0.5, "kd_weight": 0.0, "ce_weight": 1.0}
    content = study(methods={"mine": method}, main={"methods": ["mine"]})
    folder = Folder(tmp_path, content, CODE + TERM)
    before = json.loads(CARDS_OF_WHOLE_FILES.read_text())
    for name, card in before["cards"].items():
        (tmp_path / name).write_text(json.dumps(card))
    assert sorted(folder.plan().runs) == before["runs"]
    assert folder.kdpipe("check") == 0
    output = capsys.readouterr().out
    for name, card in before["cards"].items():
        assert output.count(f"{tmp_path / name}: it had no digest of the code it reaches") == 1
        written = json.loads((tmp_path / name).read_text())
        assert written["code"] == hash_reached_code(tmp_path, card.get("build", card.get("term")))
        changed = {key for key in written if written[key] != card.get(key)}
        assert changed - {"gpu_checked"} == {"code", "libraries", "seal"}
    assert folder.kdpipe("check") == 0
    assert "it had no digest" not in capsys.readouterr().out, "once"
    assert sorted(folder.plan().runs) == before["runs"]
    folder.change("apart.abs().pow", "apart.abs().add(0).pow")
    assert folder.kdpipe("check") == 2, "from now on edits are found"
    assert "mine.TERM: its code is not as in its card" in capsys.readouterr().err
    folder.change("nn.ReLU(inplace=True)", "nn.ReLU()")
    assert folder.kdpipe("check") == 2
    message = capsys.readouterr().err
    assert "networks.small.build: its code is not as in its card" in message
    assert "mine.Grouped" not in message


# What is another network or term, and (nearly) the same at the points of a trial.
UNSEEN = {
    "another activation": ("small", "nn.ReLU(inplace=True)", "nn.ReLU6(inplace=True)"),
    "another eps": ("small", "nn.BatchNorm2d(6)", "nn.BatchNorm2d(6, eps=1e-4)"),
    "clipped inputs": ("grouped", "self.stem(x)", "self.stem(x.clamp(-5, 5))"),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_a_change_that_computes_nearly_the_same_is_found(case, folder, capsys):
    """Whatever the trial says; both commands of the message do what it says."""
    runs = list(folder.plan().runs)
    cards = {name: folder.card(name) for name in NETWORKS}
    name, *edit = UNSEEN[case]
    folder.change(*edit)
    same, write = find_remedies(folder, capsys, f"networks.{name}.revision")
    assert folder.kdpipe("network") == 2, "it is not written over by the way"
    assert {name: folder.card(name) for name in NETWORKS} == cards
    forget()
    assert main(same) == folder.kdpipe("check") == 0
    assert list(folder.plan().runs) == runs
    folder.change(*reversed(edit))
    same, write = find_remedies(folder, capsys, f"networks.{name}.revision")
    networks = NETWORKS | {name: NETWORKS[name] | {"revision": 2}}
    folder.write(study(networks=networks))
    forget()
    assert main(write) == folder.kdpipe("check") == 0
    renamed = set(runs) - set(folder.plan().runs)
    assert any(run.startswith(f"{name}-") for run in renamed)


def test_comments_docstrings_and_blank_lines_are_no_change(folder):
    runs = list(folder.plan().runs)
    folder.code('"""Networks."""\n\n' + CODE.replace("\n\n\n", "\n\n\n\n# more\n"))
    assert folder.kdpipe("check") == 0 and list(folder.plan().runs) == runs


SQUARED = TERM.replace('apart.abs().pow(keys["power"]).mean()', "apart.pow(2).div(2).mean()")
UNSEEN_OF_TERMS = {
    "Huber's loss": ("apart.pow(2).div(2)", "F.huber_loss(apart, 0 * apart, delta=50)"),
    "clamped logits": ("apart.pow(2)", "apart.clamp(-20, 20).pow(2)"),
    "a factor": ("apart.pow(2)", "apart.mul(1.0005).pow(2)"),
}


@pytest.mark.parametrize("case", UNSEEN_OF_TERMS)
def test_a_term_that_computes_nearly_the_same_is_found(case, tmp_path, capsys):
    method = {"term": "mine.TERM", "term_weight": 0.5, "kd_weight": 0.0, "ce_weight": 1.0}
    content = tiny_study.study(methods={"mine": method}, main={"methods": ["mine"]})
    folder = Folder(tmp_path, content, f"from torch.nn import functional as F\n{SQUARED}")
    assert folder.kdpipe("term") == folder.kdpipe("check") == 0
    runs, card = set(folder.plan().runs), (tmp_path / "mine.TERM.term.json").read_bytes()
    folder.change(*UNSEEN_OF_TERMS[case])
    same, write = find_remedies(folder, capsys, "its revision")
    assert folder.kdpipe("term") == 2, "it is not written over by the way"
    assert (tmp_path / "mine.TERM.term.json").read_bytes() == card
    forget()
    assert main(same) == folder.kdpipe("check") == 0
    assert set(folder.plan().runs) == runs
    folder.change(*reversed(UNSEEN_OF_TERMS[case]))
    same, write = find_remedies(folder, capsys, "its revision")
    folder.change("revision=1", "revision=2")
    forget()
    assert main(write) == folder.kdpipe("check") == 0
    assert len(runs - set(folder.plan().runs)) == 1, "that of the student"


def find_remedies(folder, capsys, revision: str) -> tuple[list[str], list[str]]:
    """The commands that `kdpipe check` names for code that was changed, as a shell reads them."""
    capsys.readouterr()
    assert folder.kdpipe("check") == 2
    message = " ".join(capsys.readouterr().err.split())
    match = re.search(
        "computes the same everywhere, run: kdpipe (.* --same); else raise (.*) and run: "
        "kdpipe (.* --write)",
        message,
    )
    assert match and match[2] == revision, message
    return shlex.split(match[1]), shlex.split(match[3])


def test_other_versions_of_libraries_are_a_note(folder, capsys):
    card = folder.card("small")
    assert card["libraries"].keys() >= {"torch", "torchvision"}
    path = folder.path / "small-1x8x8-10.network.json"
    libraries = card["libraries"] | {"torchvision": "0.1", "gone": "3"}
    path.write_text(json.dumps(hashing.add_checksum(card | {"libraries": libraries})))
    assert folder.kdpipe("check") == 0
    note = capsys.readouterr().out
    assert f"{path} was written with other libraries: torchvision 0.1, now " in note
    assert "gone 3, now not installed" in note and "torch 2" not in note


def test_a_digest_is_of_what_was_imported(tmp_path, monkeypatch):
    """An edit after the import, as while a job runs, is not in it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text("x = 1\n")
    try:
        digest = join_digests(hash_reached_code(tmp_path, "mine.x"))
        assert user_code.import_object("key", "mine.x", tmp_path) == 1
        (tmp_path / "mine.py").write_text("x = 2\n")
        assert user_code.hash_loaded_code(tmp_path) == {"mine.x": digest}
    finally:
        sys.modules.pop("mine", None)


def test_sessions_of_other_code_are_both_named():
    sessions = [{"a.py": "1"}, {"a.py": "1", "b.py": "2"}, {"a.py": "3", "b.py": "2"}]
    assert user_code.join_sessions(sessions) == {"a.py": "1, then 3", "b.py": "2"}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["mine.a 1; mine.b 2", "mine.a 1; mine.b 2", ""], []),
        (["mine.a 1; mine.b 2", "mine.a 1; mine.b 3"], ["mine.b"]),
        (["mine.a 1, then 3; mine.b 2", "mine.a 1, then 3; mine.b 2"], ["mine.a"]),
        (["", ""], []),
    ],
)
def test_a_cell_that_mixes_two_versions_names_the_objects(codes, expected):
    assert dataframe._find_mixed_objects(codes) == expected


def test_each_record_says_what_it_was_made_with(folder, store):
    """A cell whose seeds were trained before and after an edit is marked; nothing else sees it."""
    folder.write(study(seeds=[0, 1]))
    runs = [run for label, _, run in folder.plan().list_scratch_runs() if label == "small"]
    changed = CODE.replace("nn.ReLU(inplace=True)", "nn.ReLU6(inplace=True)")
    digests = []
    for run, source in zip(runs, (CODE, changed), strict=True):
        folder.code(source)
        digests.append(join_digests(hash_reached_code(folder.path, "mine.small")))
        trained(run, store, folder)
    records = [tiny_study.record(store, run) for run in runs]
    assert [record["code"]["mine.small"] for record in records] == digests
    assert digests[0] != digests[1]
    frame = dataframe.build_results_frame(folder.plan(), store)
    texts = frame[frame.student == "small"].code.dropna().tolist()
    assert all(f"mine.small {d[:12]}" in text for d, text in zip(digests, texts, strict=True))
    cell = dataframe.normalize_frame(frame)
    cell = cell[(cell.kind == "scratch") & (cell.student == "small")]
    assert "mixes versions of code: mine.small" in dataframe.describe_gaps(cell)
    assert "code" not in dataframe.describe_gaps(cell[cell.seed == 0])
    assert dataframe.describe_mixed_code(frame[frame.student == "small"]) == (
        "The code of mine.small was edited between runs: 1 of 1 cell mixes its versions. The "
        "column code of results.csv lists the version of each run."
    )
    assert dataframe.describe_mixed_code(frame[frame.seed == 0]) == ""


def test_a_resumed_run_says_of_both_sessions(tmp_path):
    optimizer = types.SimpleNamespace(state={}, parameters={})
    model, terms = torch.nn.Linear(1, 1), torch.nn.ModuleDict()
    progress = checkpoint.TrainingState()
    for digests in ({"mine.py": "a"}, {"mine.py": "a"}, None):
        progress.add_code(digests)
        checkpoint.save_state(tmp_path, "x", model, terms, None, optimizer, progress)
    saved = checkpoint.read_state(tmp_path, "x")
    assert saved is not None and saved[1]["code"] == [{"mine.py": "a"}]
    progress = checkpoint.restore_state(*saved, model, terms, None, optimizer)
    progress.add_code({"mine.py": "b"})
    assert user_code.join_sessions(progress.code) == {"mine.py": "a, then b"}
    plain = checkpoint.TrainingState()
    checkpoint.save_state(tmp_path, "x", model, terms, None, optimizer, plain)
    assert "code" not in checkpoint.read_state(tmp_path, "x")[1], "of a run without custom code"


REACHING = {
    "mine.py": """
import torch.nn.functional as F
from torch import nn
import helpers
from pkg import sub as parts
from pkg.sub import scale as times
EPS = 1e-5
class Net(nn.Module):
    def forward(self, x):
        self.eval()
        return F.relu(helpers.clip(x)) * EPS + times(x) + parts.shift(x)
class Other:
    pass
if __name__ == "__main__":
    print(Other())
""",
    "helpers.py": """
LIMIT = 5
def clip(x):
    return x.clamp(-LIMIT, LIMIT)
def other():
    return 1
""",
    "pkg/__init__.py": "",
    "pkg/sub.py": """
from .deep import FACTOR
def scale(x):
    return 1.0005 * x
def shift(x):
    return FACTOR + x
def unused():
    return 0
""",
    "pkg/deep.py": "FACTOR = 50\n",
}
REACHED_EDITS = {
    "another function of a library": ("mine.py", "F.relu", "F.relu6"),
    "another library": ("mine.py", "torch.nn.functional", "torch.nn.quantized"),
    "a constant": ("mine.py", "EPS = 1e-5", "EPS = 1e-4"),
    "a constant of a helper": ("helpers.py", "LIMIT = 5", "LIMIT = 20"),
    "a helper": ("helpers.py", "x.clamp(-LIMIT", "x.clamp(-2 * LIMIT"),
    "a helper under another name": ("pkg/sub.py", "1.0005", "1.001"),
    "a relative import": ("pkg/deep.py", "50", "51"),
    "another helper": ("mine.py", "import scale as", "import shift as"),
}
UNREACHED_EDITS = {
    "another class": ("mine.py", "    pass", "    x = 1"),
    "another function": ("helpers.py", "return 1", "return 2"),
    "a function of a package": ("pkg/sub.py", "return 0", "return 1"),
    "a new import": ("mine.py", "import helpers", "import os\nimport helpers"),
    "a script": ("mine.py", "print(Other())", "print(1)"),
    "a comment": ("helpers.py", "LIMIT = 5", "LIMIT = 5  # pixels"),
}


@pytest.fixture
def hash_edited(tmp_path):
    """Digests of a network before and after an edit."""

    def run(file: str, old: str, new: str, **added: str) -> list[dict[str, str]]:
        digests = []
        for path, text in (REACHING | added).items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
        for text in (old, new):
            path = tmp_path / file
            path.write_text(path.read_text().replace(old, text))
            digests.append(hash_reached_code(tmp_path, "mine.Net"))
        return digests

    return run


@pytest.mark.parametrize("case", REACHED_EDITS)
def test_an_edit_of_what_is_reached_is_found(case, hash_edited):
    before, after = hash_edited(*REACHED_EDITS[case])
    assert before.keys() == {"mine.py", "helpers.py", "pkg/sub.py", "pkg/deep.py"}
    assert before != after


@pytest.mark.parametrize("case", UNREACHED_EDITS)
def test_an_edit_of_what_is_not_reached_changes_nothing(case, hash_edited):
    before, after = hash_edited(*UNREACHED_EDITS[case])
    assert before == after


WHOLE = {  # statements by which the names of a file do not show what is reached
    "all names of a module": "from helpers import *\n",
    "an attribute of a module by its name": "class Net:\n    x = getattr(helpers, 'other')\n",
    "a call": "helpers.other()\n",
    "evaluation": "def f():\n    return eval('helpers.other()')\n",
    "a registry": "@helpers.other\nclass Registered: pass\n",
}


@pytest.mark.parametrize("case", WHOLE)
def test_where_names_do_not_tell_whole_files_are_taken(case, hash_edited):
    code = {"mine.py": REACHING["mine.py"] + WHOLE[case]}
    before, after = hash_edited("helpers.py", "return 1", "return 2", **code)
    assert before != after
