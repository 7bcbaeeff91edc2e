"""A term of one's own: refused where no run can use it, trained where one can, and found out."""

import csv
import json
import re
import shutil
import sys

import pytest
import torch
import yaml
from helpers import tiny_study
from helpers.snakemake_sandbox import ROOT, Lab

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.losses.base import LossTerm, ModelOutput, to_float32
from kdpipe.losses.custom.card import is_valid_term_spec
from kdpipe.losses.custom.validate import TermValidator, make_sample_inputs
from kdpipe.plan import planner
from kdpipe.pydantic_base import StrictModel

CODE = """
import torch
from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    power: int = 2
    far: float = 1.0


def loss(student, teacher, labels, keys):
    ours, theirs = to_float32(student.logits), to_float32(teacher.logits).detach()
    apart = ours - ours.mean(1, keepdim=True) - theirs + theirs.mean(1, keepdim=True)
    return keys["far"] * apart.abs().pow(keys["power"]).mean()


TERM = LossTerm(
    title="logit matching", short_title="LM", part="lm", revision=1, keys=Keys, loss=loss
)
"""
METHOD = {"term": "mine.TERM", "term_weight": 0.5, "kd_weight": 0.0, "ce_weight": 1.0}


def study(**method) -> dict:
    return tiny_study.study(
        methods={"mine": METHOD | method},
        main={"methods": ["mine"]},
        tables={"teacher_size": ["main"]},
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    tiny_study.write(tmp_path / "study.yaml", study())
    return tmp_path


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Modules of a study are imported again, as in a new process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop("mine", None)


def says(capsys, *command: str, code: int = 0) -> str:
    for name in ("mine", "my_terms"):
        sys.modules.pop(name, None)
    assert main(list(command)) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.slow
def test_the_real_snakemake_trains_with_it_and_reports_it(tmp_path, warm, capsys):
    lab = Lab(tmp_path / "lab", warm)
    (lab.folder / "mine.py").write_text(CODE)
    path = tiny_study.write(lab.folder / "study.yaml", study(term_keys={"far": 2}))
    message = says(capsys, "term", str(path))
    assert "mine.TERM.term.json: logit matching, column lm, of the teacher's logits" in message
    assert "power (whole number, 2), far (number, 1.0)" in message
    assert "no errors" in says(capsys, "check", str(path))
    lab.run(None, "--configfile", str(path))
    (student,) = [r for r in lab.records().values() if r["spec"].get("teacher")]
    assert student["spec"]["method"]["own_term"]["keys"] == [["far", 2.0], ["power", 2]]
    folder = lab.store.run(student["name"])
    for line in map(json.loads, (folder / "curve.jsonl").open()):
        parts = line["train"]
        assert parts["loss"] == pytest.approx(parts["ce"] + 0.5 * parts["lm"], rel=1e-5)
    assert student["last"]["test"]["lm"] == pytest.approx(by_hand(lab, student), rel=1e-4)
    rows = csv.DictReader((lab.folder / "reports/tiny/tables/teacher_size.csv").open())
    assert {row["method_kind"] for row in rows if row["method"] == "mine"} == {"lm"}


def by_hand(lab, student) -> float:
    """The term on test from the stored outputs of student and teacher, in numpy."""
    from kdpipe.runs.files import read_arrays

    teacher = student["spec"]["teacher"]["members"][0]["run"]
    outputs = [
        read_arrays(folder / "outputs.safetensors")[0]["test_logits"].astype(float)
        for folder in (lab.store.run(student["name"]), lab.store.find_run(teacher))
    ]
    centred = [one - one.mean(1, keepdims=True) for one in outputs]
    return 2.0 * float(((centred[0] - centred[1]) ** 2).mean())


# --- what a study may say of it


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"term_keys": {"powr": 3}}, "term_keys.powr: unknown key; did you mean power?"),
        ({"term_keys": {"power": 2.5}}, "term_keys.power: 2.5: expected a whole number"),
        ({"term": "mine"}, "write module.NAME, e.g. my_terms.TERM"),
        ({"term": None}, "term_weight: only for a custom term"),
        ({"term_weight": 0.0}, "term_weight: 0.0: input should be greater than 0"),
    ],
)
def test_a_mistake_in_the_study_is_said_by_its_key(folder, capsys, method, message):
    says(capsys, "term", str(folder / "study.yaml"))
    content = study(**method)
    if method.get("term", "") is None:
        content["methods"]["mine"] = {"term_weight": 0.5}
    tiny_study.write(folder / "study.yaml", content)
    assert message in says(capsys, "check", str(folder / "study.yaml"), code=2)


def test_without_a_card_the_command_is_named(folder, capsys):
    message = says(capsys, "check", str(folder / "study.yaml"), code=2)
    assert f"methods.mine.term: mine.TERM has no card yet at {folder}" in message
    assert f"run: kdpipe check {folder / 'study.yaml'}" in message


def test_a_study_without_one_has_no_card_to_write(folder, capsys):
    tiny_study.write(folder / "study.yaml", tiny_study.study())
    assert "no custom terms" in says(capsys, "term", str(folder / "study.yaml"), code=2)


