"""Verdicts by the rules that a study was registered under, and those by today's rules beside."""

import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
from helpers import synthetic_study, tiny_study

from kdpipe.analysis import claim
from kdpipe.analysis.claim import Verdict
from kdpipe.analysis.preregistration import registration
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner
from kdpipe.report import fingerprint, page
from kdpipe.report.builtin_tables import validation
from kdpipe.runs import registrations
from kdpipe.runs.store import Store

ROOT = Path(__file__).parents[3]
# SHA-256 of claims.json as it was committed under rules 1, at the commit that the files name.
COMMITTED = {
    "fashion_mnist": "d76c6565a77673e113fc414e3897607ff044a0d02b421c7254aed2a1dbb2b0f9",
    "fashion_again": "a51d5c77e8b2f6cd2a4e55a97a63fec60446001596d4cbc1ae3b5156a40abd75",
}
STUDY = {
    **{key: synthetic_study.STUDY[key] for key in ("data", "recipe", "smallest_effect")},
    "study": "small",
    "seeds": [0, 1, 2, 3, 4],
    "methods": {"kd": {}},
    "experiments": [
        {"name": "size", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
    ],
}
COMMIT = "0123456789abcdef"


def published(study):
    """Plan, results and registered verdicts of a study in reports/published."""
    plan = planner.build_plan(load.load_study(ROOT / "studies" / f"{study}.yaml"))
    store = Store(ROOT / "reports" / "published" / study)
    return plan, store, registration.load_registered_verdicts(plan, store)


@pytest.mark.parametrize("study", COMMITTED)
def test_the_kept_verdicts_are_those_that_were_committed(study):
    _, store, kept = published(study)
    assert kept is not None and kept.rules == 1 and re.fullmatch("[0-9a-f]{40}", kept.commit)
    text = json.dumps(kept.claims, indent=1) + "\n"
    assert hashlib.sha256(text.encode()).hexdigest() == COMMITTED[study]
    content = json.loads((store.root / "claims_rules_1.json").read_text())
    assert content["command"].startswith(f"kdpipe report studies/{study}.yaml")


def test_the_kept_numbers_are_those_that_were_printed():
    """Four p-values of the primary claims, as the manual and the page of then had them."""
    kept = published("fashion_mnist")[2]
    rows = {row["id"]: row for row in kept.claims}
    assert rows["C6"]["p_against_corrected"] == 0.0001372176471091247
    assert rows["C9"]["p"] == 1.2323528151073442e-11 and rows["C9"]["verdict"] == "supports"
    assert rows["C1"]["p_corrected"] == 0.32782476542000083
    assert [key for key, row in rows.items() if row["primary"]] == [
        "C1",
        "C6",
        "C9",
        "C11s",
        "C11c",
    ]


@pytest.mark.parametrize("study", COMMITTED)
def test_a_report_shows_the_registered_verdicts_ps_and_families_to_the_last_digit(study):
    plan, store, kept = published(study)
    verdicts = validation.make_blind_verdicts("judged otherwise", plan.study.primary)
    attached = claim.attach_registered(verdicts, kept.claims)
    written = {row["id"]: row for row in claim.verdicts_to_json(attached)}
    in_report = {row["id"]: row for row in json.loads((store.root / "claims.json").read_text())}
    assert len(kept.claims) == 22
    for row in kept.claims:
        expected = {key: row[key] for key in claim.REGISTERED_FIELDS}
        assert {"verdict", "p", "p_corrected", "p_against_corrected", "primary", "tests"} <= {
            *expected
        }
        assert written[row["id"]]["registered"] == expected
        assert in_report[row["id"]]["registered"] == expected


@pytest.mark.parametrize("study", COMMITTED)
def test_the_page_has_them_in_its_table(study):
    _, store, kept = published(study)
    section = (store.root / "index.md").read_text().split("## The claims")[1].split("\n## ")[0]
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in head.split("|")[1:-1]]
    rows = {}
    for line in lines:
        cells = dict(zip(columns, (cell.strip() for cell in line.split("|")[1:-1]), strict=True))
        rows[cells[""]] = cells
    explored = f"by rules {registration.RULES}, explored"
    html = (store.root / "index.html").read_text()
    for row in kept.claims:
        cells = rows[f"{row['id']}{' ◆' if row['primary'] else ''}"]
        assert cells["verdict"] == row["verdict"] and cells[explored] != ""
        against = "_against" if row["verdict"] == "contradicts" else ""
        p, corrected = (row[f"p{against}"], row[f"p{against}_corrected"])
        assert cells["p"] == page.format_p_value(math.nan if p is None else p)
        assert cells["corrected"] == page.format_p_value(
            math.nan if corrected is None else corrected
        )
        if row["verdict"] != "not tested":
            first_badge = html.split(f'<tr id="{row["id"]}" ')[1].split("</td>")[0]
            assert first_badge.endswith(f"</span>&nbsp;{row['verdict']}</span>")
    assert "have no error rate" in section


