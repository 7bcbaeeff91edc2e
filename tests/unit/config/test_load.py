"""Wrong studies: every mistake named, all of them at once, and nothing but a message."""

import copy
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.rich_study import NAME, NUMBER, RICH, STOP, mistakes_of, rich
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdpipe.config import load
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner

ROOT = Path(__file__).parents[3]


def test_the_rich_study_has_no_mistake():
    assert planner.build_plan(load.validate_study(rich(), "f")).runs


def test_all_mistakes_of_a_file_come_in_one_answer():
    """Every section is malformed, and what its sound keys say is followed all the same."""
    content = {
        "study": "a b",
        "sedes": [1],
        "seeds": [0, 0, "1"],
        "data": {"name": "digit", "pad": -1},
        "recipe": {"epochs": 10, "batch_size": "50", "lr": "5e-4", "drops": [1]},
        "network_recipes": {"wrn16": {"lr": -1}, "wrn16-2": {"epoch": 3, "momentum": True}},
        "keep_checkpoints": {"wrn16-1": ["checkpoint 11", "later"]},
        "methods": {"kd": {"alpha": 0.5}, "eskd": {"stop_epoch": 10, "temperature": 0}},
        "ensembles": {"three": {"networks": ["wrn10"], "copies": 0}, "line": {"block": "agan"}},
        "experiments": [
            {
                "name": "again",
                "teachers": ["self", "siz"],
                "students": ["wrn10-0.5", 5],
                "methods": ["kd", "esk", ["kd", "eskd"]],
                "stops": ["checkpoint 11", "half"],
                "generations": 0,
                "sends": [1],
            },
            {"name": "again", "students": ["wrn10-0.5"], "methods": ["eskd"]},
        ],
        "tables": {"ekd": ["three"], "eskd": ["agian"]},
    }
    expected = {
        "study: 'a b': " + NAME,
        "sedes: [1]: unknown key; did you mean seeds?",
        "seeds: 0 is listed twice",
        "seeds[2]: '1': this is a string",
        "data.name: ",
        "data.pad: -1: input should be greater than or equal to 0",
        "recipe.batch_size: '50': this is a string",
        "recipe.lr: '5e-4': YAML reads this as a string; write 5.0e-4",
        "recipe.drops: [1]: unknown key; did you mean drop_",
        "network_recipes.wrn16: there is no network 'wrn16'",
        "network_recipes.wrn16.lr: -1: input should be greater than 0",
        "network_recipes.wrn16-2.epoch: 3: unknown key; did you mean epochs?",
        "network_recipes.wrn16-2.momentum: True: " + NUMBER,
        "keep_checkpoints.wrn16-1: checkpoint 11 is after the last epoch",
        "keep_checkpoints.wrn16-1[1]: 'later': " + STOP,
        "methods.kd.alpha: alpha is ambiguous",
        "methods.eskd.temperature: 0: input should be greater than 0",
        "methods.eskd.stop_epoch: 10 is not before the last epoch: wrn10-0.5 trains for 10",
        "ensembles.three.networks: there is no network 'wrn10'",
        "ensembles.three.copies: 0: input should be greater than or equal to 1",
        "ensembles.line.block: there is no experiment agan; did you mean again?",
        "experiments[0] (again).teachers: there is no network 'siz'",
        "experiments[0] (again).students[1]: 5: expected a string",
        "experiments[0] (again).methods: there is no method esk; did you mean eskd?",
        "experiments[0] (again).stops: checkpoint 11 is after the last epoch",
        "experiments[0] (again).stops[1]: 'half': " + STOP,
        "experiments[0] (again).generations: 0: input should be greater than or equal to 1",
        "experiments[0] (again).sends: [1]: unknown key; did you mean seeds?",
        "experiments[1].name: the name again is already used by experiments[0].name",
        "experiments[1] (again).teachers: missing required key",
        "tables: there is no table 'ekd'; did you mean eskd?",
        "tables.eskd: there is no experiment or ensemble agian; did you mean again?",
    }
    lines = mistakes_of(content)
    for start in expected:
        assert [line for line in lines if line.startswith(start)], (start, lines)
    assert len(lines) == len(expected), [
        line for line in lines if not line.startswith(tuple(expected))
    ]


def test_a_malformed_section_makes_no_mistakes_of_its_own():
    """Nothing is said to be undefined when it is unknown what is defined."""
    for key in ("methods", "experiments", "ensembles", "data", "recipe"):
        assert len(mistakes_of(rich(**{key: 5}))) == 1
    content = rich()
    content["experiments"][1]["generations"] = "3"
    assert len(mistakes_of(content)) == 1
    content["experiments"][1] = {}  # has no name: nobody knows what `again` is
    assert len(mistakes_of(content)) == 3


@pytest.mark.parametrize("content", [None, 5, "x", [], [{}], {1: 2}, {None: {}}, {"study": {}}])
def test_what_is_no_study_at_all(content):
    assert mistakes_of(content)


