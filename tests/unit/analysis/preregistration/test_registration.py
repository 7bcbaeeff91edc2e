"""What a registration seals, whatever is done to the study file; and that it came first."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import synthetic_study, tiny_study

from kdpipe import __version__, version
from kdpipe.analysis import dataframe
from kdpipe.analysis.dataframe import blind_record
from kdpipe.analysis.preregistration import registration
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan
from kdpipe.report import terminal_summary
from kdpipe.report.page import ReportContext, describe_error_rate
from kdpipe.runs import looks, registrations
from kdpipe.runs.store import Store

BLOCK = {"name": "size", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
OTHER = BLOCK | {"name": "other", "teachers": ["wrn16-1"]}
STUDY = {
    **{key: synthetic_study.STUDY[key] for key in ("data", "recipe", "smallest_effect")},
    "study": "small",
    "seeds": [0, 1, 2, 3, 4],
    "methods": {"kd": {}},
    "experiments": [BLOCK, OTHER],
    "tables": {"teacher_size": ["size"]},
}
BEFORE, AFTER = "2020-01-02T03:04:05+00:00", "2099-01-02T03:04:05+00:00"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(here, capsys):
    def say(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return say


def planned(file: str = "small.yaml", **keys) -> Plan:
    """The plan of the study with other keys, which it has from now on."""
    tiny_study.write(Path(file), json.loads(json.dumps(STUDY | keys)))
    return planner.build_plan(load.load_study(file))


def run_to_end(result: Plan, **facts) -> Store:
    """Results with all of a plan in them."""
    synthetic_study.write(result, Store(), **facts)
    return Store()


def seal(result: Plan) -> str:
    return str(registration.find_blinding_reason(result, Store()))


def test_no_part_of_a_sealed_record_says_what_test_images_say():
    message = {"epoch": 2, "val": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}
    whole = {"last": message, "best": None, "unaveraged": message, "checkpoints": {"1": message}}
    without = message | {"test": None}
    assert blind_record(whole) == {
        "last": without,
        "best": None,
        "unaveraged": without,
        "checkpoints": {"1": without},
    }
    plain = {"last": message, "best": message, "checkpoints": {}}
    assert blind_record(plain) == {"last": without, "best": without, "checkpoints": {}}


# --- before the first run


def test_what_was_run_first_is_said_though_it_was_registered_elsewhere(typed):
    run_to_end(planned(), started=BEFORE)
    assert typed("register", "small.yaml")[0] == 2
    assert typed("register", "small.yaml", "--results", "empty")[0] == 0
    head, *rest = registration.describe_registration(planned(), Store())
    assert "before the first run" not in head and head.endswith("below.")
    assert any(
        line.startswith("25 of 25 runs and ensembles were made before they were registered")
        for line in rest
    )


def test_of_runs_that_came_later_nothing_is_said(typed):
    planned()
    typed("register", "small.yaml")
    run_to_end(planned(), started=AFTER, versions={"kdpipe": __version__, "git": "abc"})
    (line,) = registration.describe_registration(planned(), Store())
    assert ", before the first run, with kdpipe" in line and line.endswith("No deviation.")
    assert "; run at git abc" in line


def test_runs_that_do_not_say_when_they_were_made_are_counted(typed):
    planned()
    typed("register", "small.yaml")
    run_to_end(planned(), started="some day")
    head, *rest = registration.describe_registration(planned(), Store())
    assert "before the first run" not in head
    assert any("records of 25 of 25 runs and ensembles do not say" in line for line in rest)
    assert any("25 of 25 runs and ensembles were made by kdpipe 0, where" in line for line in rest)


# --- the registered study is sealed, not the edited one


def test_another_count_of_seeds_is_no_look(typed):
    planned(looks=[3, 5])
    assert typed("register", "small.yaml")[0] == 0
    run_to_end(planned(seeds=[0, 1, 2, 3]))
    assert "the study asks for 4 seeds only" in seal(planned(seeds=[0, 1, 2, 3]))
    assert "the study asks for 4 seeds only" in seal(planned(looks=[4, 5]))
    assert seal(planned(looks=[3, 5])) == "None"


def test_what_is_taken_out_of_the_study_is_waited_for(typed):
    planned()
    assert typed("register", "small.yaml")[0] == 0
    less = planned(experiments=[BLOCK])
    run_to_end(less)
    assert "the look at 5 seeds is reached: 10 of 25 runs and ensembles are to do" in seal(less)
    run_to_end(planned())
    assert seal(planned(experiments=[BLOCK])) == "None"


def test_other_runs_of_the_same_study_do_not_show_before_its_own(typed):
    planned()
    typed("register", "small.yaml")
    others = planned(seeds=[5, 6, 7, 8, 9])
    run_to_end(others)
    assert "25 of 50 runs and ensembles are to do" in seal(others)
    message = registration.describe_registration(others, Store())
    assert "25 of 25 registered runs and ensembles are not asked for now." in message
    actual = ReportContext(others, pd.DataFrame(), [], [], [], [], registration_lines=message)
    assert "deviates from its registration" in describe_error_rate(actual)


@pytest.mark.parametrize(("look", "spent"), [(1, "1.1 %"), (2, "5 %")])
def test_a_page_at_a_look_says_what_its_error_rate_is(here, look, spent):
    """O'Brien-Fleming's: 2 - 2 Phi(1.96 / sqrt(3 / 5)) = 0.0114."""
    actual = ReportContext(planned(looks=[3, 5], look=look), pd.DataFrame(), [], [], [], [])
    message = describe_error_rate(actual)
    assert "those of all 2 looks together" in message
    assert f"at look {look} or before it is at most {spent}" in message
    once = ReportContext(planned(), pd.DataFrame(), [], [], [], [])
    assert "look" not in describe_error_rate(once)


# --- other names and places


def test_a_copy_shows_nothing_whatever_it_is_called(typed, here):
    planned()
    typed("register", "small.yaml")
    run_to_end(planned(experiments=[BLOCK]))
    copied = planned("copy.yaml", study="copy", experiments=[BLOCK])
    assert "15 of its runs and ensembles are those of the study small" in seal(copied)
    assert terminal_summary.describe_outcome(copied, Store(), here / "page")[0].startswith(
        "sealed: 15 of its runs"
    )
    assert dataframe.build_results_frame(copied, Store()).test_error.isna().all()
    assert dataframe.build_results_frame(copied, Store()).val_error.notna().all()
    assert typed("report", "copy.yaml")[0] == 0
    page = (here / "reports" / "copy" / "index.md").read_text()
    assert "those of the study small, which is registered" in page and "Test error" not in page
    assert "test" not in (here / "reports" / "copy" / "results.csv").read_text().splitlines()[0]
    code, message = typed("plan", "small.yaml", "--effect", "0.5", "--pilot", "copy")
    assert code == 2 and "--pilot copy: 15 of its runs" in message
    code, message = typed("archive", "copy.yaml")
    assert code == 2 and "nothing was archived" in message and not list(here.glob("reports/pub*"))
    run_to_end(planned())
    assert (
        seal(copied) == "None"
        and dataframe.build_results_frame(copied, Store()).test_error.notna().all()
    )


def test_the_file_in_another_folder_is_the_registered_study(typed, here):
    planned()
    typed("register", "small.yaml")
    (here / "x").mkdir()
    less = planned("x/small.yaml", experiments=[BLOCK])
    run_to_end(less)
    assert less.study.registration is None
    assert "the study is registered" in seal(less)
    assert registration.describe_registration(less, Store())[0].startswith("Registered on ")


def test_an_archive_has_the_registration_in_it(typed, here):
    plan = planned()
    typed("register", "small.yaml")
    run_to_end(plan)
    shutil.rmtree(Store().run(list(plan.runs)[-1]))
    assert typed("archive", "small.yaml", "--to", "there")[0] == 0
    copied = planned("x.yaml", study="copy")
    assert "those of the study small" in str(
        registration.find_blinding_reason(copied, Store(here / "there"))
    )


def test_an_edited_registration_with_a_new_digest_is_told_from_the_one_in_the_results(typed, here):
    planned()
    typed("register", "small.yaml")
    path = here / "small.registration.json"
    known = registrations.read_registration(path) | {"smallest_effect": 2.0}
    path.write_bytes(registrations.encode_registration(known))
    _, line = registration.describe_registration(planned(smallest_effect=2.0), Store())
    assert line.startswith("The registration beside the study file (sha256 ")


def test_one_name_is_registered_once_in_a_results_folder(typed, here):
    planned()
    typed("register", "small.yaml")
    (here / "x").mkdir()
    planned("x/small.yaml", smallest_effect=1.0)
    code, message = typed("register", "x/small.yaml")
    assert code == 2 and "results/registrations/small.json: a study small is registered" in message
    assert not (here / "x" / "small.registration.json").exists()


def test_a_registration_that_was_killed_before_its_copy_is_gone_on_with(typed):
    planned()
    typed("register", "small.yaml")
    copied = registrations.registration_path("small", Store())
    before = copied.read_bytes()
    copied.unlink()
    assert typed("register", "small.yaml")[0] == 0
    assert copied.read_bytes() == before


# --- registrations of before


def test_one_of_the_first_form_is_read_and_seals_its_own_study(typed, here):
    plan = planned()
    typed("register", "small.yaml")
    path = here / "small.registration.json"
    known = registrations.read_registration(path)
    names = {name for part in known.pop("names") for name in part}
    del known["code"]
    known |= {
        "format": 1,
        "judging": version.hash_verdict_code(),
        "plan": registration.hash_names(names),
    }
    path.write_bytes(registrations.encode_registration(known))
    shutil.rmtree(Store().root)
    assert registration.find_study_deviations(plan.study, known) == []
    assert (
        registration.find_study_deviations(planned(seeds=[0, 1]).study, known)[-1]
        == "The runs are other ones."
    )
    run_to_end(planned(experiments=[BLOCK]), started=AFTER)
    assert "the look at 5 seeds is reached: 10 of 25" in seal(planned())
    run_to_end(planned(), started=AFTER)
    assert seal(planned()) == "None"
    registration.store_registration(planned().study, Store())
    assert json.loads(registrations.registration_path("small", Store()).read_bytes())["format"] == 1
    assert seal(planned("copy.yaml", study="copy")) == "None"


# --- after a look


def test_a_record_that_is_replaced_after_the_page_of_its_look_is_a_deviation_of_the_next(typed):
    plan = planned()
    typed("register", "small.yaml")
    store = run_to_end(plan, started=AFTER)
    assert typed("report", "small.yaml")[0] == 0
    assert set(looks.read_looks("small", store)["looks"]) == {"5"}
    run_to_end(plan, started=AFTER.replace("03:04", "13:04"))  # trained again
    assert typed("report", "small.yaml")[0] == 0
    page = Path("reports/small/index.md").read_text()
    assert "25 of 25 records of the look at 5 seeds were replaced or removed after it was" in page
    assert min(plan.runs) in page


def test_a_report_of_an_archive_notes_no_look_and_reads_the_log_that_came_with_it(typed):
    plan = planned()
    typed("register", "small.yaml")
    store = run_to_end(plan, started=AFTER)
    assert typed("report", "small.yaml")[0] == 0
    code, message = typed("archive", "small.yaml", "--to", "kept")
    assert code == 0 and "no report shows yet" not in message
    kept = Store(Path("kept"))
    log = looks.read_looks("small", kept)
    assert log == looks.read_looks("small", store)
    looks.looks_path("small", kept).unlink()
    assert typed("report", "small.yaml", "--results", "kept")[0] == 0
    assert not looks.looks_path("small", kept).exists()


def test_an_archive_of_a_study_whose_look_is_not_reached_says_what_it_holds(typed):
    plan = planned()
    typed("register", "small.yaml")
    store = run_to_end(plan, started=AFTER)
    shutil.rmtree(store.run(min(plan.runs)))
    code, message = typed("archive", "small.yaml", "--to", "part")
    assert code == 0 and "It holds test results that no report shows yet: the study is" in message
    assert typed("report", "small.yaml")[0] == 0
    assert not looks.looks_path("small", store).exists()
