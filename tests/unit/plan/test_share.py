"""Shares of a study: disjoint, together the study, balanced, and a function of the study alone."""

import sys
from pathlib import Path

import pytest
from helpers import search_study, tiny_study
from helpers.synthetic_study import write

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner, share
from kdpipe.plan.nodes import Share
from kdpipe.runs.store import Store
from kdpipe.workflow import load, run_snakemake, snakemake_verbs

GRID = {
    "seeds": [0, 1, 2, 3],
    "main": {"teachers": ["wrn10-1", "wrn10-2"], "students": ["wrn10-0.5", "wrn10-0.25"]},
    "ensembles": {"pair": {"networks": ["wrn10-1", "wrn10-2"]}},
}
ONE_TEACHER = {"seeds": [0], "main": {"students": ["wrn10-0.5", "wrn10-0.25", "wrn10-0.75"]}}
FIXED = {"seeds": [0, 1, 2, 3], "main": {"teacher_seed": 0}}  # one teacher for all seeds


@pytest.mark.parametrize("content", [GRID, ONE_TEACHER, FIXED], ids=["grid", "one", "fixed"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_shares_are_disjoint_and_together_the_study(content, count):
    plan = tiny_study.planned(**content)
    shares = share.cut_plan(plan, count)
    names = [node.name for nodes in shares for node in nodes]
    assert len(shares) == count
    assert sorted(names) == sorted(plan.nodes_by_name)
    again = share.cut_plan(tiny_study.planned(**content), count)
    assert [[node.name for node in nodes] for nodes in again] == [
        [node.name for node in nodes] for nodes in shares
    ]


def test_as_many_shares_as_seeds_have_a_seed_each():
    shares = share.cut_plan(tiny_study.planned(**GRID), 4)
    assert [{node.seed for node in nodes} for nodes in shares] == [{0}, {1}, {2}, {3}]


def test_two_shares_have_half_of_the_seeds_each_and_wait_for_nothing(tmp_path):
    plan = tiny_study.planned(**GRID)
    for number, seeds in ((1, {0, 1}), (2, {2, 3})):
        part = share.select_share(plan, Share(number, 2))
        assert {run.seed for run in part.runs.values()} == seeds
        assert share.find_awaited(part, Store(tmp_path)) == {}


def test_a_teacher_stays_with_what_descends_from_it():
    plan = tiny_study.planned(**GRID | {"ensembles": {}})
    owners = {node.name: number for number, n in enumerate(share.cut_plan(plan, 4)) for node in n}
    for run in plan.runs.values():
        assert all(owners[parent.name] == owners[run.name] for parent in run.parents)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_shares_are_balanced_to_within_a_piece(count):
    """No share is further from its part of the price than the largest piece."""
    plan = tiny_study.planned(**GRID)
    total = sum(map(share.get_price, plan.nodes_by_name.values()))
    largest = max(
        sum(map(share.get_price, piece)) for piece in share._list_pieces(plan, total / count)
    )
    for nodes in share.cut_plan(plan, count):
        assert abs(sum(map(share.get_price, nodes)) - total / count) <= largest


def test_a_teacher_that_must_be_shared_belongs_to_one_and_is_awaited(tmp_path):
    plan, store = tiny_study.planned(**FIXED), Store(tmp_path)
    (teacher,) = [name for name, roles in plan.roles.items() if "teacher" in roles]
    names = [{node.name for node in nodes} for nodes in share.cut_plan(plan, 4)]
    assert [teacher in each for each in names] == [True, False, False, False]
    other = share.select_share(plan, Share(3, 4))
    students = [name for name, run in other.runs.items() if run.parents]
    assert students and share.find_awaited(other, store) == {teacher: (1, students)}
    assert share.describe_share(other, store)[1] == (
        f"{len(students)} of them wait for wrn10-1 on labels, seed 0 of share 1: merge its "
        "results into this folder (kdpipe merge), or train it here too with --whole"
    )
    whole = share.select_share(plan, Share(3, 4, is_whole=True))
    assert whole.runs.keys() == {*other.runs, teacher} and not share.find_awaited(whole, store)
    write(plan, store)  # as after a merge
    assert share.find_awaited(other, store) == {}


def test_a_share_keeps_the_checkpoints_that_the_study_keeps():
    plan = tiny_study.planned(main={"stops": ["full", "checkpoint 1"]}, seeds=[0, 1])
    part = share.select_share(plan, Share(2, 2))
    assert part.checkpoints_to_keep == plan.checkpoints_to_keep


@pytest.mark.parametrize("text", ["2", "0/5", "6/5", "1/0", "a/b", "1/5/2", "-1/5", "1/100001", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(KdpipeError, match=r"must be K/N"):
        share.parse_share(text)


def test_a_search_is_refused():
    with pytest.raises(KdpipeError, match="is a search, whose next runs depend"):
        share.select_share(planner.build_plan(search_study.study_of()), Share(1, 2))


# --- the command line


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(tiny_study.write(tmp_path / "study.yaml", tiny_study.study(**FIXED)))


def test_plan_and_status_tell_of_the_share_alone(study, capsys):
    for verb in ("plan", "status"):
        assert main([verb, study, "--share", "2/4"]) == 0
        message = capsys.readouterr().out
        first, second, *_ = message.splitlines()
        assert first.startswith("share 2/4 of study tiny: 2 of 9 runs, "), message
        assert second.startswith("1 of them waits for wrn10-1 on labels, seed 0 of share 1"), (
            message
        )
        assert "2 runs" in message and "9 runs:" not in message
    assert main(["plan", study, "--share", "2/4", "--whole"]) == 0
    assert "share 2/4 of study tiny: 3 of 9 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "target", ["report", "render", "reports/tiny/index.html", "./reports/tiny"]
)
@pytest.mark.parametrize("words", [["{}", "--config", "share=1/2"], ["-n", "--", "{}"]])
def test_a_report_as_a_target_is_refused_in_a_share(study, monkeypatch, capsys, target, words):
    """Before anything is written; by the words that Snakemake itself takes for targets."""
    monkeypatch.setattr(sys, "argv", ["snakemake", *(word.format(target) for word in words)])
    config = tiny_study.study(**FIXED) | {"share": "1/2"}
    with pytest.raises(SystemExit, match="2"):
        load.load_rule_context(config, [study], Path("config.yaml"), is_head=True)
    assert capsys.readouterr().err == (
        f"kdpipe: share 1/2: {target}: a share renders no report: merge the results of all shares "
        "into one folder (kdpipe merge), and run the study there without --share\n"
    )
    assert not Path("results").exists()


def test_what_else_has_the_name_of_a_report_is_no_target():
    words = ["--directory", "report", "--report", "render.html", "teachers", "--profile", "render"]
    assert snakemake_verbs.parse_targets(words) == ["teachers"]


def test_snakemake_reads_the_share_of_its_config_and_no_study_file_has_it(study):
    def find(config: dict, file: str = study) -> Share | None:
        source = load.StudySource(tiny_study.study() | config, [file], Path("config.yaml"))
        assert source.load_study().study == "tiny"
        return source.find_share()

    assert find({}) is None
    assert find({"share": "2/5"}) == Share(2, 5)
    assert find({"share": "2/5", "share_whole": True}) == Share(2, 5, is_whole=True)
    for config in ({"share": 5}, {"share_whole": True}, {"share": "1/2", "share_whole": "so"}):
        with pytest.raises(KdpipeError, match="share"):
            find(config)
    tiny_study.write(Path("shared.yaml"), tiny_study.study() | {"share": "1/2"})
    with pytest.raises(KdpipeError, match=r"shared\.yaml: share: not a key of a study"):
        find({"share": "1/2"}, "shared.yaml")


@pytest.mark.parametrize("verb", ["plan", "status", "run"])
def test_whole_without_a_share_and_nonsense_are_one_line(verb, study, capsys):
    assert main([verb, study, "--whole"]) == 2
    assert capsys.readouterr().err == "kdpipe: --whole belongs to --share K/N, which is missing\n"
    assert main([verb, study, "--share", "5/4"]) == 2
    assert capsys.readouterr().err.startswith("kdpipe: share 5/4: must be K/N")


def test_a_share_becomes_part_of_the_one_config_that_snakemake_reads():
    def passed(*typed: str) -> list[str]:
        requested, others = run_snakemake.split_share(typed)
        return run_snakemake.add_share(others, requested)

    assert passed("--cores", "2", "--", "teachers") == ["--cores", "2", "--", "teachers"]
    assert passed("--share", "2/5", "-n") == ["-n", "--config", "share=2/5"]
    assert passed("-c1", "--share=2/5", "--whole", "--", "teachers") == [
        "-c1", "--config", "share=2/5", "share_whole=true", "--", "teachers",
    ]  # fmt: skip
    assert passed("--config", "device=cpu", "look=3", "-n", "--share", "1/2") == [
        "-n", "--config", "device=cpu", "look=3", "share=1/2",
    ]  # fmt: skip
    assert passed("--config=device=cpu", "teachers", "--share", "1/2") == [
        "teachers", "--config", "device=cpu", "share=1/2",
    ]  # fmt: skip