# --- code that changes


def test_changed_code_is_found_out_by_check_by_term_and_by_the_job(folder, store, capsys):
    path = str(folder / "study.yaml")
    says(capsys, "term", path)
    card = (folder / "mine.TERM.term.json").read_bytes()
    says(capsys, "term", path)
    assert (folder / "mine.TERM.term.json").read_bytes() == card
    teacher, student = teacher_and_student(path)
    assert main(tiny_study.train(teacher, (), str(store.root))) == 0
    (folder / "mine.py").write_text(CODE.replace(".abs()", ".abs().add(1)"))
    assert "it does not match its card" in says(capsys, "check", path, code=2)
    assert "have changed under the same revision" in says(capsys, "term", path, code=2)
    command = [*tiny_study.train(student, (), str(store.root)), f"--code={folder}"]
    message = says(capsys, *command, code=2)
    assert "its values have changed since this run was planned" in message
    assert not (store.run(student.name) / "weights.safetensors").exists()

    (folder / "mine.py").write_text(CODE.replace("revision=1", "revision=2"))
    assert "planned with revision 1, but its code has revision 2" in says(capsys, *command, code=2)
    says(capsys, "term", path)
    again = planner.build_plan(load.load_study(path))
    assert student.name not in again.runs and teacher.name in again.runs
    (folder / "mine.py").write_text(CODE)
    assert says(capsys, *command)


def test_code_that_acts_with_the_keys_of_a_method_alone_is_found_out(folder, store, capsys):
    """With those that it begins with it answers as before."""
    path = str(tiny_study.write(folder / "study.yaml", study(term_keys={"far": 3.0})))
    says(capsys, "term", path)
    says(capsys, "check", path)
    teacher, student = teacher_and_student(path)
    assert main(tiny_study.train(teacher, (), str(store.root))) == 0
    (folder / "mine.py").write_text(CODE.replace('keys["far"] *', 'keys["far"] ** 2 *'))
    assert "it does not match its card" in says(capsys, "check", path, code=2)
    assert "have changed under the same revision" in says(capsys, "term", path, code=2)
    command = [*tiny_study.train(student, (), str(store.root)), f"--code={folder}"]
    assert "have changed since this run was planned" in says(capsys, *command, code=2)
    tiny_study.write(folder / "study.yaml", study())  # by another study, without these keys
    assert "have changed under the same revision" in says(capsys, "term", path, code=2)
    (folder / "mine.py").write_text(CODE)
    assert says(capsys, *command)


def test_keys_that_were_never_tried_are_asked_for_and_none_is_forgotten(folder, capsys):
    path = str(folder / "study.yaml")
    says(capsys, "term", path)
    default = teacher_and_student(path)[1].name
    for far in (3.0, 4.0):
        tiny_study.write(folder / "study.yaml", study(term_keys={"far": far}))
        message = says(capsys, "check", path, code=2)
        assert "methods.mine.term_keys: mine.TERM is not validated with these values yet" in message
        assert f"run: kdpipe check {path}" in message
        says(capsys, "term", path)
        says(capsys, "check", path)
    card = json.loads((folder / "mine.TERM.term.json").read_text())
    assert [keys for keys, _ in card["answers"]] == [
        [["far", 3.0], ["power", 2]], [["far", 4.0], ["power", 2]],
    ]  # fmt: skip
    tiny_study.write(folder / "study.yaml", study())
    assert teacher_and_student(path)[1].name == default


def test_a_card_of_an_earlier_version_names_its_runs_as_ever(folder, store, capsys):
    path = str(tiny_study.write(folder / "study.yaml", study(term_keys={"far": 3.0})))
    says(capsys, "term", path)
    known = teacher_and_student(path)[1].spec.method["own_term"]["answer"]
    location = folder / "mine.TERM.term.json"
    card = json.loads(location.read_text())
    del card["answers"]
    location.write_text(json.dumps(hashing.add_checksum(card)))
    says(capsys, "check", path)
    teacher, student = teacher_and_student(path)
    assert student.spec.method["own_term"]["answer"] == card["answer"] == known[:2]
    assert main(tiny_study.train(teacher, (), str(store.root))) == 0
    says(capsys, *tiny_study.train(student, (), str(store.root)), f"--code={folder}")
    assert "its old card had no values for term_keys" in says(capsys, "term", path)
    assert teacher_and_student(path)[1].spec.method["own_term"]["answer"] == known


def teacher_and_student(path: str):
    runs = planner.build_plan(load.load_study(path)).runs.values()
    return [run for run in runs if "wrn10-1" in run.name]


# --- what no run can use


class Keys(StrictModel):
    far: float = 1.0


class UpperKeys(StrictModel):
    T: float = 1.0


def apart(student, teacher, labels, keys):
    actual, reference = to_float32(student.logits), to_float32(teacher.logits).detach()
    return (actual - reference).pow(2).mean()


def drawing(*message):
    return apart(*message) + torch.rand(())


def reaching(student, teacher, labels, keys):
    return (student.logits.float() - teacher.logits.float()).pow(2).mean()


