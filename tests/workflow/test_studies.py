"""The studies that come with kdpipe: sound, planned, complete where the paper has numbers."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from kdpipe.analysis.search import rounds
from kdpipe.config import load
from kdpipe.losses.method import active_terms, load_terms
from kdpipe.plan import planner
from kdpipe.runs.store import Store

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
ALL = [ROOT / "config.yaml", *STUDIES]

DEPTHS = [f"wrn{depth}-1" for depth in (40, 52, 64, 76, 88, 100, 154, 250)]
DENSE = [
    *("densenet-bc40-24", "densenet-bc100-12", "densenet-bc40-48", "densenet-bc100-24"),
]
DN40_12 = "densenet-bc40-12"
EARLY = "schedule 20/65"


def widths(depth, *factors):
    return [f"wrn{depth}-{factor}" for factor in factors]


# (student, teacher, stop) as the paper shows them, figure by figure.
FIGURE_2_DEPTH = set(product(["wrn16-1", DN40_12], DEPTHS, ["full"]))
FIGURE_2_WIDTH = {
    *product(["wrn16-1"], widths(16, 1, 2, 3, 4, 6, 8), ["full"]),
    *product(["wrn28-1"], widths(28, 1, 2, 3, 4, 6, 8), ["full"]),
}
TABLE_A = set(product(["wrn16-1"], DEPTHS + DENSE, ["full"]))
MODES = ["schedule 10/35", "schedule 15/50", EARLY, "schedule 25/80", "full"]
TOTAL_EPOCHS = {
    *product(["wrn16-1"], widths(16, 3, 4, 6, 8), MODES),
    *product(["wrn28-1"], widths(28, 3, 4, 6, 8), MODES),
}
LARGE = ["wrn100-1", "wrn154-1", "wrn250-1"]
BARS = {
    *product(["wrn16-1"], widths(16, 3, 4, 6, 8) + LARGE + DENSE, ["full", EARLY]),
    *product([DN40_12], widths(16, 3, 4, 6, 8) + widths(28, 3, 4, 6, 8) + LARGE, ["full", EARLY]),
}


@pytest.fixture(scope="module")
def paper():
    return planner.build_plan(load.load_study(ROOT / "studies" / "cifar10_paper.yaml"))


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (FIGURE_2_DEPTH, 16),
        (FIGURE_2_WIDTH, 12),
        (TABLE_A, 12),
        (TOTAL_EPOCHS, 40),
        (BARS, 44),
    ],
)
def test_the_cifar10_study_plans_every_row_of_the_paper(paper, rows, count):
    assert len(rows) == count
    planned = {}
    for cell in paper.cells:
        method = cell.run.spec.method
        weights = (method["temperature"], method["ce_weight"], method["kd_weight"])
        plain = weights == (4, 0.1, 0.9) and method["kd_epochs"] == 200
        if plain and not method.get("attention_weight", 0) and cell.step == 1:
            key = cell.student, cell.teacher.label, cell.teacher.stop.label
            planned.setdefault(key, set()).add((cell.seed, cell.run.name))
    for row in sorted(rows):
        assert row in planned, row
        assert len({seed for seed, _ in planned[row]}) == 5, row
        assert len(planned[row]) == 5, f"{row} is planned twice"


def test_the_cifar10_study_trains_as_the_paper_prints(paper):
    full = {"epochs": 200, "lr": 0.1, "drop_epochs": [60, 120, 180], "drop_factor": 0.2}
    modes = {35: [10, 20, 30], 50: [15, 30, 45], 65: [20, 40, 60], 80: [25, 50, 75]}
    for run in paper.runs.values():
        recipe = run.spec.recipe
        assert recipe.momentum == 0.9
        if run.epochs in modes:
            assert recipe.drop_epochs == modes[run.epochs]
        elif "scratch_long" not in paper.roles[run.name]:
            assert full.items() <= vars(recipe).items()
    assert paper.card.classes == 10 and paper.card.shape == (3, 32, 32)
    scratch = {network for network, *_ in paper.scratch}
    assert {"wrn16-1", "wrn28-1", DN40_12, "resnet8", "resnet14"} <= scratch


def test_the_cifar10_study_has_the_sections_of_the_paper(paper):
    methods = [run.spec.method for run in paper.runs.values() if run.spec.method]
    assert {1, 4, 20} <= {method["temperature"] for method in methods}
    assert {(0.1, 0.9), (0.9, 0.1)} <= {(m["ce_weight"], m["kd_weight"]) for m in methods}
    stops = {(m["kd_epochs"], m["ce_weight_after_stop"]) for m in methods}
    assert set(product([60, 120, 160], [1.0, 0.1])) <= stops
    assert {0.0, 0.9} == {m["kd_weight"] for m in methods if m.get("attention_weight")}
    generations = {cell.student for cell in paper.cells if cell.generation == 5}
    assert {"resnet8", "resnet14", "wrn16-1"} <= generations
    sizes = {len(row.ensemble.members) for row in paper.ensemble_rows if row.label == "sequence"}
    assert sizes == {5}
    assert any(cell.teacher.label == "better" for cell in paper.cells)


# --- the field's methods on CIFAR-100


@pytest.fixture(scope="module")
def field():
    return planner.build_plan(load.load_study(ROOT / "studies" / "cifar100_methods.yaml"))


PAIRS = {  # (teacher, student): the authors' beta of DKD
    ("resnet32x4", "resnet8x4"): 8,
    ("wrn40-2", "wrn16-2"): 6,
    ("wrn40-2", "wrn40-1"): 6,
    ("resnet56", "resnet20"): 2,
}
# What every pair is taught by, as the authors' code sets it: keys that must stand in the spec.
SETTINGS = [
    {"kd_weight": 0.9, "ce_weight": 0.1, "temperature": 4, "standardise": None},
    {"kd_weight": 9, "ce_weight": 0.1, "temperature": 2, "standardise": True},
    {"dkd_weight": 1, "dkd_alpha": 1, "dkd_temperature": 4, "dkd_warmup": 20, "ce_weight": 1},
    {"dkd_weight": 9, "dkd_temperature": 2, "standardise": True, "ce_weight": 1},
    {"dist_weight": 2, "dist_beta": 1, "dist_gamma": 1, "dist_temperature": 4, "ce_weight": 1},
    {"ttm_weight": 45, "ttm_gamma": 0.1, "ce_weight": 1},
    {"wttm_weight": 4, "wttm_gamma": 0.2, "ce_weight": 1},
    {"nkd_weight": 1, "nkd_gamma": 3.5, "nkd_temperature": 3, "ce_weight": 1},
    {"wsl_weight": 2.25, "wsl_temperature": 4, "ce_weight": 1},
    {"rld_weight": 1, "rld_alpha": 1, "rld_beta": 8, "rld_alpha_temperature": 1, "rld_warmup": 20},
    {"attention_weight": 1000, "ce_weight": 1, "kd_weight": 0},
    {"fitnet_weight": 100, "ce_weight": 1, "kd_weight": 0},
    {"sp_weight": 3000, "ce_weight": 1, "kd_weight": 0},
    {"rkd_weight": 1, "rkd_distance_weight": 25, "rkd_angle_weight": 50, "kd_weight": 0},
]


def test_the_fields_pairs_are_taught_by_every_method_as_its_authors_do(field):
    taught = {}
    for cell in field.cells:
        key = cell.teacher.label, cell.student, cell.teacher.stop.label
        taught.setdefault(key, {}).setdefault(cell.method, []).append(cell)
    for (teacher, student), beta in PAIRS.items():
        methods = {
            name: cells[0].run.spec.method
            for name, cells in taught[teacher, student, "full"].items()
        }
        for keys in SETTINGS:
            keys = keys | ({"dkd_beta": beta} if "dkd_weight" in keys else {})
            actual = [m for m in methods.values() if keys == {key: m.get(key) for key in keys}]
            assert len(actual) == 1, (student, keys)
        at_work = {one.name for m in methods.values() for one in active_terms(m) if one.weight}
        assert at_work == set(load_terms()), "a method that the field's study does not try"
    assert all(
        len({cell.seed for cell in cells}) == 5
        for arms in taught.values()
        for cells in arms.values()
    )
    control = taught["resnet56", "resnet20", "checkpoint 0"]
    assert control.keys() == taught["resnet56", "resnet20", "full"].keys()


def test_the_fields_protocol(field):
    expected = {"epochs": 240, "lr": 0.05, "drop_epochs": [150, 180, 210], "drop_factor": 0.1}
    expected |= {"batch_size": 64, "momentum": 0.9, "weight_decay": 5e-4}
    for run in field.runs.values():
        assert expected.items() <= vars(run.spec.recipe).items()
        assert run.spec.data.views["pad"] == 4
    live = {cell.method for cell in field.cells if cell.run.spec.teacher.outputs == "live"}
    assert live == {"at", "fitnet", "sp", "rkd"}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_study_is_sound_and_says_what_it_is_for(path):
    study = load.load_study(path)
    # The first study of the digits was config.yaml, and keeps its name.
    names = {"config": "digits_noisy", "digits_first": "digits"}
    assert study.study == names.get(path.stem, path.stem)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# yaml-language-server: $schema=")
    assert planner.build_plan(study).runs
    for table, reads in study.tables.items():
        assert reads, table
    unread = {block.name for block in study.experiments} - {
        name for reads in study.tables.values() for name in reads
    }
    named = {teacher for block in study.experiments for teacher in block.teachers}
    named |= set(study.search.blocks) if study.search else set()  # the page shows it unasked
    assert unread <= named, "an experiment that no table shows and nobody learns from"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_rule_that_renders_is_given_the_same_study(path):
    """It gets the study as JSON, without the keys that say nothing."""
    study = load.load_study(path)
    inputs = json.loads(study.model_dump_json(exclude_defaults=True))
    assert load.validate_study(inputs, "standard input") == study


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_snakemake_builds_the_dag(path, tmp_path):
    plan = rounds.plan_due_runs(load.load_study(path), Store(tmp_path / "results"))
    command = [sys.executable, "-m", "snakemake", "-n", "-q", "rules", "-s", ROOT / "Snakefile"]
    process = subprocess.run(
        [*map(str, command), "--directory", str(tmp_path), "--configfile", str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    message = process.stdout + process.stderr
    if plan.study.starts and not all(
        Path(str(s.path)).exists() for s in plan.study.starts.values()
    ):
        # Its runs need a file of weights that is not part of the project (examples/real_teacher).
        assert process.returncode == 2 and "there is no file" in message, message[-2000:]
        return
    assert process.returncode == 0, message[-2000:]
    counts = {
        words[0]: int(words[1])
        for words in (line.split() for line in message.splitlines())
        if len(words) == 2 and words[1].isdigit()
    }
    assert counts["train"] == len(plan.runs)
    assert counts.get("score", 0) == len(plan.ensembles)


def test_no_line_of_snakemake_has_every_run_in_it(tmp_path):
    """The last jobs wait for everything: their reasons and inputs had thousands of characters."""
    command = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile"]
    command += ["--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--directory", tmp_path, "--configfile", ROOT / "studies" / "smoke.yaml"]
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=ROOT)
    message = process.stdout + process.stderr
    assert process.returncode == 0 and "report of smoke, from all its records" in message
    lines = [
        line for line in message.splitlines() if "Command:" not in line
    ]  # ours, as it was typed
    assert max(map(len, lines)) < 300