# --- a registration of before in general


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of_before(here, rules=None):
    """A finished study whose registration names the given rules, or none."""
    tiny_study.write(here / "small.yaml", STUDY)
    assert main(["register", "small.yaml"]) == 0
    path = here / "small.registration.json"
    content = registrations.read_registration(path)
    assert content.pop("rules") == registration.RULES == 2
    content |= {} if rules is None else {"rules": rules}
    path.write_bytes(registrations.encode_registration(content))
    registrations.registration_path("small", Store()).write_bytes(path.read_bytes())
    plan = planner.build_plan(load.load_study("small.yaml"))
    synthetic_study.write(plan, Store(), started="2099-01-02T03:04:05+00:00")
    return plan, content


def keep(content, **fields):
    """Verdicts of one claim, kept in the results."""
    row = {"id": "C2", "title": "t", "primary": True, "verdict": "supports", "reason": "of then"}
    row |= {"effect": 1.25, "n": 5, "p": 0.01, "p_corrected": 0.02, "p_against": None, "tests": 4}
    kept = {
        "study": "small",
        "rules": 1,
        "registration": registrations.compute_registration_digest(content),
        "seeds": [0, 1, 2, 3, 4],
        "commit": COMMIT,
        "claims": [row],
    }
    path = Store().root / "claims_rules_1.json"
    path.write_text(json.dumps(kept | fields))
    return path


def deviations(plan):
    return [line for line in registration.describe_registration(plan, Store()) if "rules" in line]


def test_a_registration_names_the_rules_of_today(here):
    tiny_study.write(here / "small.yaml", STUDY)
    main(["register", "small.yaml"])
    content = json.loads((here / "small.registration.json").read_text())
    assert content["rules"] == 2 and registrations.get_rules(content) == 2
    plan = planner.build_plan(load.load_study("small.yaml"))
    assert registration.find_study_deviations(plan.study, content) == []
    assert registration.load_registered_verdicts(plan, Store()) is None


@pytest.mark.parametrize(("rules", "why"), [(None, ", since it names none"), (1, "")])
def test_one_of_other_rules_is_judged_by_todays_and_that_is_a_deviation(here, rules, why):
    plan, _ = plan_of_before(here, rules)
    head, line = (registration.describe_registration(plan, Store())[i] for i in (0, 1))
    assert line.startswith("The records of") or "rules" in line
    assert deviations(plan) == [f"Claims are judged by rules 2, registered were rules 1{why}."]
    assert head.endswith("below.")
    assert main(["report", "small.yaml"]) == 0
    rows = json.loads((here / "reports/small/claims.json").read_text())
    assert all(row["registered"] is None for row in rows)
    assert "explored" not in (here / "reports/small/index.md").read_text().split("## The claims")[1]