def test_thousands_of_mistakes_are_not_all_listed_and_take_no_time(content):
    content["methods"] = {f"method-{i}": {"temperatur": i} for i in range(2000)}
    content["experiments"][0]["methods"] = [f"methd-{i}" for i in range(4000)]
    started = time.process_time()
    with pytest.raises(StudyError) as error:
        load.validate_study(content, "f")
    head, *lines = str(error.value).split("\n")
    assert head == "f: too many errors; the first 100 are listed" and len(lines) == 100
    assert time.process_time() - started < 2


# --- whatever one writes


def paths(value, here=()):
    yield here
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in items:
        yield from paths(inner, (*here, key))


PATHS = [path for path in paths(RICH) if path]
# Words that mean something somewhere in the study, and values that mean nothing anywhere.
WORDS = [
    "size",
    "again",
    "steps",
    "better",
    "three",
    "shots",
    "line",
    "equal",
    "kd",
    "eskd",
    "self",
]
WORDS += ["wrn16-1", "wrn16-2", "wrn10-0.5", "wrn10-1", "resnet8", "densenet-bc40-12", "paired"]
WORDS += ["full", "checkpoint 0", "checkpoint 2", "checkpoint 99", "every 1", "schedule 1/3"]
JUNK = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, -1, 10**30, 0.5, -0.0, 1e300, math.nan, math.inf, [], {}]
    ),
    st.sampled_from(["", "5e-4", "1", ".", "../x", "a/b", "\x00", "é", "x" * 500, "zero", "live"]),
    st.sampled_from(WORDS),
    st.lists(st.sampled_from([*WORDS, 0, 1, 2, None, ["kd", "kd"], {}]), max_size=4),
    st.dictionaries(
        st.sampled_from([*WORDS, "epochs", "lr", "networks", "block", "stop_epoch", 5]),
        st.sampled_from([1, 2, 0.5, "wrn10-1", "again", ["wrn10-1"], None, {}]),
        max_size=3,
    ),
)
MUTATION = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["put", "put", "put", "remove", "rename", "copy"]), JUNK
)


def mutate(content, path, action, value):
    for part in path[:-1]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return  # an earlier mutation has taken it away
    last = path[-1]
    with_last = isinstance(content, dict) or (isinstance(content, list) and isinstance(last, int))
    if not with_last or (isinstance(content, list) and last >= len(content)):
        return
    if action == "put":
        content[last] = copy.deepcopy(value)
    elif isinstance(content, list):
        content.append(copy.deepcopy(content[last])) if action == "copy" else content.pop(last)
    elif action == "remove":
        content.pop(last, None)
    elif last in content:
        actual = content[last] if action == "copy" else content.pop(last)
        content[f"{last}x" if action == "copy" else str(last)[:-1]] = actual


@given(st.lists(MUTATION, min_size=1, max_size=4))
@settings(
    max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_a_changed_study_is_planned_or_refused_in_one_message(mutations):
    content = rich()
    for mutation in mutations:
        mutate(content, *mutation)
    try:
        study = load.validate_study(content, "f")
    except KdpipeError as error:
        head, *lines = str(error).split("\n")
        assert head.startswith("f: ") and lines
        assert all(line.startswith("  ") and line.strip() and len(line) < 1000 for line in lines)
        return
    assert planner.build_plan(study).runs  # without an exception of any kind


# --- the command


def check(path, folder):
    """What the command did, and the seconds of a core that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "kdpipe", "check", str(path)]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return process, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


HUGE = {"a": ["x"] * 40_000}
NO_STUDY = {
    "many mistakes": yaml.safe_dump({"study": "a/b", "seeds": [], "alpha": 1}),
    "not YAML": "study: [",
    "not UTF-8": b"study: \xff",
    "deep": "[" * 50_000,
    "huge": yaml.safe_dump(HUGE),
    "aliases": "a: &a [x]\nb: [*a, *a]\n",
    "a tag": "study: !!python/object/apply:os.mkdir [made]\n",
    "too much": yaml.safe_dump(RICH | {"seeds": list(range(4000))}),
}


@pytest.mark.parametrize("kind", NO_STUDY)
def test_the_command_refuses_with_one_message_and_writes_nothing(kind, tmp_path):
    text = NO_STUDY[kind]
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    process, seconds = check(path, tmp_path)
    assert process.returncode == 2
    assert process.stdout == "" and "Traceback" not in process.stderr
    assert process.stderr.startswith(f"kdpipe: {path}: ") and process.stderr.count("kdpipe: ") == 1
    assert seconds < 2
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_passes_the_studies_that_ship(tmp_path):
    for path in [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]:
        process, _ = check(path, tmp_path)
        assert (process.returncode, process.stderr) == (0, ""), process.stderr
        assert "no errors" in process.stdout
    assert list(tmp_path.iterdir()) == []