def half(student, teacher, labels, keys):
    return (student.logits - teacher.logits.detach()).pow(2).mean()


def counting(*message, calls=[]):  # noqa: B006 (it is to be kept)
    calls.append(1)
    return apart(*message) * len(calls)


BAD = {
    "draws": ({"loss": drawing}, "draws random numbers"),
    "teacher": ({"loss": reaching}, "reaches the teacher"),
    "half": ({"loss": half}, "half-precision inputs it returns"),
    "keeps": ({"loss": counting}, "different values for the same batch"),
    "fails": ({"loss": lambda *_: 1 / 0}, "its loss failed: ZeroDivisionError"),
    "float": ({"loss": lambda *_: 1.0}, "expected one finite number in a tensor"),
    "nan": ({"loss": lambda *message: apart(*message) * float("nan")}, "one finite number"),
    "fixed": ({"loss": lambda *message: apart(*message).detach()}, "no gradient reaches"),
    "vector": ({"loss": lambda s, *_: s.logits.sum(1)}, "one finite number in a tensor"),
    "taken": ({"part": "kd"}, "part 'kd' is reserved"),
    "odd": ({"part": "A b"}, "part 'A b' is reserved or has other characters"),
    "needs": ({"needs": "weights"}, "needs 'weights': must be one of logits; groups; embedding"),
    "revision": ({"revision": 0}, "revision 0: must be an integer"),
    "keys": ({"keys": dict}, "keys: expected a subclass"),
    "upper": ({"keys": UpperKeys}, "keys: T: a key begins with a small letter and has only a-z"),
    "warmup": ({"warmup": "warm"}, "warmup 'warm': must be the name of one of its keys"),
    "learnt": ({"learnt": lambda *_: torch.nn.ReLU()}, "a torch.nn.Module with parameters"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_term_that_no_run_can_use_is_refused(case):
    change, message = BAD[case]
    sound = {"title": "x", "short_title": "X", "part": "x", "revision": 1, "keys": Keys}
    sound["loss"] = apart
    TermValidator("methods.x.term", "mine.TERM", LossTerm(**sound)).card()
    with pytest.raises(KdpipeError, match=message):
        TermValidator("methods.x.term", "mine.TERM", LossTerm(**(sound | change))).card()


def test_the_trial_leaves_the_generators_alone_and_grows_from_a_seed():
    def learnt(student, teacher, keys):
        return torch.nn.Linear(5, 5)

    def loss(student, teacher, labels, keys, module):
        return apart(ModelOutput(module(to_float32(student.logits)), []), teacher, labels, keys)

    term = LossTerm("x", "X", "x", 1, Keys, loss, learnt=learnt)
    before = torch.get_rng_state()
    cards = [TermValidator("x", "x.X", term).card() for _ in range(2)]
    assert cards[0] == cards[1] and cards[0].learnt
    assert torch.equal(before, torch.get_rng_state())
    assert make_sample_inputs()[0].logits.shape == (4, 5)


def test_a_term_may_look_at_the_embedding_and_the_others_answer_as_ever():
    """What a term is tried with is in the names of its runs: these are the numbers of before."""

    def loss(student, teacher, labels, keys):
        actual, reference = to_float32(student.embedding), to_float32(teacher.embedding).detach()
        return (actual.mean(1) - reference.mean(1)).pow(2).mean()

    card = TermValidator(
        "x", "x.X", LossTerm("x", "X", "x", 1, Keys, loss, needs="embedding")
    ).card()
    assert card.needs == "embedding" and is_valid_term_spec(card.spec(1.0, {}))
    student, teacher, _ = make_sample_inputs()
    apart = [student.logits - teacher.logits]
    apart += [a.mean(1) - b.mean(1) for a, b in zip(student.groups, teacher.groups, strict=True)]
    assert [one.pow(2).mean().item() for one in apart] == pytest.approx(ANSWERED, rel=1e-4)


ANSWERED = [2.991275, 0.34834, 0.475984]


def test_a_damaged_card_is_named(folder, capsys):
    path = folder / "study.yaml"
    says(capsys, "term", str(path))
    card = folder / "mine.TERM.term.json"
    whole = json.loads(card.read_text())
    shutil.copy(card, folder / "kept")
    for damage in ("", "[]", "{}", json.dumps(whole | {"needs": "x"}), card.read_text()[:40]):
        card.write_text(damage)
        message = says(capsys, "check", str(path), code=2)
        assert f"{card} is not a card of a loss term" in message and "kdpipe check" in message


def test_the_example_of_the_manual_has_a_card(tmp_path, capsys):
    text = (ROOT / "docs/how-to/term.md").read_text()
    (code,) = re.findall(r"^```python\n# my_terms\.py\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (methods,) = re.findall(r"^methods:\n  matched: .*?$", text, re.MULTILINE)
    (tmp_path / "my_terms.py").write_text(code)
    content = tiny_study.study(main={"methods": ["matched"]}) | yaml.safe_load(methods)
    path = tiny_study.write(tmp_path / "mine.yaml", content)
    assert "logit matching, column lm" in says(capsys, "term", str(path))
    assert "no errors" in says(capsys, "check", str(path))
