"""The pages of docs/reference say what the code is: every key, command, name, column and claim."""

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from helpers.synthetic_study import STUDY
from pydantic import TypeAdapter, ValidationError

from kdpipe.analysis import claim, dataframe
from kdpipe.analysis.claim import UntestableClaim, judge_findings
from kdpipe.cli import main
from kdpipe.config import load
from kdpipe.config.schema import Study
from kdpipe.losses import config as method_keys
from kdpipe.losses import method as methods
from kdpipe.plan import planner
from kdpipe.report.table import load_tables
from kdpipe.runs.store import Store

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs/reference"
ROW = re.compile(r"^\| (`.*?`) \|(.*)\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def generated():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        import generate

        return generate.pages()


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of its tables, which begin with code."""
    actual = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in actual]


def section(page: str, title: str) -> str:
    """What stands below a heading, down to the next of its level or above."""
    text = (REFERENCE / page).read_text()
    level = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert level, f"{page} has no heading {title}"
    below = text[level.end() :]
    return re.split(rf"^#{{1,{len(level[1])}}} ", below, flags=re.MULTILINE)[0]


def names(text: str) -> set[str]:
    """All that stands as code in the first cells of its tables."""
    return {name for row in rows(text) for name in re.findall(r"`(.*?)`", row[0])}


def test_what_is_made_is_what_lies_there(generated):
    """Else: python docs/generate.py"""
    import generate

    text = generate.CATALOGUE_SCHEMA.read_text()
    assert text == generate.catalogue.schema(), "type python docs/generate.py"
    for name, text in generated.items():
        assert (REFERENCE / name).read_text() == text, f"{name}: type python docs/generate.py"


def models():
    """Every section of a study with the heading of its keys."""
    from kdpipe.config.schema import (
        BlockConfig,
        EnsembleConfig,
        SearchConfig,
        SmallestEffects,
        TransferConfig,
    )
    from kdpipe.data.augmentations.augment import Augment
    from kdpipe.data.augmentations.erase import Erase
    from kdpipe.data.augmentations.random_crop import Crop
    from kdpipe.data.config import CardOptions, DataConfig
    from kdpipe.models.config import CustomModelConfig, InitFrom, InputConfig, PretrainedTeacher
    from kdpipe.runs.recipe import Recipe

    yield from [
        (Study, "The whole file"),
        (DataConfig, "data"),
        (CardOptions, "data.card_options"),
        (Crop, "data.crop"),
        (Recipe, "recipe"),
    ]
    yield from [(Augment, "data.augment"), (Erase, "data.erase")]
    yield from [(CustomModelConfig, "networks.NAME"), (method_keys.Method, "methods.NAME")]
    yield from [(EnsembleConfig, "ensembles.NAME"), (PretrainedTeacher, "pretrained.NAME")]
    yield from [(InputConfig, "pretrained.NAME.input"), (InitFrom, "starts.NAME")]
    yield from [
        (BlockConfig, "experiments"),
        (SearchConfig, "search"),
        (TransferConfig, "transfers.NAME"),
        (SmallestEffects, "smallest_effects"),
    ]


def test_every_section_of_a_study_has_its_keys():
    known = {model.__name__ for model, _ in models()} - {"Study"}
    assert known == Study.model_json_schema()["$defs"].keys()
    for model, title in models():
        assert names(section("study.md", title)) == set(model.model_fields), title


@pytest.mark.parametrize(("model", "title"), list(models()), ids=str)
def test_a_key_takes_its_example_and_its_default_and_keeps_to_its_range(model, title):
    for key, value, default, _, example in rows(section("study.md", title)):
        key = key.strip("`")
        field = model.model_fields[key]
        kind = TypeAdapter(Annotated[field.annotation, field])
        assert bool(default) != field.is_required(), key
        if "keys of its own" in value:
            continue
        displayed = yaml.safe_load(example.strip("`"))
        assert list(displayed) == [key], f"{key} has no example of its own"
        if "..." not in example:
            kind.validate_python(displayed[key], strict=True)
        if default:
            real, message = (
                field.get_default(call_default_factory=True),
                yaml.safe_load(default[1:-1]),
            )
            numbers = re.fullmatch(r"`\[?[\d., ]+\]?`", default)
            assert message == (pytest.approx(real, rel=1e-3) if numbers else real)
        if re.fullmatch(r"(whole )?number (?!.*number)[^`]*", value.removesuffix(" or `null`")):
            refused_outside(kind, value)


def refused_outside(kind: TypeAdapter, value: str) -> None:
    """What lies on the border of a range that a page states, or just beyond it."""
    whole = value.startswith("whole")
    step = 1 if whole else 1e-6
    edges = {"above": 0, "from": -step, "below": 0, "to": step}
    actual = re.findall(
        r"(above|from|below|to) ([\d.,]*\d)", re.sub(r"number (\d)", r"number from \1", value)
    )
    assert actual, value
    for word, bound in actual:
        number = float(bound.replace(",", "")) + edges[word]
        with pytest.raises(ValidationError):
            kind.validate_python(round(number) if whole else number, strict=True)


def test_every_command_has_its_options():
    text = (REFERENCE / "commands.md").read_text()
    assert re.findall(r"^### kdpipe ([\w-]+)$", text, re.MULTILINE) == list(main.load_commands())
    for word, command in main.load_commands().items():
        parser = argparse.ArgumentParser(add_help=False)
        command.add_arguments(parser)
        below = section("commands.md", f"kdpipe {word}")
        message = set(re.findall(r"--[a-z][a-z-]+", " ".join(row[0] for row in rows(below))))
        assert message == set(re.findall(r"(?<!\w)--[a-z][a-z-]+", parser.format_usage())), word
        assert all(row[1] for row in rows(below)), f"{word}: an argument without a meaning"


def test_every_name_is_listed():
    assert names(section("names.md", "Tables")) == set(load_tables())
    assert names(section("names.md", "Terms of a method")) >= set(methods.load_terms())
    headings = re.findall(r"^## (\w+)$", (REFERENCE / "claims.md").read_text(), re.MULTILINE)
    assert headings == list(claim.load_claims())


def test_every_column_of_results_csv_has_a_meaning(tmp_path):
    """Of a study in which there is everything: a frame has its columns without any record."""
    content = STUDY | {"splits": [0, 1], "methods": STUDY["methods"] | {"dkd": {"dkd_weight": 1}}}
    content["experiments"] = [*STUDY["experiments"], {**STUDY["experiments"][0], "name": "field"}]
    content["methods"]["more"] = {"unlabelled": 8}
    content["data"] = content["data"] | {"train_size": 600, "validation": 400, "unlabelled": "rest"}
    content["experiments"][-1] |= {"methods": ["dkd", "more"], "stops": ["full"]}
    content["experiments"][-1] |= {"epochs": ["1x", "2x"], "train_size": [300, 600]}
    (tmp_path / "w.pt").touch()  # a plan does not look into it
    start = {"network": "wrn10-1", "path": str(tmp_path / "w.pt"), "sha256": "0" * 64}
    content["starts"] = {"begun": start}
    content["experiments"][-1]["students"] = [*STUDY["experiments"][0]["students"], "begun"]
    size = STUDY["experiments"][0]["name"]
    other = {"name": "fashion-mnist", "resize": 8, "train_size": 2000, "validation": 500}
    content["export"] = True
    content["transfers"] = {"clothes": {"data": other, "blocks": [size]}}
    plan = planner.build_plan(load.validate_study(content, "a test"))
    columns = set(dataframe.build_results_frame(plan, Store(tmp_path)).columns)
    documented = names(section("results.md", "results.csv"))
    metrics = [name for name in documented if re.match("(train|val|test)_(?!macs|size)", name)]
    at_best = {f"best_{name}" for name in metrics}
    assert columns - documented - at_best == set()
    # `code` is only of a study with a network or term of one's own, `other_copy` of one with runs
    # of another machine's copy, and the others are of one whose metric is not top-1.
    top1 = {f"{point}{split}_top1_error" for point in ("", "best_") for split in ("val", "test")}
    assert (documented | at_best) - columns == {"code", "other_copy", "metric"} | top1
    for study in ("digits", "digits_methods"):
        head = (ROOT / "reports/published" / study / "results.csv").open().readline()
        assert set(head.strip().split(",")) <= columns


def test_every_key_of_claims_json_has_a_meaning():
    known, keys, contrasts = names(section("results.md", "claims.json")), set(), set()
    for study in ("digits", "digits_methods", "fashion_mnist"):
        actual = json.loads((ROOT / "reports/published" / study / "claims.json").read_text())
        assert actual and all(verdict.keys() <= known for verdict in actual)
        keys |= {key for verdict in actual for key in verdict}
        contrasts |= {key for verdict in actual for one in verdict["contrasts"] for key in one}
    verdicts = judge_findings({"C1": ("a title", True, UntestableClaim("no data"))})
    assert contrasts and contrasts | keys | claim.verdicts_to_json(verdicts)[0].keys() == known


def test_every_key_of_a_record_has_a_meaning():
    known, kinds = names(section("results.md", "record.json")), set()
    with gzip.open(ROOT / "reports/published/digits/records.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)["record"]
            kinds.add(record["kind"])
            assert record.keys() <= known
    assert kinds == {"run", "ensemble"}