def test_kept_verdicts_are_shown_and_todays_stand_beside_as_explored(here):
    plan, content = plan_of_before(here)
    before = fingerprint.compute_digest(plan, Store())
    keep(content)
    assert fingerprint.compute_digest(plan, Store()) != before  # the page is out of date
    (head,) = deviations(plan)
    assert "those of the registered rules 1, as git 0123456 computes them" in head
    assert main(["report", "small.yaml"]) == 0
    rows = {row["id"]: row for row in json.loads((here / "reports/small/claims.json").read_text())}
    expected = {"verdict": "supports", "p": 0.01, "p_corrected": 0.02, "tests": 4, "primary": True}
    assert expected.items() <= rows["C2"]["registered"].items()
    assert rows["C2"]["verdict"] == "cannot tell" and rows["C1"]["registered"] is None
    page_text = (here / "reports/small/index.md").read_text()
    told = "C2: supports by the registered rules, cannot tell by rules 2"
    assert told in page_text and "differs: cannot tell" in page_text
    html = (here / "reports/small/index.html").read_text()
    assert told in html and "by rules 2, explored" in html
    assert "As registered: 1 supports" in html


@pytest.mark.parametrize(
    "fields", [{"registration": "0" * 64}, {"seeds": [0, 1, 2]}], ids=["another study", "a look"]
)
def test_verdicts_of_another_study_or_look_are_not_shown(here, fields):
    plan, content = plan_of_before(here)
    keep(content, **fields)
    assert registration.load_registered_verdicts(plan, Store()) is None
    assert deviations(plan)[0].startswith("Claims are judged by rules 2")


@pytest.mark.parametrize("harm", ["", "[]", '{"claims": []}', "cut"])
def test_damaged_verdicts_are_refused_and_found(here, harm, capsys):
    plan, content = plan_of_before(here)
    path = keep(content)
    path.write_text(path.read_text()[:90] if harm == "cut" else harm)
    with pytest.raises(KdpipeError, match="does not hold the verdicts of a registered study"):
        registration.load_registered_verdicts(plan, Store())
    assert any("claims_rules_1" in e for e in registrations.find_registration_errors(Store()))
    assert main(["report", "small.yaml"]) == 2
    assert "restore it, from git or a backup" in capsys.readouterr().err


# --- verdicts of the registered code, by the rules of today


def code_sentence(here):
    """What the report says of the code that was registered."""
    assert main(["report", "small.yaml"]) == 0
    (line,) = re.findall("^- Code changed.*$", (here / "reports/small/index.md").read_text(), re.M)
    return line.split(". ")[-1]


def of_other_code(here):
    """A finished study that was registered by another code of the same rules; its claims.json."""
    plan, content = plan_of_before(here, registration.RULES)
    content |= {"git": "fedcba9876", "code": content["code"] | {"stats": "another"}}
    for path in (
        here / "small.registration.json",
        registrations.registration_path("small", Store()),
    ):
        path.write_bytes(registrations.encode_registration(content))
    assert code_sentence(here) == (
        "Whether the registered code gives the same claims.json was not recomputed."
    )
    kept = here / "of_then.json"
    kept.write_bytes((here / "reports/small/claims.json").read_bytes())
    return plan, kept


def test_equal_claims_of_the_registered_code_are_told(here, capsys):
    plan, path = of_other_code(here)
    rows = json.loads(path.read_text())
    before = (here / "reports/small/claims.json").read_bytes()
    # A sum in another order differs in the last digits; a later version lists more of a claim.
    rows[1]["effect"] = math.nextafter(rows[1]["effect"], math.inf)
    del rows[1]["contrasts"][0]["sd"]
    path.write_text(json.dumps(rows))
    old = fingerprint.compute_digest(plan, Store())
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"results/claims_rules_2.json: the claims of {path}; reports compare theirs with them"
    )
    assert fingerprint.compute_digest(plan, Store()) != old
    assert code_sentence(here) == "On the same records git fedcba9 gives the same claims.json."
    assert (here / "reports/small/claims.json").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"verdict": "contradicts"},
        lambda row: row | {"effect": row["effect"] * (1 + 1e-6)},
        lambda row: row | {"contrasts": []},
    ],
    ids=["verdict", "effect", "contrasts"],
)
def test_other_claims_of_the_registered_code_are_named(here, change):
    _, path = of_other_code(here)
    rows = [change(row) if row["id"] == "C2" else row for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 0
    assert code_sentence(here) == (
        "On the same records git fedcba9 gives other numbers or verdicts for C2: they are in "
        "claims_rules_2.json."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: [*rows, {}],
        lambda rows: [*rows, rows[0]],
        lambda rows: [rows[0] | {"effect": math.nan}, *rows[1:]],
        lambda rows: [{key: row[key] for key in ("id", "verdict")} for row in rows],
        lambda rows: [rows[0] | {"n": "many"}, *rows[1:]],
    ],
    ids=["one is missing", "one is none", "one twice", "NaN", "verdicts alone", "no number"],
)
def test_a_part_of_the_claims_or_more_is_not_kept(here, change, capsys):
    _, path = of_other_code(here)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 2
    assert "it has to list all claims of the registration" in capsys.readouterr().err
    assert not list(Store().root.glob("claims_rules_*"))


