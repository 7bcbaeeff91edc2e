"""The folder of checks: each file finds its own kind of mistake, and no other file finds it."""

import subprocess
import sys

import pytest
from rich_study import put, rich

from kdpipe import discovery
from kdpipe.study import check
from kdpipe.study.check import Check
from kdpipe.study.grammar import Study
from kdpipe.study.sound import Sound

FOLDER = "kdpipe.study.checks"
PAIR = {"networks": ["wrn10-1"], "copies": 2}
# For each check a change of the rich study, well formed, that it alone refuses.
CASES = {
    "batches": {"methods.kd.dist_weight": 1.0, "data.train_size": 101},
    "terms": {
        "methods.kd.attention_weight": 1.0,
        "experiments.1.teachers": ["three"],
    },
    "circles": {"experiments.1.teachers": ["again"]},
    "data": {"data.name": "digit"},
    "ensembles": {"ensembles.line.block": "agan"},
    "experiments": {"experiments.0.methods": ["kdd"]},
    "own_terms": {"methods.kd.term": "mine.TERM", "code": "."},
    "last_batch": {
        "data.train_size": 1,
        "data.resize": 4,
        "transfers.clothes.data.resize": 4,
    },
    "looks": {"looks": [3, 5]},
    "mixing": {"recipe.mixup": 0.2, "teacher_outputs": "table"},
    "names": {"experiments.3.name": "self"},
    "networks": {"code": "nowhere"},
    "pretrained": {"pretrained": {"mine": {"network": "wrn16-1", "path": "/nowhere"}}},
    "recipes": {"keep_checkpoints.wrn16-1": ["schedule 1/2"]},
    "references": {"tables": {"eskd": ["sizes"]}},
    "splits": {"splits": [0, 1, 1]},
    "starts": {"starts": {"warm": {"network": "wrn16-1", "path": "/nowhere"}}},
    "search": {"search": {"blocks": ["size"], "fresh_seeds": 3}},
    "size": {"seeds": list(range(5000)), "experiments.2.seeds": [0, 1]},
    "transfers": {"transfers.clothes.blocks": ["three"]},
    "unlabelled": {"data.unlabelled": "rest"},
}


def changed(case):
    content = rich()
    for where, value in case.items():
        put(content, where, value)
    return content


def test_each_file_has_a_case():
    assert tuple(sorted(CASES)) == discovery.names(FOLDER)


@pytest.mark.parametrize("name", discovery.names(FOLDER))
def test_a_check_alone_finds_its_kind_of_mistake(name):
    content = changed(CASES[name])
    Study.model_validate(content)  # each key by itself is right
    sound = Sound(content, "f")
    assert not list(discovery.one(FOLDER, name, "CHECK", Check).function(Sound(rich(), "f")))
    for other, each in discovery.every(FOLDER, "CHECK", Check).items():
        found = list(each.function(sound)) if other == name or not each.last else []
        assert bool(found) == (other == name), (other, found)
        assert all(isinstance(line, str) and ": " in line for line in found)


def test_checks_are_asked_in_the_order_of_the_answer():
    orders = [each.order for each in check.in_order()]
    assert orders == sorted(set(orders)), "two checks of one order: which is first is not said"
    lasts = [each.last for each in check.in_order()]
    assert lasts == sorted(lasts), "a check that is last has a message before others'"


def test_listing_imports_no_check_and_loading_no_library_of_numbers():
    """In a fresh process: a study is checked on a head node, thousands of times."""
    script = f"""
import sys
from kdpipe import discovery
assert discovery.names({FOLDER!r})
assert not any(name.startswith({FOLDER + "."!r}) for name in sys.modules), "listing imports"
from kdpipe.study import check
assert check.in_order()
print(*{{"torch", "torchvision", "pandas", "numpy", "scipy"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
