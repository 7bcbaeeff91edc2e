"""Digests of code: equal on all versions of Python, kept in cards, and in no name of a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny_study
from helpers.custom_networks import CODE, NETWORKS, Folder, study

from kdpipe import hashing, user_code
from kdpipe.user_code import hash_code

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
        "import sys; from kdpipe.user_code import hash_code; "
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

    def run(verb: str) -> set[str]:
        code = (
            "import sys; from kdpipe.cli.main import main; "
            f"code = main([{verb!r}, {str(folder.study)!r}]); "
            "print(code, *{'torch', 'mine'} & set(sys.modules), file=sys.stderr)"
        )
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        code, *names = process.stderr.splitlines()[-1].split()
        assert code == "0", process.stderr
        return set(names)

    return run


def test_check_imports_nothing_until_the_code_is_another(folder, imports_of):
    digests = folder.card("small")["code"]
    assert digests == {"mine.py": hash_code(CODE)} == folder.card("grouped")["code"]
    assert imports_of("check") == set()
    folder.code("# a comment\n" + CODE)
    assert imports_of("check") == set()
    folder.change("nn.ReLU(inplace=True)", "nn.ReLU()")
    assert imports_of("check") == {"torch", "mine"}, "it computes the same"
    assert folder.kdpipe("network") == 0
    assert imports_of("check") == set()


def test_a_refactoring_renames_nothing(folder):
    runs, card = list(folder.plan().runs), folder.card("small")
    folder.change("nn.ReLU(inplace=True)", "nn.ReLU()")
    assert folder.kdpipe("network") == 0
    assert folder.card("small")["code"] != card["code"]
    assert list(folder.plan().runs) == runs
    specs = json.dumps([run.spec.to_dict() for run in folder.plan().runs.values()])
    assert not any(digest in specs for digest in card["code"].values())


def test_each_file_that_is_imported_is_digested(folder):
    (folder.path / "parts").mkdir()
    (folder.path / "parts/__init__.py").write_text("")
    (folder.path / "parts/layers.py").write_text("WIDTH = 6\n")
    (folder.path / "unused.py").write_text("WIDTH = 6\n")
    folder.code(
        "from parts.layers import WIDTH\n" + CODE.replace("in_channels, 6", "in_channels, WIDTH")
    )
    try:
        assert folder.kdpipe("network") == 0
    finally:
        for name in ("parts", "parts.layers"):
            sys.modules.pop(name, None)
    assert set(folder.card("small")["code"]) == {
        "mine.py", "parts/__init__.py", "parts/layers.py",
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
    assert imports_of("check") == {"torch", "mine"}
    assert folder.kdpipe("network") == 0 and "code" in folder.card("small")
    assert list(folder.plan().runs) == runs


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
    """It acts late: the trial does not find it, and the docs say so."""
    folder.change("second.mean((2, 3))", "second.mean((2, 3)) * (1 if LATE.pop() else 2)")
    folder.code((folder.path / "mine.py").read_text() + "\n\nLATE = [1] * 10_000\n")
    assert imports_of("check") == {"torch", "mine"}


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
        added = {"code", "gpu_checked", "seal"}
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
    assert card["code"] == {"mine.py": hash_code(TERM)}
    code = (
        "import sys; from kdpipe.cli.main import main; "
        f"code = main(['check', {str(folder.study)!r}]); "
        "sys.exit(code or 'torch' in sys.modules or 'mine' in sys.modules)"
    )
    line = [sys.executable, "-c", code]
    assert subprocess.run(line, stdout=subprocess.DEVNULL).returncode == 0
    names = list(folder.plan().runs)
    folder.change(".abs().pow", ".abs() .add(0).pow")
    assert subprocess.run(line, stdout=subprocess.DEVNULL).returncode == 1, "it is tried"
    assert folder.kdpipe("check") == 0 and list(folder.plan().runs) == names
    folder.change(".add(0)", ".add(1)")
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
