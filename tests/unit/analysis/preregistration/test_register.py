"""What is registered, refused and shown of it; and test is unseen until a look is reached."""

import copy
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from helpers import synthetic_study, tiny_study

from kdpipe import version
from kdpipe.analysis import dataframe
from kdpipe.analysis.preregistration import registration
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.jobs.run_record import format_summary
from kdpipe.plan import planner, share
from kdpipe.plan.nodes import Share
from kdpipe.report import terminal_summary
from kdpipe.report.builtin_tables import validation
from kdpipe.runs import looks, records
from kdpipe.runs.store import Store

STUDY = {
    key: synthetic_study.STUDY[key] for key in ("data", "recipe", "smallest_effect", "transfers")
} | {
    "study": "small",
    "seeds": [0, 1, 2, 3, 4],
    "methods": {"kd": {}, "eskd": {"stop_epoch": 0.3}},
    "primary": ["C1", "C6"],
    "ensembles": {"three": {"networks": ["wrn10-0.5"], "copies": 3}},
    "experiments": [
        {
            "name": "size",
            "teachers": ["wrn10-1", "wrn16-1"],
            "stops": ["full", "checkpoint 7"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "eskd"],
        }
    ],
    "tables": {"teacher_size": ["size"], "ensembles": ["three"], "transfer": ["size"]},
}


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Types a command in a folder with small.yaml; returns the exit code and what was said."""
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "small.yaml", STUDY)

    def say(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return say


def changed(folder, **keys):
    """small.yaml with other keys; returns the study."""
    tiny_study.write(folder / "small.yaml", copy.deepcopy(STUDY) | keys)
    return load.load_study(folder / "small.yaml")


def words(folder) -> list[str]:
    """What a report says of the registration."""
    plan = planner.build_plan(load.load_study(folder / "small.yaml"))
    return registration.describe_registration(plan, Store(folder / "results"))


def known_to(folder) -> dict:
    actual = registration.read_registration(load.load_study(folder / "small.yaml"))
    assert actual is not None
    return actual


# --- what is written


def test_what_will_be_tested_is_frozen_in_a_file_beside_the_study(typed, tmp_path):
    code, message = typed("register", "small.yaml")
    assert code == 0 and "small.registration.json: written; commit it with small.yaml" in message
    known = known_to(tmp_path)
    primary = [key for key, claim in known["claims"].items() if claim["primary"]]
    assert primary == ["C1", "C6"] == known["primary"]
    needed = [one for one in known["claims"]["C6"]["contrasts"] if one["needed"]]
    assert [one["text"] for one in needed] == [
        "error of wrn10-0.5 from wrn10-1: full KD - ESKD",
        "error of wrn10-0.5 from wrn16-1: full KD - ESKD",
    ]
    assert known["claims"]["C8"]["not_tested"].startswith("no network of this study")
    assert (known["seeds"], known["splits"], known["looks"]) == ([0, 1, 2, 3, 4], [0], [5])
    assert known["smallest_effect"] == 0.5 and known["choice"].startswith("every choice is made on")
    assert known["runs"] == len(planner.build_plan(load.load_study("small.yaml")).runs)
    assert str(tmp_path) not in (tmp_path / "small.registration.json").read_text()
    assert words(tmp_path)[0].endswith("No deviation.")


def test_a_registration_is_written_once(typed, tmp_path):
    typed("register", "small.yaml")
    before = (tmp_path / "small.registration.json").read_bytes()
    assert "registration.json: written before" in typed("register", "small.yaml")[1]
    changed(tmp_path, smallest_effect=0.75)
    code, message = typed("register", "small.yaml")
    assert (
        code == 2
        and "is registered already, and a registration cannot be changed" in message
        and "another name" in message
    )
    assert (tmp_path / "small.registration.json").read_bytes() == before


def test_what_has_been_run_cannot_be_registered(typed, tmp_path):
    plan = planner.build_plan(load.load_study("small.yaml"))
    synthetic_study.write(plan, Store(tmp_path / "results"))
    for path in sorted((tmp_path / "results" / "runs").iterdir())[1:]:
        shutil.rmtree(path)
    code, message = typed("register", "small.yaml")
    assert code == 2 and "has records of" in message and "seeds that were never run" in message
    assert not list(tmp_path.glob("*.json"))
    assert typed("register", "small.yaml", "--results", "elsewhere")[0] == 0


def test_pilots_are_named_and_share_no_run(typed, tmp_path):
    changed(tmp_path, pilots=["before", "lost"])
    pilot = copy.deepcopy(STUDY) | {"study": "before", "seeds": [4, 9]}
    tiny_study.write(tmp_path / "pilot.yaml", pilot)
    code, message = typed("register", "small.yaml")
    assert (
        code == 2 and "pilots: before (pilot.yaml) shares" in message and "other seeds" in message
    )
    tiny_study.write(tmp_path / "pilot.yaml", pilot | {"seeds": [8, 9]})
    assert typed("register", "small.yaml")[0] == 0
    assert known_to(tmp_path)["pilots"] == [
        {"study": "before", "file": "pilot.yaml"},
        {"study": "lost", "file": None},
    ]
    assert "pilots before, lost" in words(tmp_path)[0]


@pytest.mark.parametrize("harm", ["seed", "cut", "empty"])
def test_an_altered_registration_is_refused(typed, tmp_path, harm):
    typed("register", "small.yaml")
    path = tmp_path / "small.registration.json"
    text = path.read_text()
    path.write_text(
        {"seed": text.replace("\n  4\n", "\n  5\n"), "cut": text[:400], "empty": ""}[harm]
    )
    code, message = typed("status", "small.yaml")
    assert (
        code == 2
        and "is not what kdpipe register has written" in message
        and "restore it" in message
    )


def test_a_registration_of_another_study_or_of_none_is_refused(typed, tmp_path):
    typed("register", "small.yaml")
    tiny_study.write(
        tmp_path / "other.yaml", STUDY | {"study": "other", "registration": "gone.json"}
    )
    code, message = typed("check", "other.yaml")
    assert code == 2 and "registration: there is no file" in message
    keys = {"study": "other", "registration": "small.registration.json"}
    tiny_study.write(tmp_path / "other.yaml", STUDY | keys)
    code, message = typed("status", "other.yaml")
    assert code == 2 and "belongs to the study small, not to other" in message


def test_smallest_effects_that_are_left_out_or_as_they_would_be_change_nothing(typed, tmp_path):
    typed("register", "small.yaml")
    before = registration.get_registered_content(load.load_study("small.yaml"))
    study = changed(tmp_path, smallest_effects={"nll": 0.01, "rank": 0.3})
    assert registration.get_registered_content(study) == before
    assert "smallest_effects" not in json.dumps(before)
    assert registration.find_study_deviations(study, known_to(tmp_path)) == []


# --- deviations


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"seeds": [0, 1, 2, 3, 4, 5, 6]}, "seeds: 0, 1, 2, 3, 4 were registered, they are 0, "),
        ({"seeds": [0, 1, 2, 3, 9]}, "they are 0, 1, 2, 3, 9: other ones"),
        ({"looks": [3, 5]}, "looks: [5] was registered, it is [3, 5]"),
        ({"primary": ["C1"]}, "primary: ['C1', 'C6'] was registered, it is ['C1']"),
        ({"claims": {"C1": ["size"]}}, "claims: {} was registered, it is {'C1': ['size']}"),
        ({"reading": "best"}, "reading: 'last' was registered, it is 'best'"),
        ({"smallest_effect": 0.4}, "smallest_effect: 0.5 was registered, it is 0.4"),
        ({"smallest_effects": {"nll": 0.02}}, "smallest_effects of the study is another one: None"),
        ({"splits": [0, 1, 2]}, "splits: [0] was registered, it is [0, 1, 2]"),
        ({"pilots": ["late"]}, "pilots: [] was registered, it is ['late']"),
        (
            {"methods": STUDY["methods"] | {"kd": {"temperature": 5}}},
            "methods of the study is anot",
        ),
    ],
)
def test_each_deviation_is_said(typed, tmp_path, keys, message):
    typed("register", "small.yaml")
    study = changed(tmp_path, **keys)
    actual = registration.find_study_deviations(study, known_to(tmp_path))
    line, *runs = actual
    assert message in line and all(one.endswith(" asked for now.") for one in runs)
    head, *rest = words(tmp_path)
    assert (
        head.endswith(f"{len(actual)} deviation{'s' * (len(actual) > 1)}, below.")
        and rest == actual
    )


def test_an_unplanned_look_says_what_it_does_to_the_error(typed, tmp_path):
    """5 seeds were registered and 7 are there: two tests at 5 %, correlated by sqrt(5/7)."""
    typed("register", "small.yaml")
    study = changed(tmp_path, seeds=[0, 1, 2, 3, 4, 5, 6])
    line, runs = registration.find_study_deviations(study, known_to(tmp_path))
    assert re.fullmatch(
        r"\d+ runs and ensembles that were not registered are asked for now\.", runs
    )
    assert "an unplanned look" in line and "err in up to 7.2 % where 5 % is stated" in line


def test_other_code_is_a_deviation_and_paths_tables_and_devices_are_none(
    typed, tmp_path, monkeypatch
):
    typed("register", "small.yaml")
    study = changed(tmp_path, device="cpu", tables={}, data=STUDY["data"])
    assert registration.find_study_deviations(study, known_to(tmp_path)) == []
    other = version.hash_result_code() | {"training": "0" * 64}
    monkeypatch.setattr("kdpipe.version.hash_result_code", lambda: other)
    (line,) = registration.find_study_deviations(study, known_to(tmp_path))
    assert line.startswith("Code changed after registration in 1 part: training; kdpipe ")
    monkeypatch.setattr("kdpipe.version.git_revision", lambda: "another commit")
    assert registration.find_study_deviations(study, known_to(tmp_path)) == [
        line
    ]  # the same page at each


def test_who_names_no_registration_has_explored(tmp_path):
    plan = planner.build_plan(load.validate_study(STUDY, "f"))
    assert registration.describe_registration(plan, Store(tmp_path))[0].startswith(
        "Explored, not registered"
    )


# --- test stays unseen


def otherwise(store: Store) -> None:
    """Gives every record, and every image, another outcome on test."""
    bits = {}
    for path in store.root.glob("*/*/record.json"):
        record = records.read_record(path.parent, None)
        assert record is not None
        parts = [record["last"], record["best"], *record["checkpoints"].values()]
        for part in filter(None, parts):
            errors = round(700 * (1 - part["test"]["accuracy"] / 3))
            rest = {key: value / 3 for key, value in part["test"].items()}
            part["test"] = rest | {"n": 700, "accuracy": 1 - errors / 700}
            bits.setdefault(record["name"], np.packbits(np.arange(700) < errors).tobytes().hex())
        records.publish_record(path.parent, record)
    entries = [
        replace(entry, wrong=entry.wrong | {"wrong": bits.get(entry.name, entry.wrong["wrong"])})
        for entry in store.read_archive().values()
        if entry.wrong is not None
    ]
    records.write_archive(store.archive_path, entries)


def displayed(typed, folder) -> dict[str, str]:
    """All that is said and rendered of the study, but for the digest of its records."""
    actual = {word: typed(word, "small.yaml")[1] for word in ("status", "plan", "report")}
    result, store = planner.build_plan(load.load_study("small.yaml")), Store(folder / "results")
    actual["decision"] = "\n".join(terminal_summary.describe_outcome(result, store, folder))
    actual["json"] = typed("plan", "small.yaml", "--json")[1]
    for path in sorted((folder / "results").glob("*/*/record.json")):
        record = records.read_record(path.parent, None)
        assert record is not None
        actual[path.parent.name] = format_summary(record)
    shutil.rmtree(folder / "reports" / "published", ignore_errors=True)
    actual["archive"] = typed("archive", "small.yaml")[1]
    for path in (folder / "reports").rglob("*"):
        if path.is_file() and path.suffix != ".gz":  # the records hold it
            text = path.read_bytes().decode(errors="replace")
            text = re.sub(r"\(sha256 [0-9a-f]{64}\)", "", text)
            # Of the pages in which that digest stands too.
            text = re.sub(r"^[0-9a-f]{64}  index\.(md|html)\n", "", text, flags=re.M)
            actual[str(path.relative_to(folder))] = text
    return actual


def test_nothing_shows_test_before_the_look_is_reached(typed, tmp_path):
    """Two studies that differ in test alone look alike everywhere, until the last run is done."""
    changed(tmp_path, seeds=[0, 1, 2])
    typed("register", "small.yaml")
    plan = planner.build_plan(load.load_study("small.yaml"))
    store = Store(tmp_path / "results")
    synthetic_study.write(plan, store)
    last = store.run(list(plan.runs)[-1])
    shutil.move(last, tmp_path / "kept")
    before = displayed(typed, tmp_path)
    page = before["reports/small/index.html"]
    assert "test is not looked at before the look at 3 seeds is reached: " in page
    assert "Registered on " in page and "sealed: the study is registered" in before["status"]
    assert {"reports/small/results.csv", "reports/small/claims.json"} <= before.keys()
    assert {"reports/small/tables/validation.csv", "reports/small/index.md"} <= before.keys()
    assert "val_error" in before["reports/small/results.csv"]
    verdicts = json.loads(before["reports/small/claims.json"])
    assert {verdict["verdict"] for verdict in verdicts} == {"not tested"}
    otherwise(store)
    assert displayed(typed, tmp_path) == before
    shutil.move(tmp_path / "kept", last)
    assert "sealed" not in typed("status", "small.yaml")[1]


def test_of_an_unregistered_study_the_same_would_be_seen(tmp_path):
    """Or the test above could not fail."""
    result, store = planner.build_plan(load.validate_study(STUDY, "f")), Store(tmp_path / "results")
    synthetic_study.write(result, store)
    before = dataframe.build_results_frame(result, store)
    otherwise(store)
    after = dataframe.build_results_frame(result, store)
    assert before.to_csv() != after.to_csv()
    assert validation.blind_frame(before).to_csv() == validation.blind_frame(after).to_csv()


def test_fewer_seeds_than_the_first_look_show_nothing(typed, tmp_path):
    typed("register", "small.yaml")
    study = changed(tmp_path, seeds=[0, 1, 2])
    result, store = planner.build_plan(study), Store(tmp_path / "results")
    synthetic_study.write(result, store)
    assert "the study asks for 3 seeds only" in str(
        registration.find_blinding_reason(result, store)
    )


def test_a_study_goes_on_to_its_next_look_and_is_sealed_again(typed, tmp_path):
    looks = {"looks": [3, 5]}
    changed(tmp_path, **looks)
    assert typed("register", "small.yaml")[0] == 0
    first, store = planner.build_plan(changed(tmp_path, **looks)), Store(tmp_path / "results")
    assert {run.seed for run in first.runs.values()} == {0, 1, 2}
    synthetic_study.write(first, store)
    assert registration.find_blinding_reason(first, store) is None
    study = changed(tmp_path, **looks, look=2)
    assert registration.find_study_deviations(study, known_to(tmp_path)) == []
    second = planner.build_plan(study)
    assert "the look at 5 seeds is reached" in str(registration.find_blinding_reason(second, store))
    with pytest.raises(KdpipeError, match="before its first look"):
        from kdpipe.analysis.preregistration import register

        register.register_study(
            study.model_copy(update={"registration": None}), tmp_path / "x", store
        )


def test_snakemake_hands_the_registration_to_the_report(typed, tmp_path, monkeypatch):
    """The report's job reads the study on standard input, in another folder."""
    typed("register", "small.yaml")
    text = load.load_study("small.yaml").model_dump_json(exclude_defaults=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = load.validate_study(yaml.safe_load(text), "-")
    assert registration.read_registration(study) is not None


def test_a_share_shows_no_test_error_and_ends_no_look_and_the_merged_whole_reaches_it(
    typed, tmp_path, monkeypatch
):
    """Each share on a machine of its own, to which the study and its registration were copied."""
    changed(tmp_path, seeds=[0, 1, 2])
    assert typed("register", "small.yaml")[0] == 0
    plan = planner.build_plan(load.load_study("small.yaml"))
    for number in (1, 2):
        machine = tmp_path / f"machine-{number}"
        machine.mkdir()
        for path in tmp_path.glob("small.*"):
            shutil.copy(path, machine)
        monkeypatch.chdir(machine)
        part, store = share.select_share(plan, Share(number, 2)), Store(machine / "results")
        registration.store_registration(plan.study, store)  # as a start does
        synthetic_study.write(part, store)
        words = ["small.yaml", "--share", f"{number}/2"]
        before = [typed("status", *words)[1], typed("plan", *words)[1]]
        assert "sealed: the study is registered" in before[0]
        assert typed("report", "small.yaml")[0] == 0  # of the study, by hand
        page = (machine / "reports/small/index.html").read_text()
        assert "test is not looked at before the look at 3 seeds is reached: " in page
        assert not looks.looks_path("small", store).exists()
        otherwise(store)
        assert [typed("status", *words)[1], typed("plan", *words)[1]] == before
        assert typed("report", "small.yaml")[0] == 0
        again = (machine / "reports/small/index.html").read_text()
        digest = r"\(sha256 [0-9a-f]{64}\)"
        assert re.sub(digest, "", again) == re.sub(digest, "", page)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "results", ignore_errors=True)
    assert typed("merge", "machine-1/results", "machine-2/results")[0] == 0
    whole = Store(tmp_path / "results")
    assert registration.find_blinding_reason(plan, whole) is None
    assert typed("report", "small.yaml")[0] == 0
    assert "sealed" not in typed("status", "small.yaml")[1]
    log = looks.read_looks("small", whole)
    assert log is not None and log["looks"].keys() == {"3"}
    assert log["looks"]["3"]["records"].keys() == plan.nodes_by_name.keys()
