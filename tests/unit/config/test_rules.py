"""The folder of rules: each file finds one kind of mistake, and no other file finds it."""

import subprocess
import sys

import pytest
from helpers.rich_study import put, rich

from kdpipe import registry
from kdpipe.config import rule
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import Study

FOLDER = "kdpipe.config.rules"
PAIR = {"networks": ["wrn10-1"], "copies": 2}
# For each rule a change of the rich study, well formed, that it alone refuses.
CASES = {
    "term_batch_size": {"methods.kd.dist_weight": 1.0, "data.train_size": 101},
    "teacher_precision": {
        "methods.kd.teacher_precision": "bfloat16",
        "methods.kd.temperature": 1.0,
    },
    "terms": {
        "methods.kd.attention_weight": 1.0,
        "experiments.1.teachers": ["three"],
    },
    "cycles": {"experiments.1.teachers": ["again"]},
    "data": {"data.name": "digit"},
    "ensembles": {"ensembles.line.block": "agan"},
    "experiments": {"experiments.0.methods": ["kdd"]},
    "custom_losses": {"methods.kd.term": "mine.TERM", "code": "."},
    "batch_size": {
        "data.train_size": 1,
        "data.resize": 4,
        "transfers.clothes.data.resize": 4,
    },
    "interim": {"looks": [3, 5]},
    "lengths": {"experiments.0.epochs": [10, "1x"]},
    "mixup": {"recipe.mixup": 0.2, "teacher_outputs": "table"},
    "names": {"experiments.3.name": "self"},
    "custom_models": {"code": "nowhere"},
    "pretrained": {"pretrained": {"mine": {"network": "wrn16-1", "path": "/nowhere"}}},
    "recipes": {"keep_checkpoints.wrn16-1": ["schedule 1/2"]},
    "references": {"tables": {"eskd": ["sizes"]}},
    "splits": {"splits": [0, 1, 1]},
    "finetune": {"starts": {"warm": {"network": "wrn16-1", "path": "/nowhere"}}},
    "search": {"search": {"blocks": ["size"], "fresh_seeds": 3}},
    "run_count": {"seeds": list(range(5000)), "experiments.2.seeds": [0, 1]},
    "transfers": {"transfers.clothes.blocks": ["three"]},
    "unlabelled": {"data.unlabelled": "rest"},
}


def apply_case(case):
    content = rich()
    for path, value in case.items():
        put(content, path, value)
    return content


def test_each_file_has_a_case():
    assert tuple(sorted(CASES)) == registry.list_names(FOLDER)


@pytest.mark.parametrize("name", registry.list_names(FOLDER))
def test_a_rule_alone_finds_its_kind_of_mistake(name):
    content = apply_case(CASES[name])
    Study.model_validate(content)  # each key by itself is right
    config = PartialConfig(content, "f")
    assert not list(
        registry.load_object(FOLDER, name, "RULE", Rule).function(PartialConfig(rich(), "f"))
    )
    for other, each in registry.load_all_objects(FOLDER, "RULE", Rule).items():
        lines = list(each.function(config)) if other == name or not each.last else []
        assert bool(lines) == (other == name), (other, lines)
        assert all(isinstance(line, str) and ": " in line for line in lines)


def test_rules_are_applied_in_the_order_of_their_messages():
    orders = [each.order for each in rule.load_rules()]
    assert orders == sorted(set(orders)), "two rules of one order: which is first is undefined"
    lasts = [each.last for each in rule.load_rules()]
    assert lasts == sorted(lasts), "a rule that is last has a message before others'"


def test_listing_imports_no_rule_and_loading_no_library_of_numbers():
    """In a fresh process: a study is checked on a head node, thousands of times."""
    script = f"""
import sys
from kdpipe import registry
assert registry.list_names({FOLDER!r})
assert not any(name.startswith({FOLDER + "."!r}) for name in sys.modules), "listing imports"
from kdpipe.config import rule
assert rule.load_rules()
print(*{{"torch", "torchvision", "pandas", "numpy", "scipy"}} & set(sys.modules))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.returncode, process.stdout.strip()) == (0, ""), process.stderr