def test_claims_on_more_seeds_than_the_look_has_are_not_kept(here, capsys):
    plan, path = of_other_code(here)
    rows, n_seeds = json.loads(path.read_text()), len(plan.study.due_seeds)
    rows[0]["n"] = n_seeds + 1
    path.write_text(json.dumps(rows))
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"a claim on {n_seeds + 1} seeds, where this look has {n_seeds}" in message
    assert not list(Store().root.glob("claims_rules_*"))


def test_claims_of_another_study_in_the_folder_are_not_replaced(here, capsys):
    _, path = of_other_code(here)
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 0
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 0  # of the next look
    kept = Store().root / "claims_rules_2.json"
    other = json.loads(kept.read_text()) | {"registration": "0" * 64}
    kept.write_text(json.dumps(other))
    capsys.readouterr()
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 2
    assert "has the claims of another study, which would be lost" in capsys.readouterr().err
    assert json.loads(kept.read_text()) == other


@pytest.mark.parametrize(
    "content", ["{}", "[]", "no JSON", '[{"id": "F7", "verdict": "x"}]', None, "FIFO"]
)
def test_claims_of_nothing_that_is_registered_are_not_kept(here, content, capsys):
    plan_of_before(here)
    path = here / "of_then.json"
    if content == "FIFO":
        os.mkfifo(path)
    elif content is not None:
        path.write_text(content)
    assert main(["register", "small.yaml", "--keep-claims", str(path)]) == 2
    message = capsys.readouterr().err
    unreadable = {None: "No such file", "FIFO": "it is not a regular file"}.get(content)
    assert (
        f"cannot be read: {unreadable}" if unreadable else "is not the claims.json of"
    ) in message
    assert not list(Store().root.glob("claims_rules_*"))


def test_a_study_that_is_not_registered_has_no_claims_to_keep(here, capsys):
    tiny_study.write(here / "small.yaml", STUDY)
    assert main(["register", "small.yaml", "--keep-claims", "of_then.json"]) == 2
    assert "the study small is not registered" in capsys.readouterr().err


def test_they_are_sealed_as_results_are(here):
    plan, content = plan_of_before(here)
    keep(content)
    shutil.rmtree(Store().run(list(plan.runs)[-1]))
    assert registration.find_blinding_reason(plan, Store()) is not None
    assert main(["report", "small.yaml"]) == 0
    rows = json.loads((here / "reports/small/claims.json").read_text())
    assert all(row["registered"] is None and row["verdict"] == "not tested" for row in rows)


def test_an_archive_has_them(here):
    _, content = plan_of_before(here)
    path = keep(content)
    assert main(["archive", "small.yaml", "--to", "there"]) == 0
    assert (here / "there/claims_rules_1.json").read_bytes() == path.read_bytes()


def test_a_claim_of_which_one_rule_tests_nothing_is_not_folded_away():
    verdict = Verdict("C13", "t", False, "not tested", "no spread")
    row = {"id": "C13", "title": "t", "primary": False, "verdict": "contradicts", "reason": "then"}
    attached = claim.attach_registered([verdict], [row])
    assert "(no spread)" in page.describe_rules_difference(attached[0])
    assert page._is_tested(attached[0]) and not page._is_tested(verdict)
